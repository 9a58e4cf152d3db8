"""This module is the conditions of an Executor: what its next submit goes by, and the terms made of that."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any
from uuid import UUID

from compute_nb import context, setting
from compute_nb.client import Client
from compute_nb.destination import Destination
from compute_nb.functions import Functions
from compute_nb.ledger import Ledger
from compute_nb.parcel import MAX_TASKS
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.setting import PUBLISHED_BATCH_SIZE, Setting
from compute_nb.shell import ShellFunction
from compute_nb.terms import Terms


class Conditions:
    """The half of an Executor that is set and read; each may change between two submits.

    Args:
        destination: Where to.
        serializer: As `Executor` has it.
    """

    task_group_id = Setting(setting.group_id)
    resource_specification = Setting(setting.jsonable)
    user_endpoint_config = Setting(setting.jsonable)
    result_serializers = Setting(setting.import_paths)
    api_burst_limit = Setting(setting.burst_limit)
    api_burst_window_s = Setting(setting.burst_window_s)
    batch_size = Setting(setting.batch_size)
    retries = Setting(setting.retries)
    walltime = Setting(setting.walltime)

    label: str

    def __init__(self, destination: Destination, serializer: ComputeSerializer | None) -> None:
        self._destination = destination
        self._serializer = serializer
        self._functions = Functions()
        self._ledger = Ledger()
        self._terms: Terms | None = None
        self._special_terms: tuple[Terms, Terms] | None = None
        self._context: tuple[Any, ...] | None = None

    # -- where to

    @property
    def endpoint_id(self) -> UUID:
        """The endpoint's id; finds it, and starts the local service, at the first look.

        Raises:
            EndpointNotFound: Nobody knows it.
            ComputeError: Its service can't be reached or started.
        """
        return self._destination.place.endpoint_id

    @endpoint_id.setter
    def endpoint_id(self, name: UUID | str | None) -> None:
        self._destination.rename(name)
        self._terms = None

    @property
    def amqp_port(self) -> int | None:
        """Used instead of the port that the service names; later submits follow it."""
        return self._destination.amqp_port

    @amqp_port.setter
    def amqp_port(self, port: int | None) -> None:
        self._destination.amqp_port = port
        self._terms = None

    @property
    def client(self) -> Client:
        """The client of the endpoint's service."""
        return self._destination.client

    @property
    def serializer(self) -> ComputeSerializer:
        """Writes functions and arguments, reads results."""
        if self._serializer is None:
            client = self._destination.given
            self._serializer = ComputeSerializer() if client is None else client.fx_serializer
        return self._serializer

    @serializer.setter
    def serializer(self, serializer: ComputeSerializer) -> None:
        self._serializer, self._terms = serializer, None
        self._functions = Functions()

    @property
    def worker_python(self) -> str | None:
        """The version of the Python that runs tasks there, "3.11.2"; None if it isn't known yet. Blocks.

        Raises:
            ComputeError: As `endpoint_id`.
        """
        place = self._destination.place
        if place.here:
            return platform.python_version()
        told = str(self._destination.ready().agent(place.endpoint_id).get("python") or "")
        return told.split(maxsplit=1)[0] if told.split() else None

    # -- the terms of the next submit

    def _current_terms(self) -> Terms:
        place = self._destination.place
        there = context.here() if place.here else None
        if self._terms is None or there != self._context:
            self._context = there
            self._terms = Terms(
                place.endpoint_id,
                self.task_group_id,
                self._options(there),
                self.retries,
                self.serializer,
                self._ledger,
                batch_size=MAX_TASKS if self.batch_size == PUBLISHED_BATCH_SIZE else self.batch_size,
                label=self.label,
                burst_limit=self.api_burst_limit,
                burst_window_s=self.api_burst_window_s,
            )
            if self._destination.session is not None:
                self._destination.session.note_ignored({"retries": self.retries, "walltime": self.walltime})
        return self._terms

    def _terms_for(self, shell: ShellFunction | None) -> Terms:
        """Returns the terms of the next submit; a function may ask for a specification of its own."""
        terms = self._current_terms()
        if shell is None:
            return terms
        wanted = shell.specification(self.resource_specification)
        if wanted == self.resource_specification:
            return terms
        known = self._special_terms
        if known is None or known[0] is not terms:
            special = replace(terms, options={**terms.options, "resource_specification": wanted})
            self._special_terms = known = terms, special  # one object, so that its tasks share requests
        return known[1]

    def _options(self, there: tuple[str, ...] | None) -> dict[str, Any]:
        options = {
            "resource_specification": self.resource_specification,
            "user_endpoint_config": self.user_endpoint_config,
            "result_serializers": self.result_serializers,
            "walltime_s": self.walltime,
        }
        if there is not None:
            options["context"] = context.option(there)
        return {name: value for name, value in options.items() if value}
