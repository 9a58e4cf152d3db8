"""The wire: byte for byte what globus-compute-common writes, and every own message comes back as it went."""

import json
from uuid import UUID

import pytest
from globus_compute_common.messagepack import message_types, pack, unpack
from hypothesis import given
from hypothesis import strategies as st

from compute_nb import tasks, wire
from compute_nb.published_messages import PublishedResult, PublishedTask, StatusReport
from compute_nb.tasks import Run, TaskState

ids = st.uuids()
texts = st.text(st.characters(), max_size=20)  # lone surrogates too
published_texts = st.text(max_size=20)
times = st.floats(0, 2e9)
maybe_times = st.none() | times
runs = st.builds(Run, ids, st.integers(0, 9))


def many(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(strategy, max_size=3).map(tuple)


json_objects = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts, max_size=3)
run_results = st.builds(
    tasks.RunResult, runs, st.sampled_from(tasks.Outcome), texts, st.none() | texts, maybe_times, maybe_times
)
batches = st.builds(
    tasks.TaskBatch, ids, ids, json_objects, many(st.builds(tasks.TaskCall, runs, texts)), texts
)
moves = st.builds(tasks.Move, ids, ids, st.sampled_from(TaskState), st.integers(0, 9), times)
task_results = st.builds(
    tasks.TaskResult,
    ids,
    ids,
    st.sampled_from(TaskState),
    texts,
    st.none() | texts,
    st.integers(0, 9),
    times,
    maybe_times,
    maybe_times,
    st.none(),
)
printed = st.builds(tasks.Printed, runs, ids, st.integers(0, 2**40), texts)
messages = st.one_of(
    st.builds(
        tasks.Hello,
        ids,
        ids,
        ids,
        json_objects,
        many(runs),
        many(runs),
        many(runs),
        many(st.builds(tasks.Broken, runs, texts)),
    ),
    st.builds(wire.Welcome, ids, many(runs)),
    st.builds(tasks.Dispatch, ids, st.dictionaries(ids, texts, max_size=2), many(batches)),
    st.builds(
        tasks.Report,
        ids,
        many(runs),
        many(st.builds(tasks.Started, runs, times)),
        many(run_results),
        many(runs),
        many(printed),
    ),
    st.builds(wire.Stored, many(runs)),
    st.builds(wire.Cancel, many(runs)),
    st.just(wire.Stop()),
    st.builds(
        tasks.Events,
        many(moves),
        many(task_results),
        st.dictionaries(ids, json_objects, max_size=2),
        printed=many(printed),
    ),
    st.builds(StatusReport, ids, json_objects),
    st.builds(PublishedTask, ids, texts),
    st.builds(PublishedResult, ids, texts, st.none() | json_objects, st.none() | st.tuples(texts, texts)),
)


@given(messages)
def test_round_trip(message: wire.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda b: b"\x01" + b))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with pytest.raises(wire.MalformedMessage):
        wire.decode(body)


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"tasks": [["no-uuid", 0]]}, {"tasks": [[str(UUID(int=1))]]}, {"tasks": 3}],
)
def test_a_field_that_is_missing_or_odd_is_named(data: object) -> None:
    body = b"\x01" + json.dumps({"message_type": "compute_nb.stored", "data": data}).encode()
    with pytest.raises(wire.MalformedMessage, match="can't be read"):
        wire.decode(body)


@given(ids, published_texts)
def test_task_bytes_equal_the_published_ones(task_id: UUID, buffer: str) -> None:
    theirs = pack(message_types.Task(task_id=task_id, task_buffer=buffer))
    assert wire.encode(PublishedTask(task_id, buffer)) == theirs
    assert unpack(theirs).task_buffer == buffer


@given(ids, published_texts, st.none() | st.tuples(published_texts, published_texts))
def test_result_bytes_equal_the_published_ones(
    task_id: UUID, data: str, error: tuple[str, str] | None
) -> None:
    details = error and message_types.ResultErrorDetails(code=error[0], user_message=error[1])
    theirs = pack(message_types.Result(task_id=task_id, data=data, error_details=details))
    assert wire.encode(PublishedResult(task_id, data, None, error)) == theirs


def test_status_report_is_read_under_both_names() -> None:
    theirs = pack(
        message_types.EPStatusReport(endpoint_id=UUID(int=5), global_state={"a": 1}, task_statuses={})
    )
    ours = StatusReport(UUID(int=5), {"a": 1})
    assert wire.encode(ours) == theirs
    assert wire.decode(theirs.replace(b"global_state", b"ep_status_report")) == ours


@given(st.lists(st.text(max_size=30)))
def test_buffers_are_packed_by_characters(buffers: list[str]) -> None:
    assert wire.unpack_buffers(wire.pack_buffers(buffers)) == buffers


@pytest.mark.parametrize("packed", ["x", "3", "3\nab", "-1\nab", "٣\nabc", "2\nab1", "\nab"])
def test_a_broken_pack_is_refused(packed: str) -> None:
    with pytest.raises(wire.MalformedMessage):
        wire.unpack_buffers(packed)
