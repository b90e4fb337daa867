"""The web server: its rate, and trials beside connections that never complete their request.

The rate is compared with granian's own WSGI threads, which read bodies themselves. The slow
connections are in a process of their own: each sends the head of a request and one byte of its
body, then one byte a second, and connects again after the server has cut it. python -m
benchmarks.web does only this.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Process

from benchmarks.bodies import body
from benchmarks.stack import OUT, WEB_PORT, Row, Run, print_table, row, server, stack, wrk
from tests.stack import Processes, free_port

ROUNDS = 7
SLOW, SETTLED = 200, 2  # connections; seconds until all are open
HEAD = (
    b"POST /api/v1/gbm/trade/trial HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"
)
WSGI = (
    "exec granian --interface wsgi --http 1 --no-ws --host 127.0.0.1 --port {port} --workers 2"
    " --blocking-threads 4 --log-level warning groupbuy.wsgi:application"
)


def main() -> None:
    with stack() as key, server():
        rows = measure(key)
    print_table(rows)


def measure(key: str) -> list[Row]:
    print("web server …", flush=True)
    return [_rate(key), _beside_slow(key)]


def _rate(key: str) -> Row:
    port, pairs = free_port(), []
    wsgi = Processes({"wsgi": WSGI.format(port=port)}, {}, OUT / "wsgi.log")
    with wsgi.running():
        wsgi.wait_until_up(port)
        for _ in range(ROUNDS):
            ours, theirs = _trials(key), _trials(key, str(port))
            pairs.append((ours["per_second"], theirs["per_second"]))
    rate = statistics.median(ours for ours, _theirs in pairs)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    return row("trial / trial in granian's WSGI threads", rate, "/s", ratio, 0.9)


def _beside_slow(key: str) -> Row:
    pairs = []
    for _ in range(ROUNDS):
        alone = _trials(key)
        with _slow_connections():
            pairs.append((alone["p99_ms"], _trials(key)["p99_ms"]))
    p99 = statistics.median(beside for _alone, beside in pairs)
    ratio = statistics.median(alone / beside for alone, beside in pairs)
    return row(f"trial p99, alone / beside {SLOW} slow connections", p99, "ms", ratio, 0.83)


def _trials(key: str, port: str = WEB_PORT) -> Run:
    bodies = [body(f"shopper{number}") for number in range(200)]
    return wrk("api/v1/gbm/trade/trial", bodies, key, port=port)


@contextmanager
def _slow_connections() -> Iterator[None]:
    process = Process(target=_hold)
    process.start()
    time.sleep(SETTLED)
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _hold() -> None:
    async def hold_all() -> None:
        await asyncio.gather(*(_hold_one() for _ in range(SLOW)))

    asyncio.run(hold_all())


async def _hold_one() -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(WEB_PORT))
        writer.write(HEAD)
        cut = asyncio.ensure_future(reader.read())
        while not (await asyncio.wait({cut}, timeout=1))[0]:
            writer.write(b" ")
        writer.close()


if __name__ == "__main__":
    main()
