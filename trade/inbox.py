"""The console's inbox (待办): what needs an operator's attention, worst first."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from groupbuy import gcra, proposals, switches, throttling
from groupbuy.checks import channels_without_refunds
from groupbuy.models import Proposal, Switch
from trade import lists
from trade.models import NotifyTask, Order, Team, Transport

State = NotifyTask.State


@dataclass(frozen=True, slots=True)
class Problem:
    """link is the console page to act on it, for those with the permission `needs`, if it has one.

    The others get `look`, the page on which they see what it is about; "" if there is none.
    """

    text: str
    link: str
    needs: str = ""
    look: str = ""

    def link_for(self, user: Any) -> str:
        return self.link if not self.needs or user.has_perm(self.needs) else self.look


def problems(now: datetime) -> list[Problem]:
    return [
        *_switched_off(),
        *_nowhere_to_go(),
        *_given_up(),
        *_nobody_works(now),
        *_failing(),
        *_blocked(),
        *_proposed(now),
    ]


def _switched_off() -> Iterator[Problem]:
    if switches.is_downgraded():
        yield Problem(
            _("Group buying is switched off: every trial and every lock is refused."),
            reverse("admin:groupbuy_switch_change", args=[Switch.Key.DOWNGRADE.value]),
        )


def _nowhere_to_go() -> Iterator[Problem]:
    """Channels whose refunds have no destination, and refund notices that had none when made."""
    waiting = NotifyTask.objects.filter(
        state__in=[State.NEW, State.RETRYING, State.GIVEN_UP],
        endpoint="",
        transport=Transport.HTTP,
    )
    names = ("channel_id", "channel__source", "channel__channel")
    grouped = waiting.values(*names).annotate(count=Count("pk")).order_by(*names)
    counts = {row["channel_id"]: row for row in grouped}
    for channel in channels_without_refunds():
        row = counts.pop(channel.pk, {"count": 0})
        text = _(
            "Refunds of %(channel)s cannot be reported to its mall: the channel has no refund"
            " callback URL, and there is no RabbitMQ. Not sent so far: %(count)d."
        )
        name = f"{channel.source}/{channel.channel}"
        link = reverse("admin:groupbuy_channel_change", args=[channel.pk])
        yield Problem(text % {"count": row["count"], "channel": name}, link)
    for channel_id, row in counts.items():
        text = ngettext(
            "%(count)d refund notice of %(channel)s had no destination then: send it again.",
            "%(count)d refund notices of %(channel)s had no destination then: send them again.",
            row["count"],
        )
        name = f"{row['channel__source']}/{row['channel__channel']}"
        query = {"channel__id__exact": channel_id, "endpoint": "", "state__in": "0,2,3"}
        link = f"{reverse('admin:trade_notifytask_changelist')}?{urlencode(query)}"
        yield Problem(text % {"count": row["count"], "channel": name}, link)


def _given_up() -> Iterator[Problem]:
    given_up = NotifyTask.objects.filter(state=State.GIVEN_UP)
    for endpoint, count in _by_endpoint(given_up.exclude(endpoint="")):
        text = ngettext(
            "%(count)d notification to %(endpoint)s was given up.",
            "%(count)d notifications to %(endpoint)s were given up.",
            count,
        )
        yield Problem(
            text % {"count": count, "endpoint": endpoint},
            f"{reverse('admin:trade_notifytask_replay')}?{urlencode({'endpoint': endpoint})}",
            needs="trade.send_notifytask",
            look=_notifications(State.GIVEN_UP, endpoint),
        )


def _nobody_works(now: datetime) -> Iterator[Problem]:
    """Work that is overdue because no worker does it."""
    notifications = NotifyTask.objects.filter(lists.overdue_promises(now))
    if lists.served_since(now - lists.PATIENCE):  # they wait for failing endpoints
        notifications = notifications.none()
    holds = Order.objects.filter(lists.overdue_holds(now))
    teams = Team.objects.filter(lists.overdue_teams(now))
    for count, text, link in (
        (
            notifications.count(),
            _("%(count)d notifications are overdue: are worker and beat running?"),
            reverse("admin:trade_notifytask_changelist") + "?state=overdue",
        ),
        (
            holds.count(),
            _(
                "%(count)d orders were not paid in time and still hold their seats: are worker and"
                " beat running?"
            ),
            reverse("admin:trade_order_changelist") + "?state=overdue",
        ),
        (
            teams.count(),
            _("%(count)d teams are past their end and still forming: are worker and beat running?"),
            reverse("admin:trade_team_changelist") + "?state=overdue",
        ),
    ):
        if count:
            yield Problem(text % {"count": count}, link)


def _failing() -> Iterator[Problem]:
    retrying = NotifyTask.objects.filter(state=State.RETRYING)
    for endpoint, count in _by_endpoint(retrying.exclude(endpoint="")):
        text = ngettext(
            "%(count)d notification to %(endpoint)s has failed and is tried again.",
            "%(count)d notifications to %(endpoint)s have failed and are tried again.",
            count,
        )
        link = _notifications(State.RETRYING, endpoint)
        yield Problem(text % {"count": count, "endpoint": endpoint}, link)


def _notifications(state: NotifyTask.State, endpoint: str) -> str:
    query = {"state": state.name.lower(), "endpoint": endpoint}
    return f"{reverse('admin:trade_notifytask_changelist')}?{urlencode(query)}"


def _blocked() -> Iterator[Problem]:
    if count := len(gcra.blocks(throttling.scopes()) or ()):
        text = ngettext(
            "%(count)d client is blocked for too many requests.",
            "%(count)d clients are blocked for too many requests.",
            count,
        )
        link = reverse("admin:groupbuy_switch_blocked")
        yield Problem(text % {"count": count}, link, needs="groupbuy.unblock_switch")


def _proposed(now: datetime) -> Iterator[Problem]:
    if count := Proposal.objects.filter(proposals.waiting(now)).count():
        text = ngettext(
            "%(count)d change waits until a second person confirms it.",
            "%(count)d changes wait until a second person confirms them.",
            count,
        )
        link = reverse("admin:groupbuy_proposal_changelist") + "?state=waiting"
        yield Problem(text % {"count": count}, link)


def _by_endpoint(tasks: QuerySet[NotifyTask]) -> QuerySet[NotifyTask, tuple[str, int]]:
    counted = tasks.values("endpoint").annotate(count=Count("pk")).order_by("endpoint")
    return counted.values_list("endpoint", "count")
