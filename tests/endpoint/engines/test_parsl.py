"""The engine on a Parsl Config of the user's own."""

import psutil
import pytest
from ended import left_of

from compute_nb.endpoint.engines.parsl import ParslPool
from compute_nb.errors import ComputeError
from compute_nb.tasks import ErrorCode, Outcome

CONFIG = """\
from parsl import Config, HighThroughputExecutor
from parsl.providers import LocalProvider

config = Config(
    executors=[
        HighThroughputExecutor(
            label="block",
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            max_workers_per_node=1,
            cores_per_worker=0.1,
            heartbeat_period=2,
            provider=LocalProvider(init_blocks=0, min_blocks=0, max_blocks=1),
        )
    ],
    strategy="simple",
    strategy_period=0.2,
    max_idletime=0.5,
)
"""
PID = "def pid():\n    import os\n    return os.getppid()\n"


def test_blocks_go_out_with_work_and_in_without_and_a_lost_interchange_is_told(fresh, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    rig = fresh("parsl", parsl_config=path)
    first = rig.call(PID)
    log = tmp_path / "parsl" / "000" / "parsl.log"
    assert not left_of(first), "the block has not gone in"
    second = rig.call(PID)
    assert second != first
    running = rig.submit("def nap():\n    import time\n    time.sleep(60)\n")
    rig.pump(lambda: running[0] in rig.begun)
    (executor,) = rig.engine._pool._executors()
    executor.interchange_proc.kill()
    (result,) = rig.results(running)
    assert (result.outcome, result.error_code) == (Outcome.DIED, ErrorCode.WORKER_DIED)
    rig.engine.stop()
    rig.stop = lambda: None
    text = log.read_text()
    assert "Launched block 0" in text
    assert "Launched block 1" in text
    left = [one for one in psutil.Process().children(recursive=True) if str(tmp_path) in _words(one)]
    assert not left


def test_a_worker_without_a_line_is_not_asked_to_end_a_task(fresh, tmp_path):
    """Threads of Parsl are in the agent itself, so that nothing is opened for them to call."""
    path, begun, hold = tmp_path / "config.py", tmp_path / "begun", tmp_path / "hold"
    path.write_text(
        "from parsl import Config, ThreadPoolExecutor\n"
        "config = Config(executors=[ThreadPoolExecutor(max_threads=1)])\n"
    )
    hold.touch()
    rig = fresh("parsl", parsl_config=path)
    numbers = rig.submit(
        "def wait(begun, hold):\n    import os, time\n    open(begun, 'w').close()\n"
        "    while os.path.exists(hold):\n        time.sleep(0.01)\n",
        ((str(begun), str(hold)), {}),
    )
    rig.pump(lambda: numbers[0] in rig.begun)
    rig.engine.cancel(numbers)
    (result,) = rig.results(numbers)
    assert result.outcome is Outcome.CANCELLED
    assert "can't end a task that was begun" in result.data
    assert "Parsl has no way to take back" in result.data
    hold.unlink()
    assert rig.call("def one():\n    return 1\n") == 1


def _words(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from parsl import Config\nconfig = Config(executors=[], retries=2)\n", "leave it out"),
        ("config = 5\n", "no `config` that is a parsl.Config"),
        ("import no_such_thing\n", "ModuleNotFoundError"),
        ("from parsl import Config\nconfig = Config(executors=[\n", "SyntaxError: .* line 2"),
        ("raise SystemExit('module load first')\n", "SystemExit: module load first"),
        (
            "from parsl import Config, WorkQueueExecutor\nconfig = Config(executors=[WorkQueueExecutor()])\n",
            "requires the work_queue module",
        ),
    ],
)
def test_a_config_that_can_not_be_used_is_told(tmp_path, text, said):
    path = tmp_path / "config.py"
    path.write_text(text)
    pool = ParslPool(path, 1, {"environ": {}}, tmp_path)
    with pytest.raises(ComputeError, match=said) as caught:
        pool.open()
    assert str(path) in str(caught.value)
