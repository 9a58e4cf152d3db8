"""A stand-in for systemctl in tests: it starts and stops what a unit says, as far as our units say anything.

`python small_systemd.py UNITS RUN [--user] enable --now NAME`: units are in the folder UNITS; processes,
credentials and output in RUN. All else of a unit (its hardening) is looked at by `systemd-analyze verify`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

READY_S = 150


class Unit:
    """One service."""

    def __init__(self, units: Path, run: Path, name: str) -> None:
        text = (units / f"{name}.service").read_text().replace("\\\n", " ")
        lines = [line.partition("=") for line in text.splitlines() if "=" in line and line[0] not in "#;"]
        self._settings: dict[str, list[str]] = {}
        for key, _, value in lines:
            self._settings.setdefault(key, []).append(value)
        self._folder = run / name
        self._folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Starts it and, if it says that it tells, waits until it is ready."""
        credentials = self._folder / "credentials"
        shutil.rmtree(credentials, ignore_errors=True)
        credentials.mkdir(mode=0o700)
        for entry in self._settings.get("LoadCredential", []):
            name, _, source = entry.partition(":")
            shutil.copy(source, credentials / name)
        home = Path(os.environ["HOME"])
        places = {"%d": str(credentials), "%h": str(home)}
        environ = {"PATH": os.environ["PATH"], "HOME": str(home), "CREDENTIALS_DIRECTORY": str(credentials)}
        for entry in self._settings.get("Environment", []):
            name, _, value = entry.partition("=")
            environ[name] = _filled(value, places)
        (command,) = self._settings["ExecStart"]
        words = [_filled(word, places) for word in shlex.split(command)]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            path = self._folder / "notify"
            path.unlink(missing_ok=True)
            told.bind(str(path))
            told.settimeout(READY_S)
            if self._settings.get("Type") == ["notify"]:
                environ["NOTIFY_SOCKET"] = str(path)
            with (self._folder / "output").open("ab") as output:
                io = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
                process = subprocess.Popen(words, env=environ, start_new_session=True, **io)
            (self._folder / "pid").write_text(str(process.pid))
            if "NOTIFY_SOCKET" in environ:
                assert told.recv(1000).startswith(b"READY=1")
        process.returncode = 0  # it lives on

    def stop(self) -> None:
        """Ends it and waits for that."""
        pid = int((self._folder / "pid").read_text())
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        os.kill(pid, signal.SIGTERM)
        import select

        assert select.select([descriptor], [], [], READY_S)[0], f"process {pid} does not end"
        os.close(descriptor)


def _filled(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(name, value)
    return text


def main(units: str, run: str, *words: str) -> None:
    """Does what systemctl would."""
    words = tuple(word for word in words if word not in ("--user", "--now"))
    if words == ("daemon-reload",):
        return
    verb, name = words
    unit = Unit(Path(units), Path(run), name)
    if verb in ("stop", "restart"):
        unit.stop()
    if verb in ("enable", "start", "restart"):
        unit.start()


if __name__ == "__main__":
    main(*sys.argv[1:])
