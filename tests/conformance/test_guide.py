"""The Executor guide that this project follows, block by block, at our service and at a plain one.

Replaced is only what `script` and the tests name: imports, ids, names that an earlier block gave, a day's
sleep, `...` and `>>>`, and the guide's own slips.
"""

import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import guide
import pytest
from own_home import lab

FENCE = re.compile(
    r"^\.\. code(?:-block)?:: python\n(?:[ ]+:\w+:[^\n]*\n)*\n((?:[ ]+[^\n]*\n|\n)+)", re.MULTILINE
)
BLOCKS = [textwrap.dedent(block).rstrip() + "\n" for block in FENCE.findall(guide.FILE.read_text())]
EVERYWHERE = {
    r"from globus_compute_sdk\.sdk\.executor import": "from compute_nb import",
    r"from globus_compute_sdk(\.serialize)? import": r"from compute_nb\1 import",
    r"""(?i)['"](?:[0-9a-f]{8}-[0-9a-f-]{27}|<?[\w -]*endpoint[\w -]*>?)['"]""": '"guide"',
}
EXECUTOR = "from compute_nb import Executor\n"
NAPS_S = 120


def script(number: int, instead: dict[str, str] | None = None, before: str = "") -> str:
    """Returns a block as a script, `before` in front of it."""
    text = BLOCKS[number - 1]
    for pattern, new in EVERYWHERE.items():
        text = re.sub(pattern, new, text)
    for old, new in (instead or {}).items():
        assert old in text, f"block {number} has no {old!r}"
        text = text.replace(old, new)
    return before + text


Run = Callable[..., str]
Started = subprocess.Popen


@pytest.fixture(scope="module", params=["ours", "plain"], autouse=True)
def napping(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A service with an endpoint `guide`; block 5 runs there already, since it naps for up to 19 s."""
    with lab("guide", plain=request.param == "plain", workers=20):
        file = tmp_path_factory.mktemp("naps") / "block.py"
        file.write_text(script(5, before=EXECUTOR + 'endpoint_id = "guide"\n'))
        one = started(file)
        yield one
        one.kill()
        one.communicate()


def started(file: Path, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", str(file), *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(text: str, *args: str, status: int = 0) -> str:
        file = tmp_path / "block.py"
        file.write_text(text)
        return printed(started(file, *args), status)

    return run


def printed(process: subprocess.Popen[str], status: int = 0) -> str:
    stdout, stderr = process.communicate(timeout=NAPS_S)
    assert (process.returncode, stderr) == (status, "")
    return stdout


def collatz() -> str:
    return script(2).split("ep_id =")[0]


def test_all_blocks_are_here() -> None:
    assert len(BLOCKS) == 12


def test_1_a_first_task(run: Run) -> None:
    assert run(script(1)) == "14\n"


def test_2_many_tasks(run: Run) -> None:
    lines = run(script(2)).splitlines()
    assert lines[:3] == [
        "Tasks all submitted; waiting for results",
        "All sequences generated (from 1 to 100)",
        "[1]",
    ]
    assert len(lines) == 102
    assert all(line.endswith("1]") for line in lines[2:])


def test_3_a_look_without_waiting(run: Run) -> None:
    given = collatz() + 'gce = Executor("guide")\n'
    assert run(script(3, {"...\n": ""}, given)) in ("Status:  False\n", "Status:  True\n")


def test_4_an_error_of_the_task(run: Run) -> None:
    said = run(script(4, {"exception: {exc})": 'exception: {exc}")'}, 'ep_id = "guide"\n'))
    assert said.startswith("Oh no!  The task raised an exception:")
    assert "ValueError: Sequence not terminated in 100 steps" in said


def test_6_reload_after_a_sudden_death(run: Run) -> None:
    said = run(script(6), status=-signal.SIGKILL)
    (group,) = re.findall(r"Task Group ID: (\S+)", said)
    assert "Tasks submitted upstream: 5" in said
    again = run(script(6), group).splitlines()
    assert again[0] == f"Reloading tasks from Task Group ID: {group}"
    assert again[1:] == [
        "Results:",
        *(f"  your Globus Compute logic result, from task: {n}" for n in range(1, 6)),
    ]


def test_7_and_8_a_batch_today_and_its_results_later(run: Run) -> None:
    said = run(script(7, {"time.sleep(3600 * 24)": "time.sleep(0.01)"}))
    (group,) = re.findall(r"Task Group ID for later reloading: (\S+)", said)
    later = {"Saved task group id from 'yesterday'": group, "as_completed(futs)": "as_completed(futures)"}
    assert run(script(8, later, "import concurrent.futures\n")) == "Received: All done!\n" * 10


def test_9_and_10_strategies_chosen_and_checked(run: Run) -> None:
    # Block 10 submits by the Executor of block 9, which its `with` has ended.
    run(script(9))
    opened = EXECUTOR + 'gcx = Executor("guide")\n'
    result = "future = gcx.submit"
    checked = script(10, {"gcx.submit": result}, opened)
    assert run(checked + "print(future.result())\n") == "hello world\n"


def test_11_strategies_for_results(run: Run) -> None:
    sent = "  print(gcx.submit(divmod, 17, 5).result(), gcx.submit(max, [1, 2]).result())\n"
    assert run(script(11) + sent) == "[3, 2] 2\n"


def test_12_another_port(run: Run) -> None:
    assert run(script(12, {">>> ": ""}) + "print(gce.amqp_port)\n") == "443\n"


def test_5_results_as_they_come(napping: Started) -> None:
    lines = printed(napping).splitlines()
    assert lines[0] == "Results: " + str([f"{n} -> {2 * n}" for n in range(10)])
    assert sorted(lines[1:]) == [f"Received: {n} -> {2 * n}" for n in range(10, 20)]
