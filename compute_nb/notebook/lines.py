"""This module is the subcommands of `%compute` on a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from compute_nb.client import Client
from compute_nb.config import Home as HomeFolder
from compute_nb.errors import ComputeError
from compute_nb.executor import Executor
from compute_nb.local import find_service
from compute_nb.notebook import drawing, failures
from compute_nb.notebook.arguments import Line
from compute_nb.notebook.bundle import capped
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.outcome import StoppedWaiting, stopped
from compute_nb.notebook.pending import Outputs
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.reload import reloaded
from compute_nb.notebook.results import said
from compute_nb.notebook.run import Run
from compute_nb.notebook.runs import Runs, Target
from compute_nb.notebook.terminal import plain
from compute_nb.session import Session
from compute_nb.tasks import TaskState

MAX_TRACEBACKS = 5
MAX_LOG_LINES = 2_000

_NO_SERVICE = "no service of yours runs now; the first `%%compute local` starts it"


class Lines:
    """Runs subcommands for one kernel; on the main thread.

    Args:
        use: Sets the default endpoint.
        attach: Binds and shows a run that was reloaded.
    """

    def __init__(
        self,
        runs: Runs,
        outputs: Outputs,
        home: Home,
        use: Callable[[str], None],
        attach: Callable[[Run, Executor], None],
    ) -> None:
        self._runs, self._outputs, self._home = runs, outputs, home
        self._use, self._attach = use, attach

    def run(self, line: Line) -> Any:
        """Does one line.

        Raises:
            CellRefused: It can't be done.
        """
        command: Callable[[Line], Any] = {
            "endpoints": self._endpoints,
            "use": self._use_endpoint,
            "tasks": self._tasks,
            "wait": self._wait,
            "cancel": self._cancel,
            "retry": self._retry,
            "logs": self._logs,
            "tb": self._tb,
            "reload": self._reload,
            "attach": self._reload,
            "service": self._service,
        }[line.command]
        try:
            return command(line)
        except CellRefused:
            raise
        except ComputeError as error:
            raise CellRefused(str(error)) from error

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stdout, flush=True)  # noqa: T201 - the output of a line

    def _one(self, line: Line) -> Target:
        return self._runs.find(line.words[0] if line.words else "")

    def _open(self) -> list[Target]:
        return [self._runs.find(run.cell) for run in self._runs.open()]

    # -- runs -------------------------------------------------------------------------------

    def _tasks(self, _: Line) -> None:
        rows = [
            [
                run.cell,
                run.name or "-",
                drawing.moment(run.submitted_at),
                run.endpoint,
                run.snapshot().sentence(),
                run.task_group_id or "-",
            ]
            for run in self._runs.all
        ]
        if not rows:
            self._say("nothing was submitted from this kernel yet")
            return
        self._say(table(["cell", "name", "submitted", "endpoint", "tasks", "task group"], rows))

    def _wait(self, line: Line) -> None:
        targets = [self._one(line)] if line.words else self._open()
        for target in targets:
            if not target.run.ended:
                target.run.wake()
            try:
                target.run.wait(self._say, target.futures)
            except KeyboardInterrupt:
                raise StoppedWaiting(stopped(target.run)) from None
            finally:
                self._outputs.arrive()
            if target.run.snapshot().failed:
                told = drawing.line(target.run, target.run.snapshot())
                self._say(f"{told}: `%compute tb {target.run.handle}`")

    def _cancel(self, line: Line) -> None:
        if not line.words and not line.flags:
            raise CellRefused("`%compute cancel` needs NAME, NAME[i] or --all")
        targets = self._open() if line.flags else [self._one(line)]
        for target in targets:
            still = [future for future in target.futures if not future.done()]
            if target.whole:
                target.run.cancel_all()
            for future in still:
                future.cancel()
            told = f"{len(still)} of {len(target.futures)} tasks cancelled"
            self._say(f"{target.told}: {told if still or not target.futures else 'had ended already'}")
        if not targets:
            self._say("nothing is running")

    def _retry(self, line: Line) -> None:
        target = self._one(line)
        count, of = target.run.retry(target.indices), len(target.futures)
        if count:
            self._say(f"{target.told}: {count} of {drawing.tasks(of)} sent again")
            return
        still = sum(not future.done() for future in target.futures)
        told = f" so far, {still} of {of} still open" if still else ""
        self._say(f"{target.told}: nothing has failed{told}")

    def _logs(self, line: Line) -> None:
        target = self._one(line)
        sections = []
        for index, future in zip(target.indices, target.futures, strict=True):
            text = plain(said(future))
            if text:
                sections.append(self._head(target, index) + text.rstrip("\n"))
        still = sum(not future.done() for future in target.futures)
        if sections:
            text = "\n".join(sections)
            named = " ".join(["%compute logs", *line.words, "--all"])
            self._say(text if line.flags else capped(text, MAX_LOG_LINES, f"`{named}` shows them"))
        elif not still:
            self._say(f"{target.told}: nothing was printed")
        if still:
            more = "more text may come" if sections else "their text comes when they end"
            self._say(f"{target.told}: {still} of {len(target.futures)} still open; {more}")

    def _tb(self, line: Line) -> None:
        target = self._one(line)
        found = failures.same_place(target.run, target.indices)
        for failure in found[:MAX_TRACEBACKS]:
            if len(target.run.futures) > 1:
                self._say(f"--- {target.run.title}: {failure.places(target.run)}")
            self._say(failure.text)
        if left := found[MAX_TRACEBACKS:]:
            count, first = sum(len(failure.indices) for failure in left), left[0].indices[0]
            self._say(
                f"--- and {count} that failed otherwise: `%compute tb {target.run.handle}[{first}]` and on"
            )
        if not found:
            still = sum(not future.done() for future in target.futures)
            told = f" so far, {still} of {len(target.futures)} still open" if still else ""
            self._say(f"{target.told}: nothing has failed{told}")

    @staticmethod
    def _head(target: Target, index: int) -> str:
        if len(target.run.futures) == 1:
            return ""
        point = target.run.point(index)
        return f"--- {target.run.title}[{index}]{' ' + point if point else ''}\n"

    def _reload(self, line: Line) -> None:
        self._attach(*reloaded(line, self._runs, self._home))

    # -- elsewhere ----------------------------------------------------------------------------

    def _use_endpoint(self, line: Line) -> None:
        words = line.words
        if not words:
            raise CellRefused("`%compute use ENDPOINT` needs one endpoint: `%compute endpoints` lists them")
        _ = Executor(words[0]).endpoint_id
        self._use(words[0])
        self._say(f"compute cells of this kernel go to {words[0]} now")

    def _client(self) -> Client | None:
        client = Client(do_version_check=False)
        own = client.reach.own and find_service(HomeFolder.default()) is None
        return None if own else client

    def _endpoints(self, _: Line) -> None:
        client = self._client()
        if client is None:
            self._say(_NO_SERVICE)
            return
        rows = [_endpoint_row(client, found) for found in client.get_endpoints()]
        self._say(
            table(["endpoint", "state", "Python", "workers", "id"], rows) if rows else "no endpoints yet"
        )

    def _service(self, _: Line) -> None:
        client = self._client()
        if client is None:
            self._say(_NO_SERVICE)
            return
        status = Session.of(client.reach).ask(lambda c: c.get("/v3/compute_nb/status"))
        counts = ", ".join(
            f"{count} {TaskState(state).word}"
            for state, count in (status.get("tasks") or {}).items()
            if count
        )
        endpoints = ", ".join(str(one.get("name")) for one in status.get("endpoints") or [])
        rows = [
            ["url", str(status.get("url"))],
            ["store", str(status.get("store"))],
            ["tasks", counts or "none"],
            ["endpoints", endpoints or "none"],
        ]
        self._say("\n".join(f"{name:<10} {text}" for name, text in rows))


def _endpoint_row(client: Client, found: Any) -> list[str]:
    endpoint_id = str(found.get("uuid") or found.get("endpoint_id"))
    status = client.get_endpoint_status(endpoint_id)
    details = status.get("details") or {}
    agent = details.get("compute_nb") or {}
    python = agent.get("python") or "?"
    workers = agent.get("workers") or details.get("total_workers") or "?"
    return [
        str(found.get("name")),
        str(status.get("status")),
        str(python).split()[0],
        str(workers),
        endpoint_id,
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as aligned text."""
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in (head, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)
