"""Processors, boots, and the killing of an earlier agent's workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest

from compute_nb.endpoint import machine

MINE = f"mine-{os.getpid()}"  # other runs of these tests have marks too


def test_usable_cpus_are_those_of_the_affinity():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("no affinity: not on this platform")
    asked = (
        "from compute_nb.endpoint.machine import usable_cpus as u\nimport os\n"
        "os.sched_setaffinity(0, {%d})\nprint(u())"
    )
    cpu = min(os.sched_getaffinity(0))
    done = subprocess.run([sys.executable, "-c", asked % cpu], capture_output=True, check=True)
    assert done.stdout == b"1\n"


def test_a_quota_of_a_parent_group_counts(tmp_path):
    group = tmp_path / "user" / "app"
    group.mkdir(parents=True)
    (tmp_path / "user" / "cpu.max").write_text("150000 100000\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert machine.quota("0::/user/app", tmp_path) == 1.5
    assert machine.quota("0::/elsewhere", tmp_path) == float("inf")
    old = tmp_path / "cpu" / "app"
    old.mkdir(parents=True)
    (old / "cpu.cfs_quota_us").write_text("50000\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    assert machine.quota("4:memory:/app\n3:cpu:/app", tmp_path) == 0.5


def test_memory_is_that_of_the_machine_or_of_a_smaller_group(tmp_path):
    total, free = machine.memory()
    assert 0 < free < total <= psutil.virtual_memory().total
    group = tmp_path / "user" / "app"
    group.mkdir(parents=True)
    (tmp_path / "user" / "memory.max").write_text("1000\n")
    (tmp_path / "user" / "memory.current").write_text("300\n")
    (group / "memory.max").write_text("max\n")
    assert list(machine.memory_limits("0::/user/app", tmp_path)) == [(1000, 700)]
    old = tmp_path / "memory" / "app"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text("500\n")
    (old / "memory.usage_in_bytes").write_text("100\n")
    assert list(machine.memory_limits("4:cpu:/x\n3:memory:/app", tmp_path)) == [(500, 400)]


def test_a_boot_has_one_id():
    assert machine.boot_id() == machine.boot_id()


@pytest.fixture
def family():
    """A leader in a session of its own with a child, both marked."""
    script = (
        "import subprocess, sys\nchild = subprocess.Popen(['sleep', '60'])\nprint(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", script],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, machine.WORKER_MARK: MINE},
    )
    child = psutil.Process(int(leader.stdout.readline()))
    while child.environ().get(machine.WORKER_MARK) != MINE:  # amid its exec it has none to be read
        assert child.is_running()
    yield leader, child
    for process in (leader, child):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    leader.wait()
    leader.stdin.close()
    leader.stdout.close()


def test_a_group_is_killed_by_its_leader(family):
    leader, child = family
    doomed = machine.kill_group(leader.pid, machine.start_mark(leader.pid), MINE)
    assert {process.pid for process in doomed} == {leader.pid, child.pid}
    assert leader.wait() == -signal.SIGKILL
    child.wait(timeout=60)


def test_a_pid_that_was_used_again_is_left_alone(family):
    leader, child = family
    assert machine.kill_group(leader.pid, machine.start_mark(leader.pid) - 1, MINE) == []
    assert machine.kill_group(0, 0.0, MINE) == []
    assert leader.poll() is None
    assert child.is_running()


def test_children_whose_leader_is_gone_are_known_by_their_mark(family):
    leader, child = family
    mark = machine.start_mark(leader.pid)
    leader.kill()
    leader.wait()
    assert machine.start_mark(leader.pid) == 0.0
    assert machine.kill_group(leader.pid, mark, "another") == []
    assert [process.pid for process in machine.kill_group(leader.pid, mark, MINE)] == [child.pid]
    child.wait(timeout=60)


def test_what_a_journal_has_started_is_found_wherever_it_is(family):
    leader, child = family
    assert machine.kill_marked("another") == []
    doomed = machine.kill_marked(MINE)
    assert {process.pid for process in doomed} == {leader.pid, child.pid}
    assert leader.wait() == -signal.SIGKILL
    child.wait(timeout=60)
