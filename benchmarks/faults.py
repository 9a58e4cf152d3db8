"""Faults on engines: what the user sees of a task and its neighbours, how long until the endpoint is whole.

    python benchmarks/faults.py [ENGINE …] [FAULT …]

With a real service, a real agent on each engine and our Executor, on two workers. `whole` is the time from
the end of the fault until a no-op submitted then is answered; `doubled` counts begins beyond 1 + retries.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fault_table import FAULTS, Fault, Outcome, Seen, play
from rabbit import RabbitMQ, missing
from stage import stage

ENGINES = ("processes", "threads", "mpi", "parsl", "dask")
TOGETHER = "minute"  # on all engines at once


def main(words: list[str]) -> None:
    engines = [word for word in words if word in ENGINES] or list(ENGINES)
    faults = [word for word in words if word in FAULTS] or list(FAULTS)
    if unknown := set(words) - {*ENGINES, *FAULTS}:
        sys.exit(
            f"no engine or fault is called {', '.join(unknown)}; there are {', '.join([*ENGINES, *FAULTS])}"
        )
    with tempfile.TemporaryDirectory(prefix="cnb") as folder:
        with stage(Path(folder)) as one:
            for engine in engines:
                for name in faults:
                    if name not in ("rabbit", TOGETHER) and engine in (FAULTS[name].only or ENGINES):
                        agents = one.agents(engine)
                        show([engine], FAULTS[name], play(one, agents, name, Path(folder)))
            if TOGETHER in faults:
                outcomes = play(one, one.agents(*engines), TOGETHER, Path(folder))
                show(engines, FAULTS[TOGETHER], outcomes)
        if "rabbit" in faults:
            by_rabbit(engines[:1], Path(folder) / "rabbit")


def by_rabbit(engines: list[str], folder: Path) -> None:
    if why := missing():
        print(f"without RabbitMQ: {why}")
        return
    (folder / "node").mkdir(parents=True)
    rabbit = RabbitMQ(folder / "node")
    try:
        rabbit.start()
        with stage(folder, rabbit) as one:
            show(engines, FAULTS["rabbit"], play(one, one.agents(*engines), "rabbit", folder))
    finally:
        rabbit.close()


def show(engines: list[str], fault: Fault, outcomes: list[Outcome]) -> None:
    for engine, outcome in zip(engines, outcomes, strict=True):
        accepted, ended = len(outcome.all), len(outcome.all) - outcome.hung
        print(
            f"{engine:9} {fault.text}: whole after {outcome.whole_s:.2f} s; accepted {accepted}, "
            f"ended {ended}, hung {outcome.hung}, doubled {outcome.doubled(fault)}"
        )
        retries = f" (retries={fault.again})" if fault.again else ""
        print(f"    the task   {told(outcome.struck)}")
        print(f"    beside it  {told(outcome.beside)}{retries}")
        print(f"    queued     {dict(Counter(map(told, outcome.queued)))}")
        struck, beside = fault.sights(engine)
        if not (outcome.struck.is_as(struck) and outcome.beside.is_as(beside)):
            print(f"    NOT AS THE TABLE SAYS: {struck}, {beside}")
        sys.stdout.flush()


def told(seen: Seen) -> str:
    text = f" {seen.error}: {seen.line}" if seen.error else ""
    return f"{seen.state}{text}, begun {seen.begun} x"


if __name__ == "__main__":
    main(sys.argv[1:])
