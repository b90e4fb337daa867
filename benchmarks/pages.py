"""The shopper pages under load, as a guest sees them, relative to an empty Django view.

The polls are those of a team's page that has not changed; MariaDB counts the statements that they
cause. python -m benchmarks.pages does only this and prints its table.
"""

import statistics

import requests
from django.db import connection

from benchmarks.bodies import body
from benchmarks.stack import SECONDS, WEB_PORT, Row, Run, look, print_table, row, server, stack, wrk

REPEATS = 5
OFFER = "o/s01/c01/9890001"


def main() -> None:
    with stack() as key, server():
        rows = measure(key)
    print_table(rows)


def measure(key: str) -> list[Row]:
    print("pages …", flush=True)
    code = _open_team()
    runs = [_repeat(code, key) for _ in range(REPEATS)]
    return [
        _compared(runs, "empty Django view", "empty"),
        _compared(runs, "offer page / empty Django view", "offer", 0.25),
        _compared(runs, "team page / empty Django view", "team", 0.25),
        _compared(runs, "poll without news / empty Django view", "poll", 0.6),
        _compared(runs, "poll without news / empty viewset", "poll", base="viewset"),
        row("SQL statements during these polls", _statements(runs), "/s"),
        _compared(runs, "poster, drawn before / empty Django view", "poster"),
    ]


def _open_team() -> str:
    """The invitation code of a team that misses one member."""
    from benchmarks import rows  # noqa: PLC0415  models exist now
    from trade.models import Order  # noqa: PLC0415

    [(team_id, _members)] = rows.make_teams(1, members=2, paid=1)
    return Order.objects.filter(team_id=team_id)[0].code


def _repeat(code: str, key: str) -> dict[str, Run]:
    poll, poster = f"t/{code}?live=1", f"t/{code}/poster-en.png"
    etag = _get(poll).headers["ETag"]
    for _ in range(10):  # until every worker has drawn it
        _get(poster)
    return {
        "empty": look("nothing"),
        "viewset": wrk("api/empty", [body("watcher")], key),
        "offer": look(OFFER),
        "team": look(f"t/{code}"),
        "poll": _counted(poll, etag),
        "poster": look(poster),
    }


def _get(path: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{WEB_PORT}/{path}", timeout=10)


def _counted(path: str, etag: str) -> Run:
    """Load the path; also count the statements of all connections to MariaDB meanwhile."""
    before = _questions()
    run = look(path, etag=etag)
    return run | {"statements": _questions() - before - 1}  # without the second count itself


def _questions() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1])


def _statements(runs: list[dict[str, Run]]) -> float:
    """The statements per second during the polls."""
    return statistics.median(run["poll"]["statements"] / SECONDS for run in runs)


def _compared(
    runs: list[dict[str, Run]],
    name: str,
    which: str,
    goal: float | None = None,
    *,
    base: str = "empty",
) -> Row:
    value = statistics.median(run[which]["per_second"] for run in runs)
    ratio = statistics.median(run[which]["per_second"] / run[base]["per_second"] for run in runs)
    return row(name, value, "/s", ratio, goal)


if __name__ == "__main__":
    main()
