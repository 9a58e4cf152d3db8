"""Sessions end in time, whatever the services do."""

from __future__ import annotations

import socket
import threading
import time

from small_server import TOKEN, small_server

from compute_nb.config import ServiceSettings
from compute_nb.home import Home
from compute_nb.reach import Reach
from compute_nb.session import Session, _Sessions


def test_a_service_that_does_not_answer_holds_nobody_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        settings = ServiceSettings("deaf", f"http://127.0.0.1:{deaf.getsockname()[1]}", token=TOKEN)
        session = Session(Reach(settings, Home(tmp_path)))
        asked = session._submitter.call(lambda connection: connection.get("/v2/x"))
        with deaf.accept()[0]:  # it waits for an answer
            began = time.monotonic()
            session.close(0.4)
            assert 0.3 < time.monotonic() - began < 20
            assert not asked.done()
    asked.exception(timeout=60)


def test_all_are_told_before_one_is_waited_for(tmp_path):
    """A deaf service must not eat the time in which the others send."""
    with socket.create_server(("127.0.0.1", 0)) as deaf, small_server() as server:
        server.answers["GET", "/v2/x"] = 200, {"well": 1}
        urls = (f"http://127.0.0.1:{deaf.getsockname()[1]}", server.url)
        registry = _Sessions()
        gate = threading.Event()
        asked = []
        for url in urls:
            one = registry.get(Reach(ServiceSettings("s", url, token=TOKEN), Home(tmp_path)), None)
            one._submitter.call(lambda _: gate.wait(60))
            asked.append(one._submitter.call(lambda connection: connection.get("/v2/x")))
        gate.set()
        began = time.monotonic()
        registry.close(2)
        assert time.monotonic() - began < 20
        assert asked[1].result(0) == {"well": 1}
        assert not asked[0].done()
    asked[0].exception(timeout=60)
