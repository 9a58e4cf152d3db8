"""docs/group-service.md: its commands, units and settings, run in their order on this machine.

Replaced are folders, ports and the host's name, and what belongs to the machine: accounts of the system, sudo
and systemctl, for which `small_systemd` stands.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest
from own_postgresql import programs
from rabbit import SERVER
from small_systemd import Unit

from compute_nb.service import ports

PAGE = Path(__file__).parents[1] / "docs" / "group-service.md"
HERE = Path(__file__).parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOST = "compute.lab.example"
JOB = """
from compute_nb import Executor

def where(x):
    import os
    return x * 2, os.getpid()

with Executor() as executor:
    print(executor.submit(where, 21).result(60)[0])
"""


def sections():
    """The page by heading, in its order: (kind, text) of the blocks of each."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        found[heading] = FENCE.findall(text)
    return found


class Machine:
    """A machine in a folder: what the page writes under /etc, /var and /opt is there."""

    def __init__(self, root, postgresql, rabbit):
        self.root, self._postgresql, self._rabbit = root, postgresql, rabbit
        self.units, self.run, self.agent = root / "units", root / "run", root / "agent"
        for folder in (self.units, self.run, self.agent, root / "etc", root / "var" / "lib" / "compute-nb"):
            folder.mkdir(parents=True)
        sock = ports.listen("127.0.0.1", None, "--port")
        self.port = sock.getsockname()[1]
        sock.close()
        amqp = f"127.0.0.1:{rabbit.amqp_port}"
        self._instead = {
            "/etc/compute-nb": str(root / "etc" / "compute-nb"),
            "/var/lib/compute-nb": str(root / "var" / "lib" / "compute-nb"),
            "/var/backups": str(root / "var" / "backups"),
            "/opt/compute-nb": sys.prefix,
            "--port 443": f"--port {self.port}",
            "amqp://compute-nb@127.0.0.1/compute_nb": f"amqp://compute-nb@{amqp}/compute_nb "
            f"--broker-admin http://127.0.0.1:{rabbit.admin_port}",
            f"amqps://{HOST}:5671": f"amqp://{amqp}",
            "postgresql:///compute_nb": f"postgresql://compute-nb@127.0.0.1:{postgresql.port}/compute_nb",
            f"https://{HOST}": f"https://localhost:{self.port}",
            HOST: "localhost",
        }
        for name, text in self.unit_texts().items():
            (self.units / name).write_text(text)

    def here(self, text):
        for old, new in self._instead.items():
            text = text.replace(old, new)
        return text

    def unit_texts(self):
        page = PAGE.read_text()
        pattern = r"`[~/][\w./-]*/([\w-]+\.service)`.*?^```ini\n(.*?)^```$"
        found = re.findall(pattern, page, re.MULTILINE | re.DOTALL)
        return {name: self.here(text) for name, text in found}

    def shell(self, blocks):
        """Runs blocks in one bash, which ends at the first command that fails."""
        system = f"{sys.executable} {HERE / 'small_systemd.py'} {self.units} {self.run}"
        prelude = f"""
            set -euo pipefail
            export PATH={programs()}:$PATH PGHOST=127.0.0.1 PGPORT={self._postgresql.port} PGUSER=tester
            rabbitmqctl() {{ env {self._rabbit_environment()} {SERVER.with_name("rabbitmqctl")} "$@"; }}
            rabbitmq-plugins() {{ echo "rabbitmq-plugins $*"; }}
            useradd() {{ echo "useradd $*"; }}
            sudo() {{ [ "$1" = -u ]; shift 2; "$@"; }}
            systemctl() {{ HOME={self.agent} {system} "$@"; }}
        """
        script = "\n".join([textwrap.dedent(prelude), *map(self.here, blocks)])
        done = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def _rabbit_environment(self):
        return " ".join(f"{name}={shlex.quote(value)}" for name, value in self._rabbit.environment.items())

    def logs(self):
        return "".join(path.read_text()[-3000:] for path in self.run.glob("*/output"))

    def job(self, home):
        environ = {**os.environ, "COMPUTE_NB_HOME": str(home)}
        command = [sys.executable, "-W", "error", "-c", JOB]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def machine(tmp_path, postgresql, rabbit):
    rabbit.call("PUT", "users/guest", {"password": "guest", "tags": ""})
    one = Machine(tmp_path, postgresql, rabbit)
    yield one
    for name in ("compute-nb-gpu", "compute-nb"):
        if (one.run / name / "pid").exists():
            Unit(one.units, one.run, name).stop()
    for name in ("users/compute-nb", "vhosts/compute_nb"):
        with suppress(AssertionError):  # the test ended before it was made
            rabbit.call("DELETE", name)


def bash(blocks):
    return [text for kind, text in blocks if kind == "bash"]


@pytest.mark.timeout(600)
def test_the_page_is_true(machine):
    page = sections()
    headings = list(page)
    first = headings[: headings.index("An endpoint")]
    printed = machine.shell([block for heading in first for block in bash(page[heading])])
    assert f"service at https://localhost:{machine.port}" in printed
    assert "alice" in printed

    state = machine.root / "var" / "lib" / "compute-nb"
    shutil.copy(machine.root / "etc" / "compute-nb" / "tls.pem", machine.agent / "tls.pem")
    token, *start = bash(page["An endpoint"])
    cnb = next(block for block in bash(page["The service"]) if block.startswith("cnb()"))
    machine.shell([cnb, token])
    shutil.move(state / "gpu.token", machine.agent / "gpu.token")
    machine.shell(start)

    alice = machine.root / "alice"
    alice.mkdir()
    (toml,) = (text for kind, text in page["Users"] if kind == "toml")
    (alice / "config.toml").write_text(machine.here(toml))
    shutil.move(state / "alice.token", alice / "alice.token")
    shutil.copy(machine.agent / "tls.pem", alice / "tls.pem")
    wait_for_endpoint(machine, cnb)
    done = machine.job(alice)
    assert done.stdout.strip() == "42", done.stderr + machine.logs()

    rest = headings[headings.index("An endpoint") + 1 :]
    printed = machine.shell([cnb, *(block for heading in rest for block in bash(page[heading]))])
    assert 'compute_nb_tasks{state="SUCCEEDED"} 1' in printed
    assert "user alice is removed" in printed
    assert (machine.root / "var" / "backups" / "compute-nb" / "compute_nb.dump").stat().st_size > 10_000
    done = machine.job(alice)
    assert done.returncode == 1
    assert "revoked" in done.stderr


def wait_for_endpoint(machine, cnb):
    """Asks until the agent has registered; each question is a process, so it takes its time."""
    for _ in range(60):
        if "compute_nb_endpoints_online 1" in machine.shell([cnb, NUMBERS]):
            return
    raise AssertionError(machine.logs())


NUMBERS = """
token=$(cat /var/lib/compute-nb/hosts/local/token)
curl -fsS --cacert /etc/compute-nb/tls.pem -H "Authorization: Bearer $token" https://compute.lab.example/metrics
"""


def test_the_units_are_what_systemd_knows(machine):
    units = machine.unit_texts()
    assert set(units) == {"compute-nb.service", "compute-nb-gpu.service"}
    # Nobody else starts a killed service with RabbitMQ again: its agents and clients don't see the end.
    assert "\nRestart=always\nRestartSec=2\n" in units["compute-nb.service"]
    assert "\nRestart=on-failure\n" in units["compute-nb-gpu.service"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    for name in machine.unit_texts():
        done = subprocess.run(
            ["systemd-analyze", "verify", "--recursive-errors=no", str(machine.units / name)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        complaints = [line for line in done.stderr.splitlines() if name in line]
        assert (done.returncode, complaints) == (0, []), done.stderr


def test_the_limits_and_scopes_of_the_page_are_those_of_the_program():
    from dataclasses import asdict

    from compute_nb.service.config import Limits
    from compute_nb.service.scopes import SCOPES

    page = PAGE.read_text()
    limits = re.findall(r"^\| `(\w+)` \| ([\d.,]+)", page, re.MULTILINE)
    told = {name: float(number.replace(",", "")) for name, number in limits if name in asdict(Limits())}
    assert told == {name: pytest.approx(value, rel=0.01) for name, value in asdict(Limits()).items()}
    assert {scope for scope in SCOPES if f"| `{scope}` |" in page} == set(SCOPES)
