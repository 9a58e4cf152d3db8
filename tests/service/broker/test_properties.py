from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands

from compute_nb.service.broker import properties
from compute_nb.service.broker.faults import Fault


def test_headers_and_time_come_back():
    headers = {"task_uuid": "abc", "n": 3, "list": ["a", "b"], "flag": True, "long": "x" * 200}
    found = properties.read(properties.write(headers, 1_700_000_000.7))
    assert dict(found.headers) == headers
    assert found.timestamp_s == 1_700_000_000
    assert found.user_id is None


@pytest.mark.parametrize("time_s", [None, 1_700_000_000.0])
def test_without_headers(time_s):
    assert properties.read(properties.write(None, time_s)) == ({}, time_s, None)


def test_read_headers_cannot_be_changed():
    with pytest.raises(TypeError):
        properties.read(properties.write({"a": 1}, None)).headers["a"] = 2  # type: ignore[index]


def test_the_user_id_is_read():
    assert properties.read(commands.Basic.Properties(user_id="eve").marshal()).user_id == "eve"


def test_tables_without_end_are_refused():
    table = b""
    for _ in range(5_000):
        entry = b"\x01aF" + len(table).to_bytes(4, "big") + table
        table = entry
    raw = b"\x20\x00" + len(table).to_bytes(4, "big") + table
    with pytest.raises(Fault, match=r"SYNTAX_ERROR"):
        properties.read(raw)


@given(st.binary(min_size=2, max_size=300))
def test_any_bytes_are_read_or_refused(raw):
    with contextlib.suppress(Fault):
        properties.read(raw)


def test_a_list_longer_than_its_table_is_refused():
    """Bytes on which pamqp before 4.0.1 never comes back, also before the login."""
    table = b"\x01aA" + (1000).to_bytes(4, "big") + b"V"
    with pytest.raises(Fault, match="SYNTAX_ERROR"):
        properties.read(b"\x20\x00" + len(table).to_bytes(4, "big") + table)
