"""How long a worker process takes from the wish for it until it is up: bare, and with modules preloaded.

    python benchmarks/start.py [MODULE,MODULE ...]

Prints medians, the processor time that the worker spent and the memory that it has then.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from uuid import uuid4

import psutil

from compute_nb.endpoint.engines.processes import ProcessEngine
from compute_nb.endpoint.engines.worker import WorkerPlan

TRIES = 11
WAIT_S = 60.0


def main() -> None:
    for words in ("", *(sys.argv[1:] or ("numpy", "numpy,pandas"))):
        preload = tuple(words.split(",")) if words else ()
        walls, cpus, sizes = zip(*(once(preload) for _ in range(TRIES)), strict=True)
        median_ms = 1e3 * statistics.median(walls)
        print(
            f"{words or 'bare':12} median {median_ms:5.0f} ms, best {1e3 * min(walls):5.0f}, "
            f"worst {1e3 * max(walls):5.0f}; processor {1e3 * statistics.median(cpus):4.0f} ms; "
            f"{statistics.median(sizes) / 1e6:4.0f} MB; load {os.getloadavg()[0]:.1f} on {os.cpu_count()}"
        )


def once(preload: tuple[str, ...]) -> tuple[float, float, float]:
    """Returns the seconds until a worker is up, its processor seconds and its bytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = WorkerPlan(sys.executable, folder, folder, None, dict(os.environ), preload=preload)
        engine = ProcessEngine(plan, folder / "slots", uuid4(), 1)
        began = time.perf_counter()
        engine.start(lambda: None)
        limit = began + WAIT_S
        while not any(worker.ready for worker in tuple(engine._fleet.workers)):
            assert time.perf_counter() < limit
            threading.Event().wait(0.001)
        wall_s = time.perf_counter() - began
        (worker,) = engine._fleet.workers
        process = psutil.Process(worker.pid)
        times, size = process.cpu_times(), process.memory_info().rss
        engine.stop()
        return wall_s, times.user + times.system, size


if __name__ == "__main__":
    main()
