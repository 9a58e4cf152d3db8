"""User endpoints of published agents in the store: which one a task is for, and what becomes of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from compute_nb.published_messages import PublishedResult
from compute_nb.service.lane import WINDOW_PUBLISHED
from compute_nb.service.rows import Forbidden, Letters, NotFound
from compute_nb.tasks import ErrorCode, Run, Submission, TaskState, new_id

from .test_store import ME, YOU, Play, Rig, play  # noqa: F401 - a fixture

OK = "3\n00\n"


async def published(rig: Rig, **more: Any) -> UUID:
    """Has an endpoint whose agent is a published one; returns its user endpoint, once it has a task."""
    rig.endpoint = await rig.store.register_endpoint(ME, "pub", {"endpoint_version": "4.19.0"}, **more)
    return rig.endpoint


async def due(rig: Rig) -> list[UUID]:
    return [row.endpoint_id for row in await rig.store.user_endpoints.due(rig.endpoint)]


async def up(rig: Rig, endpoint_id: UUID, process: UUID | None = None) -> tuple[UUID, float]:
    """A process checks in; returns which, and for how long an older one's results are waited for."""
    process = process or new_id()
    _, known_s = await rig.store.user_endpoints.checked_in(endpoint_id, process, requeue=True)
    return process, known_s


def test_one_user_endpoint_for_each_user_configuration_and_runtime(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig, public=True)
        await rig.submit(1, options={"user_endpoint_config": {"a": 1, "b": 2}})
        await rig.submit(1, options={"user_endpoint_config": {"b": 2, "a": 1}})
        assert len(await due(rig)) == 1, "the order of keys makes no other one"
        await rig.submit(1, options={"user_endpoint_config": {"a": 2}})
        await rig.submit(1, user_runtime={"python_version": "3.8"})
        function = await rig.store.register_function(YOU, "f", "4\ncode")
        rig.function = function
        yours = Submission(rig.endpoint, new_id(), rig.specs(1), {"user_endpoint_config": {"a": 2}})
        await rig.store.submit(YOU, yours)
        rows = await rig.store.user_endpoints.due(rig.endpoint)
        assert len({row.endpoint_id for row in rows}) == 4
        assert [(row.owner, dict(row.config)) for row in rows] == [
            (ME, {"a": 1, "b": 2}),
            (ME, {"a": 2}),
            (ME, {}),
            (YOU, {"a": 2}),
        ]
        assert dict(rows[2].runtime) == {"python_version": "3.8"}
        assert await rig.store.user_endpoints.all() == [(row.endpoint_id, rig.endpoint) for row in rows]

    play(scene)


def test_people_see_the_endpoint_that_they_named(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        group = new_id()
        (task,) = await rig.submit(1, group)
        (user_endpoint,) = await due(rig)
        assert (await rig.row(task)).endpoint_id == rig.endpoint
        assert (await rig.store.group(ME, group)).endpoint_id == rig.endpoint
        assert user_endpoint not in [row.endpoint_id for row in await rig.store.endpoints(ME)]
        rig.endpoint = user_endpoint
        with pytest.raises(NotFound):
            await rig.submit(1)

    play(scene)


def test_tasks_leave_as_letters_within_a_window_of_its_own(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        for _ in range(WINDOW_PUBLISHED // 1000 + 1):
            await rig.submit(1000)
        (user_endpoint,) = await due(rig)
        assert rig.messages == [], "nobody is there to read them"
        await up(rig, user_endpoint)
        letters = [message for _, message in rig.messages]
        assert all(isinstance(message, Letters) for message in letters)
        assert all(message.functions == {rig.function: "4\ncode"} for message in letters)
        runs = rig.sent()
        assert len(runs) == WINDOW_PUBLISHED
        await rig.store.user_endpoints.results(user_endpoint, [PublishedResult(runs[0].task_id, OK)])
        assert len(rig.sent()) == 1

    play(scene)


def test_a_result_is_taken_once_and_from_its_own_only(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        (mine,) = await rig.submit(1)
        (other,) = await rig.submit(1, options={"user_endpoint_config": {"other": True}})
        first, second = await due(rig)
        await up(rig, first)
        take = rig.store.user_endpoints.results
        assert (await take(second, [PublishedResult(mine, OK)])).results == ()
        assert (await take(first, [PublishedResult(new_id(), OK)])).results == ()
        error = ("RemoteExecutionError", "short")
        message = PublishedResult(mine, "traceback", None, error, started_at=5.0, ended_at=6.0)
        done = await take(first, [message, PublishedResult(mine, OK)])
        assert [(r.task_id, r.state, r.data) for r in done.results] == [(mine, TaskState.FAILED, "traceback")]
        row = await rig.row(mine)
        assert (row.error_code, row.started_at, row.ended_at) == ("RemoteExecutionError", 5.0, 6.0)
        await rig.store.cancel(ME, task_ids=[other])
        assert (await take(second, [PublishedResult(other, OK)])).results == (), "it was cancelled"
        assert await rig.states([other]) == ["CANCELLED"]

    play(scene)


def test_what_a_process_had_not_taken_goes_to_the_next_one(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        taken, waiting = await rig.submit(2)
        (user_endpoint,) = await due(rig)
        await up(rig, user_endpoint)
        assert {run.task_id for run in rig.sent()} == {taken, waiting}
        moves = (await rig.store.user_endpoints.taken(user_endpoint, [taken])).moves
        assert [(move.task_id, move.state) for move in moves] == [(taken, TaskState.DELIVERED)]
        await rig.store.user_endpoints.gone(user_endpoint, requeue=True)
        assert rig.sent() == []
        assert await due(rig) == [user_endpoint]
        rig.now += 1
        _, known_s = await up(rig, user_endpoint)
        assert known_s == 0.0
        assert rig.sent() == [Run(waiting, 0)]

    play(scene)


def test_what_an_ended_process_had_is_given_up_or_begins_again(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        (once,), (twice,) = await rig.submit(1), await rig.submit(1, retries=1)
        (late,) = await rig.submit(1)
        (user_endpoint,) = await due(rig)
        await up(rig, user_endpoint)
        await rig.store.user_endpoints.taken(user_endpoint, [once, twice, late])
        rig.now += 1
        await rig.store.user_endpoints.gone(user_endpoint, requeue=True)
        rig.sent()
        process, _ = await up(rig, user_endpoint)
        (young,) = await rig.submit(1)
        await rig.store.user_endpoints.taken(user_endpoint, [young])
        rig.now += 20
        _, known_s = await up(rig, user_endpoint, process)
        assert known_s == 20.0, "a service that begins anew waits for the rest only"
        await rig.store.user_endpoints.results(user_endpoint, [PublishedResult(late, OK)])
        rig.sent()
        changes = await rig.store.user_endpoints.settle(user_endpoint, process)
        assert [(r.task_id, r.state) for r in changes.results] == [(once, TaskState.LOST)]
        assert rig.sent() == [Run(twice, 1)]
        assert await rig.states([once, twice, late, young]) == ["LOST", "WAITING", "SUCCEEDED", "DELIVERED"]
        assert (await up(rig, user_endpoint, process))[1] < 0, "it is settled for good"
        done = await rig.store.user_endpoints.results(user_endpoint, [PublishedResult(once, OK)])
        assert [r.state for r in done.results] == [TaskState.SUCCEEDED], "a late value still counts"

    play(scene)


def test_a_process_that_comes_after_another_settles_for_both(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        (task,) = await rig.submit(1)
        (user_endpoint,) = await due(rig)
        await up(rig, user_endpoint)
        await rig.store.user_endpoints.taken(user_endpoint, [task])
        rig.now += 1
        second, _ = await up(rig, user_endpoint)
        rig.now += 1
        third, _ = await up(rig, user_endpoint)
        assert (await rig.store.user_endpoints.settle(user_endpoint, second)).results == ()
        assert len((await rig.store.user_endpoints.settle(user_endpoint, third)).results) == 1

    play(scene)


def test_a_start_that_failed_ends_what_waits_for_it(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        taken, waiting = await rig.submit(2)
        (elsewhere,) = await rig.submit(1, options={"user_endpoint_config": {"other": True}})
        user_endpoint, _ = await due(rig)
        await up(rig, user_endpoint)
        await rig.store.user_endpoints.taken(user_endpoint, [taken])
        rig.now += 1
        await rig.store.user_endpoints.gone(user_endpoint, requeue=True)
        changes = await rig.store.user_endpoints.start_failed(user_endpoint, "no such engine")
        assert {r.task_id for r in changes.results} == {taken, waiting}
        row = await rig.row(waiting)
        assert (row.state, row.data, row.error_code) == (
            TaskState.FAILED,
            "no such engine",
            ErrorCode.START_FAILED,
        )
        row = await rig.row(taken)
        assert row.state is TaskState.LOST
        assert "no such engine" in str(row.data)
        assert await rig.states([elsewhere]) == ["WAITING"]

    play(scene)


def test_a_deleted_endpoint_takes_its_user_endpoints_along(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        taken, waiting = await rig.submit(2)
        (user_endpoint,) = await due(rig)
        await up(rig, user_endpoint)
        await rig.store.user_endpoints.taken(user_endpoint, [taken])
        (held,) = await rig.submit(1, options={"user_endpoint_config": {"other": True}})
        ended = await rig.store.delete_endpoint(ME, rig.endpoint)
        assert {r.task_id for r in ended.results} == {taken, waiting, held}
        assert await due(rig) == []
        with pytest.raises(NotFound):
            await rig.submit(1)

    play(scene)


def test_an_endpoint_of_somebody_else_starts_nothing(play: Play) -> None:  # noqa: F811
    async def scene(rig: Rig) -> None:
        await published(rig)
        submission = Submission(rig.endpoint, new_id(), rig.specs(1))
        with pytest.raises(Forbidden):
            await rig.store.submit(YOU, submission)
        assert await due(rig) == []

    play(scene)
