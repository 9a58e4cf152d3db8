"""The published SDK and ours do the same before the same plain service: calls, paths, JSON keys, headers.

What differs is stated in docs/conformance.md, and here; each row there is one entry of `DIFFERENCES`.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conformance.conftest import OURS, PUBLISHED, SdkClient
from conformance.recording_proxy import Recorded, RecordingProxy, recording_proxy

from compute_nb import Executor
from compute_nb.client import Client
from compute_nb.config import ServiceSettings
from compute_nb.serialize import ComputeSerializer, DillDataBase64, PureSourceTextInspect

WAIT_S = 150
DOCS = Path(__file__).parents[2] / "docs" / "conformance.md"
VERSION = "GET /v2/version?service=all"

# operation -> (calls that only ours makes, calls that only the published one makes)
DIFFERENCES: dict[str, tuple[set[str], set[str]]] = {
    "submit": ({VERSION, "GET /v2/endpoints/<id>"}, set()),
    "manage": (set(), {VERSION}),
    "reload": ({"GET /v2/endpoints/<id>"}, set()),
}
ONLY_OUR_KEYS = {name: {"task_group_id"} for name in ("run", "batch", "hardware")}
ONLY_PUBLISHED_KEYS = {"hardware": {"meta.serde_identifier"}}


def double(x):
    return x * 2


class OurClient:
    """The operations of sdk_client.py by our SDK."""

    def __init__(self, url: str, token: str) -> None:
        self._client = Client(service=ServiceSettings("proxy", url, token=token, prove=False))
        self._client.fx_serializer = ComputeSerializer(PureSourceTextInspect(), DillDataBase64())

    def do(self, operation: str, **arguments: Any) -> Any:
        return getattr(self, operation)(**arguments)

    def submit(self, endpoint_id, count):
        with Executor(endpoint_id, self._client) as one:
            return [future.result(WAIT_S) for future in [one.submit(double, n) for n in range(count)]]

    def reload(self, endpoint_id, group):
        with Executor(endpoint_id, self._client, group) as one:
            return sorted(str(future.result(WAIT_S)) for future in one.reload_tasks())

    def register(self):
        return self._client.register_function(double, description="twice")

    def source(self):
        return self._client.register_source_code("def half(x):\n    return x / 2\n", "half")

    def function(self, function_id):
        found = self._client.get_function(function_id)
        self._client.delete_function(function_id)
        return found["function_name"]

    def run(self, endpoint_id):
        function_id = self._client.register_function(double)
        task_id = self._client.run(8, endpoint_id=endpoint_id, function_id=function_id)
        while (task := self._client.get_task(task_id))["pending"]:
            pass
        return task["result"]

    def batch(self, endpoint_id):
        function_id = self._client.register_function(double)
        collected = self._client.create_batch()
        for n in range(3):
            collected.add(function_id, (n,))
        task_ids = self._client.batch_run(endpoint_id, collected)["tasks"][function_id]
        while True:
            found = self._client.get_batch_result(task_ids)
            if not any(task["pending"] for task in found.values()):
                return [found[task_id]["result"] for task_id in task_ids]

    def endpoints(self, endpoint_id):
        status = self._client.get_endpoint_status(endpoint_id)["status"]
        about = self._client.get_endpoint_metadata(endpoint_id)["uuid"]
        return [status, about, endpoint_id in {one["uuid"] for one in self._client.get_endpoints()}]

    def manage(self):
        """An endpoint's life as its owner sees it, and the way to results."""
        made = self._client.register_endpoint(
            "kept", None, {"endpoint_version": "4.19.0"}, display_name="Kept"
        )
        kept = made["endpoint_id"]
        again = self._client.register_endpoint("kept", kept, {"endpoint_version": "4.19.0"}, public=False)
        restricted = self._client.get_allowed_functions(kept)["restricted"]
        prefix = self._client.get_result_amqp_url()["queue_prefix"]
        self._client.stop_endpoint(kept)
        self._client.delete_endpoint(kept)
        return [again["endpoint_id"] == kept, restricted, prefix]

    def hardware(self, endpoint_id):
        """Asks for the report; its function is another one on each side."""
        return len(self._client.get_worker_hardware_details(endpoint_id))


@pytest.fixture(scope="module")
def proxy(plain):
    with recording_proxy(plain.url) as one:
        yield one


@pytest.fixture(scope="module")
def clients(proxy, plain, published_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    published = SdkClient(published_python, proxy.url, plain.token, folder)
    ours = OurClient(proxy.url, plain.token)
    # Each asks the version once; here both have done it.
    published.do("register")
    ours.do("register")
    proxy.taken()
    yield published, ours
    published.kill()


def both(clients, proxy: RecordingProxy, operation: str, **arguments: Any) -> list[list[Recorded]]:
    """What the published SDK and ours sent for the same operation; both give the same answer."""
    recorded, answers = [], []
    for client in clients:
        answers.append(client.do(operation, **arguments))
        recorded.append(proxy.taken())
    if operation not in ("register", "source"):  # these answer with a new id
        assert answers[0] == answers[1]
    return recorded


def calls(recorded: list[Recorded]) -> set[str]:
    return {one.call for one in recorded}


def keys(recorded: list[Recorded], call: str) -> frozenset[str]:
    return frozenset().union(*(one.keys for one in recorded if one.call == call))


def compare(operation: str, published: list[Recorded], ours: list[Recorded]) -> None:
    only_ours, only_published = DIFFERENCES.get(operation, (set(), set()))
    assert calls(ours) - calls(published) == only_ours
    assert calls(published) - calls(ours) == only_published
    for call in calls(ours) & calls(published):
        own = keys(ours, call) - ONLY_OUR_KEYS.get(operation, set())
        theirs = keys(published, call) - ONLY_PUBLISHED_KEYS.get(operation, set())
        assert own == theirs, f"{operation}: {call}"


@pytest.mark.parametrize("operation", ["register", "source"])
def test_functions(clients, proxy, operation):
    compare(operation, *both(clients, proxy, operation))


def test_a_function_is_read_and_deleted(clients, proxy):
    recorded = []
    for client in clients:
        function_id = client.do("register")
        proxy.taken()
        assert client.do("function", function_id=function_id) == "double"
        recorded.append(proxy.taken())
    compare("function", *recorded)


def test_endpoints(clients, proxy, plain):
    compare("endpoints", *both(clients, proxy, "endpoints", endpoint_id=plain.endpoint_id))


def test_an_endpoint_is_registered_stopped_and_deleted(clients, proxy):
    compare("manage", *both(clients, proxy, "manage"))


def test_the_report_of_a_worker_is_asked_for(clients, proxy, plain):
    compare("hardware", *both(clients, proxy, "hardware", endpoint_id=plain.endpoint_id))


def test_run(clients, proxy, plain):
    compare("run", *both(clients, proxy, "run", endpoint_id=plain.endpoint_id))


def test_batch_and_status(clients, proxy, plain):
    compare("batch", *both(clients, proxy, "batch", endpoint_id=plain.endpoint_id))


def test_submit(clients, proxy, plain):
    published, ours = both(clients, proxy, "submit", endpoint_id=plain.endpoint_id, count=3)
    compare("submit", published, ours)
    body = keys(ours, "POST /v3/endpoints/<id>/submit")
    assert {"create_queue", "task_group_id", "tasks", "user_runtime"} <= body
    assert "compute_nb" not in body


def test_reload(clients, proxy, plain, published_python, tmp_path):
    recorded = []
    leavers = ((sys.executable, OURS), (published_python, PUBLISHED))
    for number, client in enumerate(clients):
        gate = str(tmp_path / f"gate{number}")
        os.mkfifo(gate)
        python, package = leavers[number]
        leaver = SdkClient(python, plain.url, plain.token, tmp_path, package)
        group = leaver.do("leave", endpoint_id=plain.endpoint_id, path=gate)
        # A watcher that lives on would take results from the queue that the two then share.
        leaver.kill()
        opener = threading.Thread(target=_open, args=[gate])
        opener.start()
        assert client.do("reload", endpoint_id=plain.endpoint_id, group=group) == ["10", "open"]
        opener.join()
        recorded.append(proxy.taken())
    compare("reload", *recorded)


def _open(gate: str) -> None:
    with open(gate, "w") as pipe:
        pipe.write("open")


def test_headers(clients, proxy, plain):
    published, ours = both(clients, proxy, "register")
    assert published[0].headers == ours[0].headers
    published, ours = both(clients, proxy, "endpoints", endpoint_id=plain.endpoint_id)
    assert published[0].headers == ours[0].headers


def test_every_difference_is_in_the_docs():
    text = DOCS.read_text()
    for only_ours, only_published in DIFFERENCES.values():
        for call in only_ours | only_published:
            assert f"`{call}`" in text
    for key in set().union(*ONLY_OUR_KEYS.values()):
        assert f"ours sends `{key}`" in text
    for key in set().union(*ONLY_PUBLISHED_KEYS.values()):
        assert f"the published one sends `{key}`" in text
