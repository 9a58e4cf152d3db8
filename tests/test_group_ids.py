"""Group ids: each once, in growing order, on any thread, in any process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from compute_nb import Executor
from compute_nb.group_ids import GroupIds

FORK = """
import os, warnings
from compute_nb.group_ids import group_ids
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads
group_ids.take()
drawn = group_ids.drawn
assert drawn
child = os.fork()
if child == 0:
    os._exit(0 if not set(drawn) & {group_ids.take() for _ in range(40)} else 1)
assert [group_ids.take() for _ in drawn] == drawn
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_each_is_given_once_and_they_grow():
    ids = GroupIds(ahead=3)
    given = [ids.take() for _ in range(50)]
    assert given == sorted(set(given))
    assert all(one.version == 7 for one in given)


def test_what_is_drawn_is_given_next():
    ids = GroupIds(ahead=3)
    assert ids.drawn == []
    ids.take()
    drawn = ids.drawn
    assert len(drawn) == 3
    assert [ids.take() for _ in range(3)] == drawn
    assert ids.drawn == []


def test_threads_get_different_ones():
    ids = GroupIds(ahead=3)
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: ids.take(), range(2_000)))
    assert len(set(given)) == 2_000


def test_a_forked_process_gives_others():
    done = subprocess.run([sys.executable, "-c", FORK], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "0\n"


def test_executors_have_a_group_each_unless_told():
    one, two = Executor("local"), Executor("local")
    assert one.task_group_id != two.task_group_id
    assert Executor("local", task_group_id=one.task_group_id).task_group_id == one.task_group_id
