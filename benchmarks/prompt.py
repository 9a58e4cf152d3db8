"""Measures how soon the prompt is back in a notebook: `python benchmarks/prompt.py [--times N]`.

A kernel of its own, warm, with a person at it and a page that has answered as JupyterLab's does. Timed from
the execute request to idle, as a page sees it; the last column is how many messages the kernel sent until
then. A cell that only submits by the `Executor`, and does not wait until that is on disk, stands beside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from jupyter_client.manager import start_new_kernel

PREPARE = """
import gc
from compute_nb import Executor
executor = Executor("local")
def no_op(x): return x
executor.submit(no_op, 1).result()
"""
CELLS = {
    "an empty cell": "None",
    "Executor.submit": "f = executor.submit(no_op, 1)",
    "one task": "%%compute local -n f\n1",
    "-w, one task": "%%compute local -n f -w\n1",
    "100 tasks": "%%compute local -n f -m s=range(100)\ns",
    "Executor.map, 100": "f = executor.map(no_op, range(100))",
}
SETTLE = """
import time
f = globals().get("f")
results = getattr(f, "result", None)
results() if results else list(f or ())
gc.collect()
"""


class Timed(NamedTuple):
    """One cell: seconds until idle, and the messages that came until then."""

    took_s: float
    messages: list[Any]


class Notebook:
    """A page with one cell for each name, whose plugin has answered."""

    def __init__(self, client: Any, path: Path) -> None:
        self._client, self._path = client, path
        self._comm = ""

    def run(self, code: str, cell: str = "elsewhere") -> Timed:
        """Runs a cell."""
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True}
        session = self._client.session
        request = session.msg("execute_request", content, metadata={"cellId": cell})
        messages: list[Any] = []
        started = time.perf_counter()
        self._client.shell_channel.send(request)
        while True:
            message = self._client.get_iopub_msg(timeout=60)
            own = message["parent_header"].get("msg_id") == request["header"]["msg_id"]
            if own and message["content"].get("execution_state") == "idle":
                return Timed(time.perf_counter() - started, messages)
            if own and message["msg_type"] == "error":
                raise SystemExit("\n".join(message["content"]["traceback"]))
            messages.append(message)
            self._answer(message)

    def _answer(self, message: Any) -> None:
        """Answers the kernel's first word to pages."""
        if message["msg_type"] != "comm_msg" or self._comm:
            return
        if message["content"]["data"].get("target") == "compute_nb.meta":
            self._comm = message["content"]["comm_id"]
            told = {"kind": "notebook", "path": self._path.name, "record": None, "cells": []}
            data = {**told, "client": self._client.session.session, "previous": None}
            session = self._client.session
            said = session.msg("comm_msg", {"comm_id": self._comm, "data": data})
            self._client.shell_channel.send(said)


@contextmanager
def kernel() -> Iterator[Notebook]:
    """Starts a kernel whose notebook is a file of its own home."""
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "notebook.ipynb"
        nbformat.write(nbformat.v4.new_notebook(), path)
        env = {**os.environ, "COMPUTE_NB_HOME": home, "JPY_SESSION_NAME": str(path)}
        manager, client = start_new_kernel(env=env)
        try:
            yield Notebook(client, path)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            stop = [sys.executable, "-m", "compute_nb.cli", "service", "stop"]
            subprocess.run(stop, check=False, env=env, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=40, help="how often each cell runs (default: 40)")
    options = parser.parse_args()
    with kernel() as notebook:
        loaded = notebook.run("%load_ext compute_nb")
        first = notebook.run("%%compute local -w\n1")
        notebook.run(PREPARE)
        took: dict[str, list[Timed]] = {name: [] for name in CELLS}
        for turn in range(options.times + 2):
            for name, code in CELLS.items():
                timed = notebook.run(code, uuid.uuid5(uuid.NAMESPACE_OID, name).hex[:12])
                notebook.run(SETTLE)
                notebook.run("time.sleep(0.15)")  # panels draw their end, apart from what is timed
                if turn >= 2:
                    took[name].append(timed)
    print(f"\n%load_ext {1e3 * loaded.took_s:.0f} ms; the first cell, which starts all, {first.took_s:.2f} s")
    print(f"{'shift-enter to prompt':22}{'p50 ms':>10}{'p90 ms':>10}{'messages':>10}")
    for name, times in took.items():
        ordered = sorted(timed.took_s for timed in times)
        p50, p90 = statistics.median(ordered), ordered[int(0.9 * len(ordered))]
        count = statistics.median(len(timed.messages) for timed in times)
        print(f"{name:22}{1e3 * p50:10.1f}{1e3 * p90:10.1f}{count:10.0f}")


if __name__ == "__main__":
    main()
