"""One job of 1,000 tasks on every engine, by real agents: same results, tasks/s, first result.

    python benchmarks/engines.py [ENGINE ...]

Prints one line an engine and what Parsl's and Dask's own records say of their workers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENGINES = ("processes", "threads", "parsl", "dask", "mpi")
TASKS = 1_000
WORKERS = 2
START_S = 120.0


def main() -> None:
    chosen = sys.argv[1:] or ENGINES
    with tempfile.TemporaryDirectory(prefix="cnb") as folder:
        os.environ["COMPUTE_NB_HOME"] = folder
        cli = [sys.executable, "-m", "compute_nb.cli"]
        subprocess.run([*cli, "service", "start"], check=True, stdout=subprocess.DEVNULL)
        try:
            results = {engine: one_job(cli, Path(folder), engine) for engine in chosen}
        finally:
            subprocess.run([*cli, "service", "stop"], check=True, stdout=subprocess.DEVNULL)
    same = all(values == next(iter(results.values())) for values in results.values())
    print("the same results on all:", same)


def one_job(cli: list[str], home: Path, engine: str) -> list[int]:
    """Runs the job on an agent of its own; returns the values in order."""
    name = f"bench-{engine}"
    command = [*cli, "endpoint", "run", name, "--engine", engine, "--workers", str(WORKERS)]
    began = time.perf_counter()
    with (home / f"{name}.log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(cli, name)
        up_s = time.perf_counter() - began
        values, first_s, all_s = timed(name)
        warm = timed(name)
        print(
            f"{engine:10} up in {up_s:5.2f} s; first result {first_s:6.3f} s, all {all_s:6.2f} s, "
            f"{TASKS / all_s:6.0f} tasks/s; warm: first {warm[1]:6.3f} s, {TASKS / warm[2]:6.0f} tasks/s",
            flush=True,
        )
        tell_of_workers(home, engine)
    finally:
        agent.terminate()
        agent.wait(START_S)
    return values


def wait_for(cli: list[str], name: str) -> None:
    """Waits until the endpoint is online; it is listed as soon as it has a folder."""
    limit = time.monotonic() + START_S
    while time.monotonic() < limit:
        said = subprocess.run([*cli, "endpoint", "list", "--json"], capture_output=True, check=True)
        if name in {row["name"] for row in json.loads(said.stdout) if row["state"] == "online"}:
            return
    raise TimeoutError(f"{name} is not online after {START_S:.0f} s")


def timed(name: str) -> tuple[list[int], float, float]:
    """Submits the job; returns values, and the times of the first and of the last result."""
    from concurrent.futures import FIRST_COMPLETED, wait

    from compute_nb import Executor

    with Executor(name) as executor:
        began = time.perf_counter()
        futures = [executor.submit(square, i) for i in range(TASKS)]
        wait(futures, return_when=FIRST_COMPLETED)
        first_s = time.perf_counter() - began
        values = [future.result(timeout=300) for future in futures]
        return values, first_s, time.perf_counter() - began


def square(x: int) -> int:
    return x * x


def tell_of_workers(home: Path, engine: str) -> None:
    """Prints what the records of the engine below say."""
    if engine == "parsl":
        (log,) = home.rglob("parsl.log")
        lines = [line for line in log.read_text().splitlines() if "Launched block" in line]
        (own,) = home.rglob("interchange.log")
        lines += [line[:400] for line in own.read_text().splitlines() if "Registered manager" in line]
        lines += [str(path.relative_to(home)) for path in home.rglob("worker_*.log")]
        print("\n".join(f"    {line}" for line in lines))
    if engine == "dask":
        log = home / "bench-dask.log"
        lines = [line for line in log.read_text().splitlines() if "Register worker" in line]
        print("\n".join(f"    {line}" for line in lines))


if __name__ == "__main__":
    main()
