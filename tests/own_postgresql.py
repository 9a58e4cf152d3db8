"""A PostgreSQL server of the tests' own: in a temporary folder, on a free port, never as root."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from itertools import count
from pathlib import Path

import psutil
import psycopg
from own_ports import free_ports

START_S = 300
USER = "postgres" if os.getuid() == 0 else None


def programs() -> Path | None:
    """Where the newest server's programs are, None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class PostgresqlServer:
    """Started by the constructor; `stop` removes it. It keeps its port when it is started again."""

    def __init__(self, **settings: str) -> None:
        self._bin = programs()
        assert self._bin is not None
        self.folder = Path(tempfile.mkdtemp(prefix="compute_nb-pg-", dir="/tmp"))
        if USER:
            shutil.chown(self.folder, USER, USER)
        self._run(
            "initdb", "-D", self.folder / "data", "-U", "tester", "-A", "trust", "--no-sync", "-E", "UTF8"
        )
        (self.port,) = free_ports(1)
        self._settings = {"port": str(self.port), "unix_socket_directories": str(self.folder)} | settings
        self._names = count()
        self.start()

    def _words(self, program: str, *words: object) -> list[str]:
        assert self._bin is not None
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if USER else []
        return [*as_user, str(self._bin / program), *map(str, words)]

    def tool(self, program: str, url: str, *words: object) -> None:
        """Runs one of PostgreSQL's own programs on a database."""
        self._run(program, f"--dbname={url}", *words)

    def _run(self, program: str, *words: object) -> None:
        done = subprocess.run(
            self._words(program, *words),
            capture_output=True,
            text=True,
            cwd="/",
            timeout=START_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Starts it and waits until it takes connections."""
        words = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._words("postgres", "-D", self.folder / "data", *words), stdout=log, stderr=log, cwd="/"
            )
        done, waiting = threading.Event(), START_S * 50
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            waiting -= 1
            assert waiting, "PostgreSQL does not start"
            done.wait(0.02)

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kills it with -9, and with it all that it has started."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait()
        for (
            one
        ) in family:  # left alone, one may answer for a moment more, and keep the next one from starting
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(family, timeout=START_S)

    def end(self, number: int = signal.SIGINT) -> None:
        """Ends it: SIGINT drops its connections, SIGQUIT leaves a recovery to the next start."""
        self.process.send_signal(number)
        self.process.wait(START_S)

    def stop(self) -> None:
        """Ends it for good and removes its folder."""
        if self.process.poll() is None:
            self.end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "tester") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """Makes an empty database and returns its URL."""
        name = f"store{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def schema(self) -> str:
        """Makes an empty schema, much cheaper than a database, and returns a URL that leads there."""
        name = f"store{next(self._names)}"
        self.execute(f"CREATE SCHEMA {name}")
        return f"{self.url('postgres')}?options=-csearch_path%3D{name}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as link:
            cursor = link.execute(sql)
            return cursor.fetchall() if cursor.description else []
