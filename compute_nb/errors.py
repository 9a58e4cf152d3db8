"""This module is the tree of errors: one root, a subclass only where a caller would act differently."""

from __future__ import annotations

__all__ = [
    "AccessRefused",
    "ComputeError",
    "DeserializationError",
    "EndpointNotFound",
    "MaxResultSizeExceeded",
    "SerdeError",
    "SerializationError",
    "ServiceUnreachable",
    "SubmitRefused",
    "TaskCancelled",
    "TaskExecutionFailed",
    "TaskExpired",
    "TaskLost",
    "TaskPending",
    "VersionMismatch",
    "WorkerDied",
]


class ComputeError(Exception):
    """Anything that compute_nb raises by itself.

    Attributes:
        code: What a service called it, for programs; None if no service said so.
        http_status: With which status; None as well.
    """

    code: str | None = None
    http_status: int | None = None


class VersionMismatch(ComputeError):
    """The service asks for another version of this package."""


class ServiceUnreachable(ComputeError):
    """The service does not answer; what was accepted by it stays there.

    Attributes:
        nothing_sent: True if the request can't have reached it.
    """

    nothing_sent = False


class AccessRefused(ComputeError):
    """The service answered that this token or password may not do that."""


class EndpointNotFound(ComputeError):
    """No configured service knows an endpoint of this name or id."""


class SubmitRefused(ComputeError):
    """The service refused a submit; none of its tasks was accepted."""


class SerdeError(ComputeError):
    """Something could not be turned into text, or back."""


class SerializationError(SerdeError):
    """An object could not be serialized."""


class DeserializationError(SerdeError):
    """A buffer could not be deserialized, or its strategy is not allowed here."""


class TaskPending(ComputeError):
    """A result was asked for and the task has not ended yet."""

    def __init__(self, status: str) -> None:
        self.status = status
        super().__init__(f"the task has not ended yet: {status}")


class MaxResultSizeExceeded(ComputeError):
    """A result was larger than the endpoint may send.

    Args:
        result_size: Characters of the serialized result.
        max_result_size: Characters allowed.
    """

    def __init__(self, result_size: int, max_result_size: int) -> None:
        self.result_size = result_size
        self.max_result_size = max_result_size
        super().__init__(result_size, max_result_size)

    def __str__(self) -> str:
        return (
            f"the result has {self.result_size:,} characters and at most {self.max_result_size:,} "
            "can be sent: write it to a file there and return the path, or return less"
        )


class TaskExecutionFailed(ComputeError):
    """A task ended without a value.

    Args:
        remote_data: The traceback or the reason, as the other side wrote it.
        completion_t: Seconds since the epoch, as text; "0" where unknown.
    """

    def __init__(self, remote_data: str, completion_t: str = "0") -> None:
        self.remote_data = remote_data
        self.completion_t = completion_t
        super().__init__(remote_data, completion_t)

    def __str__(self) -> str:
        return "\n" + "\n".join(f" {line}" for line in self.remote_data.splitlines())


class WorkerDied(TaskExecutionFailed):
    """The worker process ended while it ran the task: a signal, memory, or an exit in the code."""


class TaskLost(TaskExecutionFailed):
    """Nobody can know whether the task ended; its value still counts if it comes late."""


class TaskExpired(TaskExecutionFailed):
    """The task waited for its endpoint until its time was over, and never began."""


class TaskCancelled(TaskExecutionFailed):
    """The task was cancelled at the service, by somebody else than this future."""
