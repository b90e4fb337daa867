"""Three malls: two answer success at once and write down when, the other never answers.

python -m benchmarks.sink FILE, with a line for each callback: its time and its webhook-id.
"""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import TextIO

PORTS = HEALTHY_PORT, SECOND_PORT, DEAD_PORT = 18501, 18502, 18503
HEALTHY, SECOND, DEAD = (f"http://127.0.0.1:{port}/notify" for port in PORTS)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsuccess"
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
KEY = re.compile(rb"\r\nwebhook-id: (\S+)\r\n", re.IGNORECASE)


class Healthy(asyncio.Protocol):
    def __init__(self, journal: TextIO) -> None:
        self.journal = journal
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        head += b"\r\n"
        length, key = LENGTH.search(head), KEY.search(head)
        assert length is not None
        assert key is not None
        if len(body) >= int(length[1]):
            self.journal.write(f"{time.time()} {key[1].decode()}\n")
            self.received = b""
            self.transport.write(ANSWER)


async def serve(journal: TextIO) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(asyncio.Protocol, "127.0.0.1", DEAD_PORT)
    await loop.create_server(lambda: Healthy(journal), "127.0.0.1", SECOND_PORT)
    healthy = await loop.create_server(lambda: Healthy(journal), "127.0.0.1", HEALTHY_PORT)
    await healthy.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", buffering=1) as journal:
        asyncio.run(serve(journal))
