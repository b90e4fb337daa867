"""The rules of an offer or a team in plain words: each a question and its answer."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from activity.models import Activity
from groupbuy.durations import duration
from pages.offers import OfferView
from pages.teams import TeamView
from pages.words import both, moment, money


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms under which a team is opened."""

    shop: str
    people: int
    pay: Decimal
    original: Decimal
    group_type: int
    team_time: str  # a sentence
    hold_minutes: int
    team_has: timedelta
    take_limit: int
    until: str = ""  # a sentence; "" if no team can be opened


def of_offer(view: OfferView) -> list[tuple[str, str]]:
    activity = view.offer.activity
    return rules(
        Terms(
            shop=view.channel.name,
            people=activity.target_count,
            pay=view.price.pay,
            original=view.price.original,
            group_type=activity.group_type,
            team_time=_("A team has %(time)s from the moment it is opened.")
            % {"time": duration(activity.valid_minutes)},
            hold_minutes=activity.hold_minutes,
            team_has=timedelta(minutes=activity.valid_minutes),
            take_limit=activity.take_limit,
            until=_until(view),
        )
    )


def of_team(view: TeamView) -> list[tuple[str, str]]:
    return rules(
        Terms(
            shop=view.channel.name,
            people=view.team.target_count,
            pay=view.pay_price,
            original=view.team.original_price,
            group_type=view.team.group_type,
            team_time=_("This team has time until %(end)s.")
            % {"end": moment(view.team.expires_at, view.now)},
            hold_minutes=view.team.hold_minutes,
            team_has=view.team.expires_at - view.team.created_at,
            take_limit=view.offer.activity.take_limit if view.offer else 0,
        )
    )


def rules(terms: Terms) -> list[tuple[str, str]]:
    return [
        (_("How does it work?"), _how(terms)),
        (_("How long does it take?"), both(terms.team_time, _hold(terms))),
        *([(_("Until when?"), terms.until)] if terms.until else []),
        (_("What happens if the team is not full in time?"), _not_full(terms)),
        (_("Can I change my mind?"), _change_of_mind()),
        (_("Where do I pay?"), _where(terms)),
    ]


def _until(view: OfferView) -> str:
    if view.bar or view.offer.activity.end_at <= view.now:
        return ""
    end = moment(view.offer.activity.end_at, view.now)
    return _("Teams can be opened until %(end)s.") % {"end": end}


def _how(terms: Terms) -> str:
    text = ngettext(
        "%(n)d person buys and pays %(pay)s instead of %(alone)s.",
        "%(n)d people buy together, and each pays %(pay)s instead of %(alone)s.",
        terms.people,
    )
    if terms.pay == terms.original:
        text = ngettext(
            "%(n)d person buys and pays %(pay)s.",
            "%(n)d people buy together, and each pays %(pay)s.",
            terms.people,
        )
    values = {"n": terms.people, "pay": money(terms.pay), "alone": money(terms.original)}
    return both(text % values, _limit(terms))


def _limit(terms: Terms) -> str:
    if not terms.take_limit:
        return ""
    return ngettext(
        "Everybody may take part once.", "Everybody may take part %(n)d times.", terms.take_limit
    ) % {"n": terms.take_limit}


def _hold(terms: Terms) -> str:
    if timedelta(minutes=terms.hold_minutes) >= terms.team_has:
        return _("Your seat is held while you pay, until the team's time is up.")
    return _(
        "Your seat is held for %(time)s while you pay, but no longer than the team's time."
    ) % {"time": duration(terms.hold_minutes)}


def _not_full(terms: Terms) -> str:
    if terms.group_type == Activity.GroupType.SHOP_COMPLETES:
        return _(
            "Then the shop completes the team: everybody who has paid by then gets the goods at "
            "the team price. Unpaid seats are released, and nobody is charged for them."
        )
    return _(
        "Then the team is off, and everybody who has paid gets all of their money back, the way "
        "they paid. The shop is asked to return it within minutes of the team's end."
    )


def _change_of_mind() -> str:
    return _(
        "Yes. Cancel on your order's page: your seat is free again and your money comes "
        "back. A team that is complete stays complete for the others."
    )


def _where(terms: Terms) -> str:
    return _(
        "At %(shop)s, as always. This page shows how the team stands; it takes no money and "
        "never asks for a password."
    ) % {"shop": terms.shop}
