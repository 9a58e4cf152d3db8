"""This module is the subcommands of `%compute` on where cells go: endpoints, service, login."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compute_nb import login
from compute_nb.client import Client
from compute_nb.config import GLOBUS, LOCAL
from compute_nb.executor import Executor
from compute_nb.home import Home
from compute_nb.local import ended, find_service
from compute_nb.notebook.commands.endpoints import Endpoint, Endpoints
from compute_nb.notebook.line.arguments import Line
from compute_nb.notebook.refusal import CellRefused
from compute_nb.notebook.runs.run import Run
from compute_nb.notebook.runs.runs import Runs
from compute_nb.notebook.tables import Table
from compute_nb.session import Session
from compute_nb.tasks import TaskState

LOOK_S = 5.0

_FIRST = 4  # columns of an endpoint that stand in its line however narrow that is

_STOPPED = "the local service does not run now; a submit or `%compute wait` starts it"
_NO_SERVICE = "no service of yours runs now; the first `%%compute local` starts it"


class Destinations:
    """Runs these subcommands for one kernel; on the main thread.

    Args:
        use: Sets the default endpoint.
        default: Returns it.
        say: Prints a line.
        lay: Shows a table.
    """

    def __init__(
        self,
        runs: Runs,
        known: Endpoints,
        *,
        use: Callable[[str], None],
        default: Callable[[], str],
        say: Callable[[str], None],
        lay: Callable[[Table], None],
    ) -> None:
        self._runs, self._known = runs, known
        self._use, self._default, self._say, self._lay = use, default, say, lay

    @property
    def commands(self) -> Mapping[str, Callable[[Line], Any]]:
        """What each of them does."""
        return {
            "endpoints": self._endpoints,
            "use": self._use_endpoint,
            "restart": self._restart,
            "service": self._service,
            "login": self._login,
        }

    def _use_endpoint(self, line: Line) -> None:
        words = line.words
        if not words:
            raise CellRefused("`%compute use ENDPOINT` needs one endpoint: `%compute endpoints` lists them")
        _ = Executor(words[0]).endpoint_id
        self._use(words[0])
        self._say(f"compute cells of this kernel go to {words[0]} now")

    def _client(self) -> Client | None:
        client = Client(do_version_check=False)
        own = client.reach.own and find_service(Home.default()) is None
        return None if own else client

    def _endpoints(self, _: Line) -> None:
        answer = self._known.look(LOOK_S, newest=True)
        default = self._default()
        several = len({one.service for one in answer.endpoints}) > 1
        counted = ["workers", "busy", "queued", "cores", "free memory"]
        head = ["endpoint", "state", "engine", "Python", *counted, *["service"] * several, "id"]
        rows = [_row(one, default, several) for one in answer.endpoints]
        strong = frozenset(n for n, one in enumerate(answer.endpoints) if one.name == default)
        lines = [f"▲ {line}" for line in answer.silent]
        if not strong:
            lines.append(f"default: {default}")
        folds = len(head) - _FIRST
        numbers = frozenset(range(4, 9))
        self._lay(Table(head, rows, lines=lines, strong=strong, numbers=numbers, folds=folds))

    def _restart(self, line: Line) -> None:
        name = line.words[0] if line.words else LOCAL
        executor = Executor(name)
        endpoint_id = executor.endpoint_id
        if endpoint_id != Executor(LOCAL).endpoint_id:
            raise CellRefused(
                f"`%compute restart {name}`: only `{LOCAL}` can be started from here; where `{name}` runs: "
                "`compute-nb endpoint stop NAME`, then `compute-nb endpoint start NAME`"
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
        if client.reach.own and ended(Home.default()):
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


def _is_there(run: Run, endpoint_id: object) -> bool:
    terms = run.futures[0].terms
    return terms is not None and terms.endpoint_id == endpoint_id


def _row(one: Endpoint, default: str, several: bool) -> list[str]:
    glyph = {"online": "● ", "offline": "✗ "}.get(one.state, "○ ")
    counted = (one.workers, one.busy, one.queued, one.cores)
    counts = ["-" if count is None else str(count) for count in counted]
    counts.append("-" if one.available_bytes is None else f"{one.available_bytes / 2**30:.1f} GiB")
    return [
        f"{one.name} (default)" if one.name == default else one.name,
        glyph + (one.state or "not known"),
        one.engine or "-",
        one.python or "-",
        *counts,
        *([one.service] if several else []),
        one.endpoint_id or "-",
    ]
