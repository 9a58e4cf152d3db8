"""This module is the parcel: a task on its way to a service, where as many as fit make one request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from uuid import UUID

from compute_nb.errors import ComputeError, EndpointNotFound, ServiceUnreachable, SubmitRefused
from compute_nb.future import ComputeFuture
from compute_nb.terms import Terms

MAX_TASKS = 1_000
MAX_CHARACTERS = 1_000_000


class Parcel(NamedTuple):
    """One task to be sent; `args` is the packed text of its arguments."""

    future: ComputeFuture
    function_id: UUID
    args: str


def terms_of(parcel: Parcel) -> Terms:
    """Returns the terms of a task that is on its way, which has some."""
    terms = parcel.future.terms
    assert terms is not None
    return terms


def chunks(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """Cuts tasks of the same terms into requests."""
    chunk: list[Parcel] = []
    size = 0
    max_tasks = min(MAX_TASKS, terms_of(parcels[0]).batch_size)
    for parcel in parcels:
        if chunk and (len(chunk) >= max_tasks or size + len(parcel.args) > MAX_CHARACTERS):
            yield chunk
            chunk, size = [], 0
        chunk.append(parcel)
        size += len(parcel.args)
    yield chunk


def refusal(terms: Terms, parcels: Sequence[Parcel], error: ComputeError, answered: bool) -> ComputeError:
    """Returns what the futures of tasks end with that did not get to the service, or can't be followed.

    Args:
        error: What the service said, or why it said nothing.
        answered: Whether it took the request, and what it said of these can't be used.
    """
    count = len(parcels)
    tasks, were = ("1 task", "was") if count == 1 else (f"{count:,} tasks", "were")
    where = f"{tasks} of group {terms.task_group_id} for endpoint {terms.endpoint_id}"
    if isinstance(error, ServiceUnreachable):
        kind: type[ComputeError] = ServiceUnreachable
        text = (
            f"{where} got no answer: {error}. If the service had taken them, reload_tasks of the group finds "
            "them when it is back; else submit again"
        )
    elif answered:
        kind, text = SubmitRefused, f"{where} can't be followed: {error}"
    else:
        unknown = error.http_status == 404 and not _names_a_function(parcels, error)
        kind = EndpointNotFound if unknown else SubmitRefused
        text = f"{where} {were} refused, none was accepted: {error}"
    told = kind(text)
    told.code, told.http_status, told.__cause__ = error.code, error.http_status, error
    return told


def _names_a_function(parcels: Sequence[Parcel], error: ComputeError) -> bool:
    """True if it is a function of these tasks that the service does not know, not the endpoint."""
    said = str(error)
    return any(str(function_id) in said for function_id in {parcel.function_id for parcel in parcels})
