"""No test touches the home of the user, and no service outlives the tests; notebooks under nbval included."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

_HOME = "COMPUTE_NB_HOME"
# A shell has its `&` ignore the first two, and what ignores a signal hands that on to all that it starts.
_SIGNALS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
    signal.SIGTERM: signal.SIG_DFL,
}
_before = pytest.StashKey[str | None]()


def pytest_configure(config: pytest.Config) -> None:
    for number, own in _SIGNALS.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, own)
    config.stash[_before] = os.environ.get(_HOME)
    os.environ[_HOME] = home = tempfile.mkdtemp(prefix="compute_nb-tests-")
    # When all that this process has started is done: a spool may write at its end.
    atexit.register(shutil.rmtree, home, ignore_errors=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    home = os.environ[_HOME]
    if os.listdir(home):
        stop = [sys.executable, "-m", "compute_nb.cli", "service", "stop"]
        subprocess.run(stop, check=False, capture_output=True)
    if config.stash[_before] is None:
        del os.environ[_HOME]
    else:
        os.environ[_HOME] = str(config.stash[_before])
