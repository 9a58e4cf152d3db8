"""What a task raises becomes a text for people and a line for programs."""

from __future__ import annotations

import base64
import json
import zlib

import pytest

from compute_nb.serialize.serializer import ComputeSerializer


def fact_of(text: str) -> dict:
    last = text.rsplit("\n", 1)[-1]
    assert last.startswith("compute_nb:1:")
    return json.loads(zlib.decompress(base64.b64decode(last[len("compute_nb:1:") :])))


def test_an_error_shows_the_frames_of_the_code_with_their_lines_and_none_of_the_runner(shared):
    source = "def outer(x):\n    return inner(x)\n\ndef inner(x):\n    return 1 / x\n"
    result = shared.failure(source, 0)
    assert result.error_code == "RemoteExecutionError"
    text = result.data.rsplit("\n", 1)[0]
    assert text.splitlines()[0] == "Traceback (most recent call last):"
    assert 'File "<outer>", line 2, in outer' in text
    assert "return inner(x)" in text
    assert 'File "<outer>", line 5, in inner' in text
    assert text.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert "runner" not in text
    fact = fact_of(result.data)
    assert (fact["type"], fact["module"]) == ("ZeroDivisionError", "builtins")
    assert fact["message"] == "division by zero"
    assert isinstance(ComputeSerializer().deserialize(fact["exception"]), ZeroDivisionError)


@pytest.mark.parametrize(
    ("statement", "kind", "words"),
    [
        ("raise SystemExit(3)", "SystemExit", "exit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("open('no such')", "FileNotFoundError", "with "),
        ("raise type('Odd', (Exception,), {'__str__': None})()", "Odd", "Odd"),
        ("raise type('Exit', (Exception,), {'__str__': lambda self: exit()})()", "Exit", "Exit"),
        ("raise type('Odd', (Exception,), {'__module__': {1}})('x')", "Odd", "x"),
        (
            "import os; os.mkdir('g'); os.chdir('g'); os.rmdir('../g'); open('x')",
            "FileNotFoundError",
            "is gone",
        ),
        ("raise ValueError('\\udc80')", "ValueError", "\\udc80"),
        ("raise ValueError('x' * 3_000_000)", "ValueError", "left out"),
    ],
)
def test_whatever_is_raised_becomes_text(shared, statement, kind, words):
    result = shared.failure(f"def fail():\n    {statement}\n")
    assert result.error_code == "RemoteExecutionError"
    assert words in result.data
    assert fact_of(result.data)["type"] == kind
    result.data.encode()


def test_an_exception_that_can_not_travel_has_no_buffer(shared):
    source = "def fail():\n    raise ValueError(i for i in [])\n"
    assert fact_of(shared.failure(source).data)["exception"] is None


def test_a_text_with_a_tail_of_its_own_is_passed_on(shared):
    text = "what the cell says\ncompute_nb:1:abc"
    source = f"def fail():\n    raise RuntimeError({text!r})\n"
    assert shared.failure(source).data == text


def test_half_a_character_in_such_a_text_is_spelled_out(shared):
    source = "def fail():\n    raise RuntimeError('sur \\ud800\\ncompute_nb:1:abc')\n"
    assert shared.failure(source).data == "sur \\ud800\ncompute_nb:1:abc"
