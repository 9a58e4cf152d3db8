"""This module is the meter: what the service counts as it happens, and how Prometheus reads a number."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]
"""What follows the name, labels, value."""


class Histogram:
    """Durations, by bucket; one thread only."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one."""
        self._counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def samples(self, labels: Labels) -> Iterator[Sample]:
        """Returns (suffix of the name, labels, value) of each line."""
        total = 0
        for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), self._counts, strict=True):
            total += count
            yield "_bucket", {**labels, "le": bound}, total
        yield "_sum", labels, self._sum_s
        yield "_count", labels, total


class Meter:
    """What is counted as it happens; loop thread only."""

    def __init__(self) -> None:
        self.started_at = time.time()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[tuple[str, str], Histogram] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered.

        Args:
            route: The path with names for ids, so that there are few of them.
        """
        self._requests[method, route, status] += 1
        self._durations.setdefault((method, route), Histogram()).observe(seconds)

    def lines(self) -> Iterator[str]:
        """Returns what was counted."""
        yield from family(
            *("compute_nb_requests_total", "counter", "Requests that were answered."),
            [
                ("", {"method": method, "route": route, "status": str(status)}, count)
                for (method, route, status), count in sorted(self._requests.items())
            ],
        )
        yield from family(
            *("compute_nb_request_seconds", "histogram", "From the head of a request to its answer."),
            [
                sample
                for (method, route), histogram in sorted(self._durations.items())
                for sample in histogram.samples({"method": method, "route": route})
            ],
        )


def family(name: str, kind: str, what: str, samples: Iterable[Sample]) -> Iterator[str]:
    """Returns the lines of one number with its samples."""
    yield f"# HELP {name} {what}"
    yield f"# TYPE {name} {kind}"
    for suffix, labels, value in samples:
        words = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{name}{suffix}{{{words}}} {value:.17g}" if words else f"{name}{suffix} {value:.17g}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
