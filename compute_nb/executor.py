"""This module is the Executor: the standard library's contract over a service, an endpoint and a group."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from compute_nb import hardware, routes
from compute_nb.client import Client
from compute_nb.conditions import Conditions
from compute_nb.destination import Destination
from compute_nb.functions import chunk_function, sends_bytecode
from compute_nb.future import ComputeFuture
from compute_nb.parcel import Parcel
from compute_nb.reloaded import ReloadedTasks
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.setting import PUBLISHED_BATCH_SIZE
from compute_nb.shell import ShellFunction
from compute_nb.tasks import TaskState, new_id, new_ids
from compute_nb.terms import Terms


class Executor(Conditions, concurrent.futures.Executor):
    """Runs functions at an endpoint. `submit` is for any thread.

    Nothing is asked and started before the first submit or the first look at `endpoint_id`. Functions,
    and the globals that a notebook's functions read, are taken as they are at a submit.

    Args:
        endpoint_id: `local`, an alias, an id, an endpoint's name, any of them after `service:`; the
            configured default (`local`) if None.
        client: Speaks to the service; by default one is made for the endpoint's service.
        task_group_id: The group that tasks join; a new one by default.
        resource_specification: For engines that take one.
        user_endpoint_config: For endpoints that are configured by their users.
        label: For people.
        batch_size: How many tasks a request may have, 1,000 at most; the published default stands for these
            1,000. Whatever has gathered is sent at once.
        amqp_port: Used instead of the port that the service names.
        api_burst_limit, api_burst_window_s: So many requests with fewer tasks than that within so many
            seconds, then they wait; for Globus's own service only.
        serializer: Writes functions and arguments, reads results; by default the client's.
        result_serializers: Strategies for the results, tried in this order.
        retries: How often a task may begin again after its worker or agent was lost.
        walltime: Seconds that one attempt may run.
        service: The service, by name, where `endpoint_id` names none.

    Raises:
        TypeError: A specification is no dict that JSON can write.
        ValueError: An id is no UUID, a number out of range.
    """

    def __init__(  # noqa: PLR0917 - the published signature
        self,
        endpoint_id: UUID | str | None = None,
        client: Client | None = None,
        task_group_id: UUID | str | None = None,
        resource_specification: Mapping[str, Any] | None = None,
        user_endpoint_config: Mapping[str, Any] | None = None,
        label: str = "",
        batch_size: int = PUBLISHED_BATCH_SIZE,
        amqp_port: int | None = None,
        api_burst_limit: int = 4,
        api_burst_window_s: int = 16,
        serializer: ComputeSerializer | None = None,
        result_serializers: Sequence[object] | None = None,
        *,
        retries: int = 0,
        walltime: float | None = None,
        service: str | None = None,
    ) -> None:
        super().__init__(Destination(endpoint_id, service, client, amqp_port), serializer)
        self._down = False
        self.label = label
        self.batch_size = batch_size
        self.api_burst_limit = api_burst_limit
        self.api_burst_window_s = api_burst_window_s
        self.task_group_id = task_group_id
        self.resource_specification = resource_specification
        self.user_endpoint_config = user_endpoint_config
        self.result_serializers = result_serializers
        self.retries = retries
        self.walltime = walltime

    def __repr__(self) -> str:
        label = f"{self.label!r} " if self.label else ""
        return f"Executor<{label}endpoint {self._destination}, group {self.task_group_id}>"

    # -- how it stands

    @property
    def task_count_submitted(self) -> int:
        """How many tasks the service has accepted."""
        return self._ledger.accepted_count

    @property
    def outage(self) -> str | None:
        """Why nothing is heard of open tasks now, in one line; None while the service can be heard.

        It changes while one waits; update callbacks are called when an outage begins and when it is over.
        """
        session = self._destination.session
        return None if session is None else session.outage

    @property
    def can_cancel(self) -> bool:
        """False if its service can't be told to end tasks: what it has accepted may run on."""
        session = self._destination.session
        return session is None or session.can_cancel

    # -- functions

    def register_function(
        self, fn: Callable[..., Any], function_id: UUID | str | None = None, **registration: Any
    ) -> str:
        """Registers a function, so that later submits of it use the id that is returned; blocks.

        Args:
            function_id: The id under which it was registered before; nothing is sent then.

        Raises:
            ValueError: It is registered already, perhaps under another id.
            SerializationError: It can't be written.
        """
        self._refuse_if_down()
        if function_id is not None:
            known = UUID(str(function_id))
            self._functions.add_known(fn, known)
            return str(known)
        if self._functions.find(fn) is not None:
            raise ValueError(f"{fn!r} is registered as {self._functions.find(fn)} already")
        return str(self._register(fn, registration))

    def register_source_code(self, source: str, function_name: str, **registration: Any) -> str:
        """Registers a function given by its source and its name in it; blocks.

        The same source a second time gives the same id.
        """
        self._refuse_if_down()
        known = self._functions.find_source(source, function_name)
        if known is None:
            session, client = self._destination.ready(), self.client
            known = UUID(
                session.ask(lambda _: client.register_source_code(source, function_name, **registration))
            )
            self._functions.add_source(source, function_name, known)
        return str(known)

    # -- tasks

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> ComputeFuture:
        """Has `fn(*args, **kwargs)` run; returns at once, except for the first submit of a function.

        Raises:
            RuntimeError: After shutdown.
            TypeError, ValueError: The arguments or the resource_specification don't fit a shell or MPI
                function; nothing is sent.
            SerializationError: The function or an argument can't be written.
            SubmitRefused: The arguments are larger than a request may be; nothing is sent.
            EndpointNotFound: Nobody knows the endpoint.
            ComputeError: The service can't be reached or started.
        """
        self._refuse_if_down()
        if isinstance(fn, ShellFunction):
            fn.check(args, kwargs)
            fn.specification(self.resource_specification)
        function_id = self._functions.find(fn) or self._register(fn, {})
        return self._submit(function_id, args, kwargs)

    def submit_to_registered_function(
        self,
        function_id: UUID | str,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> ComputeFuture:
        """Has a registered function run; raises as `submit`."""
        self._refuse_if_down()
        known, positional, named = UUID(str(function_id)), tuple(args or ()), kwargs or {}
        shell = self._functions.shell(known)
        if shell is not None:
            shell.check(positional, named)
        return self._submit(known, positional, named)

    def submit_many(
        self,
        function_id: UUID | str,
        calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
        *,
        hold_until_complete: bool = True,
    ) -> list[ComputeFuture]:
        """Has a registered function run once for each (args, kwargs); returns at once.

        Args:
            hold_until_complete: True: no task begins before all are accepted, and if one is refused
                none is accepted.

        Raises:
            SerializationError: An argument can't be written; nothing is sent.
            SubmitRefused: The arguments of a call are larger than a request may be; nothing is sent.
            ComputeError: As `submit`.
        """
        self._refuse_if_down()
        known, pack = UUID(str(function_id)), self.serializer.pack_call
        shell = self._functions.shell(known)
        session, terms = self._destination.ready(), self._terms_for(shell)
        packed = []
        for args, kwargs in calls:
            if shell is not None:
                shell.check(args, kwargs)
            packed.append(pack(args, kwargs))
            routes.check_arguments(packed[-1])
        ids = new_ids(len(packed))
        parcels = [
            Parcel(ComputeFuture(task_id, terms, session), known, text)
            for task_id, text in zip(ids, packed, strict=True)
        ]
        self._ledger.enter(len(parcels))
        if parcels and hold_until_complete:
            session.submit_whole(parcels)
        else:
            for parcel in parcels:
                session.submit(parcel)
        return [parcel.future for parcel in parcels]

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[Any]:
        """Yields `fn(*args)` for the arguments of each turn, in their order, as the standard library does.

        Args:
            timeout: Seconds from now until all results must be there.
            chunksize: How many calls one task makes.

        Raises:
            TimeoutError: While results are taken: they are not all there; what is open is cancelled.
            ValueError: `chunksize` is below 1.
            TypeError: `fn` is a shell function, which takes keyword arguments only.
        """
        if isinstance(fn, ShellFunction):
            raise TypeError(
                f"map gives positional arguments and {fn!r} takes keyword arguments only: "
                "submit it once for each value"
            )
        if chunksize < 1:
            raise ValueError(f"chunksize is at least 1, not {chunksize}")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout)
        calls = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(calls, chunksize)), [])
        results = super().map(chunk_function(fn), chunks, timeout=timeout)
        return itertools.chain.from_iterable(results)

    def get_worker_hardware_details(self) -> str:
        """Returns a report of a worker's machine: Python, host, memory, and what its commands tell; blocks.

        A section for each command that is there, headed as in the published report (Globus Compute SDK,
        "Executor"); each may take 30 s.

        Raises:
            ComputeError: As `submit`, or the task failed.
        """
        report = hardware.DESCRIPTION
        function_id = self.register_source_code(hardware.source(), hardware.NAME, description=report)
        return str(self.submit_to_registered_function(function_id, ("Compute Endpoint worker",)).result())

    def wait_accepted(self, timeout: float | None = None) -> None:
        """Blocks until all tasks submitted so far are on the service's disk; an Interrupt is seen at once.

        Raises:
            SubmitRefused: The service refused some; their futures have the same error.
            ComputeError: It can't be reached.
            TimeoutError: It took longer than `timeout` seconds; they are still on their way.
        """
        self._ledger.wait(timeout)

    def add_update_callback(self, fn: Callable[[list[ComputeFuture]], None]) -> None:
        """Has `fn(futures)` called after each piece of news, with the futures of this Executor it is about.

        An outage that begins or ends, and an endpoint that comes or goes, are news of all open ones there.

        It is called on the thread that everything else waits for: it must not block.
        """
        self._ledger.listeners.append(fn)

    def cancel_all(self) -> None:
        """Ends all open futures of this Executor as cancelled, and has the service end their tasks."""
        self._cancel(lambda future: True)

    def reload_tasks(self, task_group_id: UUID | str | None = None) -> ReloadedTasks:
        """Returns futures for all tasks of a group, ordered by task id; blocks while they are listed.

        Tasks that this process still waits for keep the future that they have. What came of the ended ones
        is fetched when it is asked for, so that a large group is at hand at once.

        Args:
            task_group_id: Becomes the Executor's own group if given.

        Raises:
            ComputeError: The service does not know the group, or it is somebody else's.
        """
        self._refuse_if_down()
        if task_group_id is not None:
            self.task_group_id = task_group_id
        session = self._destination.connected()
        terms = Terms(
            self._destination.endpoint_id or UUID(int=0),
            self.task_group_id,
            serializer=self.serializer,
            ledger=self._ledger,
            label=self.label,
        )
        return session.reload(terms)

    def retry_tasks(self, futures: Iterable[ComputeFuture]) -> list[ComputeFuture]:
        """Has what FAILED, was LOST or CANCELLED run again, in the same group with the stored inputs; blocks.

        Args:
            futures: Of tasks of this Executor or of a reload by it.

        Returns:
            For each one the future of what is in its place now: a new one, with a new task id, if the task
            ended without a value; the same one if it is open or has a value. So
            `futures = executor.retry_tasks(futures)`. A later reload gives one future for each place.

        Raises:
            RuntimeError: After shutdown.
            NotOffered: The service runs nothing again: submit again.
            ComputeError: It can't be reached, or one can't run again: then none does of its thousand.
        """
        self._refuse_if_down()
        given = list(futures)
        wanted = [f for f in given if f.done() and f.state is not TaskState.SUCCEEDED]
        if not wanted:
            return given
        again = dict(zip(map(id, wanted), self._destination.connected().retry(wanted), strict=True))
        return [again.get(id(future), future) for future in given]

    def inputs_of(self, future: ComputeFuture) -> routes.Inputs:
        """Returns the packed function and arguments that a task was submitted with; blocks.

        Raises:
            NotOffered: The service does not give them back.
            ComputeError: It can't be reached, or does not know the task as one of yours.
        """
        return self._destination.connected().inputs(future.id)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks; what was submitted is still sent.

        Args:
            wait: True: blocks until all futures of this Executor have ended.
            cancel_futures: True: cancels all that are not known to run.
        """
        self._down = True
        if cancel_futures:
            self._cancel(lambda future: not future.running())
        if wait:
            concurrent.futures.wait(self._open_futures())

    # -- inside

    def _refuse_if_down(self) -> None:
        if self._down:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _open_futures(self) -> list[ComputeFuture]:
        return [f for session in self._destination.sessions() for f in session.open_futures(self._ledger)]

    def _cancel(self, unwanted: Callable[[ComputeFuture], bool]) -> None:
        for session in self._destination.sessions():
            futures = session.open_futures(self._ledger)
            session.cancel([future for future in futures if unwanted(future) and future.withdraw()])

    def _submit(self, function_id: UUID, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ComputeFuture:
        session, terms = self._destination.ready(), self._terms_for(self._functions.shell(function_id))
        packed = terms.serializer.pack_call(args, kwargs)
        routes.check_arguments(packed)
        future = ComputeFuture(new_id(), terms, session)
        self._ledger.enter()
        session.submit(Parcel(future, function_id, packed))
        return future

    def _register(self, fn: Callable[..., Any], registration: dict[str, Any]) -> UUID:
        client, serializer = self.client, self.serializer
        code = serializer.serialize(fn)
        if sends_bytecode(serializer.code_serializer) and not isinstance(fn, ShellFunction):
            self._ledger.sent_bytecode = True
            self._compare()
        function_id = UUID(
            self._destination.ready().ask(lambda _: client.register_serialized(fn, code, **registration))
        )
        self._functions.add(fn, function_id, serializer)
        return function_id

    def _compare(self) -> None:
        place, session = self._destination.place, self._destination.ready()
        if not place.here:
            session.compare(place.endpoint_id)
