"""`compute-nb doctor` as a user calls it: each trouble is found and has its mend."""

import json
import socket
import subprocess
import sys

import pytest

import compute_nb as package
from compute_nb.cli import checks
from compute_nb.private import write_private

from .conftest import COMMAND, WAIT_S


def found(done):
    return {(one["check"], one["state"]): one for one in json.loads(done.stdout)}


def test_a_new_home_is_well_and_nothing_starts(home, compute_nb):
    done = compute_nb("doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = found(done)
    assert package.__version__ in told["compute_nb", "ok"]["found"]
    assert sys.prefix in told["Python", "ok"]["found"]
    assert str(home.root) in told["home folder", "ok"]["found"]
    assert "next submit" in told["service local", "ok"]["found"]
    assert "compute-nb login" in told["service globus", "note"]["mend"]
    assert all(set(one) == {"check", "state", "found", "mend"} for one in told.values())
    assert all(one["mend"] for (_, state), one in told.items() if state != "ok")
    assert not home.root.exists()
    shown = compute_nb("doctor")
    assert shown.returncode == 0
    assert "compute-nb login --service globus" in shown.stdout


def test_what_is_wrong_is_named_with_its_mend(home, compute_nb, environment, tmp_path):
    assert compute_nb("service", "start").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    write_private(home.root / "lab.token", f"cnb_{'0' * 16}_{'0' * 64}")
    write_private(
        home.config_file,
        f'[services.lab]\nurl = "http://127.0.0.1:{port}"\ntoken_file = "lab.token"\n',
    )
    home.token_file.chmod(0o644)
    folder = home.endpoint_dir("gpu")
    folder.mkdir()
    write_private(folder / "endpoint.toml", "worker = 2\n")
    no_programs = environment | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
        env=no_programs,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    told = found(done)
    problems = {check for check, state in told if state == "problem"}
    assert problems == {"home folder", "service lab", "endpoint gpu"}
    assert done.stderr.startswith("Error: 3 to mend: home folder, service lab, endpoint gpu")
    assert told["home folder", "problem"]["mend"] == f"chmod go-rwx {home.token_file}"
    assert str(port) in told["service lab", "problem"]["found"]
    assert "did you mean 'workers'?" in told["endpoint gpu", "problem"]["found"]
    assert "--engine mpi" in told["mpiexec", "note"]["mend"]
    assert "answers at http://127.0.0.1:" in told["service local", "ok"]["found"]
    assert "SECURITY.md" in told["service local", "ok"]["found"]


def test_what_holds_no_secret_may_be_read_by_others(home, compute_nb):
    home.prepare()
    certificate = "-----BEGIN CERTIFICATE-----\n"
    for name, text in (("config.toml", ""), ("ca.pem", certificate)):
        (home.root / name).write_text(text)
        (home.root / name).chmod(0o644)
    assert found(compute_nb("doctor", "--json"))["home folder", "ok"]["found"] == str(home.root)
    both = home.root / "both.pem"
    both.write_text(f"{certificate}-----BEGIN PRIVATE KEY-----\n")
    both.chmod(0o644)
    assert found(compute_nb("doctor", "--json"))["home folder", "problem"]["mend"] == f"chmod go-rwx {both}"


def test_settings_that_can_not_be_read_are_one_problem(home, compute_nb):
    home.prepare()
    write_private(home.config_file, "default_endpoin = 1\n")
    done = compute_nb("doctor", "--json")
    assert done.returncode == 1
    assert "did you mean default_endpoint?" in found(done)["settings", "problem"]["found"]


@pytest.mark.parametrize(
    ("row", "state", "text"),
    [
        ({"state": "online", "python": "3.8.1", "engine": "processes"}, "note", "--python PATH"),
        ({"state": "online", "engine": "processes", "version": "0.0.1"}, "note", "by the same version"),
        ({"state": "online", "trouble": "its disk is full"}, "problem", "endpoint list"),
        ({"state": "offline", "folder": "/x"}, "note", "compute-nb endpoint start gpu"),
        ({"state": "offline", "running": True, "pid": 7, "folder": "/x"}, "problem", "/x"),
    ],
)
def test_an_endpoint_that_is_away_or_other_than_this(row, state, text):
    *_, last = checks.of_endpoint(checks.Row("id", "gpu", **row))
    assert (last.check, last.state) == ("endpoint gpu", state)
    assert text in last.mend


def test_packages_are_compared_with_what_is_asked():
    assert checks.lack("dill", "0.3") is None
    assert checks.lack("no-such-package", "1") == "no-such-package"
    assert checks.lack("dill", "999.1").startswith("dill 999.1 (there is ")
