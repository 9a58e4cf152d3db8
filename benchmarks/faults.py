"""Faults on engines: what the user sees of a task and its neighbours, how long until the endpoint is whole.

    python benchmarks/faults.py [ENGINE …] [FAULT …]

With a real service, a real agent on each engine and our Executor, on two workers. `whole` is the time from
the end of the fault until a no-op submitted then is answered; `doubled` counts begins beyond 1 + retries.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fault_table import FAULTS, Fault, Outcome, Scene, Seen
from stage import Agent, Stage, stage

ENGINES = ("processes", "threads", "mpi", "parsl", "dask")


def main(words: list[str]) -> None:
    engines = [word for word in words if word in ENGINES] or list(ENGINES)
    faults = [word for word in words if word in FAULTS] or list(FAULTS)
    if unknown := set(words) - {*ENGINES, *FAULTS}:
        sys.exit(f"no engine or fault is called {', '.join(sorted(unknown))}: {', '.join([*ENGINES, *FAULTS])}")
    with tempfile.TemporaryDirectory(prefix="cnb") as folder, stage(Path(folder)) as one:
        for engine in engines:
            (agent,) = one.agents(engine)
            for name in faults:
                place = Path(folder) / f"{engine}-{name}"
                place.mkdir()
                show(agent.engine, FAULTS[name], play(one, agent, FAULTS[name], place))


def play(one: Stage, agent: Agent, fault: Fault, place: Path) -> Outcome:
    return Scene(one, agent, fault, place).play()


def show(engine: str, fault: Fault, outcome: Outcome) -> None:
    sights = fault.sights(engine)
    expected = outcome.struck.is_as(sights[0]) and outcome.beside.is_as(sights[1])
    accepted = len(outcome.all)
    queued = sum(seen.state == "SUCCEEDED" for seen in outcome.queued)
    print(
        f"{engine:9} {fault.text}: whole after {outcome.whole_s:.2f} s; accepted {accepted}, "
        f"ended {accepted - outcome.hung}, hung {outcome.hung}, doubled {outcome.doubled(fault.retries)}"
        + ("" if expected else "  NOT AS EXPECTED")
    )
    print(f"          the task   {told(outcome.struck)}")
    print(f"          beside it  {told(outcome.beside)}")
    print(f"          queued     {queued} of {len(outcome.queued)} SUCCEEDED", flush=True)


def told(seen: Seen) -> str:
    text = f" {seen.error}: {seen.line}" if seen.error else ""
    return f"{seen.state}{text} (begun {seen.begun} x)"


if __name__ == "__main__":
    main(sys.argv[1:])
