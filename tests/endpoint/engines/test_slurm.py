"""The engine on a Parsl Config for Slurm, whose programs are scripts that run the job on this machine."""

import os
import threading
import time

import pytest

# Each does what the real one does for one job: the job's script goes on by itself, in a process group.
PROGRAMS = {
    "sbatch": (
        'script=$1\nout=$(sed -n "s/^#SBATCH --output=//p" "$script")\n'
        'setsid bash "$script" >"$out" 2>&1 </dev/null &\n'
        'cp "$script" "$SLURM_PLACE/$!"\necho "Submitted batch job $!"\n'
    ),
    "squeue": (
        'for job in $(echo "${@: -1}" | tr , " "); do\n'
        '  if kill -0 -- "-$job" 2>/dev/null; then echo "$job R"; fi\ndone\n'
    ),
    "scancel": 'for job in "$@"; do kill -TERM -- "-$job"; done\n',
    "sacct": "echo 'Slurm accounting storage is disabled' >&2\nexit 1\n",
}
CONFIG = """\
from parsl import Config, HighThroughputExecutor
from parsl.providers import SlurmProvider

provider = SlurmProvider(
    "debug", account="physics", walltime="00:20:00", max_blocks=1, worker_init="export LOADED=modules"
)
config = Config(
    executors=[
        HighThroughputExecutor(
            label="nodes",
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            max_workers_per_node=1,
            provider=provider,
        )
    ],
    strategy="simple",
    strategy_period=0.2,
)
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    place = tmp_path / "slurm"
    place.mkdir()
    for name, text in PROGRAMS.items():
        program = place / name
        program.write_text(f"#!/bin/bash\n{text}")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_PLACE", str(place))
    return place


def test_a_config_for_slurm_starts_its_jobs_and_ends_them(fresh, slurm, tmp_path):
    path = tmp_path / "cluster.py"
    path.write_text(CONFIG)
    rig = fresh("parsl", parsl_config=path)
    source = "def where():\n    import os\n    return os.environ['LOADED'], os.getpgid(os.getppid())\n"
    loaded, job = rig.call(source)
    assert loaded == "modules"
    script = (slurm / str(job)).read_text()
    for line in ("--partition=debug", "--account=physics", "--nodes=1"):
        assert f"#SBATCH {line}\n" in script
    rig.engine.stop()
    rig.stop = lambda: None
    limit, pause = time.monotonic() + 60, threading.Event()
    while is_there(job):
        assert time.monotonic() < limit, "the job was not cancelled"
        pause.wait(0.05)


def is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
