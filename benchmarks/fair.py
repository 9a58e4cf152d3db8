"""Two users on one public endpoint: how long does a no-op of one take while the other's 500 tasks of 1 s run?

    python benchmarks/fair.py [ENGINE ...]

Prints for each engine, with two workers, the times from the submit of a no-op to its result: alone, and at
different moments of the sweep.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGINES = ("processes", "threads", "parsl", "dask", "mpi")
TASKS, TASK_S, WORKERS = 500, 1.0, 2
TRIES = 7
START_S = 60.0
CLI = [sys.executable, "-m", "compute_nb.cli"]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cnb") as folder:
        os.environ["COMPUTE_NB_HOME"] = folder
        run("service", "start")
        try:
            befriend(Path(folder))
            for engine in sys.argv[1:] or ENGINES[:1] + ENGINES[2:4]:
                on_engine(Path(folder), engine)
        finally:
            run("service", "stop")


def run(*words: str) -> str:
    return subprocess.run([*CLI, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def befriend(home: Path) -> None:
    """Adds a second user, whose way to the service has a name of its own."""
    run("user", "add", "guest")
    token = home / "guest.token"
    run("token", "create", "guest", "--user", "guest", "--file", str(token))
    url = json.loads(run("service", "status", "--json"))["url"]
    with (home / "config.toml").open("a") as config:
        config.write(f'[services.guest]\nurl = "{url}"\ntoken_file = "{token}"\n')


def on_engine(home: Path, engine: str) -> None:
    name, settings = f"fair-{engine}", home / f"{engine}.toml"
    settings.write_text(f'engine = "{engine}"\nworkers = {WORKERS}\npublic = true\n')
    with (home / f"{name}.log").open("wb") as log:
        agent = subprocess.Popen(
            [*CLI, "endpoint", "run", name, "--config", str(settings)], stdout=log, stderr=log
        )
    try:
        measure(engine, endpoint_id(name))
    finally:
        agent.terminate()
        agent.wait(START_S)


def endpoint_id(name: str) -> str:
    """Waits until the service knows the endpoint."""
    limit = time.monotonic() + START_S
    while time.monotonic() < limit:
        for row in json.loads(run("endpoint", "list", "--json")):
            if row["name"] == name and row["state"] == "online":
                return row["id"]
    raise TimeoutError(f"{name} did not come up in {START_S:.0f} s")


def measure(engine: str, endpoint: str) -> None:
    from compute_nb import Executor

    with Executor(endpoint) as mine, Executor(f"guest:{endpoint}") as guest:
        guest.submit(noop).result(START_S)
        alone = [timed(guest) for _ in range(TRIES)]
        naps = [mine.submit(nap, TASK_S) for _ in range(TASKS)]
        naps[1].result(START_S)
        beside = []
        for turn in range(TRIES):
            beside.append(timed(guest))
            time.sleep(TASK_S * (turn + 0.5) / TRIES)  # so that the next one comes at another moment
        open_naps = sum(not one.done() for one in naps)
        mine.cancel_all()
    print(
        f"{engine:10} no-op alone: median {1e3 * statistics.median(alone):7.1f} ms; "
        f"beside {TASKS} x {TASK_S:g} s: median {statistics.median(beside):5.2f} s, "
        f"from {min(beside):.2f} to {max(beside):.2f} s "
        f"({open_naps} of {TASKS} still open then)",
        flush=True,
    )


def timed(executor) -> float:
    began = time.perf_counter()
    executor.submit(noop).result(600)
    return time.perf_counter() - began


def noop() -> None:
    return None


def nap(seconds: float) -> None:
    import time

    time.sleep(seconds)


if __name__ == "__main__":
    main()
