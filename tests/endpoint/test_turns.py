"""The waiting line: nothing is lost or doubled, groups take turns."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from compute_nb.endpoint.engine import EngineBatch, EngineTask
from compute_nb.endpoint.turns import MAX_CHUNK_CHARS, Turns
from compute_nb.tasks import Run


def batch(group: int, function: int, numbers, args: str = "", owner: str = "", **options) -> EngineBatch:
    tasks = tuple(EngineTask(n, Run(UUID(int=n), 0), args) for n in numbers)
    return EngineBatch(UUID(int=group), UUID(int=function), "code", options, tasks, owner)


def taken(turns: Turns, size: int = 1) -> list[int]:
    found = turns.take(lambda _: size)
    return [task.number for task in found[1]] if found else []


def test_groups_take_turns_and_keep_their_order():
    turns = Turns()
    turns.put(batch(1, 1, range(10)))
    turns.put(batch(2, 1, [100, 101]))
    assert [taken(turns, 2) for _ in range(4)] == [[0, 1], [100, 101], [2, 3], [4, 5]]


def test_owners_take_turns_before_their_groups_do():
    turns = Turns()
    for group in range(10):
        turns.put(batch(group, 1, [10 * group, 10 * group + 1], owner="many"))
    turns.put(batch(50, 1, [500, 501, 502], owner="one"))
    order = [taken(turns)[0] for _ in range(23)]
    assert order[:7] == [0, 500, 10, 501, 20, 502, 30]
    assert order[7:] == [40, 50, 60, 70, 80, 90, 1, 11, 21, 31, 41, 51, 61, 71, 81, 91]


def test_a_lone_task_of_another_owner_is_next_but_one():
    turns = Turns()
    for group in range(100):
        turns.put(batch(group, 1, range(100 * group, 100 * group + 5), owner="many"))
    assert taken(turns) == [0]
    turns.put(batch(200, 1, [77777], owner="one"))
    assert [taken(turns) for _ in range(2)] == [[100], [77777]]


def test_a_chunk_joins_batches_of_one_function_and_options():
    turns = Turns()
    for number in range(3):
        turns.put(batch(1, 7, [number]))
    turns.put(batch(1, 7, [3], walltime_s=1))
    turns.put(batch(1, 8, [4]))
    assert [taken(turns, 64) for _ in range(4)] == [[0, 1, 2], [3], [4], []]


def test_large_arguments_travel_alone():
    turns = Turns()
    turns.put(batch(1, 1, [1, 2, 3], args="x" * (MAX_CHUNK_CHARS // 2)))
    turns.put(batch(1, 1, [4], args="x" * (2 * MAX_CHUNK_CHARS)))
    assert [taken(turns, 64) for _ in range(3)] == [[1, 2], [3], [4]]


def test_what_is_put_back_comes_first():
    turns = Turns()
    one = batch(1, 1, [1, 2, 3])
    turns.put(one)
    turns.put(batch(2, 1, [9]))
    found = turns.take(lambda _: 2)
    turns.put_back(one, found[1])
    assert [taken(turns, 2) for _ in range(3)] == [[1, 2], [9], [3]]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5), st.integers(1, 2), st.integers(0, 6)),
        st.tuples(st.just("take"), st.integers(1, 5), st.booleans(), st.just(0)),
        st.tuples(st.just("drop"), st.integers(0, 40), st.just(0), st.just(0)),
        st.tuples(st.just("clear"), st.just(0), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(OPERATIONS)
@settings(max_examples=80, deadline=None)
def test_every_task_leaves_the_line_exactly_once(operations):
    turns, waiting, last = Turns(), set(), 0
    for what, one, two, three in operations:
        if what == "put":
            numbers = range(last, last := last + three)
            turns.put(batch(one, two, numbers, owner="odd" if one % 2 else "even"))
            waiting.update(numbers)
        elif what == "take":
            found = turns.take(lambda _, size=one: size)
            assert (found is None) == (not waiting)
            if found:
                numbers = [task.number for task in found[1]]
                assert 1 <= len(numbers) <= one
                assert waiting.issuperset(numbers)
                assert len(set(numbers)) == len(numbers)
                if two:
                    turns.put_back(*found)
                else:
                    waiting.difference_update(numbers)
        elif what == "drop":
            task = turns.find(one)
            assert (task is not None) == (one in waiting)
            assert turns.drop(one) == (one in waiting)
            waiting.discard(one)
        else:
            assert {task.number for task in turns.clear()} == waiting
            waiting.clear()
        assert len(turns) == len(waiting)
        assert (turns.head() is None) == (not waiting)
