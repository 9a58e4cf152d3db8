"""1,000 tasks by a RabbitMQ while it or the service is restarted, killed or wiped: what was lost or doubled.

    python benchmarks/rabbit.py [COUNT] [SCENARIO …]

Each scenario has a home, a service and a local endpoint of its own. A task writes its number to a file when
it begins, so a number that stands there twice was doubled; a future without its value was lost.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rabbit import RabbitMQ, Vhost

COUNT = 1_000


def cli(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "compute_nb.cli", *words], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def restart(rabbit: RabbitMQ) -> None:
    rabbit.stop()
    rabbit.start()


def kill(rabbit: RabbitMQ) -> None:
    rabbit.kill()
    rabbit.start()


def wipe(rabbit: RabbitMQ) -> None:
    rabbit.kill()
    rabbit.wipe()
    rabbit.start()


def cut(rabbit: RabbitMQ) -> None:
    for row in rabbit.call("GET", "connections?columns=name"):
        rabbit.call("DELETE", f"connections/{row['name'].replace(' ', '%20').replace('>', '%3E')}")


def kill_service(_: RabbitMQ) -> None:
    os.kill(json.loads(cli("service", "status", "--json"))["pid"], signal.SIGKILL)
    cli("service", "start")  # as systemd does: agents and clients stay connected to RabbitMQ and see no end


def restart_service(_: RabbitMQ) -> None:
    cli("service", "restart")


SCENARIOS: dict[str, tuple[str, Callable[[RabbitMQ], None] | None]] = {
    "embedded": ("embedded broker, nothing happens", None),
    "quiet": ("RabbitMQ, nothing happens", None),
    "cut": ("all connections closed", cut),
    "restart": ("RabbitMQ restarted", restart),
    "kill": ("RabbitMQ killed (-9)", kill),
    "wipe": ("RabbitMQ killed and wiped", wipe),
    "service": ("service killed (-9)", kill_service),
    "reload": ("service restarted", restart_service),
}


def trip(rabbit: RabbitMQ, vhost: Vhost, name: str, count: int, folder: Path) -> str:
    from compute_nb import Executor

    text, disturb = SCENARIOS[name]
    os.environ["COMPUTE_NB_HOME"] = str(folder / "home")
    lines = folder / "lines"
    lines.touch()

    def work(number: int, path: str, seconds: float) -> int:
        import os
        import time

        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(file, b"%d\n" % number)
        os.close(file)
        time.sleep(seconds)
        return number * number

    options = vhost.options
    words = (
        []
        if name == "embedded"
        else [
            f"--broker={options.broker}",
            f"--broker-admin={options.admin}",
            f"--broker-password-file={options.password_file}",
        ]
    )
    said = cli("service", "start", *words)
    if "http" not in said:
        raise SystemExit(said)
    third = threading.Event()
    with Executor("local") as executor:
        executor.submit(work, -1, str(lines), 0.0).result(60)  # the agent is up
        began = time.perf_counter()
        futures = [
            executor.submit(work, n, str(lines), 0.0 if disturb is None else 0.02) for n in range(count)
        ]
        futures[count // 3].add_done_callback(lambda _: third.set())
        away_s = 0.0
        if disturb is not None:
            third.wait(120)
            at = time.perf_counter()
            disturb(rabbit)
            away_s = time.perf_counter() - at
        values = []
        for future in futures:
            try:
                values.append(future.result(240))
            except Exception as error:  # noqa: BLE001 - counted below
                values.append(error)
        took_s = time.perf_counter() - began
        group = executor.task_group_id
    begun = Counter(int(line) for line in lines.read_text().split() if line != "-1")
    ended = sum(not isinstance(value, Exception) for value in values)
    right = sum(value == n * n for n, value in enumerate(values))
    with Executor("local") as again:
        reloaded = sum(not f.exception(60) for f in again.reload_tasks(group)) - 1
    stored = json.loads(cli("service", "status", "--json"))["tasks"]
    cli("service", "stop")
    errors = Counter(repr(value)[:160] for value in values if isinstance(value, Exception))
    return (
        f"{text:34} accepted {count}  ended {ended}  right {right}  lost {count - ended}  "
        f"doubled {sum(n - 1 for n in begun.values())}  never begun {count - len(begun)}  "
        f"reloaded {reloaded}  away {away_s:.1f} s  took {took_s:.1f} s  store {stored} {errors or ''}"
    )


def main(words: list[str]) -> None:
    count = int(words.pop(0)) if words and words[0].isdigit() else COUNT
    with tempfile.TemporaryDirectory(prefix="cnb") as base:
        rabbit = RabbitMQ(Path(base) / "rabbit")
        rabbit.folder.mkdir()
        try:
            rabbit.start()
            for name in words or SCENARIOS:
                folder = Path(base) / name
                folder.mkdir()
                with rabbit.vhost() as vhost:
                    print(trip(rabbit, vhost, name, count, folder), flush=True)
        finally:
            rabbit.close()


if __name__ == "__main__":
    main(sys.argv[1:])
