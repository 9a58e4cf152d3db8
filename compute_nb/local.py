"""This module is the finding and starting of the user's own service, by files, a proof and a subprocess."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

from compute_nb import proof, trust
from compute_nb.errors import AccessRefused, ComputeError, ServiceUnreachable
from compute_nb.home import HOME_VARIABLE, Home

START_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 5.0

# The service must be nobody's child, or it would stay a zombie of a kernel that outlives it. A shell in
# between would start it with SIGINT ignored, which its workers inherit.
_LET_GO = "import os, sys\nif os.fork(): os._exit(0)\nos.execv(sys.argv[1], sys.argv[1:])"


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """How a service is reached; `token` is its owner's.

    Attributes:
        local_url: On this host, where it differs.
        tls_sha256: The fingerprint of its certificate, where it has one.
    """

    url: str
    token: str = field(repr=False)
    pid: int
    service_id: str
    local_url: str | None = None
    tls_sha256: str | None = None


def find_service(home: Home) -> ServiceInfo | None:
    """Returns what the last service of `home` wrote down, None if there was none; asks nobody.

    Raises:
        ComputeError: The files are there and can't be read.
    """
    try:
        fields = json.loads(home.service_file.read_text(encoding="utf-8"))
        token = home.token_file.read_text(encoding="utf-8").strip()
        return ServiceInfo(
            *(fields["url"], token, fields["pid"], fields["service_id"]),
            *(fields.get("local_url"), fields.get("tls_sha256")),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ComputeError(
            f"{home.service_file} or the token beside it can't be read ({type(error).__name__}: {error}); "
            "`compute-nb service restart` writes them anew"
        ) from error


def answers(info: ServiceInfo) -> bool:
    """True if the service listens and proves, by its certificate or by the token, that it is this one."""
    parts = urlsplit(info.local_url or info.url)
    address = parts.hostname or "", parts.port or 80
    try:
        with socket.create_connection(address, timeout=ANSWER_TIMEOUT_S) as sock:
            if info.tls_sha256 is not None:
                return trust.shows(sock, info.tls_sha256)
            proof.hello(sock, proof.host_header(*address), info.token)
    except (OSError, ServiceUnreachable, AccessRefused):
        return False
    return True


def ended(home: Home) -> bool:
    """True if no process is the service of `home`: its lock, which dies with it, is free; asks nobody."""
    from filelock import FileLock, Timeout

    if not home.service_lock.exists():  # and must not be made by the question
        return home.root.exists()
    try:
        with FileLock(home.service_lock, mode=0o600, timeout=0):
            return True
    except Timeout:
        return False
    except OSError:  # the folder is gone, or can't be written
        return False


def ensure_service(home: Home, *, asked: bool = True) -> ServiceInfo:
    """Returns the running service of `home`, started if none runs; blocks until it listens.

    Args:
        asked: True if a person wants it now (a submit, a command): then it starts even after
            `service stop`. False if something only wants it back.

    Raises:
        ServiceUnreachable: It was stopped by command or its home deleted, and nobody asked for it since.
        ComputeError: It can't be started; says why and where its log is.
    """
    info = find_service(home)
    if info is not None and answers(info):
        return info
    if not asked:
        _refuse_if_unwanted(home)
    home.prepare()
    from filelock import FileLock, Timeout

    try:
        with FileLock(home.start_lock, mode=0o600, timeout=START_TIMEOUT_S):
            info = find_service(home)
            if info is None or not answers(info):
                if not asked:
                    _refuse_if_unwanted(home)  # it may have been stopped while we waited here
                info = _start(home)
    except Timeout as error:
        raise ComputeError(
            f"another process has been starting the service for {START_TIMEOUT_S:.0f} s; its log is "
            f"{home.service_log}"
        ) from error
    return info


def _refuse_if_unwanted(home: Home) -> None:
    if home.stopped_mark.exists():
        raise ServiceUnreachable(
            "the local service was stopped by command; `compute-nb service start` or the next submit "
            "starts it"
        )
    if not home.root.exists():
        raise ServiceUnreachable(f"the home folder {home.root} of the local service was deleted")


def _start(home: Home) -> ServiceInfo:
    home.stopped_mark.unlink(missing_ok=True)
    said = _spawn(home)
    info = find_service(home)
    if said.startswith("ready ") and info is not None:
        return info
    reason = said.removeprefix("error ") or f"it ended without a word; {_last_words(home)}"
    raise ComputeError(f"the local service did not start: {reason}; its log is {home.service_log}")


def _spawn(home: Home) -> str:
    """Starts the service in a session of its own and returns the line that it says when it is up."""
    command = [sys.executable, "-m", "compute_nb.cli", "service", "run", "--auto", "--ready-fd"]
    reading, writing = os.pipe()
    try:
        try:
            with _log(home) as log:
                subprocess.run(
                    [sys.executable, "-I", "-S", "-c", _LET_GO, *command, str(writing)],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writing,),
                    start_new_session=True,
                    cwd=home.root,
                    env={**os.environ, HOME_VARIABLE: str(home.root)},
                )
        finally:
            os.close(writing)
        return _read_line(reading, time.monotonic() + START_TIMEOUT_S)
    finally:
        os.close(reading)


def _log(home: Home) -> BinaryIO:
    try:
        return open(home.service_log, "ab", opener=_private)
    except OSError:  # no log is worth a service that does not start
        return open(os.devnull, "ab")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read_line(reading: int, until: float) -> str:
    """Returns the first line of a pipe, or what came before its end or the time `until`."""
    said = b""
    while b"\n" not in said:
        left_s = until - time.monotonic()
        if left_s <= 0 or not select.select([reading], [], [], left_s)[0]:
            return f"error it has not answered for {START_TIMEOUT_S:.0f} s"
        chunk = os.read(reading, 4096)
        if not chunk:
            break
        said += chunk
    return said.decode(errors="replace").partition("\n")[0].strip()


def _last_words(home: Home) -> str:
    try:
        lines = home.service_log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        return f"its log can't be read ({error.strerror})"
    return f"the last line of its log is: {next((s for s in reversed(lines) if s.strip()), '(none)')}"
