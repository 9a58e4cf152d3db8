"""This module is the client: one method for each call of the web API, functions and values on this side."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload
from uuid import UUID

from compute_nb import globus_app, hardware, registration, routes
from compute_nb.asker import Asker
from compute_nb.batch import Batch
from compute_nb.config import ServiceSettings
from compute_nb.connection import Repeat
from compute_nb.errors import ComputeError, TaskPending
from compute_nb.login import Login
from compute_nb.places import Places
from compute_nb.reach import Reach
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.serialize.strategy import SerializationStrategy
from compute_nb.standing import standing
from compute_nb.tasks import new_id, new_ids

Id = UUID | str


class Client:
    """Speaks to one service. Any thread may use it; each method blocks, and none before the first is called.

    The methods are those of the published SDK (Globus Compute SDK 4.19, "Client"); docs/sdk.md has the
    differences. Wherever an endpoint's id is taken, its name, an alias and `local` are too.

    Args:
        environment, local_compute_services: Accepted for scripts of the published SDK; the service is
            chosen by `service`, the environment variables or config.toml.
        do_version_check: True: the first call asks first whether the service speaks our version.
        code_serialization_strategy, data_serialization_strategy: How functions and values are written.
        app: A GlobusApp that logs in; at most one of these two.
        authorizer: One of globus_sdk's, such as `AccessTokenAuthorizer`.
        service: A service by name, its settings, or the way to it. By default the local one; with `app`
            or an `authorizer` of Globus, Globus.

    Attributes:
        reach: The way to the service.
        fx_serializer: Writes functions and arguments, reads results.
        app, authorizer: As given.
        session_task_group_id: The group of batches that name none, as text; known before the first submit.

    Raises:
        ComputeError: The service is not configured.
        ValueError: Both `app` and `authorizer`; a client secret is set and no client id.
    """

    FUNCX_SDK_CLIENT_ID = os.environ.get("FUNCX_SDK_CLIENT_ID", globus_app.NATIVE_CLIENT_ID)
    FUNCX_SCOPE = os.environ.get("FUNCX_SCOPE", globus_app.SCOPE)

    def __init__(
        self,
        environment: str | None = None,
        local_compute_services: bool = False,
        do_version_check: bool = True,
        *,
        code_serialization_strategy: SerializationStrategy | None = None,
        data_serialization_strategy: SerializationStrategy | None = None,
        app: Any = None,
        authorizer: Any = None,
        service: str | ServiceSettings | Reach | None = None,
        **ignored: object,
    ) -> None:
        if app is not None and authorizer is not None:
            raise ValueError("app and authorizer both say who asks: give one of them")
        for name in ignored:
            warnings.warn(f"Client ignores {name!r}", UserWarning, stacklevel=2)
        self.app, self.authorizer = app, authorizer
        self.reach = Reach.chosen(service, app, authorizer)
        self.session_task_group_id = str(new_id())
        self.fx_serializer = ComputeSerializer(code_serialization_strategy, data_serialization_strategy)
        self._asker = Asker(self.reach, check_first=do_version_check)
        self._ended: dict[str, dict[str, Any]] = {}

    def __repr__(self) -> str:
        return f"Client<{self.reach}>"

    @property
    def web_service_address(self) -> str:
        """The service's base address; starts the local service if there has never been one."""
        return self.reach.connection.url

    @property
    def auth_client(self) -> object:
        """The published SDK's deprecated way to Globus Auth.

        Raises:
            ComputeError: There is no Globus login behind this client.
        """
        warnings.warn("Client.auth_client is deprecated: ask globus_sdk", DeprecationWarning, stacklevel=2)
        raise ComputeError("this client has no Globus login: make a globus_sdk.AuthClient of your own")

    def version_check(self, endpoint_version: str | None = None) -> None:
        """Returns if the service speaks our version and, if it is given, takes endpoints of that version.

        Raises:
            VersionMismatch: It speaks another one, or asks for a newer endpoint.
        """
        self._asker.check_version()
        if endpoint_version is not None:
            self.reach.call(lambda connection: routes.check_endpoint(connection, endpoint_version))

    def logout(self) -> None:
        """Has Globus revoke the tokens of the login and forgets them; warns where there is no login."""
        if isinstance(self.reach.bearer, Login):
            self.reach.bearer.logout()
            return
        why = "its authorizer is the caller's own" if self.authorizer else f"{self.reach} takes a token"
        warnings.warn(f"logout does nothing: {why}", UserWarning, stacklevel=2)

    # -- functions

    def register_function(  # noqa: PLR0917 - the published signature
        self,
        function: Callable[..., Any],
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        public: bool = False,
        group: Id | None = None,
        ha_endpoint_id: Id | None = None,
    ) -> str:
        """Stores a function at the service and returns its id.

        Raises:
            SerializationError: It can't be written.
        """
        code = self.fx_serializer.serialize(function)
        options = description, metadata, public, group, ha_endpoint_id
        return self.register_serialized(function, code, *options)

    def register_serialized(  # noqa: PLR0917 - as register_function
        self,
        function: Callable[..., Any],
        code: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        public: bool = False,
        group: Id | None = None,
        ha_endpoint_id: Id | None = None,
    ) -> str:
        """Stores a function whose buffer is there already, perhaps by another serializer; returns its id."""
        given = {"public": public, "group": group, "ha_endpoint_id": ha_endpoint_id}
        return self._register(registration.of_function(function, code, metadata, description, **given))

    def register_source_code(  # noqa: PLR0917 - the published signature
        self,
        source: str,
        function_name: str,
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        public: bool = False,
        group: Id | None = None,
        ha_endpoint_id: Id | None = None,
    ) -> str:
        """Stores a function given by its source and its name in it; returns its id."""
        given = {"public": public, "group": group, "ha_endpoint_id": ha_endpoint_id}
        fields = registration.of_source(source, function_name, metadata, description=description, **given)
        return self._register(fields)

    def get_function(self, function_id: Id) -> dict[str, Any]:
        """Returns what the service has of a function."""
        return self._asker.object(lambda c: c.get(f"/v2/functions/{function_id}"))

    def delete_function(self, function_id: Id) -> dict[str, Any]:
        """Has the service forget a function; tasks that were accepted still run."""
        return self._asker.object(
            lambda c: c.send("DELETE", f"/v2/functions/{function_id}", None, Repeat.ALWAYS)
        )

    # -- tasks

    def create_batch(
        self,
        task_group_id: Id | None = None,
        resource_specification: Mapping[str, Any] | None = None,
        user_endpoint_config: Mapping[str, Any] | None = None,
        create_websocket_queue: bool = False,
        result_serializers: Sequence[object] | None = None,
    ) -> Batch:
        """Returns an empty batch.

        Args:
            task_group_id: The group that its tasks join; `session_task_group_id` by default.
            resource_specification: For engines that take one.
            user_endpoint_config: For endpoints that are configured by their users.
            create_websocket_queue: True if an Executor of the published SDK will wait for the results.
            result_serializers: Strategies for the results, tried in this order.
        """
        return Batch(
            task_group_id or self.session_task_group_id,
            resource_specification,
            user_endpoint_config,
            create_websocket_queue,
            self.fx_serializer,
            result_serializers=result_serializers,
        )

    @overload
    def batch_run(self, endpoint_id: Id, batch: Batch) -> dict[str, Any]: ...
    @overload
    def batch_run(self, endpoint_id: Batch) -> dict[str, Any]: ...
    def batch_run(self, endpoint_id: Id | Batch, batch: Batch | None = None) -> dict[str, Any]:
        """Sends a batch; returns `tasks`, `task_group_id`, `request_id` and `endpoint_id`.

        Args:
            endpoint_id: Where to; in the older form the batch itself, which was told at `add`.
            batch: What.

        Raises:
            TypeError: No batch was given.
            ValueError: The older form, and no endpoint was named at `add`.
            SubmitRefused: It is larger than one request may be; nothing was sent.
            ComputeError: The service refuses it or can't be reached.
        """
        if isinstance(endpoint_id, Batch):
            return self.batch_run(endpoint_id.named_endpoint(), endpoint_id)
        if not isinstance(batch, Batch):
            raise TypeError(f"batch_run takes an endpoint and a Batch, not {type(batch).__name__}")
        body = batch.prepare()
        # Where tasks have no ids of ours, a request that arrived twice would run them twice.
        extended = self._asker.is_extended()
        if extended:
            body["compute_nb"] = {"task_ids": _new_ids_for(body["tasks"])}
        encoded = _encoded(body)
        routes.check_size(len(encoded), f"this batch of {len(batch):,} tasks")
        path = f"/v3/endpoints/{self._endpoint(endpoint_id)}/submit"
        self._asker.keep_pace(len(batch))
        repeat = Repeat.ALWAYS if extended else Repeat.UNREAD
        return self._asker.object(lambda c: c.send("POST", path, encoded, repeat), once=not extended)

    def run(self, *args: Any, endpoint_id: Id, function_id: Id, **kwargs: Any) -> str:
        """Sends one call; returns the task's id."""
        batch = self.create_batch()
        batch.add(function_id, args, kwargs)
        answer = self.batch_run(endpoint_id, batch)
        return str(answer["tasks"][str(function_id)][0])

    def get_task(self, task_id: Id) -> dict[str, Any]:
        """Returns `pending` and `status` of a task and, if it has ended, `result` and `completion_t`.

        Raises:
            TaskExecutionFailed: It failed.
            DeserializationError: Its value can't be read here.
        """
        known = self._ended.get(str(task_id))
        if known is None:
            answer = self._asker.object(lambda c: c.get(f"/v2/tasks/{task_id}"))
            known = self._stand(str(task_id), answer)
        if "exception" in known:
            raise known["exception"]
        return known

    def get_result(self, task_id: Id) -> Any:
        """Returns a task's value.

        Raises:
            TaskPending: It has not ended.
            TaskExecutionFailed: It failed.
        """
        task = self.get_task(task_id)
        if task["pending"]:
            raise TaskPending(task["status"])
        return task["result"]

    def get_batch_result(self, task_id_list: Sequence[Id]) -> dict[str, dict[str, Any]]:
        """Returns, for each id that the service knows, what `get_task` does, with errors as `exception`."""
        found: dict[str, dict[str, Any]] = {}
        wanted = [str(UUID(str(task_id))) for task_id in task_id_list]
        for start in range(0, len(wanted), routes.MAX_IDS):
            answer = self._batch_status(wanted[start : start + routes.MAX_IDS])
            found |= {task_id: self._stand(task_id, task) for task_id, task in answer.items()}
        return found

    # -- endpoints

    def register_endpoint(  # noqa: PLR0917 - the published signature
        self,
        name: str,
        endpoint_id: Id | None = None,
        metadata: Mapping[str, Any] | None = None,
        multi_user: bool | None = None,
        display_name: str | None = None,
        allowed_functions: Sequence[Id] | None = None,
        auth_policy: Id | None = None,
        subscription_id: Id | None = None,
        public: bool | None = None,
        high_assurance: bool | None = None,
        admins: Sequence[Id] | None = None,
    ) -> dict[str, Any]:
        """Registers an agent, again under `endpoint_id` if that is given; returns its queues.

        Args:
            name: At most 128 characters without white space, slashes and quotes.
            endpoint_id: The id of last time; None for a new one.
            metadata: What the agent tells of itself.
            multi_user: True if it starts endpoints for several users.
            display_name: For people.
            allowed_functions: The only functions it takes; None or empty: all.
            auth_policy, subscription_id, high_assurance: For Globus; our own service keeps and shows them.
            public: True if others may submit to it.
            admins: Users who may manage it, beside the owner; for Globus too.
        """
        fields = registration.of_endpoint(
            name,
            metadata,
            {"allowed_functions": allowed_functions, "admins": admins},
            multi_user=multi_user or None,
            display_name=display_name,
            authentication_policy=auth_policy,
            subscription_uuid=subscription_id,
            public=public,
            high_assurance=high_assurance,
        )
        if endpoint_id is None:
            return self._asker.object(lambda c: c.post("/v3/endpoints", fields))
        body = _encoded(fields)
        return self._asker.object(
            lambda c: c.send("PUT", f"/v3/endpoints/{endpoint_id}", body, Repeat.ALWAYS)
        )

    def get_endpoint_status(self, endpoint_uuid: Id) -> dict[str, Any]:
        """Returns `status` ("online" or "offline") and the `details` of the last heartbeat."""
        endpoint_id = self._endpoint(endpoint_uuid, start=False)
        return self._asker.object(lambda c: c.get(f"/v2/endpoints/{endpoint_id}/status"))

    def get_endpoint_metadata(self, endpoint_uuid: Id) -> dict[str, Any]:
        """Returns what an endpoint said of itself."""
        endpoint_id = self._endpoint(endpoint_uuid, start=False)
        return self._asker.object(lambda c: c.get(f"/v2/endpoints/{endpoint_id}"))

    def get_allowed_functions(self, endpoint_id: Id) -> dict[str, Any]:
        """Returns `endpoint_id`, `restricted` and, if that is true, the ids of the `functions` it takes."""
        known = self._endpoint(endpoint_id, start=False)
        return self._asker.object(lambda c: c.get(f"/v3/endpoints/{known}/allowed_functions"))

    def get_worker_hardware_details(self, endpoint_id: Id) -> str:
        """Has a worker report what its machine is; returns the id of that task, whose value is a text."""
        function_id = self.register_source_code(hardware.source(), hardware.NAME, hardware.DESCRIPTION)
        return self.run(endpoint_id=endpoint_id, function_id=function_id)

    def get_endpoints(self, role: str | None = None) -> list[dict[str, Any]]:
        """Returns your endpoints; with role "any" public ones too."""
        path = "/v2/endpoints" + (f"?role={role}" if role else "")
        found = self._asker.ask(lambda c: c.get(path))
        return list(found)

    def stop_endpoint(self, endpoint_id: Id) -> dict[str, Any]:
        """Stops an endpoint's agent."""
        path = f"/v3/endpoints/{self._endpoint(endpoint_id, start=False)}/lock"
        return self._asker.object(lambda c: c.send("POST", path, None, Repeat.ALWAYS))

    def delete_endpoint(self, endpoint_id: Id) -> dict[str, Any]:
        """Has the service forget an endpoint; its open tasks end."""
        path = f"/v2/endpoints/{self._endpoint(endpoint_id, start=False)}"
        return self._asker.object(lambda c: c.send("DELETE", path, None, Repeat.ALWAYS))

    def get_result_amqp_url(self) -> dict[str, Any]:
        """Returns `queue_prefix` and `connection_url` for a reader of task groups."""
        return self._asker.object(lambda c: c.get("/v2/get_amqp_result_connection_url"))

    # -- inside

    def _endpoint(self, name: Id, *, start: bool = True) -> UUID:
        """Returns the id of an endpoint of this client's service; one given as an id is not asked about."""
        try:
            return UUID(str(name))
        except ValueError:
            pass
        service = str(name).rpartition(":")[0]
        if service not in ("", self.reach.settings.name):
            raise ComputeError(
                f"endpoint {name!r} is of service {service!r} and this client speaks to "
                f"{self.reach.settings.name!r}: make a Client(service={service!r})"
            )
        places = Places(self.reach.home, lambda _, question: self._asker.ask(question), self.reach)
        return places.find(name, start=start).endpoint_id

    def _batch_status(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        fields = {"task_ids": task_ids}
        results = self._asker.object(lambda c: c.post("/v2/batch_status", fields, Repeat.ALWAYS))["results"]
        return dict(results)

    def _register(self, fields: dict[str, Any]) -> str:
        answer = self._asker.object(lambda c: c.post("/v3/functions", fields))
        if answer.get("ha_warning"):
            warnings.warn(answer["ha_warning"], UserWarning, stacklevel=3)
        return str(answer["function_uuid"])

    def _stand(self, task_id: str, task: dict[str, Any]) -> dict[str, Any]:
        """Returns a task as `get_task` does, with its error as a value."""
        found = standing(task, self.fx_serializer)
        if not found["pending"]:
            self._ended[task_id] = found
        return found


def _new_ids_for(tasks: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {function_id: [str(i) for i in new_ids(len(args))] for function_id, args in tasks.items()}


def _encoded(fields: Mapping[str, Any]) -> bytes:
    import json

    return json.dumps(fields).encode()
