"""What an endpoint.toml says holds for the tasks of its endpoint."""

import re

import pytest
from own_home import lab

from compute_nb import Client, Executor
from compute_nb.errors import TaskExecutionFailed

FILE = """
workers = 1
working_folder = "work"
walltime_s = 3
result_limit = 2000
allowed_serializers = ["PureSourceTextInspect", "DillDataBase64"]
[environment]
COLOUR = "green"
"""


def look():
    import os

    return os.environ.get("COLOUR"), os.getcwd()


def nap():
    import time

    time.sleep(60)


def much():
    return "x" * 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "endpoint.toml").write_text(FILE)
    with lab("own", "--config", str(folder / "endpoint.toml")):
        yield folder


def test_folder_environment_and_limits(folder):
    from compute_nb.serialize import ComputeSerializer, PureSourceTextInspect

    with Executor("own", serializer=ComputeSerializer(strategy_code=PureSourceTextInspect())) as executor:
        assert executor.submit(look).result(60) == ("green", str(folder / "work"))
        with pytest.raises(TaskExecutionFailed, match=re.escape("walltime of 3 s")):
            executor.submit(nap).result(60)
        with pytest.raises(TaskExecutionFailed, match="at most 2,000 can be sent"):
            executor.submit(much).result(60)
    with Executor("own") as executor, pytest.raises(TaskExecutionFailed, match=r"not by \['01'\]"):
        executor.submit(look).result(60)


def test_the_service_knows_the_engine(folder):
    details = Client().get_endpoint_status("own")["details"]
    assert details["compute_nb"]["engine"]["name"] == "processes"
    assert details["compute_nb"]["engine"]["cancel_running"] is True
