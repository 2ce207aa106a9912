"""A proxy in front of the S3 server that spoils a share of the requests, by a seed.

A spoiled request is answered with 503, or its connection is reset before, or in the middle of the
answer, or the answer is held back for some seconds. Every connection serves one request, so that
each gets its lot.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable

FAULTS = ("503", "reset", "broken", "stall")
CHUNK = 65_536


class FaultProxy:
    """Listens on a free port of loopback in a thread of its own.

    Args:
        port: of the server behind it.
        share: of the requests that are spoiled.
        seed: of the lots.
        stall_s: seconds an answer is held back.
        faults: which kinds there are.
        answer: given the head of a request, its whole answer; None is to be passed on.
    """

    def __init__(
        self,
        port: int,
        share: float,
        seed: int = 0,
        stall_s: float = 5.0,
        faults: tuple[str, ...] = FAULTS,
        answer: Callable[[bytes], bytes | None] = lambda head: None,
    ) -> None:
        self.share, self.stall_s, self.faults = share, stall_s, faults
        self.spoiled: Counter[str] = Counter()
        self.requests = 0
        self._behind = port
        self._answer = answer
        self._lots = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stops listening."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def _lot(self) -> str:
        self.requests += 1
        if self._lots.random() >= self.share:
            return ""
        fault = self._lots.choice(self.faults)
        self.spoiled[fault] += 1
        return fault

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            fault = self._lot()
            if fault == "reset":
                _reset(writer)
                return
            own = error_answer(503, "ServiceUnavailable") if fault == "503" else self._answer(head)
            if own is not None:
                await _body(reader, head, None)
                writer.write(own)
                await writer.drain()
                return
            if fault == "stall":
                await asyncio.sleep(self.stall_s)
            await self._forward(reader, writer, head, broken=fault == "broken")
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side has gone: so has the other
        finally:
            writer.close()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        head: bytes,
        broken: bool,
    ) -> None:
        try:
            answer, ask = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:  # the server is down
            _reset(writer)
            return
        try:
            lines = [x for x in head[:-4].split(b"\r\n") if not x.lower().startswith(b"connection")]
            lines = [x for x in lines if not x.lower().startswith(b"expect")]
            ask.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
            if b"100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await _body(reader, head, ask)
            got = await answer.read(CHUNK)
            if broken:  # the server has done it, but the client does not learn of it
                writer.write(got[: len(got) // 2])
                await writer.drain()
                _reset(writer)
                return
            while got:
                writer.write(got)
                await writer.drain()
                got = await answer.read(CHUNK)
        finally:
            ask.close()


async def _body(
    reader: asyncio.StreamReader, head: bytes, target: asyncio.StreamWriter | None
) -> None:
    """Passes on a request's body; only lengths that are given in the head are needed here."""
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    if target is None and b"100-continue" in head.lower():
        return
    while length:
        got = await reader.read(min(CHUNK, length))
        if not got:
            raise asyncio.IncompleteReadError(b"", length)
        length -= len(got)
        if target is not None:
            target.write(got)
            await target.drain()


def error_answer(status: int, code: str) -> bytes:
    """An answer as S3 gives it when it fails or refuses."""
    body = f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>"
    head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes with RST instead of FIN."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
