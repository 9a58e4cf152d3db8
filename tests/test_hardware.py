"""The hardware report: plain source, sections of what can be found out, no more."""

import re
import shutil
import subprocess
import sys

from compute_nb.hardware import NAME, hardware_report, source


def test_it_needs_nothing_but_the_standard_library(tmp_path):
    program = tmp_path / "report.py"
    program.write_text(f"{source()}\nprint({NAME}('a worker'))\n")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", program], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    headings = re.findall(r"^== a worker == == (.+) ==$", done.stdout, re.MULTILINE)
    assert headings[:2] == ["python: runtime and host", "python: memory and swap"]
    assert ("shell: df -h" in headings) == (shutil.which("df") is not None)
    assert sys.executable in done.stdout


def test_commands_not_found_are_left_out_and_late_ones_are_told(tmp_path, monkeypatch):
    slow = tmp_path / "lscpu"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    broken = tmp_path / "nvidia-smi"
    broken.write_text("no program")
    for path in (slow, broken):
        path.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    report = hardware_report("here", timeout_s=0.2)
    assert "== here == == shell: lscpu ==\nno answer within 0.2 s\n" in report
    assert "== here == == shell: nvidia-smi ==\nOSError: " in report
    assert "globus-compute-endpoint" not in report
