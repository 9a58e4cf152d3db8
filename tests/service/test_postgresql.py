"""A store whose database is restarted, killed, cut off or another service's: nothing is lost or doubled."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest
from own_postgresql import PostgresqlServer
from own_wire import Wire

from compute_nb.errors import ComputeError
from compute_nb.service.database import open_database
from compute_nb.service.database.postgresql import PostgresqlDatabase, shown
from compute_nb.service.place import place_of, remember
from compute_nb.service.store import Store, StoreAway, StoreUnusable
from compute_nb.tasks import Run, TaskState

from .conftest import WAIT_S, run_service
from .test_store import Rig


async def back(rig: Rig) -> None:
    """Waits until the store has found its database."""
    for _ in range(6000):
        try:
            await rig.store.counts()
        except StoreAway:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("the store does not come back")


def test_a_commit_whose_answer_got_lost_is_looked_up(postgresql: PostgresqlServer, cable: Wire) -> None:
    async def main() -> None:
        place = postgresql.database().replace(str(postgresql.port), str(cable.port))
        rig = await Rig(place).set_up()
        await rig.hello()
        cable.swallow = True
        (task,) = await rig.submit(1)
        assert cable.swallowed.is_set()
        assert rig.sent() == [Run(task, 0)], "it was committed as sent, so it is sent"
        done = await rig.finish(Run(task, 0))
        assert [r.state for r in done.results] == [TaskState.SUCCEEDED]
        rig.store.close()

    asyncio.run(main())


def test_a_commit_that_a_crash_took_back_has_not_come_through(postgresql: PostgresqlServer) -> None:
    database = open_database(postgresql.database())
    assert isinstance(database, PostgresqlDatabase)
    database._unsure = "1000000000"  # a number that the server has given to nobody, or no more
    assert database.reconnect() is False
    database.stop()


def test_a_cut_network_fails_requests_until_it_is_back(postgresql: PostgresqlServer, cable: Wire) -> None:
    async def main() -> None:
        place = postgresql.database().replace(str(postgresql.port), str(cable.port))
        rig = await Rig(place).set_up()
        await rig.hello()
        (task,) = await rig.submit(1)
        (run,) = rig.sent()
        cable.cut()
        specs = rig.specs(3)
        group = rig.endpoint
        with pytest.raises(StoreAway, match="looked for again"):
            await rig.submit(3, group, specs=specs)
        await back(rig)
        assert await rig.submit(3, group, specs=specs) == [spec.task_id for spec in specs]
        assert len(rig.sent()) == 3
        await rig.finish(run)
        assert await rig.states([task]) == ["SUCCEEDED"]
        rig.store.close()

    asyncio.run(main())


def test_a_stuck_server_holds_up_nobody_who_comes_later(postgresql: PostgresqlServer) -> None:
    async def main() -> None:
        place = postgresql.database()
        rig = Rig(place)
        await rig.open(stuck_s=0.2)
        name = place.rsplit("/", 1)[1]
        ((pid,),) = postgresql.execute(
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
        )
        os.kill(pid, signal.SIGSTOP)
        try:
            held_up = asyncio.ensure_future(rig.store.ensure_meta("a", "1"))
            later, refused = None, 0
            while not refused:
                later = asyncio.ensure_future(rig.store.get_meta("a"))
                await asyncio.wait([later], timeout=0.05)
                refused += later.done() and isinstance(later.exception(), StoreAway)
            assert not held_up.done()
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await held_up == "1"
        await back(rig)
        assert await rig.store.get_meta("a") == "1"
        rig.store.close()

    asyncio.run(main())


def test_closing_while_the_database_is_away(postgresql: PostgresqlServer, cable: Wire) -> None:
    async def main() -> None:
        place = postgresql.database().replace(str(postgresql.port), str(cable.port))
        rig = await Rig(place).set_up()
        cable.close()
        with pytest.raises(StoreAway):
            await rig.submit(1)
        rig.store.close()

    asyncio.run(main())


HOLDER = """
import sys
from compute_nb.service.store import Store
store = Store.open(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def test_a_database_has_one_service(postgresql: PostgresqlServer) -> None:
    place = postgresql.database()
    words = [sys.executable, "-c", HOLDER, place]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StoreUnusable, match="another service") as refused:
            Store.open(place, busy_timeout_s=0)
        assert f"process {holder.pid} on host {socket.gethostname()}" in str(refused.value)
        holder.send_signal(signal.SIGKILL)
    Store.open(place).close()


def test_a_database_that_cannot_be_used_says_so(postgresql: PostgresqlServer) -> None:
    with pytest.raises(StoreUnusable, match=r'does not answer .*"nowhere" does not exist'):
        Store.open(postgresql.url("nowhere"))
    postgresql.execute("CREATE ROLE guest LOGIN")
    postgresql.execute("CREATE DATABASE theirs")
    with pytest.raises(StoreUnusable, match=r"can't be used .*must own the database"):
        Store.open(postgresql.url("theirs", "guest"))
    place = postgresql.database()
    Store.open(place).close()
    postgresql.execute("INSERT INTO migration VALUES (99, 0)", place.rsplit("/", 1)[1])
    with pytest.raises(StoreUnusable, match=r"has schema version 99.*upgrade compute_nb"):
        Store.open(place)


def test_a_dump_restores(postgresql: PostgresqlServer) -> None:
    """As docs/group-service.md has it: the dump is made while the service runs."""

    async def main() -> None:
        place, copy, dump = postgresql.database(), postgresql.database(), postgresql.folder / "store.dump"
        rig = await Rig(place).set_up()
        await rig.hello()
        (done, open_one) = await rig.submit(2)
        await rig.finish(Run(done, 0))
        postgresql.tool("pg_dump", place, "--format=custom", f"--file={dump}")
        rig.store.close()
        postgresql.tool("pg_restore", copy, "--clean", "--if-exists", dump)
        rig.place = copy
        rig.sent()
        await rig.open()
        assert await rig.states([done, open_one]) == ["SUCCEEDED", "WAITING"]
        await rig.hello(held=(Run(open_one, 0),))
        (new,) = await rig.submit(1)
        assert [run.task_id for run in rig.sent()] == [new], "numbers go on after those of before"
        rig.store.close()

    asyncio.run(main())


def test_an_address_is_shown_without_its_secret() -> None:
    assert (
        shown("postgresql://me:secret@db.lab:5433/tasks?sslmode=require")
        == "postgresql://me@db.lab:5433/tasks"
    )


def test_a_service_keeps_its_store_until_told_otherwise(home) -> None:
    assert place_of(home, None) == home.store_file
    remember(home, place_of(home, "postgresql://me@db/tasks"))
    assert place_of(home, None) == "postgresql://me@db/tasks"
    remember(home, place_of(home, "sqlite"))
    assert place_of(home, None) == home.store_file
    for bad in ("postgresql://me:pw@db/x", "postgresql://me@db/x?password=pw"):
        with pytest.raises(ComputeError, match="everybody on this host"):
            place_of(home, bad)
    for bad in ("mysql://db/x", "store.db"):
        with pytest.raises(ComputeError, match="--store must be"):
            place_of(home, bad)


def test_requests_get_503_and_when_to_come_again(home) -> None:
    server = PostgresqlServer()
    try:
        with run_service(home, store=server.database()) as service:
            function = service.function()
            body = {"endpoint_name": "lab", "metadata": {"compute_nb": {"version": 1}}}
            endpoint = service.ok("POST", "/v3/endpoints", body)["endpoint_id"]
            assert service.ok("GET", "/v3/compute_nb/status")["store"] == server.url("store0")
            server.kill()
            link = HTTPConnection(service.host, service.port, timeout=WAIT_S)
            link.request(
                "GET", f"/v2/functions/{function}", headers={"Authorization": f"Bearer {service.token}"}
            )
            answer = link.getresponse()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "4")
            assert b"STORE_AWAY" in answer.read()
            link.close()
            server.start()
            status = 503
            while status == 503:
                status, _ = service.submit(endpoint, function, 2)
            assert status == 200
            assert service.ok("GET", "/v3/compute_nb/status")["tasks"]["WAITING"] == 2
    finally:
        server.stop()
