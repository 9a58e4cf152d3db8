"""What a worker answers, frame by frame."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from compute_nb.endpoint import runner
from compute_nb.endpoint.runner.tail import Tail
from compute_nb.endpoint.slots import Slot, Slots
from compute_nb.serialize.serializer import ComputeSerializer
from compute_nb.wire import pack_buffers

LENGTH = struct.Struct("!I")


class Line:
    """A worker process without an engine, and its pipes."""

    def __init__(self, folder: Path) -> None:
        self.slot = Slot(Slots(folder / "slots", uuid4(), 1), 0)
        log = folder / "log"
        log.touch()
        self.tail = Tail(str(log))
        program = Path(runner.__file__).parent / "__main__.py"
        self.process = subprocess.Popen(
            [sys.executable, program, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self.tail.file,),
        )
        self.send(
            {
                **self.slot.places(),
                **self.tail.setup(),
                "folder": str(folder),
                "packages": None,
                "limit": 1000,
            }
        )
        assert self.receive() == []

    def send(self, frame):
        body = json.dumps(frame).encode()
        self.process.stdin.write(LENGTH.pack(len(body)) + body)
        self.process.stdin.flush()

    def receive(self):
        (size,) = LENGTH.unpack(self.process.stdout.read(4))
        return json.loads(self.process.stdout.read(size))

    def chunk(self, serial: int, source: str, count: int, limit: int, **options):
        """Sends a chunk of calls without arguments, of which all but `limit` have been taken back."""
        self.slot.fill(0, serial, range(count))
        self.slot.limit(0, limit)
        code = pack_buffers([f"st\nuse:{source}"])
        call = ComputeSerializer().pack_call((), {})
        tasks = [[str(uuid4()), call]] * count
        self.send(
            {"chunk": serial, "record": 0, "function": "f", "code": code, "options": options, "tasks": tasks}
        )

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.tail.close()


@pytest.fixture
def line(tmp_path):
    line = Line(tmp_path)
    yield line
    line.close()


def test_a_module_is_read_again_also_if_the_rest_of_its_chunk_was_taken_back(line, tmp_path):
    helper = tmp_path / "helper.py"
    context = {"cwd": str(tmp_path), "sys_path": [str(tmp_path)]}
    source = "def use():\n    import helper\n    return helper.X\n"
    for serial, value in enumerate((1, 22), 1):
        helper.write_text(f"X = {value}\n")
        line.chunk(serial, source, count=2, limit=1, context=context)
        result = line.receive()
        assert ComputeSerializer().deserialize(result[3]) == value
        assert line.receive() == [serial, 1]


def test_a_value_that_is_too_large_is_refused_by_the_worker(shared):
    result = shared.failure("def large():\n    return b'x' * 9_000_000\n")
    assert result.error_code == "MaxResultSizeExceeded"
    assert "10,485,760" in result.data
    assert "return the path" in result.data
