"""Cost of a task in the store, CPU and wall: `python benchmarks/store.py [tasks] [batch]`.

Submits, dispatches and finishes no-ops in batches as the service would, then one task at a time.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

from compute_nb.service.store import Store
from compute_nb.tasks import (
    Dispatch,
    Hello,
    Outcome,
    Report,
    RunResult,
    Submission,
    TaskSpec,
    new_id,
    new_ids,
)

ARGS = "x" * 60


class Bench:
    """One store with one endpoint whose agent ends at once all that it gets."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.owner = new_id()
        self.got: asyncio.Queue[Dispatch] = asyncio.Queue()

    async def start(self, workers: int) -> None:
        self.store.start(lambda messages: [self.got.put_nowait(m) for _, m in messages] and None)
        self.function = await self.store.register_function(self.owner, "f", "2\n00")
        self.endpoint = await self.store.register_endpoint(self.owner, "e", {"compute_nb": {}})
        self.session = new_id()
        agent = {"workers": workers}
        await self.store.hello(self.endpoint, Hello(self.session, new_id(), new_id(), agent))

    async def submit(self, count: int, group: UUID) -> None:
        specs = tuple(TaskSpec(i, self.function, ARGS) for i in new_ids(count))
        await self.store.submit(self.owner, Submission(self.endpoint, group, specs))

    async def finish(self, total: int) -> None:
        while total:
            message = await self.got.get()
            now = time.time()
            results = tuple(
                RunResult(call.run, Outcome.SUCCESS, ARGS, None, now, now)
                for batch in message.batches
                for call in batch.tasks
            )
            await self.store.report(self.endpoint, Report(self.session, results=results))
            total -= len(results)


async def batches(bench: Bench, tasks: int, batch: int) -> None:
    group = new_id()
    cpu, loop, wall = time.process_time(), time.thread_time(), time.perf_counter()
    finishing = asyncio.create_task(bench.finish(tasks))
    for _ in range(0, tasks, batch):
        await bench.submit(batch, group)
    submitted = time.perf_counter() - wall
    await finishing
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    loop = time.thread_time() - loop
    print(
        f"{tasks} tasks by {batch}: {(cpu - loop) / tasks * 1e6:.1f} us CPU on the store's threads, "
        f"{loop / tasks * 1e6:.1f} on the loop (this script too), {wall / tasks * 1e6:.1f} us wall; "
        f"{tasks / submitted:,.0f} submits/s"
    )


async def singles(bench: Bench, tasks: int) -> None:
    group = new_id()
    submit, trip, sync = [], [], []
    cpu, loop = time.process_time(), time.thread_time()
    for _ in range(tasks):
        start = time.perf_counter()
        await bench.submit(1, group)
        submit.append(time.perf_counter() - start)
        await bench.finish(1)
        trip.append(time.perf_counter() - start)
    cpu, loop = time.process_time() - cpu, time.thread_time() - loop
    store_ms, loop_ms = (cpu - loop) / tasks * 1e3, loop / tasks * 1e3
    print(f"one task: {store_ms:.3f} ms CPU on the store's threads, {loop_ms:.3f} on the loop")
    for _ in range(100):
        await bench.submit(1, group)
        start = time.perf_counter()
        await bench.store.synced()
        sync.append(time.perf_counter() - start)
        await bench.finish(1)
    for name, values in (("submit", submit), ("submit + finish", trip), ("synced", sync)):
        p50, p95 = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        print(f"one task: {name}: p50 {p50 * 1e3:.3f} ms, p95 {p95 * 1e3:.3f} ms")


async def waiting(bench: Bench, tasks: int) -> None:
    """The same with 100,000 tasks of another group stored and waiting elsewhere."""
    idle = await bench.store.register_endpoint(bench.owner, "idle", {"compute_nb": {}})
    for _ in range(0, 100_000, 1000):
        specs = tuple(TaskSpec(i, bench.function, ARGS) for i in new_ids(1000))
        await bench.store.submit(bench.owner, Submission(idle, new_id(), specs))
    print("with 100,000 more waiting:")
    await batches(bench, tasks, 200)
    await singles(bench, 500)


async def main(tasks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "store.db")
        bench = Bench(store)
        await bench.start(workers=2)
        for batch in (1000, 200, 20):
            await batches(bench, tasks, batch)
        await singles(bench, 1000)
        await waiting(bench, tasks)
        print(await store.counts())
        store.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
