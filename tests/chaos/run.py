"""One run from start to verdict. Needs Django, set up with the suite's environment."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import pika
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from activity.models import Activity
from groupbuy import rows
from groupbuy.models import ApiKey, Channel
from groupbuy_client import Client
from tests.chaos import books, mall, verdict
from tests.chaos.clock import end_all, forming_teams, move_clocks
from tests.chaos.faults import break_things
from tests.chaos.receiver import Receiver, declare_queue
from tests.chaos.shoppers import Mall, Shopper
from tests.chaos.stack import Stack
from tests.factories import make_activity, make_channel
from tests.stack import direct_session
from trade.models import NotifyAttempt, NotifyTask, Order, Team
from trade.notify import outbox

SHOPPERS = 6  # threads
PATIENCE = 120  # seconds after the faults until nothing may be under way


def run(stack: Stack, seed: int, seconds: int) -> int:
    """Run once; return the exit code: 0 if the verdict finds nothing, else 1."""
    call_command("migrate", verbosity=0)
    with _platform(stack, seed) as (receiver, shop):
        until = time.monotonic() + seconds
        threads: list[threading.Thread] = [
            Shopper(shop, number, seed, until) for number in range(SHOPPERS)
        ]
        open_teams = mall.OpenTeams()
        threads += [
            mall.MallShopper(stack, open_teams, number, seed, until)
            for number in range(mall.SHOPPERS)
        ]
        threads.append(threading.Thread(target=move_clocks, args=(seed, until), daemon=True))
        for thread in threads:
            thread.start()
        faults = break_things(stack, receiver, seed, until)
        for thread in threads:
            thread.join()
        connections.close_all()  # connections were lost in outages of the database
        unanswered = shop.finish()
        _wait_until_quiet(stack)
        found = verdict.findings(shop, receiver, unanswered, shop.pull())
    _print_figures(shop, receiver, faults, stack.died)
    for kind, examples in found.items():
        print(f"FOUND {kind}: {len(examples)}", *examples[:10], sep="\n    ")
    print("Something is wrong." if found else "Nothing was lost.")
    return 1 if found else 0


@contextmanager
def _platform(stack: Stack, seed: int) -> Iterator[tuple[Receiver, Mall]]:
    """Start the processes, and the mall with its receiver, its offers and its queue."""
    with pika.BlockingConnection(pika.URLParameters(settings.AMQP_URL)) as connection:
        declare_queue(connection.channel())
    channel = make_channel("s07", "c07", callback_hosts="http://127.0.0.1")
    receiver = Receiver(channel.webhook_secret, seed)
    Channel.objects.update(refund_notify_url=receiver.url)
    key, text = ApiKey.issue(channel=channel, name="chaos")
    key.save()
    goods = {
        _offer(channel, f"goods-{group_type}", group_type)
        for group_type in Activity.GroupType.values
    }
    mall.prepare(stack)
    try:
        with stack.running():
            for port in (*stack.ports, stack.mall_port, stack.alipay_port):
                stack.wait_until_up(port)
            clients = [_client(port, text) for port in stack.ports]
            yield receiver, Mall(clients, dict(goods), receiver.url)
    finally:
        receiver.stop()


def _client(port: int, api_key: str) -> Client:
    """A client of one web server, without repeats: the shoppers repeat."""
    return Client(
        f"http://127.0.0.1:{port}",
        api_key,
        source="s07",
        channel="c07",
        timeout=15,
        pauses=(),
        session=direct_session,
    )


def _offer(channel: Channel, goods_id: str, group_type: int) -> tuple[str, int]:
    """Offer goods in teams of three for fifteen minutes; return goods id and activity id."""
    activity = make_activity(
        group_type + 1,
        channel=channel,
        goods_id=goods_id,
        group_type=group_type,
        take_limit=20,
        start_at=timezone.now() - timedelta(days=1),
    )
    return goods_id, activity.pk


def _wait_until_quiet(stack: Stack) -> None:
    """End every team, and let back-offs pass, until nothing is under way."""
    end_all()
    undelivered = NotifyTask.objects.exclude(state=NotifyTask.State.DELIVERED)
    backing_off = undelivered.filter(state=NotifyTask.State.RETRYING)
    locked = Order.objects.filter(status=Order.Status.LOCKED)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        stack.revive()
        books.hurry()
        busy = forming_teams() or locked.exists() or undelivered.exists()
        if not busy and not any(books.Books().open()):
            return
        now = timezone.now()
        waiting = backing_off.filter(next_attempt_at__gt=now + outbox.LEASE)
        rows.retry(partial(waiting.update, next_attempt_at=now))
        time.sleep(3)


def _print_figures(shop: Mall, receiver: Receiver, faults: Counter[str], died: int) -> None:
    def listed(counts: Counter[str]) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

    paid = [purchase.price for purchase in shop.purchases.values() if purchase.paid_at]
    complete = Team.objects.exclude(completed_at=None).count()
    closed = Order.objects.filter(status=Order.Status.CLOSED).count()
    copies = receiver.copies.total() - len(receiver.known)
    print(f"""
operations  {shop.codes.total()} answered; {shop.unanswered} without an answer, repeated
            {listed(shop.codes)}
faults      {faults.total()}: {listed(faults)}
            {receiver.misbehaved} callbacks mishandled; {died} processes ended by themselves
teams       {Team.objects.count()}, {complete} complete
orders      {Order.objects.count()}, {closed} closed
money       {sum(paid)} by {len(paid)} payments
callbacks   {len(receiver.known)} in {NotifyAttempt.objects.count()} attempts; {copies} repeats
{books.Books()}
""")
