"""Measures compute_nb beside ProcessPoolExecutor in one run: `python benchmarks/run.py [--rounds N]`.

Each round runs both peers, in turn, in fresh processes; figures are medians over the rounds, and the last
column is the ratio of the medians. A service of its own home is started first and stopped at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor as StandardExecutor
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def no_op() -> None:
    return None


def compute_nb_pool() -> StandardExecutor:
    from compute_nb import Executor

    return Executor("local")


def process_pool() -> StandardExecutor:
    return ProcessPoolExecutor(2)


PEERS: dict[str, Callable[[], StandardExecutor]] = {
    "compute_nb": compute_nb_pool,
    "procpool": process_pool,
}


def measure(make: Callable[[], StandardExecutor], born: float) -> dict[str, float]:
    """One fresh process: first result, 200 lone no-ops, 1,000, 10,000, and the first of 1,000."""
    executor = make()
    executor.submit(no_op).result()
    figures = {"cold start s": time.time() - born}
    lone = sorted(timed(lambda: executor.submit(no_op).result()) for _ in range(200))
    figures["p50 ms"] = 1e3 * statistics.median(lone)
    figures["p95 ms"] = 1e3 * lone[int(0.95 * len(lone))]
    started = time.perf_counter()
    futures = [executor.submit(no_op) for _ in range(1000)]
    futures[0].result()
    figures["first of 1,000 ms"] = 1e3 * (time.perf_counter() - started)
    for future in futures:
        future.result()
    figures["1k /s"] = 1000 / timed(lambda: many(executor, 1000))
    started = time.perf_counter()
    futures = [executor.submit(no_op) for _ in range(10_000)]
    figures["submits /s"] = 10_000 / (time.perf_counter() - started)
    for future in futures:
        future.result()
    figures["10k /s"] = 10_000 / (time.perf_counter() - started)
    executor.shutdown()
    return figures


def many(executor: StandardExecutor, count: int) -> None:
    for future in [executor.submit(no_op) for _ in range(count)]:
        future.result()


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def fresh(peer: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--peer", peer, "--born", str(time.time())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def service(verb: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "compute_nb.cli", "service", verb], check=False, stdout=subprocess.DEVNULL
    )


def first_result_without_service() -> float:
    """Seconds from a fresh interpreter to the first result, with no service running."""
    service("stop")
    code = "from compute_nb import Executor\nprint(Executor('local').submit(pow, 2, 3).result())"
    return timed(lambda: subprocess.run([sys.executable, "-c", code], check=True))


def table(rounds: dict[str, list[dict[str, float]]]) -> None:
    print(f"{'':20}" + "".join(f"{peer:>14}" for peer in rounds) + f"{'ratio':>10}")
    for name in rounds["compute_nb"][0]:
        medians = [statistics.median(figures[name] for figures in rounds[peer]) for peer in rounds]
        print(
            f"{name:20}"
            + "".join(f"{value:14,.3f}" for value in medians)
            + f"{medians[0] / medians[1]:10.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--born", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(measure(PEERS[options.peer], options.born)))
        return
    with tempfile.TemporaryDirectory() as home:
        os.environ["COMPUTE_NB_HOME"] = str(Path(home))
        try:
            cold = [first_result_without_service() for _ in range(options.rounds)]
            rounds = {peer: [] for peer in PEERS}
            for _ in range(options.rounds):
                for peer in PEERS:
                    rounds[peer].append(fresh(peer))
        finally:
            service("stop")
    print(f"cold start with no service running: {statistics.median(cold):.2f} s")
    table(rounds)


if __name__ == "__main__":
    main()
