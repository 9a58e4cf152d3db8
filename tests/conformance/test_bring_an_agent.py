"""The commands of docs/services.md that bring a published agent to a service, as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from conformance.conftest import Early, Side, double
from conformance.published_agent import ATTACH
from own_home import await_online

from compute_nb import Executor

DOCS = Path(__file__).parents[2] / "docs" / "services.md"
WAIT_S = 150


def commands(url: str) -> str:
    """Returns the block without the environment, which stands ready: made by the same two commands."""
    (block,) = re.findall(r"```bash\n(python3 -m venv agent\n.*?)```", DOCS.read_text(), re.DOTALL)
    installing, asked = "agent/bin/pip install globus-compute-endpoint\n", "http://127.0.0.1:8765"
    assert installing in block
    assert asked in block
    return block.split(installing)[1].replace(asked, url)


def test_its_commands_work(extended: Side, early: Early, published_python: str, tmp_path: Path) -> None:
    (tmp_path / "agent").symlink_to(Path(published_python).parents[1])
    shutil.copy(ATTACH, tmp_path)
    (tmp_path / "token").write_text(extended.token)

    def bash(text: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=tmp_path,
            env={**os.environ, "GLOBUS_COMPUTE_USER_DIR": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    bash(commands(extended.url))
    try:
        await_online(extended.home, "cluster")
        with Executor("here:cluster", early.client) as one:
            assert one.submit(double, 4).result(WAIT_S) == 8
    finally:
        bash(f"agent/bin/python attach_agent.py {extended.url} token stop cluster")
