"""A switch changes under load: no request fails, and the old value is not used for long.

Shoppers request trials from threads of their own while the downgrade switch is set on and off; each
answer is recorded with the time at which its request was sent. python -m benchmarks.switching does
only this.
"""

import threading
import time

from benchmarks.stack import WEB_PORT, Row, print_table, row, server, stack
from groupbuy_client import Client, GroupBuyError
from tests.stack import direct_session

CHANGES, PAUSE, SHOPPERS = 6, 1.5, 8  # PAUSE in seconds


def main() -> None:
    with stack() as key, server():
        rows = measure(key)
    print_table(rows)


def measure(key: str) -> list[Row]:
    from groupbuy import switches  # noqa: PLC0415  Django is set up now

    print("a switch changes …", flush=True)
    answers: list[tuple[float, str]] = []
    done = threading.Event()
    mall = Client(
        f"http://127.0.0.1:{WEB_PORT}",
        key,
        source="s01",
        channel="c01",
        timeout=5,
        pauses=(),
        session=direct_session,
    )
    threads = [threading.Thread(target=_shop, args=(mall, answers, done)) for _ in range(SHOPPERS)]
    for thread in threads:
        thread.start()
    changed: list[tuple[float, str]] = []
    for number in range(CHANGES):
        time.sleep(PAUSE)
        switches.change("downgradeSwitch", str((number + 1) % 2), by="bench", reason="bench")
        changed.append((time.monotonic(), "E0003" if number % 2 == 0 else "0000"))
    time.sleep(PAUSE)
    done.set()
    for thread in threads:
        thread.join()
    failed = sum(code not in ("0000", "E0003") for _sent, code in answers)
    stale = max((_stale(answers, at, code) for at, code in changed), default=0.0)
    assert failed == 0, f"{failed} of {len(answers)} requests failed"
    return [
        row("answers while a switch is changed, none failed", len(answers), "", None),
        row(
            "longest use of the old value after a switch change / 1 s",
            stale * 1000,
            "ms",
            1 / stale,
            1.0,
        ),
    ]


def _stale(answers: list[tuple[float, str]], at: float, expected: str) -> float:
    """Seconds from the change until the last request was sent that still got the old answer."""
    late = [sent - at for sent, code in answers if at < sent < at + PAUSE and code != expected]
    return max(late, default=0.001)


def _shop(mall: Client, answers: list[tuple[float, str]], done: threading.Event) -> None:
    number = 0
    while not done.is_set():
        number += 1
        sent = time.monotonic()
        try:
            trial = mall.trial(user_id=f"shopper{number % 100}", goods_id="9890001")
            code = trial.refusals[0].code if trial.refusals else "0000"
        except GroupBuyError as exc:
            code = str(exc)
        answers.append((sent, code))


if __name__ == "__main__":
    main()
