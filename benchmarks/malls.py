"""Three malls in a process of their own: two answer at once, the third never answers.

python -m benchmarks.malls FILE PORT PORT PORT writes a line for each answered callback: its time
and its webhook-id.
"""

import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.sink import HANG, SUCCESS, Request, Sink
from tests.stack import free_port

PORTS = [free_port() for _ in range(3)]
HEALTHY, SECOND, DEAD = (f"http://127.0.0.1:{port}/notify" for port in PORTS)


def main(journal: Path, *ports: int) -> None:
    lines = journal.open("wb", buffering=0)  # each line is one write, whichever thread writes it

    def answer(request: Request) -> bytes:
        lines.write(f"{time.time()} {request.headers['webhook-id']}\n".encode())
        return SUCCESS

    healthy, second, dead = ports
    _sinks = Sink(answer, healthy), Sink(answer, second), Sink(lambda request: HANG, dead)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
