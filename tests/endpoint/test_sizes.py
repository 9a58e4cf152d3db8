"""How chunks grow and shrink."""

from __future__ import annotations

from uuid import uuid4

from compute_nb.endpoint.engine import EngineBatch
from compute_nb.endpoint.sizes import ChunkSizes, Paces
from compute_nb.endpoint.slots import MAX_CHUNK

FUNCTION = uuid4()


def batch(**options) -> EngineBatch:
    return EngineBatch(uuid4(), FUNCTION, "code", options, ())


def grown(times: int = 10) -> ChunkSizes:
    sizes = ChunkSizes()
    for _ in range(times):
        sizes.learn(FUNCTION, sizes.size(batch()), 0.0001)
    return sizes


def test_a_size_doubles_while_a_chunk_is_short_and_no_further_than_a_record_holds():
    assert [grown(times).size(batch()) for times in range(4)] == [1, 2, 4, 8]
    assert grown().size(batch()) == MAX_CHUNK


def test_a_few_short_tasks_do_not_shrink_a_size():
    sizes = grown()
    sizes.learn(FUNCTION, 3, 0.0001)
    assert sizes.size(batch()) == MAX_CHUNK


def test_long_chunks_shrink():
    sizes = grown()
    sizes.learn(FUNCTION, MAX_CHUNK, 0.01)
    assert sizes.size(batch()) == MAX_CHUNK // 2
    sizes.learn(FUNCTION, 10, 1.0)
    assert sizes.size(batch()) == 1


def test_functions_do_not_share_a_size_and_a_walltime_means_one():
    sizes = grown()
    assert sizes.size(EngineBatch(uuid4(), uuid4(), "code", {}, ())) == 1
    assert sizes.size(batch(walltime_s=5)) == 1


def test_a_pace_fills_a_moment_and_follows_what_was_seen_last():
    paces = Paces(64)
    assert paces.size(batch()) == 1
    paces.learn(FUNCTION, 0.0001)
    assert paces.size(batch()) == 64
    for _ in range(40):
        paces.learn(FUNCTION, 0.01)
    assert 4 <= paces.size(batch()) <= 6
    paces.learn(FUNCTION, 60.0)
    assert paces.size(batch()) == 1
