"""A crowd of a million: time of a build, size of its bitmap, time of a look-up.

A build by a job is compared with the minimum of work: the same rows inserted in bulk and the same
bits set by one pipeline. python -m benchmarks.crowds [MEMBERS] does only this.
"""

import random
import sys
import time
from decimal import Decimal
from typing import Any

from django.db import connection
from django.utils import timezone

from benchmarks.stack import DATABASE, REDIS_URL, Row, print_table, row, stack

MEMBERS = 1_000_000
LOOK_UPS = 20_000
BATCH = 1000


def main() -> None:
    members = int(sys.argv[1]) if len(sys.argv) > 1 else MEMBERS
    with stack():
        rows = measure(members)
    print_table(rows)


def measure(members: int = MEMBERS) -> list[Row]:
    from benchmarks import bulk  # noqa: PLC0415  Django is set up now

    print(f"a crowd of {members:,} …", flush=True)
    bulk.clear()
    ends = "NOW(6) + INTERVAL 86400 SECOND"
    bulk.load(bulk.TEAM, 1, status="1", locked="3", paid="3", ends=ends)
    bulk.load(bulk.ORDER, members, team="1", status="1", deadline=ends)
    for first in range(0, members, 200_000):  # the connection times out after 10 s
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE trade_order SET paid_at = created_at WHERE id > %s AND id <= %s",
                [first, first + 200_000],
            )
    bulk.analyze()
    built = _build()
    bare_rows, bare_bits = _bare_rows(members), _bare_bits(members)
    bare = bare_rows + bare_bits
    weight, p99 = _weight(members), _look_up_p99(members)
    bulk.clear()
    print(f"bare: rows {bare_rows:.1f} s, bits {bare_bits:.1f} s")
    return [
        row(f"crowd of {members:,} built / bare inserts and bits", built, "s", bare / built, 0.33),
        row("bits of its bitmap for a member / 1.3", weight, "bits", 1.3 / weight, 1.0),
        row("look-up of any member, p99 / 1 ms", p99 * 1e6, "µs", 0.001 / p99, 1.0),
    ]


def _build() -> float:
    """Seconds that one worker takes, from the start of the run until the bitmap exists."""
    from tag import jobs  # noqa: PLC0415
    from tag.models import CrowdJob, CrowdTag  # noqa: PLC0415
    from trade import history  # noqa: PLC0415

    tag = CrowdTag.objects.create(tag_id="bench", name="bench")
    job = CrowdJob.objects.create(tag=tag, batch_id="1", kind=0, at_least=Decimal(1))
    began = time.perf_counter()
    jobs.start(job.pk, now=timezone.now())
    while jobs.get(job.pk).status == CrowdJob.Status.RUNNING:
        jobs.work(history, clock=timezone.now)
    return time.perf_counter() - began


def _bare_rows(members: int) -> float:
    """Seconds to insert the same users and members by executemany, into equal tables."""
    import MySQLdb  # noqa: PLC0415

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare_user LIKE tag_crowduser")
        cursor.execute("CREATE TABLE bare_member LIKE tag_crowdmember")
    database = MySQLdb.connect(**DATABASE)
    cursor = database.cursor()
    began = time.perf_counter()
    for first in range(1, members + 1, BATCH):
        numbers = range(first, min(first + BATCH, members + 1))
        users: list[Any] = [(f"{number:09}",) for number in numbers]
        cursor.executemany("INSERT INTO bare_user (user_id) VALUES (%s)", users)
        cursor.executemany(
            "INSERT INTO bare_member (part_id, user_id) VALUES (%s, %s)",
            [(1, number) for number in numbers],
        )
        database.commit()
    seconds = time.perf_counter() - began
    cursor.execute("DROP TABLE bare_member, bare_user")
    database.close()
    return seconds


def _bare_bits(members: int) -> float:
    """Seconds to set the same bits by pipelines of SETBIT, in parts that fit into memory."""
    from redis import Redis  # noqa: PLC0415

    redis = Redis.from_url(REDIS_URL)
    began = time.perf_counter()
    for first in range(1, members + 1, 100_000):
        pipeline = redis.pipeline(transaction=False)
        for number in range(first, min(first + 100_000, members + 1)):
            pipeline.setbit("bare", number, 1)
        pipeline.execute()
    seconds = time.perf_counter() - began
    redis.delete("bare")
    return seconds


def _weight(members: int) -> float:
    """Bits of Redis's memory for the bitmap, per member."""
    from redis import Redis  # noqa: PLC0415

    [key] = Redis.from_url(REDIS_URL).scan_iter("gbm:crowd:{bench}:*")
    return int(Redis.from_url(REDIS_URL).memory_usage(key, samples=0) or 0) * 8 / members


def _look_up_p99(members: int) -> float:
    """p99 in seconds of a look-up of random members whose numbers are not cached here yet."""
    from groupbuy import changes  # noqa: PLC0415
    from tag import crowd  # noqa: PLC0415

    changes.start_listener()
    time.sleep(1)
    asked = [f"{random.randint(1, members):09}" for _ in range(LOOK_UPS)]
    crowd.crowds_of(asked[0], ["bench"])
    times = []
    for user_id in asked:
        began = time.perf_counter()
        assert crowd.crowds_of(user_id, ["bench"])
        times.append(time.perf_counter() - began)
    return sorted(times)[int(LOOK_UPS * 0.99)]


if __name__ == "__main__":
    main()
