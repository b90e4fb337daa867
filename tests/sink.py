"""A mall's callback endpoint for tests, demo and benchmarks, with answers chosen by the caller."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

HANG = b""  # no answer; the connection stays open until the other side closes it
RESET = b"RST"  # no answer; the connection is closed with RST


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Slowly:
    """An answer in pieces, each sent so long after the one before it; b"" closes the connection."""

    pieces: Sequence[bytes]
    seconds: float


Answer = Callable[[Request], bytes | Slowly]


def reply(status: int = 200, body: bytes = b"success", **headers: str) -> bytes:
    """An HTTP answer; retry_after="5" is the header Retry-After."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


SUCCESS = reply()


class Sink:
    """An HTTP server on loopback with a thread of its own; connections are kept alive.

    answer() is called in that thread with each request, one after the other; it returns reply(),
    HANG, RESET or Slowly().
    """

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        start = self._loop.create_server(
            lambda: _Connection(answer, self._connections), "127.0.0.1", port
        )
        self._server = self._loop.run_until_complete(start)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        for connection in list(self._connections):
            connection.reset()
        self._loop.run_until_complete(self._server.wait_closed())
        self._loop.close()


class _Connection(asyncio.Protocol):
    def __init__(self, answer: Answer, connections: set["_Connection"]) -> None:
        self._answer = answer
        self._connections = connections
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while request := self._next_request():
            answer = self._answer(request)
            if answer == RESET:
                return self.reset()
            if isinstance(answer, Slowly):
                self._send_later(answer)
            else:
                self._transport.write(answer)
        return None

    def _send_later(self, answer: Slowly) -> None:
        if answer.pieces:
            asyncio.get_running_loop().call_later(answer.seconds, self._send_first, answer)

    def _send_first(self, answer: Slowly) -> None:
        piece, *rest = answer.pieces
        if self._transport.is_closing():
            return
        self._transport.write(piece)
        if not piece:
            self._transport.close()
        self._send_later(Slowly(rest, answer.seconds))

    def _next_request(self) -> Request | None:
        """The first request that has been received completely."""
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._received = rest[length:]
        method, path, _version = first.split(" ")
        return Request(method, path, headers, rest[:length])

    def reset(self) -> None:
        opened = self._transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()
