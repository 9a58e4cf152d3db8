"""What the description allows, and what it does not, drawn at random: never a 5xx, never a hang.

`CALLS_FUZZED=500 pytest tests/service/test_fuzzed.py` draws so many requests for each call.
"""

import os

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings

from compute_nb.home import Home
from compute_nb.service.config import Limits
from tests.service.conftest import run_service

EXAMPLES = int(os.environ.get("CALLS_FUZZED", "3"))
ANSWERED_S = 60
ENDS_IT = "/v3/compute_nb/stop"


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    schemathesis = pytest.importorskip("schemathesis")
    home = Home(tmp_path_factory.mktemp("fuzzed")).prepare()
    with run_service(home, limits=Limits(requests_per_s=0)) as service:
        body = {"endpoint_name": "lab", "metadata": {"compute_nb": {"version": 1}}}
        service.ok("POST", "/v3/endpoints", body)
        yield service, schemathesis.openapi.from_dict(service.ok("GET", "/openapi.json"))


@pytest.mark.timeout(max(600, EXAMPLES * 10))
@pytest.mark.filterwarnings("ignore")  # what the generator has to say of itself
def test_no_request_breaks_a_call(fuzzed):
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    service, schema = fuzzed
    held = (
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    )
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {service.token}"
    tried = set()

    def run(operation, mode):
        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case):
            response = case.call(base_url=service.url, session=session, timeout=ANSWERED_S)
            case.validate_response(response, checks=list(held))
            tried.add((operation.method, operation.path, response.status_code // 100))

        ask()

    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == ENDS_IT:
            continue
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if (
                mode is GenerationMode.POSITIVE
                or operation.body
                or operation.path_parameters
                or operation.query
            ):
                run(operation, mode)
    assert service.ok("GET", "/v3/compute_nb/status")["pid"] == os.getpid()
    paths = {path for _, path, _ in tried}
    assert len(paths) == len(service.ok("GET", "/openapi.json")["paths"]) - 1
    assert {kind for _, _, kind in tried} <= {2, 4}
