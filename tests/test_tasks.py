"""Task states and ids."""

import subprocess
import sys
import threading
from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_nb.tasks import ENDS, MOVES, OPEN, IllegalMove, TaskState, move, new_ids, sources


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(TaskState)
    assert ENDS | OPEN | {TaskState.LOST} == set(TaskState)


@given(st.sampled_from(TaskState), st.sampled_from(TaskState))
def test_a_move_is_made_or_named(old: TaskState, new: TaskState) -> None:
    task_id = uuid4()
    if new in MOVES[old]:
        assert move(task_id, old, new) is new
        assert old in sources(new)
    else:
        with pytest.raises(IllegalMove, match=f"{task_id} cannot go from {old.value} to {new.value}"):
            move(task_id, old, new)


def test_ends_are_final_but_lost_takes_a_late_value() -> None:
    assert not any(MOVES[end] for end in ENDS)
    assert MOVES[TaskState.LOST] == {TaskState.SUCCEEDED, TaskState.FAILED}


def test_ids_grow_and_never_repeat_over_threads() -> None:
    drawn: list[list[UUID]] = []
    threads = [
        threading.Thread(target=lambda: drawn.extend(new_ids(500) for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = [i for batch in drawn for i in batch]
    assert len(set(ids)) == len(ids)
    assert all(batch == sorted(batch) for batch in drawn)
    assert {i.version for i in ids} == {7}
    assert {i.variant for i in ids} == {RFC_4122}


FORK = """
import os, time, warnings
from compute_nb.tasks import new_id, new_ids
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads
time.time = lambda: 1_800_000_000.0  # what both processes draw, they draw in one millisecond
before = new_id()
heard, told = os.pipe()
child = os.fork()
if child == 0:
    os.write(told, b"".join(one.bytes for one in new_ids(100)))
    os._exit(0)
mine = {one.bytes for one in new_ids(100)} | {before.bytes}
theirs = b""
while len(theirs) < 1600:
    theirs += os.read(heard, 1600)
os.waitpid(child, 0)
print(len(mine & {theirs[at:at + 16] for at in range(0, 1600, 16)}))
"""


def test_a_forked_process_draws_other_ids() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "0\n"


def test_ids_of_one_moment_follow_each_other() -> None:
    ids = [new_ids(1)[0] for _ in range(3_000)]
    assert ids == sorted(set(ids))
    assert {one.version for one in ids} == {7}
