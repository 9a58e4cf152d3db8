"""A store with a million ended tasks against an empty one: `python benchmarks/million.py [tasks [kind]]`.

For SQLite and for a PostgreSQL of its own (or the kind given): what a submit and a question cost (ratio),
bytes per task on disk, and how long sweeps take. Tasks come and end as in the service; time is moved on.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
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


class Asked:
    """The calls whose cost is compared."""

    def __init__(self, scene: Scene, groups: list[tuple[UUID, list[UUID]]]) -> None:
        self._scene, self._groups, self._own = scene, groups, new_id()

    async def one(self, _: int) -> None:
        await self._scene.submit(1, self._own)
        await self._scene.finish()

    async def batch(self, _: int) -> None:
        await self._scene.submit(200, new_id())
        await self._scene.finish()

    async def status(self, number: int) -> None:
        _, ids = self._groups[number % len(self._groups)]
        await self._scene.store.task_rows(self._scene.owner, ids[:100])

    async def page(self, number: int) -> None:
        group, _ = self._groups[number % len(self._groups)]
        await self._scene.store.tasks_of_group(self._scene.owner, group, limit=GROUP)

    async def counts(self, _: int) -> None:
        await self._scene.store.counts()


CALLS = (
    ("submit and end 1", Asked.one, 300),
    ("submit and end 200", Asked.batch, 60),
    ("status of 100", Asked.status, 300),
    ("page of 1,000", Asked.page, 100),
    ("counts", Asked.counts, 300),
)


async def compare(empty: Asked, full: Asked) -> None:
    """Asks both in turn, so that a busy machine is as busy for both; prints medians and their ratio."""
    for number in range(2 * GROUP // 50):  # notes once a day that values were fetched
        await empty.status(number)
        await full.status(number)
    for what, call, rounds in CALLS:
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds):
            for asked, found in zip((empty, full), times, strict=True):
                began = time.perf_counter()
                await call(asked, number)
                found.append(time.perf_counter() - began)
        small, large = (1e3 * statistics.median(found) for found in times)
        print(f"  {what:20} empty {small:8.3f} ms   full {large:8.3f} ms   ratio {large / small:.2f}")


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


async def run(name: str, places: tuple[Path | str, Path | str], size: Size, tasks: int) -> None:
    empty, full = (Scene(place, size) for place in places)
    for scene in (empty, full):
        await scene.start()
    empty_size = full.size()
    began = time.perf_counter()
    groups = await full.fill(tasks)
    took_s = time.perf_counter() - began
    bytes_a_task = (full.size() - empty_size) / tasks
    print(f"\n{name}: {tasks:,} tasks in {took_s:.0f} s, {bytes_a_task:.0f} bytes a task on disk")
    await compare(Asked(empty, await empty.fill(20 * GROUP)), Asked(full, groups))
    for what, days in (("nothing is old", 0), ("all looked at, fetched ones go", 40), ("all goes", 200)):
        full.moved_s = days * DAY_S
        count, seconds, worst = await swept(full, Retention())
        print(f"  sweep, {what}: {count:,} tasks in {seconds:.1f} s, others waited {worst:.0f} ms at most")
    print(f"  afterwards {full.size() / 1e6:.1f} MB on disk, {empty_size / 1e6:.1f} MB at first")
    for scene in (empty, full):
        scene.store.close()


def files(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def main(tasks: int, kinds: list[str]) -> None:
    if "sqlite" in kinds:
        with tempfile.TemporaryDirectory() as folder:
            empty, full = Path(folder) / "empty.db", Path(folder) / "full.db"
            asyncio.run(run("SQLite", (empty, full), lambda: files(full), tasks))
    if "postgresql" in kinds:
        sys.path.insert(0, str(ROOT / "tests"))
        from own_postgresql import PostgresqlServer

        server = PostgresqlServer()
        try:
            urls = server.database(), server.database()
            name = urls[1].rsplit("/", 1)[1]
            sql = f"SELECT pg_database_size('{name}')"
            asyncio.run(run("PostgreSQL", urls, lambda: int(str(server.execute(sql)[0][0])), tasks))
        finally:
            server.stop()


if __name__ == "__main__":
    count, *kinds = sys.argv[1:] or ["1000000"]
    main(int(count), kinds or ["sqlite", "postgresql"])
