"""The console's first page over a million orders of ninety days, and the job that sums them.

python -m benchmarks.figures does only this and prints its table.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.utils import timezone

from benchmarks import bulk
from benchmarks.stack import Row, print_table, row, stack

ORDERS = 1_000_000
TEAMS = ORDERS // 3
DAYS = 90
RUNNING = 2000  # the newest teams
PAGES = 9  # requests
LIMIT = 300  # ms
# Team t of TEAMS was opened then; its orders were locked at the same moment.
AT = "TIMESTAMP('{now}') - INTERVAL ({teams} - {t}) * {days} * 86400 / {teams} SECOND"
# An id of that moment, see groupbuy/ids.py; n makes it unique.
ID = "(TIMESTAMPDIFF(MICROSECOND, '2024-01-01', {at}) DIV 1000 << 22) + {n}"
TEAM = """
    INSERT INTO trade_team (id, activity_id, channel_id, goods_id, status, group_type,
      target_count, locked_count, paid_count, original_price, pay_price, hold_minutes, created_at,
      expires_at, completed_at, completed_by_shop, notify_transport, notify_url)
    SELECT {id}, 100123, 1, '9890001', {status}, 1, 3, {seats}, {seats}, 100, 80, 30, {at},
      {at} + INTERVAL 1 DAY, IF({status} = 1, {at} + INTERVAL seq % 300 MINUTE, NULL), 0, 'HTTP',
      'http://127.0.0.1:9/notify'
"""
ORDER = """
    INSERT INTO trade_order (id, team_id, activity_id, channel_id, user_id, goods_id,
      out_trade_no, code, original_price, pay_price, status, take_no, seat_of, hold_no, created_at,
      pay_deadline, paid_at, settled_at, closed_at, close_reason)
    SELECT {id}, {team}, 100123, 1, LPAD(seq, 9, '0'), '9890001', LPAD(seq, 9, '0'),
      LPAD(seq, 10, '0'), 100, 80, {status}, IF({status} = 1, 1, NULL),
      IF({status} = 1, LPAD(seq, 9, '0'), NULL), NULL, {at}, {at} + INTERVAL 30 MINUTE,
      {at} + INTERVAL seq % 20 MINUTE, {at} + INTERVAL seq % 20 MINUTE,
      IF({status} = 2, {at} + INTERVAL 1 DAY, NULL), IF({status} = 2, 'team_ended', '')
"""


def main() -> None:
    with stack():
        rows = measure()
    print_table(rows)


def measure() -> list[Row]:
    print("figures …", flush=True)
    from trade.figures import sums  # noqa: PLC0415  models exist now
    from trade.models import SummedDay  # noqa: PLC0415

    bulk.clear()
    _load(datetime.now(UTC))
    first = _seconds(lambda: _until_done(sums.keep))
    again = _seconds(lambda: sums.keep(clock=timezone.now))
    page = statistics.median(_pages())
    SummedDay.objects.all().delete()
    bulk.clear()
    return [
        row(
            f"console's first page over {ORDERS:,} orders / {LIMIT} ms",
            page,
            "ms",
            LIMIT / page,
            1.0,
        ),
        row(f"first daily sums of {DAYS} days with {ORDERS:,} orders", first, "s"),
        row("the next run of that job", again, "s"),
    ]


def _load(now: datetime) -> None:
    """Load teams: seven of ten complete, others fail; the newest still form, with two members."""
    moment = {"now": f"{now:%Y-%m-%d %H:%M:%S}", "teams": TEAMS, "days": DAYS}
    at = AT.format(t="seq", **moment)
    status = f"IF(seq > {TEAMS - RUNNING}, 0, IF(seq % 10 < 7, 1, 2))"
    seats = f"ELT({status} + 1, 2, 3, 0)"
    bulk.load(TEAM, TEAMS, id=ID.format(at=at, n="seq"), at=at, status=status, seats=seats)
    team = "((seq + 2) DIV 3)"
    at = AT.format(t=team, **moment)
    is_out = f"IF({team} > {TEAMS - RUNNING}, seq % 3 = 0, {team} % 10 >= 7)"
    bulk.load(
        ORDER,
        TEAMS * 3,
        id=ID.format(at=at, n="seq"),
        team=ID.format(at=at, n=team),
        at=at,
        status=f"IF({is_out}, 2, 1)",
    )
    bulk.analyze()


def _until_done(keep: Callable[..., int]) -> None:
    while keep(clock=timezone.now) > 1:  # today is summed each time
        pass


def _pages() -> list[float]:
    """Milliseconds of each page, without the first one of the process."""
    from django.contrib.auth.models import User  # noqa: PLC0415  models exist now
    from django.test import Client  # noqa: PLC0415

    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(User.objects.create_superuser("figures"))
    client.get("/admin/")
    return [1000 * _seconds(lambda: client.get("/admin/")) for _page in range(PAGES)]


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
