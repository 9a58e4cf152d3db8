"""What is read of results: here the last words of a Python that died."""

import subprocess
import sys
from pathlib import Path

from compute_nb.notebook.runs.results import without_ours

FILES = (
    "<_compute_nb_309d888e61c7.harness>",
    "<compute_cell>",
    "/opt/env/lib/compute_nb/endpoint/runner/worker.py",
    "/tmp/compute_nb_17_runner_ab/visit.py",
)
MINE = ("Cell In[3]", "/home/me/compute_nb_project/runner.py")


def test_of_a_crash_only_the_frames_of_its_reader_are_listed(tmp_path: Path) -> None:
    script = tmp_path / "crash.py"
    script.write_text(
        "import ctypes, faulthandler\n"
        "faulthandler.enable()\n"
        f"files = {[*MINE, *FILES]!r}\n"
        "space = {'step_0': lambda: ctypes.string_at(0)}\n"
        "for n, file in enumerate(files):\n"
        "    exec(compile(f'def step_{n + 1}(): step_{n}()', file, 'exec'), space)\n"
        "space[f'step_{len(files)}']()\n"
    )
    dump = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False).stderr
    assert all(f'"{file}"' in dump for file in (*MINE, *FILES))
    shown = without_ours(f"mine\n{dump}")
    assert all(f'"{file}"' in shown for file in MINE)
    assert not [file for file in FILES if file in shown]
    assert "\n  [... 4 frames of compute_nb]\n" in shown
    assert "string_at" in shown
    assert str(script) in shown


def test_what_a_task_prints_of_such_files_stays() -> None:
    printed = f'Fatal Python error: mine\n  File "{FILES[0]}" is what I say\nend\n'
    assert without_ours("no word of it") == "no word of it"
    assert without_ours(f'  File "{FILES[0]}", line 1 in f\n') == f'  File "{FILES[0]}", line 1 in f\n'
    assert without_ours(printed).endswith("end\n")
