"""`compute-nb tasks …` as a user calls it."""

import json

import pytest

from compute_nb.cli.control import ask
from compute_nb.tasks import new_id, new_ids


@pytest.fixture
def group(home, compute_nb):
    """A group of three tasks for an endpoint that never takes any."""
    compute_nb("service", "start")
    function = ask(home, "POST", "/v3/functions", {"function_name": "f", "function_code": "5\n01\nxy"})
    body = {"endpoint_name": "idle", "metadata": {"compute_nb": {"version": 1}}}
    endpoint = ask(home, "POST", "/v3/endpoints", body)["endpoint_id"]
    group, key = str(new_id()), function["function_uuid"]
    ids = [str(task_id) for task_id in new_ids(3)]
    body = {"tasks": {key: ["args"] * 3}, "task_group_id": group, "compute_nb": {"task_ids": {key: ids}}}
    ask(home, "POST", f"/v3/endpoints/{endpoint}/submit", body)
    return group, ids


def test_tasks_from_list_to_delete(compute_nb, group):
    group, (first, second, third) = group
    shown = compute_nb("tasks", "list")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert group in shown.stdout
    assert "3 WAITING" in shown.stdout
    (row,) = json.loads(compute_nb("tasks", "list", "--json").stdout)
    assert (row["task_group_id"], row["endpoint_name"], row["tasks"]) == (group, "idle", {"WAITING": 3})

    assert compute_nb("tasks", "cancel", first).stdout == "1 cancelled\n"
    assert compute_nb("tasks", "lose", second).stdout == "1 lost\n"
    page = json.loads(compute_nb("tasks", "list", group, "--json").stdout)
    assert [task["state"] for task in page["tasks"]] == ["CANCELLED", "LOST", "WAITING"]
    assert all(task_id in compute_nb("tasks", "list", group).stdout for task_id in (first, second, third))
    assert "given up by its owner" in compute_nb("tasks", "show", second).stdout
    assert json.loads(compute_nb("tasks", "show", third, "--json").stdout)["compute_nb"]["state"] == "WAITING"

    retried = json.loads(compute_nb("tasks", "retry", group, "--json").stdout)
    assert (retried["retried"], set(retried["newest"])) == (2, {first, second})
    deleted = compute_nb("tasks", "delete", group)
    assert deleted.stdout.splitlines()[0] == "2 deleted, 3 open"
    assert "tasks cancel" in deleted.stdout
    assert compute_nb("tasks", "cancel", group).stdout == "3 cancelled\n"
    assert json.loads(compute_nb("tasks", "delete", group, "--json").stdout) == {"deleted": 3, "open": 0}
    gone = compute_nb("tasks", "show", first)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert f"{first} is neither a task nor a task group of yours" in gone.stderr
    assert len(gone.stderr.splitlines()) == 1


def test_what_ended_long_ago_is_deleted_and_all_else_stays(compute_nb, group):
    group, (first, second, third) = group
    compute_nb("tasks", "cancel", first, second)
    assert compute_nb("tasks", "delete", "--older-than", "1h").stdout == "0 deleted, 0 open\n"
    deleted = json.loads(compute_nb("tasks", "delete", "--older-than", "0d", "--json").stdout)
    assert deleted == {"deleted": 2, "open": 0}
    page = json.loads(compute_nb("tasks", "list", group, "--json").stdout)
    assert [task["task_id"] for task in page["tasks"]] == [third]
    for words in ((), (third, "--older-than", "1d"), ("--older-than", "soon"), ("--older-than", "1d,2d")):
        assert compute_nb("tasks", "delete", *words).returncode == 2


def test_without_a_service_or_with_wrong_words_one_line_says_what_to_do(compute_nb):
    none = compute_nb("tasks", "list")
    assert (none.returncode, none.stdout) == (1, "")
    assert "compute-nb service start" in none.stderr
    for words in (("cancel",), ("show", "x"), ("list", "--limit", "0")):
        assert compute_nb("tasks", *words).returncode == 2


def test_a_service_told_where_to_keep_its_state_says_what_is_wrong(compute_nb):
    for store, why in (
        ("postgresql://me:pw@127.0.0.1/x", "~/.pgpass"),
        ("mysql://127.0.0.1/x", "--store must be"),
        ("postgresql://me@127.0.0.1:1/x", "does not answer"),
    ):
        done = compute_nb("service", "start", "--store", store)
        assert (done.returncode, done.stdout) == (1, "")
        assert why in done.stderr
        assert "pw@" not in done.stderr
    compute_nb("service", "start")
    other = compute_nb("service", "start", "--store", "postgresql://me@127.0.0.1:1/x")
    assert other.returncode == 1
    assert "the service runs already" in other.stderr
    assert "restart --store" in other.stderr
    assert compute_nb("service", "start", "--store", "sqlite").returncode == 0
    assert "30d,180d" in compute_nb("service", "start", "--retention", "x").stderr
    for wrong in ("x", "0d", "1d,2d"):
        assert "14d" in compute_nb("service", "start", "--expire", wrong).stderr
