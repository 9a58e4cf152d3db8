"""The private queue: a group is listened for before its first task is sent, and asked for once."""

from __future__ import annotations

import pytest
from small_server import TOKEN, small_server

from compute_nb.connection import Connection
from compute_nb.group_ids import group_ids
from compute_nb.private_queue import PrivateQueue
from compute_nb.tasks import new_id

WATCH = "POST", "/v3/compute_nb/watch"


@pytest.fixture
def server():
    with small_server() as one:
        one.answers[WATCH] = (200, {"queue": "w.q", "connection_url": "amqp://u:p@127.0.0.1:1/"})
        yield one


def named(server):
    return [body["task_groups"] for _, _, body in server.asked]


def test_groups_that_come_next_are_listened_for_with_the_first(server):
    source, connection = PrivateQueue(), Connection(server.url, TOKEN)
    first = new_id()
    group_ids.take()
    following = group_ids.drawn
    if not following:  # it was the last one that had been drawn
        group_ids.take()
        following = group_ids.drawn
    plan = source.follow(connection, first, None)
    assert plan is not None
    assert plan.queues == ("w.q",)
    assert named(server) == [[str(first), *map(str, following)]]
    for group in following:
        assert source.follow(connection, group_ids.take(), None) is None
        assert source.follow(connection, group, None) is None
    assert len(server.asked) == 1


def test_after_a_lost_connection_no_group_is_trusted(server):
    source, connection = PrivateQueue(), Connection(server.url, TOKEN)
    group_ids.take()
    source.follow(connection, new_id(), None)
    ahead, opened = group_ids.take(), new_id()
    source.forget()
    source.subscribe(connection, [opened])
    assert source.follow(connection, opened, None) is None
    assert source.follow(connection, ahead, None) is not None
    assert named(server)[1] == [str(opened)]
    assert named(server)[2][0] == str(ahead)


def test_groups_that_were_not_told_are_not_taken_for_told(server):
    source, connection = PrivateQueue(), Connection(server.url, TOKEN)
    server.answers[WATCH] = [(507, {"code": "STORE_FULL", "message": "full"}), server.answers[WATCH]]
    group = group_ids.take()
    with pytest.raises(Exception, match="STORE_FULL"):
        source.follow(connection, group, None)
    assert source.follow(connection, group, None) is not None
    assert len(server.asked) == 2
