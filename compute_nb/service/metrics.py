"""This module is the service's numbers as `/metrics` tells them; names only, no ids and no users."""

from __future__ import annotations

from collections import Counter

import psutil
from starlette.requests import Request
from starlette.responses import Response

import compute_nb
from compute_nb.service.broker import Counted
from compute_nb.service.gate import Caller
from compute_nb.service.meter import Sample, family
from compute_nb.service.parts import Parts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Gauge = tuple[str, str, list[Sample]]
"""Name, what it is, samples."""


class MetricsRoute:
    """What `/metrics` answers; loop thread only."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def metrics(self, _: Request, __: Caller) -> Response:
        """Answers with all numbers, in the text format of Prometheus."""
        return Response(await text(self._parts), headers={"Content-Type": CONTENT_TYPE})


async def text(parts: Parts) -> str:
    """Returns all numbers of a service, in the text format of Prometheus."""
    counts = await parts.store.counts()
    endpoints = parts.collector.endpoints_present
    process = psutil.Process()
    gauges: list[Gauge] = [
        ("info", "Version of the program.", [("", {"version": compute_nb.__version__}, 1)]),
        ("start_time_seconds", "When the service began.", [("", {}, parts.meter.started_at)]),
        ("resident_bytes", "Memory of the service.", [("", {}, process.memory_info().rss)]),
        ("open_files", "Descriptors of the service.", [("", {}, process.num_fds())]),
        (
            "tasks",
            "Stored tasks by state.",
            [("", {"state": state.value}, count) for state, count in counts.items()],
        ),
        ("endpoints_online", "Endpoints whose agent reads its tasks.", [("", {}, endpoints)]),
        ("watchers", "Queues of clients that are read.", [("", {}, parts.collector.watchers)]),
    ]
    lines: list[str] = []
    for name, what, samples in (*gauges, *_broker(parts)):
        lines += family(f"compute_nb_{name}", "gauge", what, samples)
    commits = parts.store.commits.samples({})
    lines += family("compute_nb_store_seconds", "histogram", "From asking the store to the commit.", commits)
    return "\n".join([*lines, *parts.meter.lines(), ""])


def _broker(parts: Parts) -> list[Gauge]:
    """Returns what the broker holds; RabbitMQ tells it by its own plugin."""
    if not isinstance(parts.broker, Counted):
        return []
    census = parts.broker.census()
    depths: Counter[str] = Counter()
    for name, depth in census.depths.items():
        depths[_kind(name)] += depth
    return [
        ("amqp_connections", "Connections to the broker.", [("", {}, census.connections)]),
        (
            "queue_messages",
            "Messages that wait in queues, by what the queues are for.",
            [("", {"queue": kind}, depth) for kind, depth in sorted(depths.items())],
        ),
    ]


def _kind(queue: str) -> str:
    first, _, last = queue.rpartition(".")
    if last in ("tasks", "commands", "results", "heartbeats"):
        return last
    return {"w": "watch", "r": "group"}.get(first.partition(".")[0], "other")
