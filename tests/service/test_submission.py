"""What a submit's body may say."""

from uuid import UUID

import pytest

from compute_nb.service.body import Body, parse
from compute_nb.service.refusal import Refusal
from compute_nb.service.submission import read_submission, reply
from compute_nb.tasks import new_ids

ENDPOINT, FUNCTION, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)


def read(**fields):
    return read_submission(ENDPOINT, Body({"tasks": {str(FUNCTION): ["a", "b"]}} | fields))


def test_a_published_submit_gets_ids_from_the_service():
    submission = read(create_queue=True, user_runtime={"x": 1}, resource_specification={})
    assert [task.args for task in submission.tasks] == ["a", "b"]
    assert submission.create_queue
    assert not submission.client_ids
    assert submission.options == {}


def test_client_ids_belong_to_payloads_in_order_of_the_payloads():
    ids = [str(i) for i in new_ids(3)]
    submission = read(
        tasks={str(FUNCTION): ["a", "b"], str(OTHER): ["c"]},
        task_group_id=str(UUID(int=9)),
        compute_nb={"task_ids": {str(OTHER): ids[2:], str(FUNCTION): ids[:2]}, "retries": 2, "hold": True},
    )
    assert [str(task.task_id) for task in submission.tasks] == ids
    assert (submission.retries, submission.hold, submission.client_ids) == (2, True, True)
    answer = reply(submission, submission.task_group_id, [t.task_id for t in submission.tasks])
    assert answer["tasks"] == {str(FUNCTION): ids[:2], str(OTHER): ids[2:]}


def test_options_are_the_ones_given():
    context = {"cwd": "/tmp", "sys_path": []}
    submission = read(
        result_serializers=["x.Y"], compute_nb={"walltime_s": 2.5, "context": context, "retries": None}
    )
    assert submission.options == {"result_serializers": ["x.Y"], "walltime_s": 2.5, "context": context}


def test_a_held_group_is_released_without_tasks():
    submission = read(tasks={}, task_group_id=str(UUID(int=9)), compute_nb={"hold": False})
    assert submission.tasks == ()


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"tasks": None}, 400, "lacks 'tasks'"),
        ({"tasks": []}, 400, "'tasks' must be dict"),
        ({"tasks": {}}, 400, "no tasks"),
        ({"tasks": {"x": []}}, 400, "must be a UUID"),
        ({"tasks": {str(FUNCTION): "ab"}}, 400, "list of texts"),
        ({"tasks": {str(FUNCTION): [1]}}, 400, "list of texts"),
        ({"tasks": {str(FUNCTION): ["a"] * 10_001}}, 413, "TASK_PAYLOAD_TOO_LARGE"),
        ({"task_group_id": "x"}, 400, "'task_group_id' must be a UUID"),
        ({"compute_nb": {"task_ids": {}}}, 400, "same functions and counts"),
        ({"compute_nb": {"task_ids": {str(FUNCTION): [str(OTHER)]}}}, 400, "same functions and counts"),
        ({"compute_nb": {"task_ids": {str(FUNCTION): [str(OTHER)] * 2}}}, 400, "twice"),
        ({"compute_nb": {"retries": True}}, 400, "'retries' must be int"),
        ({"compute_nb": {"retries": -1}}, 400, "between 0 and"),
        ({"compute_nb": {"walltime_s": "5"}}, 400, "walltime_s"),
        ({"compute_nb": {"context": [1]}}, 400, "context"),
        ({"compute_nb": 5}, 400, "'compute_nb' must be dict"),
        ({"resource_specification": [1]}, 400, "'resource_specification' must be dict"),
    ],
)
def test_bad_bodies_are_refused_with_what_is_wrong(fields, status, said):
    with pytest.raises(Refusal) as refused:
        read(**fields)
    assert refused.value.status == status
    assert said in refused.value.message


@pytest.mark.parametrize("raw", [b"{", b"[]", b"\xff", b'"a"', b"[" * 100_000])
def test_only_json_objects_are_read(raw):
    with pytest.raises(Refusal, match="JSON"):
        parse(raw)


@pytest.mark.parametrize("walltime", [float("nan"), float("inf"), 0, -1, True, "5", [5]])
def test_a_walltime_is_a_number_of_seconds(walltime):
    with pytest.raises(Refusal, match="walltime_s") as caught:
        read(compute_nb={"walltime_s": walltime})
    assert caught.value.status == 400


@pytest.mark.parametrize("context", [{"cwd": 5}, {"sys_path": "/x"}, {"sys_path": [5]}, [1], "/"])
def test_a_context_holds_texts(context):
    with pytest.raises(Refusal, match="context") as caught:
        read(compute_nb={"context": context})
    assert caught.value.status == 400


def test_half_a_character_is_refused():
    with pytest.raises(Refusal, match="surrogate"):
        parse(b'{"tasks": {"a": ["\\ud800"]}}')
    whole = parse(b'{"x": "\\ud83d\\ude00 \\\\ud800"}')
    assert whole.take("x", str) == "\U0001f600 \\ud800"
