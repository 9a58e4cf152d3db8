"""This module is the tree of errors: one root, a subclass only where a caller would act differently."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import Any

__all__ = [
    "AccessRefused",
    "ComputeError",
    "DeserializationError",
    "EndpointNotFound",
    "LoginWanted",
    "MaxResultSizeExceeded",
    "NotOffered",
    "SerdeError",
    "SerializationError",
    "ServiceUnreachable",
    "StillOpen",
    "SubmitRefused",
    "TaskCancelled",
    "TaskExecutionFailed",
    "TaskExpired",
    "TaskLost",
    "TaskPending",
    "TaskWithdrawn",
    "VersionMismatch",
    "WorkerDied",
]


_IPYTHON = f"{os.sep}IPython{os.sep}"
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class _Brief(BaseException):
    """An error that IPython shows without frames of this package, which say nothing to its reader."""

    def _shown(self) -> str:
        return f"{type(self).__name__}: {self}"

    def _render_traceback_(self) -> list[str]:
        """Called by IPython instead of drawing all frames itself."""
        asked = [
            f"{_place(frame.filename)}, line {frame.lineno}, in {frame.name}\n    {frame.line}\n".replace(
                ", in <module>\n", "\n"
            )
            for frame in traceback.extract_tb(self.__traceback__)
            if not frame.filename.startswith(_PACKAGE) and _IPYTHON not in frame.filename
        ]
        return ["".join([*asked, self._shown().strip("\n")]), *getattr(self, "__notes__", ())]


def _place(filename: str) -> str:
    """Returns what IPython calls a file: code of a cell has a made-up name."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    found = shell.compile.format_code_name(filename) if shell is not None else None
    return " ".join(found) if found else f'File "{filename}"'


class StillOpen(_Brief, TimeoutError):
    """You stopped waiting for a task, which goes on."""

    def _shown(self) -> str:
        return f"TimeoutError: {self}"


class TaskWithdrawn(_Brief, CancelledError):
    """A future was cancelled here."""

    def _shown(self) -> str:
        return f"CancelledError: {self}"


class ComputeError(_Brief, Exception):
    """Anything that compute_nb raises by itself.

    Attributes:
        code: What a service called it, for programs; None if no service said so.
        http_status: With which status; None as well.
    """

    code: str | None = None
    http_status: int | None = None


class VersionMismatch(ComputeError):
    """The service asks for another version of this package, or of an endpoint.

    Args:
        version_message: Which, and the mend.
    """

    def __init__(self, version_message: str) -> None:
        self.version_message = version_message
        super().__init__(version_message)


class ServiceUnreachable(ComputeError):
    """The service does not answer; what was accepted by it stays there.

    Attributes:
        nothing_sent: True if the request can't have reached it.
    """

    nothing_sent = False


class AccessRefused(ComputeError):
    """The service answered that this token or password may not do that."""


class LoginWanted(AccessRefused):
    """The service wants the person to log in again, in a way of its own; nothing was done."""


class NotOffered(ComputeError):
    """The service has no such thing: it speaks the published protocol only, or is an older one of ours."""


class EndpointNotFound(ComputeError):
    """No configured service knows an endpoint of this name or id."""


class SubmitRefused(ComputeError):
    """The service refused a submit; none of its tasks was accepted."""


class SerdeError(ComputeError):
    """Something could not be turned into text, or back.

    Args:
        reason: What, and the mend.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class SerializationError(SerdeError):
    """An object could not be serialized."""


class DeserializationError(SerdeError):
    """A buffer could not be deserialized, or its strategy is not allowed here."""


class TaskPending(ComputeError):
    """A result was asked for and the task has not ended yet.

    Args:
        reason: How it stands.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)

    def __str__(self) -> str:
        return f"the task has not ended yet: {self.reason}"


class MaxResultSizeExceeded(ComputeError):
    """A result was larger than the endpoint may send.

    Args:
        result_size: Characters of the serialized result.
        result_size_limit: Characters allowed.
    """

    def __init__(self, result_size: int, result_size_limit: int) -> None:
        self.result_size = result_size
        self.result_size_limit = result_size_limit
        super().__init__(result_size, result_size_limit)

    def __str__(self) -> str:
        return (
            f"the result has {self.result_size:,} characters and at most {self.result_size_limit:,} "
            "can be sent: write it to a file there and return the path, or return less"
        )


class TaskExecutionFailed(ComputeError):
    """A task ended without a value.

    Args:
        remote_data: The traceback or the reason, as the other side wrote it.
        completion_t: Seconds since the epoch, as text; "0" where unknown.
        task_details: What a service tells of how the task ran, None where it tells nothing.
    """

    task_details: Mapping[str, Any] | None = None
    of_group = ""  # what the result of a group says of all its tasks, "" for an error asked for alone

    def __init__(
        self,
        remote_data: str,
        completion_t: str | None = None,
        task_details: Mapping[str, Any] | None = None,
    ) -> None:
        completion_t = completion_t or "0"
        self.remote_data = remote_data
        self.completion_t = completion_t
        self.task_details = task_details
        super().__init__(remote_data, completion_t)

    def __str__(self) -> str:
        lines = [*self.remote_data.splitlines(), *filter(None, [self.of_group])]
        return "\n" + "\n".join(f" {line}" for line in lines)

    def __repr__(self) -> str:
        if self.args != (self.remote_data, self.completion_t):  # joined with the error's own type
            return super().__repr__()
        lines = self.remote_data.strip().splitlines() or [""]
        told = lines[-1] if lines[0].startswith("Traceback") else lines[0]
        return f"{type(self).__name__}({told.removeprefix(type(self).__name__ + ': ')!r})"

    def _shown(self) -> str:
        return self.remote_data


class WorkerDied(TaskExecutionFailed):
    """The worker process ended while it ran the task: a signal, memory, or an exit in the code."""


class TaskLost(TaskExecutionFailed):
    """Nobody can know whether the task ended; its value still counts if it comes late."""


class TaskExpired(TaskExecutionFailed):
    """The task waited for its endpoint until its time was over, and never began."""


class TaskCancelled(TaskExecutionFailed):
    """The task was cancelled at the service, by somebody else than this future."""
