"""This module is the checks of `compute-nb doctor`: what is installed, reachable, mismatched; the mend."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from compute_nb import __version__, environment, routes
from compute_nb.cli import control
from compute_nb.cli.roster import OFFLINE, ONLINE, Row, folders, roster
from compute_nb.command import BASH
from compute_nb.config import LOCAL, ServiceSettings, Settings
from compute_nb.endpoint.settings import ENGINES, FILE_NAME, read_settings
from compute_nb.errors import ComputeError
from compute_nb.home import Home
from compute_nb.login import Login
from compute_nb.reach import Reach
from compute_nb.service.lock import locked, running

OK: Final = "ok"
NOTE: Final = "note"
PROBLEM: Final = "problem"
LEAST_FREE_BYTES = 2**30
_PACKAGE = "compute_nb"
_EXTENSION = "compute-nb"
_DEVELOPERS = ("test", "demo")
_NAME, _LEAST, _EXTRA = (re.compile(text) for text in (r"[\w.-]+", r">=([\d.]+)", r"extra == ['\"](\w+)"))


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at.
        state: "note" is worth knowing and keeps nothing from working, "problem" does.
        found: How it stands.
        mend: What to do; None if nothing.
    """

    check: str
    state: Literal["ok", "note", "problem"]
    found: str
    mend: str | None = None


def findings(home: Home) -> Iterator[Finding]:
    """Yields what all checks find; blocks while services answer, starts none and asks nobody to log in."""
    yield Finding("Python", OK, f"{platform.python_version()}, {sys.prefix}")
    yield from _packages()
    yield from _extension()
    yield from _programs()
    yield from _home(home)
    try:
        settings = Settings.load(home)
    except ComputeError as error:
        yield Finding("settings", PROBLEM, str(error), f"correct {home.config_file}, or delete it")
        return
    for service in settings.services.values():
        yield _own_service(home) if service.url is None else _service(service, home)
    yield from _endpoints(home)


# -- what is installed ----------------------------------------------------------------------------


def _packages() -> Iterator[Finding]:
    try:
        wanted = metadata.requires(_PACKAGE) or []
    except metadata.PackageNotFoundError:
        yield Finding(_PACKAGE, PROBLEM, f"{__version__} runs and is not installed", "pip install compute_nb")
        return
    wants: dict[str, list[str]] = {}
    for text in wanted:
        name, least, extra = _NAME.findall(text)[0], _LEAST.findall(text), _EXTRA.findall(text)
        wants.setdefault("".join(extra), []).append(lack(name, "".join(least)) or "")
    lacking = [lack for lack in wants.pop("", []) if lack]
    pip = f"{sys.executable} -m pip install"
    if lacking:
        yield Finding(_PACKAGE, PROBLEM, f"{__version__} lacks {', '.join(lacking)}", f"{pip} -U {_PACKAGE}")
    else:
        yield Finding(_PACKAGE, OK, f"{__version__} with all that it needs")
    for group, lacks in wants.items():
        absent = ", ".join(filter(None, lacks))
        if group in _DEVELOPERS:
            continue
        if absent:
            yield Finding(f"extra {group}", NOTE, f"lacks {absent}", f"{pip} '{_PACKAGE}[{group}]'")
        else:
            yield Finding(f"extra {group}", OK, "installed")


def lack(name: str, least: str) -> str | None:
    """Returns what is wrong with a package, None if it is there and new enough."""
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        return name
    return f"{name} {least} (there is {found})" if _numbers(found) < _numbers(least) else None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


def _extension() -> Iterator[Finding]:
    """Looks for the built JupyterLab extension, where there is a JupyterLab."""
    try:
        metadata.version("jupyterlab")
        from jupyter_core.paths import jupyter_path
    except (metadata.PackageNotFoundError, ImportError):
        return
    for folder in jupyter_path("labextensions"):
        try:
            version = str(
                json.loads((Path(folder) / _EXTENSION / "package.json").read_text("utf-8"))["version"]
            )
        except (OSError, ValueError, KeyError):
            continue
        if version == __version__:
            yield Finding("JupyterLab extension", OK, version)
        else:
            mend = f"install the same version of {_PACKAGE} where JupyterLab runs, then load the page again"
            yield Finding("JupyterLab extension", PROBLEM, f"{version}, and this is {__version__}", mend)
        return
    mend = f"{sys.executable} -m pip install --force-reinstall --no-deps {_PACKAGE}"
    told = "not there: cells run, panels go without buttons that outlive a restart"
    yield Finding("JupyterLab extension", NOTE, told, mend)


def _programs() -> Iterator[Finding]:
    for name, use in (("bash", "--shell and ShellFunction"), ("mpiexec", "endpoints with --engine mpi")):
        found = shutil.which(name) or (shutil.which(BASH) if name == "bash" else None)
        if found:
            yield Finding(name, OK, found)
        else:
            yield Finding(name, NOTE, "not in PATH", f"install it for {use}, on the machine of the endpoint")


# -- the home folder ------------------------------------------------------------------------------


def _home(home: Home) -> Iterator[Finding]:
    if not home.root.exists():
        yield Finding("home folder", OK, f"{home.root}, made at the first use")
        return
    open_to_others = [path for path in (home.root, home.state, *_files(home)) if _others_may(path)]
    if open_to_others:
        names = " ".join(map(str, open_to_others))
        yield Finding("home folder", PROBLEM, f"others may read {names}", f"chmod go-rwx {names}")
    elif not os.access(home.state if home.state.exists() else home.root, os.W_OK | os.X_OK):
        yield Finding(
            "home folder", PROBLEM, f"{home.root} can't be written", "set COMPUTE_NB_HOME to one that can"
        )
    else:
        yield Finding("home folder", OK, str(home.root))
    if home.state.name != "local":
        mend = "set COMPUTE_NB_HOME to a folder of this machine's own disk"
        yield Finding("file system", NOTE, f"{home.root} is on a network: slower, one host at a time", mend)
    free = shutil.disk_usage(home.root).free
    if free < LEAST_FREE_BYTES:
        mend = "free some, or `compute-nb tasks delete --older-than 7d`"
        yield Finding("disk", PROBLEM, f"{free / 2**20:,.0f} MB are free for {home.root}", mend)


def _files(home: Home) -> Iterator[Path]:
    for folder in (home.root, home.state):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.is_file() and _secret(home, path))


def _secret(home: Home, path: Path) -> bool:
    """False for what everybody may know: config.toml, and certificates without their key."""
    if path == home.config_file:
        return False
    try:
        text = path.read_bytes() if path.suffix in {".pem", ".crt"} else b""
    except OSError:
        return True
    return b"BEGIN CERTIFICATE" not in text or b"PRIVATE KEY" in text


def _others_may(path: Path) -> bool:
    try:
        about = path.stat()
    except OSError:
        return False
    return os.name == "posix" and about.st_uid == os.getuid() and bool(about.st_mode & 0o077)


# -- what is reachable ----------------------------------------------------------------------------


def _own_service(home: Home) -> Finding:
    check, restart = "service local", "compute-nb service restart"
    service = running(home)
    if service is None and locked(home):
        log = f"its log is {home.service_log}"
        return Finding(check, PROBLEM, "runs and has not said where", f"{restart}; {log}")
    if service is None:
        stopped = " (stopped by command)" if home.stopped_mark.exists() else ""
        return Finding(check, OK, f"does not run{stopped}: the next submit starts it")
    try:
        control.ask(home, "GET", "/v2/endpoints")
    except ComputeError as error:
        return Finding(check, PROBLEM, str(error), restart)
    told = f"answers at {service.url}, broker {service.broker}{', plain' if service.plain else ''}"
    if service.url.startswith("http:"):
        told += "; published programs can't tell it from another user's at that port (SECURITY.md)"
    return Finding(check, OK, told)


def _service(service: ServiceSettings, home: Home) -> Finding:
    check = f"service {service.name}"
    try:
        if service.needs_login and not Login.of(home).there:
            return Finding(check, NOTE, "nobody is logged in", f"compute-nb login --service {service.name}")
        reach = Reach(service, home)
        extended = reach.call(routes.extensions) is not None
        reach.call(lambda connection: connection.get("/v2/endpoints"))
    except (ComputeError, ValueError) as error:
        return Finding(check, PROBLEM, str(error), f"see [services.{service.name}] of {home.config_file}")
    return Finding(check, OK, f"answers at {service.url}{'' if extended else ', plain'}")


# -- endpoints ------------------------------------------------------------------------------------


def _endpoints(home: Home) -> Iterator[Finding]:
    for folder in folders(home):
        file = folder.path / FILE_NAME
        try:
            read_settings(file if file.exists() else None, {})
        except ComputeError as error:
            yield Finding(f"endpoint {folder.name}", PROBLEM, str(error), f"correct {file}")
    for row in roster(home).rows:
        yield from of_endpoint(row)


def of_endpoint(row: Row) -> Iterator[Finding]:
    """Yields how one endpoint stands, and where it differs from this Python and package."""
    check = f"endpoint {row.name}"
    if row.trouble:
        yield Finding(check, PROBLEM, row.trouble, f"compute-nb endpoint list; its folder is {row.folder}")
    elif row.state == OFFLINE and row.running:
        told = f"process {row.pid} runs and its service does not hear it"
        yield Finding(check, PROBLEM, told, f"see its log in {row.folder}")
    elif row.state != ONLINE:
        mend = f"compute-nb endpoint start {row.name}" if row.folder else "start it on its machine"
        is_local = row.name.partition("-")[0] == LOCAL
        yield Finding(check, NOTE, row.state, "the next submit starts it" if is_local else mend)
    else:
        told = f"online, {row.engine or 'engine unknown'}, Python {row.python or 'unknown'}"
        yield Finding(check, OK, told)
    if row.state != ONLINE:
        return
    if row.engine in ENGINES and row.version not in (None, __version__):
        mend = f"compute-nb endpoint stop {row.name}, then start it by the same version"
        yield Finding(check, NOTE, f"compute_nb {row.version}, and this is {__version__}", mend)
    differs = environment.warning_of(row.name, {"python": row.python, "dill": row.dill})
    if differs:
        told, _, mend = differs.partition(". ")
        yield Finding(check, NOTE, told, mend)
