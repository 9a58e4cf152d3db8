"""This module is the subcommands of `%compute` on a line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from compute_nb import login
from compute_nb.client import Client
from compute_nb.config import GLOBUS, LOCAL
from compute_nb.config import Home as HomeFolder
from compute_nb.errors import ComputeError
from compute_nb.executor import Executor
from compute_nb.local import ended, find_service
from compute_nb.notebook import drawing, failures
from compute_nb.notebook.arguments import Line
from compute_nb.notebook.bundle import capped
from compute_nb.notebook.endpoints import Endpoint, Endpoints
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.outcome import StoppedWaiting, stopped
from compute_nb.notebook.pending import Outputs
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.reload import reloaded
from compute_nb.notebook.results import facts, printed
from compute_nb.notebook.run import Run
from compute_nb.notebook.runs import Runs, Target
from compute_nb.notebook.tables import Table
from compute_nb.session import Session
from compute_nb.tasks import TaskState

MAX_TRACEBACKS = 5
MAX_LOG_LINES = 2_000
LOOK_S = 5.0

_STOPPED = "the local service does not run now; a submit or `%compute wait` starts it"
_NO_SERVICE = "no service of yours runs now; the first `%%compute local` starts it"


class Lines:
    """Runs subcommands for one kernel; on the main thread.

    Args:
        use: Sets the default endpoint.
        default: Returns it.
        attach: Binds and shows a run that was reloaded.
        show: Draws a run, or one task of it, again.
        lay: Shows a table.
    """

    def __init__(
        self,
        runs: Runs,
        outputs: Outputs,
        home: Home,
        use: Callable[[str], None],
        attach: Callable[[Run, Executor], None],
        *,
        default: Callable[[], str],
        show: Callable[[Target], None],
        lay: Callable[[Table], None],
        endpoints: Endpoints,
    ) -> None:
        self._runs, self._outputs, self._home = runs, outputs, home
        self._use, self._attach = use, attach
        self._default, self._show, self._lay, self._known = default, show, lay, endpoints

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
            "logs": self._logs,
            "tb": self._tb,
            "reload": self._reload,
            "attach": self._reload,
            "service": self._service,
            "show": self._show_again,
            "restart": self._restart,
            "login": self._login,
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
        runs = self._runs.all
        if not runs:
            self._say("nothing was submitted from this kernel yet")
            return
        rows = [
            [
                run.cell,
                run.name or run.label or "-",
                drawing.moment(run.submitted_at),
                run.endpoint,
                *_standing(run),
                run.task_group_id or "-",
            ]
            for run in reversed(runs)
        ]
        head = ["cell", "name", "submitted", "endpoint", "tasks", "time", "task group"]
        self._lay(Table(head, rows))

    def _show_again(self, line: Line) -> None:
        self._show(self._one(line))

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

    def _logs(self, line: Line) -> None:
        target = self._one(line)
        sections = []
        for index, future in zip(target.indices, target.futures, strict=True):
            text = "".join(text for _, text in printed(list(facts(future).get("items") or ())))
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
            self._say(
                f"{target.told}: {still} of {len(target.futures)} still open; their text comes when they end"
            )

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
        answer = self._known.look(LOOK_S, newest=True)
        default = self._default()
        several = len({one.service for one in answer.endpoints}) > 1
        head = ["endpoint", "state", "Python", "workers", "busy", "queued", *["service"] * several, "id"]
        rows = [_row(one, default, several) for one in answer.endpoints]
        strong = frozenset(n for n, one in enumerate(answer.endpoints) if one.name == default)
        lines = [f"▲ {line}" for line in answer.silent]
        if not strong:
            lines.append(f"default: {default}")
        self._lay(Table(head, rows, lines=lines, strong=strong, numbers=frozenset({3, 4, 5})))

    def _restart(self, line: Line) -> None:
        name = line.words[0] if line.words else LOCAL
        executor = Executor(name)
        endpoint_id = executor.endpoint_id
        if endpoint_id != Executor(LOCAL).endpoint_id:
            raise CellRefused(
                f"`%compute restart {name}`: only `{LOCAL}` can be started from here; where `{name}` runs: "
                "`compute-nb endpoint stop NAME`, then `compute-nb endpoint run NAME`"
            )
        going = [run for run in self._runs.open() if _is_there(run, endpoint_id)]
        if going and not line.flags:
            named = ", ".join(run.handle for run in going)
            raise CellRefused(
                f"`%compute restart {name}`: {named} would lose what runs there: `%compute wait` or "
                f"`%compute cancel` first, or `%compute restart {name} --force`"
            )
        executor.client.stop_endpoint(endpoint_id)
        executor.endpoint_id = name
        _ = executor.endpoint_id  # found anew, and started by that
        self._say(f"{name} starts again: new workers take the next tasks, and import everything anew")

    def _login(self, line: Line) -> None:
        service = line.words[0] if line.words else GLOBUS
        try:
            self._say(login.login(service, force=bool(line.flags)))
        except ValueError as error:
            raise CellRefused(str(error)) from error

    def _service(self, _: Line) -> None:
        client = self._client()
        if client is None:
            self._say(_NO_SERVICE)
            return
        if client.reach.own and ended(HomeFolder.default()):
            self._say(_STOPPED)
            return
        status = Session.of(client.reach).ask(lambda c: c.get("/v3/compute_nb/status"))
        counts = ", ".join(
            f"{count} {TaskState(state).word}"
            for state, count in (status.get("tasks") or {}).items()
            if count
        )
        endpoints = ", ".join(
            f"{one.get('name')} ({one.get('state')})" for one in status.get("endpoints") or []
        )
        rows = [
            ["url", str(status.get("url"))],
            ["broker", str(status.get("broker"))],
            ["store", str(status.get("store"))],
            ["tasks", counts or "none"],
            ["endpoints", endpoints or "none"],
        ]
        self._lay(Table(["", ""], rows))


def _standing(run: Run) -> list[str]:
    """Returns how a run stands, and how long it took."""
    snapshot = run.snapshot()
    glyphs = {"done": "✓", "failed": "✗", "cancelled": "▲", "running": "●", "waiting": "○"}
    return [f"{glyphs[snapshot.state]} {snapshot.sentence()}", drawing.duration(snapshot) or "-"]


def _is_there(run: Run, endpoint_id: object) -> bool:
    terms = run.futures[0].terms
    return terms is not None and terms.endpoint_id == endpoint_id


def _row(one: Endpoint, default: str, several: bool) -> list[str]:
    glyph = {"online": "● ", "offline": "✗ "}.get(one.state, "○ ")
    counts = ["-" if count is None else str(count) for count in (one.workers, one.busy, one.queued)]
    return [
        f"{one.name} (default)" if one.name == default else one.name,
        glyph + (one.state or "not known"),
        one.python or "-",
        *counts,
        *([one.service] if several else []),
        one.endpoint_id or "-",
    ]
