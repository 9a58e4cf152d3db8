"""The published agent as a process, pointed at a service of ours by `docs/attach_agent.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import psutil

ATTACH = Path(__file__).parents[2] / "docs" / "attach_agent.py"
PERIOD_S = 5
WAIT_S = 150
CONFIG = f"display_name: Published\nemail: somebody@lab.example\nheartbeat_period: {PERIOD_S}\n"
TEMPLATE = f"""\
heartbeat_period: {PERIOD_S}
idle_heartbeats_soft: {{{{ idle | default(0) }}}}
{{% if broken is defined %}}
display_name: {{{{ nowhere }}}}
{{% endif %}}
engine:
{{% if blocks is defined %}}
  type: GlobusComputeEngine
  address: 127.0.0.1
  max_workers_per_node: 1
  provider: {{type: LocalProvider, init_blocks: 1, max_blocks: {{{{ blocks }}}}}}
  job_status_kwargs: {{strategy_period: 1}}
{{% else %}}
  type: ThreadPoolEngine
  max_workers: 2
{{% endif %}}
"""


class PublishedAgent:
    """A core endpoint `pub` with a folder of its own; what it starts ends with it.

    Args:
        python: Has the published package.
        url: Of the service.
        token_file: Of its user.
        endpoint_id: As it is registered.
        folder: To work in.
    """

    def __init__(self, python: str, url: str, token_file: Path, endpoint_id: str, folder: Path) -> None:
        self.endpoint_id = endpoint_id
        self._command = [python, str(ATTACH), url, str(token_file), "start", "pub"]
        self._folder = folder
        # The agent of root gives what it starts nothing but this.
        self._env = {
            "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "GLOBUS_COMPUTE_USER_DIR": str(folder),
        }
        own = folder / "pub"
        own.mkdir(parents=True)
        (own / "config.yaml").write_text(CONFIG)
        (own / "user_config_template.yaml.j2").write_text(TEMPLATE)
        (own / "user_environment.yaml").write_text(json.dumps(self._env))
        (own / "endpoint.json").write_text(json.dumps({"endpoint_id": endpoint_id}))
        self.start()

    def start(self) -> None:
        with (self._folder / "start.log").open("a") as log:
            process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=os.environ | self._env, start_new_session=True
            )
        self._process = psutil.Process(process.pid)
        self._popen = process

    def user_endpoints(self) -> list[psutil.Process]:
        """The processes that it has started."""
        return self._process.children()

    def kill(self) -> None:
        """Ends all of it by SIGKILL, and removes what tells the next start that it still runs."""
        processes = [*self._process.children(recursive=True), self._process]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        self._popen.wait(WAIT_S)
        psutil.wait_procs(processes, WAIT_S)
        for file in self._folder.glob("*/daemon.pid"):
            file.unlink()

    def stop(self) -> None:
        children = self._process.children(recursive=True)
        self._popen.terminate()
        self._popen.wait(WAIT_S)
        psutil.wait_procs(children, WAIT_S)

    def log(self) -> str:
        """What all of it wrote, for a test that fails."""
        return "\n".join(f"{file}:\n{file.read_text()[-3000:]}" for file in self._folder.rglob("*.log"))
