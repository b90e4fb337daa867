"""make load: load a platform with shoppers (journeys.py) and write a report (report.py).

With --url it loads that platform, as the mall that has the given API key. Without --url it starts a
stack of its own: MariaDB, Redis, web server, worker, and a mall that receives the callbacks.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.load import report

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Target:
    """The platform and the kind of load; journeys.py reads it from LOAD_TARGET."""

    url: str
    key: str
    source: str
    channel: str
    goodsId: str  # noqa: N815  as on the wire
    activityId: int  # noqa: N815
    notifyUrl: str  # noqa: N815
    shape: str
    minutes: float
    users: int
    shoppers: int
    teams: int


def main() -> None:
    given = _arguments()
    out = Path(given.out)
    out.mkdir(parents=True, exist_ok=True)
    with _platform(given) as (url, key, notify_url, where):
        names = ("source", "channel", "shape", "minutes", "users", "shoppers", "teams")
        target = Target(
            url=url,
            key=key,
            goodsId=given.goods,
            activityId=given.activity,
            notifyUrl=notify_url,
            **{name: getattr(given, name) for name in names},
        )
        found = _run(target, out, page=given.page)
    print(report.write(found, asdict(target), where, out))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make load", description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="", help="of the platform; empty: a stack of its own")
    parser.add_argument("--key", default="", help="API key of the channel, with --url")
    parser.add_argument("--notify-url", default="", help="of the mall, with --url")
    parser.add_argument("--shape", choices=["steady", "flash"], default="steady")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--users", type=int, default=200, help="shoppers at once, if steady")
    parser.add_argument("--shoppers", type=int, default=10_000, help="of the flash sale")
    parser.add_argument("--teams", type=int, default=100, help="of the flash sale")
    parser.add_argument("--source", default="s01")
    parser.add_argument("--channel", default="c01")
    parser.add_argument("--goods", default="9890001")
    parser.add_argument("--activity", type=int, default=100123)
    parser.add_argument("--out", default="var/load", help="where the report goes")
    parser.add_argument("--page", action="store_true", help="locust's page, on port 8089")
    given = parser.parse_args()
    if given.url and not (given.key and given.notify_url):
        parser.error("--url needs --key (KEY=) and --notify-url (NOTIFY_URL=) of a mall's channel")
    return given


@contextmanager
def _platform(given: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    """The platform's URL, API key, the mall's callback URL, and a sentence about the platform."""
    if given.url:
        yield given.url.rstrip("/"), given.key, given.notify_url, f"The platform at {given.url}."
        return
    from benchmarks.stack import WEB_PORT, server, stack, worker  # noqa: PLC0415  sets variables

    with stack() as key:
        from benchmarks import malls  # noqa: PLC0415  Django is set up now
        from benchmarks.callbacks import mall  # noqa: PLC0415

        with mall(), server(), worker():
            where = (
                "A stack on the machine that also made the load: MariaDB (flush at every commit),"
                " Redis, two web processes of four threads, one worker; callbacks by HTTP."
            )
            yield f"http://127.0.0.1:{WEB_PORT}", key, malls.HEALTHY, where


def _run(target: Target, out: Path, *, page: bool) -> dict[str, object]:
    """Run locust; return the result that it wrote."""
    result = out / "latest.json"
    result.unlink(missing_ok=True)
    variables = {"LOAD_TARGET": json.dumps(asdict(target)), "LOAD_OUT": str(result)}
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "journeys.py")]
    if page:
        command += ["--autostart", "--web-host", "127.0.0.1"]
        print("locust's page: http://127.0.0.1:8089; Ctrl-C ends a test, then writes the report")
    else:
        command += ["--headless", "--only-summary"]
    with subprocess.Popen(command, env=os.environ | variables) as locust:  # exits 1 after faults
        while locust.poll() is None:
            with suppress(KeyboardInterrupt):  # locust gets Ctrl-C, too, and writes its result
                locust.wait()
    if not result.exists():
        sys.exit("locust ended without a result")
    found: dict[str, object] = json.loads(result.read_text("utf-8"))
    return found


if __name__ == "__main__":
    main()
