"""A store with a million ended tasks against an empty one: `python benchmarks/million.py [tasks]`.

For SQLite and for a PostgreSQL of its own: what a submit and a question cost (ratio), bytes per task on disk,
and how long sweeps take. Tasks come and end as in the service; time is moved on for the sweeps.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

from compute_nb.service.retention import DAY_S, Retention
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

ROOT = Path(__file__).parent.parent
TEXT = "x" * 60
GROUP = 1_000
ROUNDS = 300
Size = Callable[[], int]


class Scene:
    """A store, an endpoint whose agent ends at once all that it gets, and a clock that can be moved on."""

    def __init__(self, place: Path | str, size: Size) -> None:
        self.moved_s = 0.0
        self.store = Store.open(place, clock=lambda: time.time() + self.moved_s)
        self.size = size
        self.owner = new_id()
        self.got: list[Dispatch] = []

    async def start(self) -> None:
        self.store.start(lambda messages: self.got.extend(message for _, message in messages))
        self.function = await self.store.register_function(self.owner, "f", "2\n00")
        self.endpoint = await self.store.register_endpoint(self.owner, "e", {"compute_nb": {}})
        self.session = new_id()
        await self.store.hello(self.endpoint, Hello(self.session, new_id(), new_id(), {"workers": 1_000}))

    async def submit(self, count: int, group: UUID) -> list[UUID]:
        ids = new_ids(count)
        specs = tuple(TaskSpec(task_id, self.function, TEXT) for task_id in ids)
        await self.store.submit(self.owner, Submission(self.endpoint, group, specs))
        return ids

    async def finish(self) -> None:
        while self.got:
            got, self.got = self.got, []
            now = time.time()
            runs = [call.run for message in got for batch in message.batches for call in batch.tasks]
            results = tuple(RunResult(run, Outcome.SUCCESS, TEXT, None, now, now) for run in runs)
            await self.store.report(self.endpoint, Report(self.session, results=results))

    async def fill(self, tasks: int) -> list[tuple[UUID, list[UUID]]]:
        """Stores ended tasks; returns some of the groups, from all over."""
        kept = []
        for number in range(tasks // GROUP):
            group = new_id()
            ids = await self.submit(GROUP, group)
            await self.finish()
            if number % max(tasks // GROUP // 20, 1) == 0:
                kept.append((group, ids))
        return kept


async def cost_ms(call: Callable[[int], Awaitable[object]], rounds: int = ROUNDS) -> float:
    times = []
    for number in range(rounds):
        began = time.perf_counter()
        await call(number)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


async def measure(scene: Scene, groups: list[tuple[UUID, list[UUID]]]) -> dict[str, float]:
    """What one request costs, median of many."""
    own = new_id()

    async def one(_: int) -> None:
        await scene.submit(1, own)
        await scene.finish()

    async def batch(_: int) -> None:
        await scene.submit(200, new_id())
        await scene.finish()

    async def status(number: int) -> None:
        _, ids = groups[number % len(groups)]
        await scene.store.task_rows(scene.owner, ids[number % 10 : number % 10 + 100])

    async def page(number: int) -> None:
        group, _ = groups[number % len(groups)]
        await scene.store.tasks_of_group(scene.owner, group, limit=GROUP)

    await cost_ms(status, 40)  # notes that they were fetched, once
    return {
        "submit and end 1, ms": await cost_ms(one),
        "submit and end 200, ms": await cost_ms(batch, 60),
        "status of 100, ms": await cost_ms(status),
        "page of 1,000, ms": await cost_ms(page, 100),
        "counts, ms": await cost_ms(lambda _: scene.store.counts()),
    }


async def swept(scene: Scene, kept: Retention) -> tuple[int, float, float]:
    """Sweeps while somebody asks; returns how many went, seconds, and the longest that he waited (ms)."""
    began, worst = time.perf_counter(), 0.0
    sweeping = asyncio.ensure_future(scene.store.sweep(kept))
    while not sweeping.done():
        asked = time.perf_counter()
        await scene.store.counts()
        worst = max(worst, time.perf_counter() - asked)
        await asyncio.wait([sweeping], timeout=0.01)
    return sweeping.result(), time.perf_counter() - began, 1e3 * worst


async def run(name: str, place: Path | str, size: Size, tasks: int) -> None:
    scene = Scene(place, size)
    await scene.start()
    empty_size = scene.size()
    empty = await measure(scene, await scene.fill(10_000))
    began = time.perf_counter()
    groups = await scene.fill(tasks)
    took_s = time.perf_counter() - began
    bytes_a_task = (scene.size() - empty_size) / tasks
    print(f"\n{name}: {tasks:,} tasks in {took_s:.0f} s, {bytes_a_task:.0f} bytes a task on disk")
    full = await measure(scene, groups)
    for what, value in full.items():
        print(f"  {what:24} empty {empty[what]:8.3f}   full {value:8.3f}   ratio {value / empty[what]:.2f}")
    for what, days in (("nothing is old", 0), ("all looked at, fetched ones go", 40), ("all goes", 200)):
        scene.moved_s = days * DAY_S
        count, seconds, worst = await swept(scene, Retention())
        print(f"  sweep, {what}: {count:,} tasks in {seconds:.1f} s, others waited {worst:.0f} ms at most")
    print(f"  afterwards {scene.size() / 1e6:.1f} MB on disk, {empty_size / 1e6:.1f} MB at first")
    scene.store.close()


def main(tasks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        asyncio.run(run("SQLite", path, lambda: sum(p.stat().st_size for p in path.parent.iterdir()), tasks))
    sys.path.insert(0, str(ROOT / "tests"))
    from own_postgresql import PostgresqlServer, programs

    if programs() is None:
        print("PostgreSQL is not installed: `make system` does it")
        return
    server = PostgresqlServer()
    try:
        url = server.database()
        name = url.rsplit("/", 1)[1]
        size: Size = lambda: int(str(server.execute(f"SELECT pg_database_size('{name}')")[0][0]))  # noqa: E731
        asyncio.run(run("PostgreSQL", url, size, tasks))
    finally:
        server.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
