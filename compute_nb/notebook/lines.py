"""This module is the subcommands of `%compute` on a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from compute_nb.client import Client
from compute_nb.config import Home as HomeFolder
from compute_nb.errors import ComputeError
from compute_nb.executor import Executor
from compute_nb.local import find_service
from compute_nb.notebook import drawing
from compute_nb.notebook.group import ComputeGroup
from compute_nb.notebook.kit.home import Home
from compute_nb.notebook.options import check_name
from compute_nb.notebook.outcome import StoppedWaiting, stopped
from compute_nb.notebook.pending import Outputs
from compute_nb.notebook.refusal import CellRefused, nearest
from compute_nb.notebook.results import CellSerializer, facts, printed
from compute_nb.notebook.run import Run
from compute_nb.notebook.runs import Runs, Target
from compute_nb.session import Session

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
        self._commands: dict[str, tuple[Callable[[list[str]], Any], str]] = {
            "endpoints": (self._endpoints, "endpoints with state, Python and workers"),
            "use": (self._use_endpoint, "ENDPOINT: the default of this kernel"),
            "tasks": (self._tasks, "what was submitted from this kernel"),
            "wait": (self._wait, "[NAME]: until it has ended; without NAME all of this kernel"),
            "cancel": (self._cancel, "NAME, NAME[i] or --all"),
            "logs": (self._logs, "[NAME]: what the tasks printed"),
            "tb": (self._tb, "[NAME]: tracebacks of what failed"),
            "reload": (self._reload, "GROUP [-n NAME]: a task group from anywhere, by its id"),
            "attach": (self._reload, "as reload"),
            "service": (self._service, "where the service is and what it has to do"),
        }

    def run(self, words: Sequence[str]) -> Any:
        """Does one line.

        Raises:
            CellRefused: There is no such subcommand, or it can't be done.
        """
        if not words or words[0] in ("-h", "--help", "help"):
            self._say(self._help())
            return None
        name, *rest = words
        if name not in self._commands:
            raise CellRefused(
                f"`%compute {name}`: no such subcommand{nearest(name, self._commands) or ''}; there are "
                + ", ".join(self._commands)
            )
        command, _ = self._commands[name]
        try:
            return command(rest)
        except CellRefused:
            raise
        except ComputeError as error:
            raise CellRefused(str(error)) from error

    def _help(self) -> str:
        rows = [f"  %compute {name:<10} {text}" for name, (_, text) in self._commands.items()]
        return "\n".join(["%%compute runs a cell somewhere else; see `%%compute --help`.", *rows])

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stdout)  # noqa: T201 - the output of a line

    def _one(self, words: list[str]) -> Target:
        if len(words) > 1:
            raise CellRefused(f"one name was expected, not {len(words)}: {' '.join(words)}")
        return self._runs.find(words[0] if words else "")

    # -- runs -------------------------------------------------------------------------------

    def _tasks(self, words: list[str]) -> None:
        rows = [
            [run.cell, run.name or "-", run.endpoint, run.snapshot().sentence(), run.task_group_id or "-"]
            for run in self._runs.all
        ]
        if not rows:
            self._say("nothing was submitted from this kernel yet")
            return
        self._say(table(["cell", "name", "endpoint", "tasks", "task group"], rows))

    def _wait(self, words: list[str]) -> None:
        targets = [self._one(words)] if words else [self._runs.find(run.cell) for run in self._runs.open()]
        for target in targets:
            try:
                for future in target.futures:
                    while not future.done():
                        target.run.wait_one(future)
            except KeyboardInterrupt:
                raise StoppedWaiting(stopped(target.run)) from None
            finally:
                self._outputs.arrive()
            if target.run.snapshot().failed:
                self._say(
                    f"{drawing.line(target.run, target.run.snapshot())}: `%compute tb {target.run.handle}`"
                )

    def _cancel(self, words: list[str]) -> None:
        if not words:
            raise CellRefused("`%compute cancel` needs NAME, NAME[i] or --all")
        runs = self._runs.open() if words == ["--all"] else None
        targets = [self._runs.find(run.cell) for run in runs] if runs is not None else [self._one(words)]
        for target in targets:
            still = [future for future in target.futures if not future.done()]
            if target.whole:
                target.run.cancel_all()
            for future in still:
                future.cancel()
            self._say(f"{target.run.title}: {len(still)} of {len(target.futures)} tasks cancelled")
        if not targets:
            self._say("nothing is running")

    def _logs(self, words: list[str]) -> None:
        target = self._one(words)
        for index, future in zip(target.indices, target.futures, strict=True):
            text = "".join(text for _, text in printed(list(facts(future).get("items") or ())))
            self._section(target, index, text)

    def _tb(self, words: list[str]) -> None:
        target = self._one(words)
        found = False
        for index, future in zip(target.indices, target.futures, strict=True):
            text = str(facts(future).get("traceback") or "")
            found = found or bool(text)
            self._section(target, index, text)
        if not found:
            self._say(f"{target.run.title}: nothing has failed")

    def _section(self, target: Target, index: int, text: str) -> None:
        if not text:
            return
        if len(target.run.futures) > 1:
            point = target.run.point(index)
            self._say(f"--- {target.run.title}[{index}]{' ' + point if point else ''}")
        self._say(text.rstrip("\n"))

    def _reload(self, words: list[str]) -> Any:
        group_id, name = _reload_words(words)
        executor = Executor(task_group_id=group_id, serializer=CellSerializer(self._home))
        try:
            futures = executor.reload_tasks(group_id)
        except ComputeError as error:
            if error.http_status != 404:
                raise
            raise CellRefused(
                f"task group {group_id} is not known to the service: it has expired, or is another service's"
            ) from error
        if not futures:
            raise CellRefused(f"task group {group_id} has no tasks")
        single = len(futures) == 1
        run = Run(
            cell=f"group {str(group_id)[:8]}",
            name=name,
            endpoint=str(futures[0].terms.endpoint_id) if futures[0].terms else "?",
            label="",
            futures=futures,
            home=self._home,
            group=None if single else ComputeGroup(futures, name=name),
            cancel_all=lambda: _cancel_each(futures),
        )
        self._attach(run, executor)
        return None

    # -- elsewhere ----------------------------------------------------------------------------

    def _use_endpoint(self, words: list[str]) -> None:
        if len(words) != 1:
            raise CellRefused("`%compute use ENDPOINT` needs one endpoint: `%compute endpoints` lists them")
        _ = Executor(words[0]).endpoint_id
        self._use(words[0])
        self._say(f"compute cells of this kernel go to {words[0]} now")

    def _client(self) -> Client | None:
        client = Client(do_version_check=False)
        own = client.reach.own and find_service(HomeFolder.default()) is None
        return None if own else client

    def _endpoints(self, words: list[str]) -> None:
        client = self._client()
        if client is None:
            self._say(_NO_SERVICE)
            return
        rows = [_endpoint_row(client, found) for found in client.get_endpoints()]
        self._say(
            table(["endpoint", "state", "Python", "workers", "id"], rows) if rows else "no endpoints yet"
        )

    def _service(self, words: list[str]) -> None:
        client = self._client()
        if client is None:
            self._say(_NO_SERVICE)
            return
        status = Session.of(client.reach).ask(lambda c: c.get("/v3/compute_nb/status"))
        counts = ", ".join(
            f"{count} {state}" for state, count in (status.get("tasks") or {}).items() if count
        )
        endpoints = ", ".join(str(one.get("name")) for one in status.get("endpoints") or [])
        rows = [
            ["url", str(status.get("url"))],
            ["store", str(status.get("store"))],
            ["tasks", counts or "none"],
            ["endpoints", endpoints or "none"],
        ]
        self._say("\n".join(f"{name:<10} {text}" for name, text in rows))


def _cancel_each(futures: Sequence[Any]) -> None:
    for future in futures:
        future.cancel()


def _reload_words(words: list[str]) -> tuple[UUID, str]:
    name = ""
    rest = list(words)
    for option in ("-n", "--name"):
        if option in rest[:-1]:
            at = rest.index(option)
            name = rest[at + 1]
            check_name(name, "-n")
            del rest[at : at + 2]
    if len(rest) != 1:
        raise CellRefused("`%compute reload GROUP [-n NAME]` needs the id of one task group")
    try:
        return UUID(rest[0]), name
    except ValueError:
        raise CellRefused(
            f"`%compute reload {rest[0]}`: a task group's id is a UUID, 8-4-4-4-12 hex digits"
        ) from None


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
