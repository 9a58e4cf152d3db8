"""How fast process engine and journal are, without service and network, beside a bare pipe and a pool.

python benchmarks/engine.py [WORKERS]
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from uuid import uuid4

from compute_nb import wire
from compute_nb.endpoint.engine import EngineBatch, EngineTask
from compute_nb.endpoint.engines.processes import ProcessEngine
from compute_nb.endpoint.engines.worker import WorkerPlan
from compute_nb.endpoint.journal import open_journal
from compute_nb.tasks import Dispatch, Run, TaskBatch, TaskCall, new_ids
from compute_nb.wire import pack_buffers

CODE = pack_buffers(["st\nnoop:def noop():\n    return None\n"])
ARGS = pack_buffers(["00\ngAQpLg==\n", "00\ngAR9lC4=\n"])
FUNCTION, GROUP = uuid4(), uuid4()
ECHO = "import os\nwhile True:\n    b = os.read(0, 65536)\n    if not b:\n        break\n    os.write(1, b)\n"


def pipe_round_trips(count: int = 2000) -> list[float]:
    """The floor: 200 bytes to another Python process and back."""
    echo = subprocess.Popen(
        [sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    times = []
    for _ in range(count):
        began = time.perf_counter()
        os.write(echo.stdin.fileno(), b"x" * 200)
        os.read(echo.stdout.fileno(), 1000)
        times.append(time.perf_counter() - began)
    echo.stdin.close()
    echo.wait()
    return times


def noop() -> None:
    """What the pool runs."""


def show_pool(workers: int) -> None:
    """The standard library's pool, which keeps no promise about a kill."""
    with ProcessPoolExecutor(workers) as pool:
        for _ in range(50):
            pool.submit(noop).result()
        times = []
        for _ in range(500):
            began = time.perf_counter()
            pool.submit(noop).result()
            times.append(time.perf_counter() - began)
        show("ProcessPoolExecutor", times)
        began, cpu = time.perf_counter(), time.process_time()
        for future in [pool.submit(noop) for _ in range(10_000)]:
            future.result()
        clock_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    show_rate("ProcessPoolExecutor", 10_000, clock_s, cpu_s)


class Bench:
    """An engine, with or without a journal before it."""

    def __init__(self, folder: Path, workers: int, journalled: bool) -> None:
        self.journal = open_journal(folder / f"journal{journalled}.db", uuid4()) if journalled else None
        if self.journal:
            self.journal.recover((), "")
        self.bell = threading.Event()
        self.last = 0
        plan = WorkerPlan(sys.executable, folder, folder, None, dict(os.environ))
        self.engine = ProcessEngine(plan, folder / f"slots{journalled}", uuid4(), workers)
        self.engine.start(self.bell.set)

    def messages(self, count: int) -> list[bytes]:
        """As the service would send them: up to 256 tasks each."""
        sizes = [256] * (count // 256) + [count % 256] * (count % 256 > 0)
        return [
            wire.encode(
                Dispatch(
                    FUNCTION,
                    {FUNCTION: CODE},
                    (TaskBatch(GROUP, FUNCTION, {}, tuple(TaskCall(Run(i, 0), ARGS) for i in new_ids(n))),),
                )
            )
            for n in sizes
        ]

    def submit(self, body: bytes) -> None:
        """Decodes a message, journals it, and gives it to the engine."""
        dispatch = wire.decode(body)
        if self.journal:
            self.engine.submit(self.journal.accept(dispatch, body))
            return
        for batch in dispatch.batches:
            first, self.last = self.last, self.last + len(batch.tasks)
            tasks = tuple(EngineTask(first + i, call.run, call.args) for i, call in enumerate(batch.tasks))
            self.engine.submit([EngineBatch(GROUP, FUNCTION, CODE, {}, tasks)])

    def collect(self, count: int) -> None:
        """Takes `count` ends; journalled ones are stored at once."""
        while count > 0:
            self.bell.wait()
            self.bell.clear()
            news = self.engine.take()
            if self.journal:
                self.journal.forget([result.run for result in self.journal.end(news.ended)])
            self.engine.settle(news.serial)
            count -= len(news.ended)

    def run(self, count: int) -> tuple[float, float]:
        """Returns seconds for `count` tasks: of the clock, and of this process's CPU."""
        bodies = self.messages(count)
        began, cpu = time.perf_counter(), time.process_time()
        for body in bodies:
            self.submit(body)
        self.collect(count)
        return time.perf_counter() - began, time.process_time() - cpu

    def lone(self, count: int = 500) -> list[float]:
        """Returns the round trips of single tasks."""
        return [self.run(1)[0] for _ in range(count)]


def show(name: str, times: list[float]) -> None:
    times = sorted(times)
    p95 = times[int(len(times) * 0.95)]
    print(f"{name:28} p50 {median(times) * 1e6:8.0f} us   p95 {p95 * 1e6:8.0f} us")


def show_rate(name: str, count: int, clock_s: float, cpu_s: float) -> None:
    rate, cpu_us = count / clock_s, cpu_s / count * 1e6
    print(f"{name:28} {count:6} no-ops: {rate:8.0f}/s, CPU of this process {cpu_us:.1f} us each")


def main() -> None:
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    show("bare pipe", pipe_round_trips())
    show_pool(workers)
    with tempfile.TemporaryDirectory() as folder:
        for journalled in (False, True):
            bench = Bench(Path(folder), workers, journalled)
            bench.lone(50)
            name = "engine + journal" if journalled else "engine"
            show(name, bench.lone())
            for count in (1_000, 10_000, 10_000):
                clock_s, cpu_s = bench.run(count)
                show_rate(name, count, clock_s, cpu_s)
            bench.engine.stop()
            if bench.journal:
                bench.journal.close()


if __name__ == "__main__":
    main()
