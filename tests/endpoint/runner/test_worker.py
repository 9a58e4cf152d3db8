"""What a worker answers when a value is too large."""

from __future__ import annotations


def test_a_value_that_is_too_large_is_refused_by_the_worker(shared):
    result = shared.failure("def large():\n    return b'x' * 9_000_000\n")
    assert result.error_code == "MaxResultSizeExceeded"
    assert "10,485,760" in result.data
    assert "return the path" in result.data
