"""The events of an order or a team, oldest first, and its next step; for the console.

Each line has the seats of the team after it, so the page shows the state at each of these moments.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.urls import reverse
from django.utils.translation import gettext as _

from activity.models import Activity
from groupbuy import history
from groupbuy.fields import read_id
from groupbuy.moments import to_second
from trade import failures
from trade.expire import GRACE
from trade.labels import event_of, of_promise
from trade.models import NotifyAttempt, NotifyTask, Order, RefundType, Team

MOST = 200  # attempts, and orders of a team, that are shown


class Happened(NamedTuple):
    at: datetime
    what: str
    detail: str = ""
    url: str = ""
    key: str = ""  # of the notification that it is about
    seats: str = ""  # of the team, after it


def of_order(order: Order) -> list[Happened]:
    promises = list(promises_of(order))
    events = [*_order(order), *_end(order.team), *_notifications(promises)]
    events += _acts({str(row.pk): row for row in promises}, NotifyTask)
    events += [
        *_acts({str(order.pk): order}, Order),
        *_acts({str(order.team_id): order.team}, Team),
        *_closings(order.team),
    ]
    return _with_seats(events, order.team, _orders_of(order.team))


def of_team(team: Team) -> list[Happened]:
    orders = _orders_of(team)
    keys = [NotifyTask.success_key(team.pk), *(key for each in orders for key in _keys(each))]
    events = [Happened(team.created_at, _("team opened")), *_end(team)]
    for order in orders:
        events += [event._replace(detail=f"{order} · {order.user_id}") for event in _order(order)]
    promises = list(NotifyTask.objects.filter(key__in=keys))
    events += [
        *_notifications(promises),
        *_acts({str(row.pk): row for row in promises}, NotifyTask),
    ]
    events += [
        *_acts({str(row.pk): row for row in orders}, Order),
        *_acts({str(team.pk): team}, Team),
        *_closings(team),
    ]
    return _with_seats(events, team, orders)


def _orders_of(team: Team) -> list[Order]:
    """Its live orders, and the newest of the closed ones, oldest first."""
    live_first = team.orders.order_by("status", "-pk")
    return sorted(live_first[:MOST], key=lambda order: order.pk)


def _with_seats(events: list[Happened], team: Team, orders: list[Order]) -> list[Happened]:
    """The events by time; with the team's seats after each, if all of its orders are given."""
    events = sorted(events, key=lambda event: event.at)
    if len(orders) == MOST:
        return events
    keys = {NotifyTask.refund_key(each.pk, RefundType.UNPAID_UNLOCK): each.pk for each in orders}
    promises = NotifyTask.objects.filter(key__in=keys).values_list("key", "created_at")
    unlocked = {keys[key]: at for key, at in promises}

    def seats(at: datetime) -> str:
        seated = [each for each in orders if _is_seated(each, unlocked.get(each.pk), at)]
        paid = sum(each.settled_at is not None and each.settled_at <= at for each in seated)
        counts = {"taken": len(seated), "target": team.target_count, "paid": paid}
        return _("%(taken)d of %(target)d seats taken, %(paid)d paid") % counts

    return [event._replace(seats=seats(event.at)) for event in events]


def _is_seated(order: Order, unlocked_at: datetime | None, at: datetime) -> bool:
    """Whether the order had a seat then. unlocked_at: when it lost its seat unpaid.

    A payment may have seated it again later. A late payment has moved closed_at.
    """
    if unlocked_at is None or at < unlocked_at:
        since = order.created_at
    elif order.settled_at:
        since = order.settled_at
    else:
        return False
    return since <= at and (order.closed_at is None or at < order.closed_at)


def promises_of(order: Order) -> Iterable[NotifyTask]:
    """The notifications about the order, and the one that its team is complete."""
    keys = [*_keys(order), NotifyTask.success_key(order.team_id)]
    return NotifyTask.objects.filter(key__in=keys).order_by("pk")


def _keys(order: Order) -> list[str]:
    return [NotifyTask.refund_key(order.pk, kind) for kind in RefundType]


def _order(order: Order) -> Iterator[Happened]:
    url = _page(order)
    yield Happened(order.created_at, _("seat locked"), "", url)
    if order.paid_at:
        yield Happened(order.paid_at, _("paid"), "", url)
    if order.settled_at:
        yield Happened(order.settled_at, _("the mall reported the payment"), "", url)
    if order.closed_at:
        what = _("closed: %(reason)s") % {"reason": order.get_close_reason_display()}
        yield Happened(order.closed_at, what, "", url)
    if order.refund_at:
        what = _("the mall confirmed a refund of %(amount)s") % {"amount": order.refund_amount}
        yield Happened(order.refund_at, what, "", url)


def _end(team: Team) -> Iterator[Happened]:
    if team.completed_at:
        at_end = team.is_completed_at_its_end
        what = _("team complete, by the platform at its end") if at_end else _("team complete")
        yield Happened(team.completed_at, what, str(team.pk), _page(team))


def _notifications(promises: list[NotifyTask]) -> Iterator[Happened]:
    by_key = {promise.pk: promise for promise in promises}
    for promise in promises:
        what = _("notification promised: %(event)s") % {"event": event_of(promise)}
        yield Happened(promise.created_at, what, "", _page(promise), promise.key)
    tries = NotifyAttempt.objects.filter(task__in=by_key).order_by("-pk")[:MOST]
    for attempt in tries:
        promise = by_key[attempt.task_id]
        answer = failures.shown(attempt.error) or f"HTTP {attempt.status_code}"
        said = {"number": attempt.number, "event": event_of(promise)}
        what = _("attempt %(number)d to notify: %(event)s") % said
        detail = f"{answer}, {attempt.duration_ms} ms"
        yield Happened(attempt.started_at, what, detail, _page(promise), promise.key)


def _acts(rows: dict[str, Any], model: type[Model], **where: str) -> Iterator[Happened]:
    """The acts and changes of operators on these rows."""
    kind = ContentType.objects.get_for_model(model)
    acts = LogEntry.objects.filter(content_type=kind, object_id__in=list(rows), **where)
    for act in acts.select_related("user")[:MOST]:
        row, who = rows[str(act.object_id)], act.user.get_username()
        is_promise = isinstance(row, NotifyTask)
        about = event_of(row) if is_promise else row
        key = row.key if is_promise else ""
        said = history.text_of(act)
        yield Happened(act.action_time, said, f"{about} · {who}", _page(row), key)


def _closings(team: Team) -> Iterator[Happened]:
    """The acts on the activity since the team was opened, without changes by its form."""
    acts = _acts({str(team.activity_id): team.activity}, Activity, change_message__contains="acted")
    return (act for act in acts if act.at >= team.created_at)


def _page(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def next_of_order(order: Order, now: datetime) -> str:
    """One sentence that can be read to the shopper."""
    match Order.Status(order.status):
        case Order.Status.LOCKED if now < order.pay_deadline:
            return _("To be paid until %(until)s; after that the seat is released.") % {
                "until": to_second(order.pay_deadline)
            }
        case Order.Status.LOCKED:
            return _("The time to pay is over; the seat is about to be released.")
        case Order.Status.CLOSED if not order.paid_at:
            return _("Closed, and nothing was paid: nothing is to come.")
        case Order.Status.CLOSED if order.refund_at:
            return _("The mall has confirmed that it refunded %(amount)s at %(at)s.") % {
                "amount": order.refund_amount,
                "at": to_second(order.refund_at),
            }
        case Order.Status.CLOSED:
            return _("The money goes back. %(told)s") % {"told": _notified(order)}
        case Order.Status.PAID if order.team.status == Team.Status.FORMING:
            return next_of_team(order.team, now)
        case Order.Status.PAID:
            return _("The team is complete. %(told)s") % {"told": _notified(order)}


def next_of_team(team: Team, now: datetime) -> str:
    if team.status != Team.Status.FORMING:
        return ""
    if now >= team.expires_at:
        return _("Time is up; payments made in time are awaited until %(until)s.") % {
            "until": to_second(team.expires_at + GRACE)
        }
    missing = {"n": team.target_count - team.paid_count, "until": to_second(team.expires_at)}
    if team.group_type == team.activity.GroupType.SHOP_COMPLETES:
        return _("%(n)d payments are missing; at %(until)s the platform completes it anyway.") % (
            missing
        )
    return _("%(n)d payments are missing; without them the team fails at %(until)s.") % missing


def next_of_promise(promise: NotifyTask) -> str:
    match NotifyTask.State(promise.state):
        case NotifyTask.State.NEW:
            return _("It is about to be sent.")
        case NotifyTask.State.RETRYING if promise.next_attempt_at:
            return _("Attempts so far: %(count)d; the next is at %(at)s.") % {
                "count": promise.attempts,
                "at": to_second(promise.next_attempt_at),
            }
        case NotifyTask.State.DELIVERED if promise.delivered_at:
            return _("The mall accepted it at %(at)s.") % {"at": to_second(promise.delivered_at)}
        case NotifyTask.State.GIVEN_UP:
            return _("Given up: send it again as soon as the mall answers.")
        case _:
            return ""


def subject_of(promise: NotifyTask) -> tuple[str, str] | None:
    """Page and name of the team or order that the notification is about, by its key."""
    _event, _dash, rest = promise.key.partition("-")
    model = Team if promise.event == NotifyTask.Event.TEAM_SUCCESS else Order
    row = model._default_manager.filter(pk=read_id(rest.partition("-")[0])).first()
    return (_page(row), f"{model._meta.verbose_name} {row}") if row else None


def _notified(order: Order) -> str:
    """The state of the latest notification to the mall, as a sentence; "" without one."""
    kinds = NotifyTask.Event
    event = kinds.TEAM_REFUND if order.status == Order.Status.CLOSED else kinds.TEAM_SUCCESS
    promise = [each for each in promises_of(order) if each.event == event][-1:]
    if not promise:
        return ""
    return _("Notification to the mall: %(state)s.") % {"state": of_promise(promise[0])[1]}
