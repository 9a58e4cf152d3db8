from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute_nb.service.broker import exchanges
from compute_nb.service.broker.exchanges import Exchange, matches
from compute_nb.service.broker.queues import Queue


@pytest.mark.parametrize(
    ("pattern", "key", "hit"),
    [
        ("*.results", "1.results", True),
        ("*.results", "1.2.results", False),
        ("*.results", "results", False),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("#.b", "b", True),
        ("#.b", "a.a.b", True),
        ("a.#", "a", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.x.y.c", False),
        ("*", "", False),
        ("", "", True),
        ("", "a", False),
        ("a.*.*", "a.b", False),
        ("#.#.a", "a", True),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
        ("[a-z]", "b", False),
    ],
)
def test_topic_patterns(pattern, key, hit):
    assert matches(pattern, key) is hit


@given(
    st.lists(st.sampled_from(["a", "b", "*", "#"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5),
)
def test_topic_patterns_agree_with_a_regular_expression(parts, words):
    spelled = "".join({"*": r"\w+\.", "#": r"(\w+\.)*"}.get(part, part + r"\.") for part in parts)
    hit = re.fullmatch(spelled, "".join(word + "." for word in words)) is not None
    assert matches(".".join(parts), ".".join(words)) is hit


def queue(name: str) -> Queue:
    return Queue(name, lambda: 0.0)


def test_each_queue_gets_a_message_once():
    exchange, one, two = Exchange("x", "topic"), queue("one"), queue("two")
    exchange.bind("a.*", one)
    exchange.bind("#", one)
    exchange.bind("*.b", two)
    assert exchange.route("a.b") == (one, two)
    assert exchange.route("c") == (one,)


def test_known_routes_follow_the_bindings(monkeypatch):
    monkeypatch.setattr(exchanges, "MAX_KNOWN_ROUTES", 2)
    exchange, one, two = Exchange("x", "direct"), queue("one"), queue("two")
    exchange.bind("k", one)
    assert exchange.route("k") == (one,)
    exchange.bind("k", two)
    assert exchange.route("k") == (one, two)
    exchange.unbind("k", one)
    exchange.unbind("k", one)
    assert exchange.route("k") == (two,)
    exchange.forget(two)
    assert [exchange.route(key) for key in "kabc"] == [()] * 4
