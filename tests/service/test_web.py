"""The web server against clients that connect and say nothing."""

import asyncio
import json
from contextlib import asynccontextmanager

from starlette.responses import PlainTextResponse

from compute_nb.service import ports
from compute_nb.service.web import WebServer

WAIT_S = 60
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@asynccontextmanager
async def serving(**limits):
    sock = ports.listen("127.0.0.1", None, "--port")
    server = WebServer(PlainTextResponse("yes"), **limits)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    address, writers = sock.getsockname(), []

    async def connect():
        reader, writer = await asyncio.open_connection(*address)
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.transport.abort()
        server.finish()
        await task


async def asked(connect):
    reader, writer = await connect()
    writer.write(REQUEST)
    await asyncio.wait_for(reader.readuntil(b"yes"), WAIT_S)
    return reader, writer


async def ended(reader):
    try:
        return await asyncio.wait_for(reader.read(), WAIT_S) == b""
    except ConnectionError:
        return True


def test_one_that_asks_nothing_is_cut_off():
    async def test():
        async with serving(head_s=1.0) as connect:
            reader, writer = await asked(connect)
            silent, _ = await connect()
            slow, dripping = await connect()
            dripping.write(REQUEST[:9])
            assert await ended(silent)
            assert await ended(slow)
            writer.write(REQUEST)  # one that has asked may be silent after
            await asyncio.wait_for(reader.readuntil(b"yes"), WAIT_S)

    asyncio.run(test())


def test_the_longest_silent_one_makes_room():
    async def test():
        async with serving(max_silent=3) as connect:
            silent = [(await connect())[0] for _ in range(3)]
            await asked(connect)
            assert await ended(silent[0])
            assert not silent[2].at_eof()

    asyncio.run(test())


def test_one_too_many_is_refused_unless_another_is_silent():
    async def test():
        async with serving(max_connections=2) as connect:
            first, _ = await asked(connect)
            silent, _ = await connect()
            await asked(connect)
            assert await ended(silent)
            assert await ended((await connect())[0])
            assert not first.at_eof()

    asyncio.run(test())


def test_what_is_no_http_and_a_head_without_end_are_refused_as_all_else():
    async def scene():
        async with serving(head_s=60) as connect:
            for sent, status in (
                (b"nonsense\r\n\r\n", 400),
                (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
                (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"x" * 200_000, 431),
                (b"GET /" + b"x" * 200_000, 431),
            ):
                reader, writer = await connect()
                writer.write(sent)
                answer = await asyncio.wait_for(reader.read(), WAIT_S)
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(f"HTTP/1.1 {status} ".encode())
                assert b"content-type: application/json" in head
                assert json.loads(body)["http_status_code"] == status
            reader, writer = await connect()
            for _ in range(3):  # as much in one request's head, and again in the next one's
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 60_000 + b"\r\n\r\n")
                await asyncio.wait_for(reader.readuntil(b"yes"), WAIT_S)

    asyncio.run(scene())
