"""What programs that a cell starts print comes back with the cell."""

import json
import subprocess
import sys


def items(shell, folder, *bodies: str, log: str = "worker-0.log") -> list:
    """Runs cells in a process whose descriptors 1 and 2 are a log; returns the items of the last one."""
    sources = [shell.source(body)[0] + "\nlast = compute_cell(0, {})\n" for body in bodies]
    answer = folder / "answer"
    program = "".join(sources) + f"import json\nopen({str(answer)!r}, 'w').write(json.dumps(last['items']))"
    with (folder / log).open("ab") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, stderr=file, check=True)
    return json.loads(answer.read_text())


CELL = (
    "import os, subprocess, sys\nprint('first')\nsubprocess.run(['echo', 'from a program'])\nprint('then')\n"
    "os.write(2, 'ü'.encode())\nif not os.fork():\n    print('child')\n    os._exit(0)\nos.wait();"
)
TEXT = "first\nfrom a program\nthen\nüchild\n"


def test_output_of_programs_is_the_cells_and_no_other_cells(shell, tmp_path):
    assert items(shell, tmp_path, CELL) == [{"stream": "stdout", "text": TEXT}]
    assert items(shell, tmp_path, CELL, "print('alone')") == [{"stream": "stdout", "text": "alone\n"}]


def test_a_log_that_may_be_shared_is_left_alone(shell, tmp_path):
    (item,) = items(shell, tmp_path, CELL, log="shared.log")
    assert item["text"] == "first\nthen\n"
    assert (tmp_path / "shared.log").read_text() == "from a program\nüchild\n"
