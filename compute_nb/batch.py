"""This module is the batch: tasks collected by hand, to be sent in one request by `Client.batch_run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload
from uuid import UUID

from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.serialize.strategy import path_for_peers
from compute_nb.terms import user_runtime

_Args = list[Any] | tuple[Any, ...]


class Batch:
    """Tasks that go out together; made by `Client.create_batch`.

    Args:
        task_group_id: The group they join; None: the service makes one.
        resource_specification: For engines that take one.
        user_endpoint_config: For endpoints that are configured by their users.
        request_queue: True if an Executor will wait for the results.
        serializer: Writes the arguments.
        user_runtime: What Python this is; found out by default.
        result_serializers: Strategies for the results, tried in this order.

    Attributes:
        tasks: Function id -> the packed arguments of its calls.
        endpoint_id: Where it goes if `batch_run` names no endpoint.
    """

    def __init__(  # noqa: PLR0917 - the published signature
        self,
        task_group_id: UUID | str | None,
        resource_specification: Mapping[str, Any] | None = None,
        user_endpoint_config: Mapping[str, Any] | None = None,
        request_queue: bool = False,
        serializer: ComputeSerializer | None = None,
        user_runtime: Mapping[str, Any] | None = None,
        result_serializers: Sequence[object] | None = None,
    ) -> None:
        self.task_group_id = None if task_group_id is None else UUID(str(task_group_id))
        self.resource_specification = resource_specification
        self.user_endpoint_config = user_endpoint_config
        self.result_serializers = [path_for_peers(one) for one in result_serializers or ()]
        self.tasks: dict[UUID, list[str]] = {}
        self.endpoint_id: UUID | str | None = None
        self._request_queue = request_queue
        self._serializer = serializer or ComputeSerializer()
        self._user_runtime = user_runtime

    def __repr__(self) -> str:
        return f"Batch({len(self)} tasks, group {self.task_group_id})"

    def __len__(self) -> int:
        return sum(len(tasks) for tasks in self.tasks.values())

    @overload
    def add(
        self, function_id: UUID | str, args: _Args | None = None, kwargs: dict[str, Any] | None = None
    ) -> None: ...
    @overload
    def add(
        self,
        function_id: UUID | str,
        endpoint_id: UUID | str,
        args: _Args | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None: ...
    def add(self, function_id: UUID | str, *given: Any, **named: Any) -> None:
        """Adds one call: `add(function_id, args, kwargs)`, or in the older form with the endpoint in between.

        Args:
            function_id: A registered function.
            endpoint_id: Where the batch goes if `batch_run` names no endpoint; an id or a name.
            args: A list or tuple.
            kwargs: A dict with text keys.

        Raises:
            ValueError: `function_id` is no UUID, or the batch is for another endpoint.
            TypeError: An argument of the wrong type, or one too many.
            SerializationError: An argument can't be written.
        """
        endpoint_id, args, kwargs = _arguments(given, named)
        if not isinstance(args, list | tuple | None):
            raise TypeError(f"args must be a list or tuple, not {type(args).__name__}")
        if not isinstance(kwargs, dict | None) or not all(isinstance(k, str) for k in kwargs or ()):
            raise TypeError("kwargs must be a dict whose keys are text")
        function_id = UUID(str(function_id))
        if endpoint_id is not None and str(endpoint_id) != str(self.endpoint_id or endpoint_id):
            raise ValueError(
                f"this batch is for endpoint {self.endpoint_id}: make another batch for {endpoint_id}"
            )
        packed = self._serializer.pack_call(tuple(args or ()), kwargs or {})
        self.tasks.setdefault(function_id, []).append(packed)
        self.endpoint_id = self.endpoint_id or endpoint_id

    def named_endpoint(self) -> UUID | str:
        """Returns the endpoint that was named at `add`.

        Raises:
            ValueError: None was.
        """
        if self.endpoint_id is None:
            raise ValueError("no endpoint is named: give it to batch_run, or to add before the arguments")
        return self.endpoint_id

    def prepare(self) -> dict[str, Any]:
        """Returns the body of the submit request."""
        body: dict[str, Any] = {
            "tasks": {str(function_id): tasks for function_id, tasks in self.tasks.items()},
            "create_queue": self._request_queue,
            "user_runtime": self._user_runtime or user_runtime(),
        }
        if self.task_group_id is not None:
            body["task_group_id"] = str(self.task_group_id)
        for name in ("resource_specification", "user_endpoint_config", "result_serializers"):
            if getattr(self, name):
                body[name] = getattr(self, name)
        return body


def _arguments(given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Returns endpoint, args and kwargs of either form of `Batch.add`."""
    older = "endpoint_id" in named or (bool(given) and isinstance(given[0], str | UUID))
    names = ("endpoint_id", "args", "kwargs") if older else ("args", "kwargs")
    if len(given) > len(names):
        raise TypeError(f"add takes a function id and {', '.join(names)}; {len(given)} more were given")
    found = dict(zip(names, given, strict=False))
    for name, value in named.items():
        if name not in names or name in found:
            problem = "no argument of it" if name not in names else "given twice"
            raise TypeError(f"add takes a function id and {', '.join(names)}; {name!r} is {problem}")
        found[name] = value
    return found.get("endpoint_id"), found.get("args"), found.get("kwargs")
