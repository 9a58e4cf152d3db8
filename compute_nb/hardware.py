"""This module is the hardware report: what a worker's machine is, told by a function that travels as source.

Only the standard library of Python 3.8 may be used in `hardware_report`, all of it inside.
"""

from __future__ import annotations

import inspect
from functools import cache


def hardware_report(environment: str = "worker", timeout_s: float = 30.0) -> str:
    """Returns a text of sections, one for each thing that could be found out; never raises.

    The headings are those of the published report.

    Args:
        environment: What the machine is called in the headings.
        timeout_s: Seconds that each command may take.
    """
    import os
    import platform
    import shutil
    import subprocess
    import sys

    def interpreter() -> str:
        affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
        usable = len(affinity(0)) if affinity else os.cpu_count()
        facts = [
            ("Python", sys.version.replace("\n", " ")),
            ("Interpreter", sys.executable),
            ("Platform", platform.platform()),
            ("Machine", platform.machine()),
            ("Node", platform.node()),
            ("Processors", f"{os.cpu_count()}, usable {usable}"),
            ("User", f"uid {os.getuid()}" if hasattr(os, "getuid") else "?"),
            ("Folder", os.getcwd()),
        ]
        names = (
            "HOME",
            "LANG",
            "PATH",
            "VIRTUAL_ENV",
            "CONDA_PREFIX",
            "CUDA_VISIBLE_DEVICES",
            "OMP_NUM_THREADS",
        )
        facts += [(name, os.environ[name]) for name in names if name in os.environ]
        return "\n".join(f"{name:>22}: {fact}" for name, fact in facts)

    def memory() -> str:
        wanted = "MemTotal", "MemFree", "MemAvailable", "SwapTotal", "SwapFree"
        with open("/proc/meminfo") as lines:
            found = [line.partition(":")[::2] for line in lines]
        return "\n".join(f"{name:>22}: {value.strip()}" for name, value in found if name in wanted)

    def said(line: str) -> str:
        try:
            done = subprocess.run(
                line.split(),
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
            )
            return done.stdout.decode(errors="replace").rstrip()
        except subprocess.TimeoutExpired:
            return f"no answer within {timeout_s:g} s"

    def section(name: str, tell: object) -> str:
        try:
            text = tell()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - a report tells what it can
            text = f"{type(error).__name__}: {error}"
        return f"== {environment} == == {name} ==\n{text}\n"

    commands = (
        "lscpu",
        "nvidia-smi",
        "df -h",
        "lshw -C display",
        "compute-nb --version",
        "globus-compute-endpoint version",
    )
    found = [line for line in commands if shutil.which(line.split()[0])]
    report = [section("python: runtime and host", interpreter), section("python: memory and swap", memory)]
    report += [section(f"shell: {line}", lambda line=line: said(line)) for line in found]
    return "\n".join(report)


NAME = hardware_report.__name__
DESCRIPTION = "What the machine of a worker is: Python, host, memory, and what its commands tell."


@cache
def source() -> str:
    """Returns the report function as text that needs nothing of this package."""
    return inspect.getsource(hardware_report)
