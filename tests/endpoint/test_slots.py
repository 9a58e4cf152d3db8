"""The slots file as the engine writes it, the worker marks it, and a later agent reads it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute_nb.endpoint.runner.slot import Slot as WorkerSlot
from compute_nb.endpoint.slots import MAX_CHUNK, Slot, Slots, read_leftovers

JOURNAL = uuid4()


@pytest.fixture
def slots(tmp_path):
    slots = Slots(tmp_path / "slots", JOURNAL, 3)
    yield slots
    slots.close()


def test_a_worker_marks_what_it_begins(slots):
    slot = Slot(slots, 1)
    slot.occupy(4711, 12.5)
    slot.fill(0, 9, [100, 101, 1 << 40])
    worker = WorkerSlot(slot.places())
    assert worker.begin(0, 0)
    assert worker.begin(0, 1)
    assert slot.begun(0) == 2
    assert slot.begun_at() > 1.7e9
    leftovers = read_leftovers(slots.path, JOURNAL)
    assert (leftovers[1].pid, leftovers[1].start_mark) == (4711, 12.5)
    assert [leftover.begun for leftover in leftovers] == [(), (100, 101), ()]


def test_a_worker_begins_nothing_past_its_limit(slots):
    slot = Slot(slots, 0)
    slot.fill(1, 1, [1, 2, 3])
    worker = WorkerSlot(slot.places())
    assert worker.begin(1, 0)
    slot.limit(1, 1)
    assert not worker.begin(1, 1)
    assert slot.begun(1) == 1


def test_a_limit_that_comes_between_is_seen(slots):
    """The worker reads its limit once more after it has marked a task, and takes the mark back."""
    slot = Slot(slots, 0)
    slot.fill(0, 1, [1, 2, 3])
    worker = WorkerSlot(slot.places())
    worker.doubles = _OnWrite(worker.doubles, lambda: slot.limit(0, 1))
    assert not worker.begin(0, 1)
    assert slot.begun(0) == 1


class _OnWrite:
    """A view that lets something happen between the worker's two looks at its limit."""

    def __init__(self, view, call):
        self._view, self._call = view, call

    def __setitem__(self, place, value):
        self._view[place] = value
        self._call()


def test_only_the_named_task_is_meant_by_an_interrupt(slots):
    slot = Slot(slots, 2)
    worker = WorkerSlot(slot.places())
    slot.cancel(5, 3)
    assert worker.wanted_gone(5, 3)
    assert not worker.wanted_gone(5, 4)
    assert not worker.wanted_gone(6, 3)


def test_a_record_is_free_again_when_it_is_cleared(slots):
    slot = Slot(slots, 0)
    record = slot.free.pop()
    slot.fill(record, 1, [7])
    WorkerSlot(slot.places()).begin(record, 0)
    slot.clear(record)
    assert record in slot.free
    assert read_leftovers(slots.path, JOURNAL)[0].begun == ()


@pytest.mark.parametrize("damage", ["missing", "other journal", "short", "nonsense"])
def test_a_file_that_tells_nothing_is_known_as_such(tmp_path, damage):
    path = tmp_path / "slots"
    if damage != "missing":
        Slots(path, uuid4() if damage == "other journal" else JOURNAL, 2).close()
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-8])
    if damage == "nonsense":
        path.write_bytes(b"x" * 10)
    assert read_leftovers(path, JOURNAL) is None


CHUNKS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 1),
        st.lists(st.integers(1, 2**48), min_size=1, max_size=MAX_CHUNK, unique=True),
        st.integers(0, MAX_CHUNK),
        st.integers(0, MAX_CHUNK),
        st.booleans(),
    ),
    max_size=12,
)


@given(CHUNKS)
@settings(max_examples=30, deadline=None)
def test_what_is_read_is_what_had_begun(chunks):
    """Any chunks, limits and clears: the last ones in each record are told, begun tasks only."""
    with tempfile.TemporaryDirectory() as folder:
        slots = Slots(Path(folder) / "slots", JOURNAL, 3)
        begun: dict[tuple[int, int], list[int]] = {}
        for serial, (place, record, numbers, begins, limit, over) in enumerate(chunks, 1):
            slot = Slot(slots, place)
            slot.fill(record, serial, numbers)
            worker = WorkerSlot(slot.places())
            slot.limit(record, limit)
            started = [
                number
                for index, number in enumerate(numbers)
                if index < begins and worker.begin(record, index)
            ]
            assert started == numbers[: min(begins, limit)]
            if over:
                slot.clear(record)
            begun[place, record] = [] if over else started
        leftovers = read_leftovers(slots.path, JOURNAL)
        for place in range(3):
            told = [n for record in range(2) for n in begun.get((place, record), [])]
            assert list(leftovers[place].begun) == told
        slots.close()


def test_its_place_on_disk_is_taken_at_once(tmp_path):
    """A write to a page that the disk has no room for would kill the agent."""
    slots = Slots(tmp_path / "large", JOURNAL, 100)
    found = slots.path.stat()
    assert found.st_blocks * 512 >= found.st_size
    slots.close()
