"""The exception of a failed task: ours and its own type at once, made from text without trusting it."""

from __future__ import annotations

import base64
import concurrent.futures
import copyreg
import io
import json
import pickle
import sys
import zlib

import pytest

from compute_nb.errors import (
    TaskCancelled,
    TaskExecutionFailed,
    TaskExpired,
    TaskLost,
    WorkerDied,
)
from compute_nb.failure import failure, split_tail
from compute_nb.serialize import ComputeSerializer, DillDataBase64, JSONData
from compute_nb.tasks import TaskState

SERIALIZER = ComputeSerializer()
TRACE = "Traceback (most recent call last):\n  Cell In[7], line 3\n    boom()"


class Demanding(Exception):
    """Its `__init__` wants what nobody has any more."""

    def __init__(self, code, *, detail):
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.calls = self.calls + 1 if hasattr(self, "calls") else 1


class Outer:
    class Inner(Exception):
        pass


class Slotted(Exception):
    __slots__ = ("place",)


def tail(error, **changes) -> str:
    class Pickler(pickle.Pickler):
        def reducer_override(self, obj):
            if isinstance(obj, BaseException):
                return copyreg.__newobj__, (type(obj), *obj.args), obj.__dict__ or None
            return NotImplemented

    file = io.BytesIO()
    Pickler(file, 4).dump(error)
    facts = {
        "type": type(error).__qualname__,
        "module": type(error).__module__,
        "message": str(error),
        "exception": "00\n" + base64.encodebytes(file.getvalue()).decode(),
    } | changes
    return "compute_nb:1:" + base64.b64encode(zlib.compress(json.dumps(facts).encode())).decode()


def failed(error, **changes):
    return failure(f"{TRACE}\n{tail(error, **changes)}", SERIALIZER, ended_at=2.0)


def test_the_error_is_both_types():
    error = failed(ValueError("no", 7))
    assert isinstance(error, ValueError)
    assert isinstance(error, TaskExecutionFailed)
    assert error.args == ("no", 7)
    assert type(error).__name__ == "ValueError"
    assert error.remote_data == TRACE
    assert error.completion_t == "2.0"


def test_the_tail_is_not_shown():
    text = str(failed(ValueError("no")))
    assert "compute_nb:1:" not in text
    assert text.startswith("\n Traceback")
    assert "Cell In[7], line 3" in text


def test_the_own_init_is_not_called():
    original = Demanding(3, detail="x")
    error = failed(original)
    assert isinstance(error, Demanding)
    assert (error.code, error.calls) == (3, 1)
    assert error.args == ("3: x",)


def test_attributes_in_c_are_copied():
    error = failed(FileNotFoundError(2, "no such file", "/x"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.strerror) == (2, "no such file")
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xff".decode()
    error = failed(caught.value)
    assert (error.start, error.end, error.encoding) == (0, 1, "utf-8")


def test_attributes_of_a_json_error_are_copied():
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("[1,]")
    error = failed(caught.value)
    assert isinstance(error, json.JSONDecodeError)
    assert (error.pos, error.lineno) == (caught.value.pos, 1)


def test_a_normal_pickle_is_read_too():
    buffer = DillDataBase64().serialize(KeyError("name"))
    assert failed(KeyError("name"), exception=buffer).args == ("name",)


def test_notes_are_kept():
    original = ValueError("no")
    original.add_note("look there")
    assert failed(original).__notes__ == ["look there"]


def test_inner_classes_and_slots():
    assert isinstance(failed(Outer.Inner("x")), Outer.Inner)
    assert isinstance(failed(Slotted("x")), Slotted)


@pytest.mark.parametrize(
    "error",
    [
        StopIteration(1),
        StopAsyncIteration(),
        TimeoutError("late"),
        concurrent.futures.CancelledError(),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
    ],
)
def test_types_that_mean_something_else_are_not_joined(error):
    assert type(failed(error)) is TaskExecutionFailed


def test_a_type_that_is_not_here_is_ours_only():
    assert type(failed(ValueError("x"), module="no_such_module_x")) is TaskExecutionFailed
    assert type(failed(ValueError("x"), type="NoSuchError")) is TaskExecutionFailed
    assert type(failed(ValueError("x"), type="<locals>.E")) is TaskExecutionFailed
    assert type(failed(ValueError("x"), type="print")) is TaskExecutionFailed


def test_text_never_imports_a_module():
    sys.modules.pop("this", None)
    assert type(failed(ValueError("x"), module="this", type="Error")) is TaskExecutionFailed
    assert "this" not in sys.modules


def test_a_failure_of_our_own_kind_stays_plain():
    assert type(failed(WorkerDied("x"))) is TaskExecutionFailed


def test_contents_that_cannot_be_read_leave_the_message():
    assert failed(ValueError("no"), exception="00\nbad").args == ("no",)
    assert failed(ValueError("no"), exception=None).args == ("no",)
    assert failed(ValueError("no"), exception="11\n[1]").args == ("no",)
    assert failed(ValueError("no"), exception=7, message="").args == ()


def test_an_allow_list_keeps_the_pickle_shut():
    only_json = ComputeSerializer(allowed_deserializer_types=[JSONData, "compute_nb.*Code"])
    error = failure(f"{TRACE}\n{tail(Slotted('no'))}", only_json)
    assert isinstance(error, Slotted)
    assert error.args == ("no",)


@pytest.mark.parametrize("line", ["compute_nb:1:", "compute_nb:1:!!!", "compute_nb:1:AAAA"])
def test_a_broken_tail_is_cut_off(line):
    assert split_tail(f"{TRACE}\n{line}") == (TRACE, None)


def test_a_tail_that_is_no_object_gives_nothing():
    packed = base64.b64encode(zlib.compress(b"[1]")).decode()
    assert split_tail(f"x\ncompute_nb:1:{packed}") == ("x", None)


def test_text_without_a_tail_is_itself():
    assert split_tail(TRACE) == (TRACE, None)
    assert split_tail("") == ("", None)


def test_joined_errors_survive_a_pickle():
    error = pickle.loads(pickle.dumps(failed(FileNotFoundError(2, "no such file"))))
    assert isinstance(error, FileNotFoundError)
    assert isinstance(error, TaskExecutionFailed)
    assert (error.args, error.errno, error.remote_data) == ((2, "no such file"), 2, TRACE)


@pytest.mark.parametrize(
    ("state", "code", "kind"),
    [
        (TaskState.LOST, None, TaskLost),
        (TaskState.LOST, "TaskLost", TaskLost),
        (TaskState.CANCELLED, None, TaskCancelled),
        (TaskState.FAILED, "WorkerDied", WorkerDied),
        (TaskState.FAILED, "TaskExpired", TaskExpired),
        (TaskState.FAILED, "RemoteExecutionError", TaskExecutionFailed),
        (TaskState.FAILED, "WalltimeExceeded", TaskExecutionFailed),
        (TaskState.FAILED, None, TaskExecutionFailed),
    ],
)
def test_the_class_says_what_happened(state, code, kind):
    assert type(failure("why", SERIALIZER, state=state, code=code)) is kind
