"""A trial explained (试算解释): every rule in order, its inputs, and what would change its verdict.

For operators. The verdicts are those of the Trial; this module adds inputs and advice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from activity import catalog
from activity.catalog import LiveOffer
from activity.models import LIVE
from activity.trial import Trial, TrialQuery, activity_bucket, run_trial
from groupbuy import switches
from groupbuy.errors import ErrorCode
from groupbuy.models import Switch

Key = Switch.Key


@dataclass(frozen=True, slots=True)
class Step:
    rule: str
    saw: str  # its inputs
    refused: bool
    advice: str  # what would change the verdict; "" if the rule did not refuse


def explain(query: TrialQuery, *, now: datetime) -> tuple[Trial, list[Step]]:
    """The trial of this user at this moment, with the switches as they are."""
    trial = run_trial(query, now=now)
    steps = [*_switches(query, trial), _offer(query, trial, now)]
    if trial.offer:
        steps += _activity(query, trial, trial.offer, now)
    return trial, steps


def _step(rule: str, saw: str, refused: bool, advice: str) -> Step:
    return Step(rule, saw, refused, advice if refused else "")


def _switches(query: TrialQuery, trial: Trial) -> Iterator[Step]:
    name, value = str(Key.DOWNGRADE.label), switches.text(Key.DOWNGRADE)
    yield _step(
        _("Group buying is switched on"),
        _("%(name)s: %(value)s") % {"name": name, "value": value},
        ErrorCode.DOWNGRADED in trial.refusals,
        _("Set the switch “%(name)s” to 0.") % {"name": name},
    )
    bucket = switches.bucket(query.user_id)
    said = {"name": str(Key.CUT_RANGE.label), "bucket": bucket}
    said["range"] = switches.text(Key.CUT_RANGE)
    yield _step(
        _("The switch “%(name)s” admits this user") % said,
        _("%(range)s per cent; this user is admitted from %(bucket)s on") % said,
        not trial.in_cut_range,
        _("Set the switch “%(name)s” to %(bucket)s or more.") % said,
    )


def _offer(query: TrialQuery, trial: Trial, now: datetime) -> Step:
    offer = trial.offer
    return _step(
        _("There is an offer"),
        f"{query.source}/{query.channel}, {query.goods_id}"
        + (f" → {offer.activity}" if offer else ""),
        ErrorCode.NO_OFFER in trial.refusals,
        _next_offer(query, now)
        or _("Offer these goods on this channel by an activity that is in effect at that time."),
    )


def _next_offer(query: TrialQuery, now: datetime) -> str:
    """The activity that will sell these goods next; "" if there is none."""
    offers = catalog.offers_of(source=query.source, channel=query.channel, goods_id=query.goods_id)
    coming = [each.activity for each in offers if each.activity.start_at > now]
    planned = [each for each in coming if each.status in LIVE]
    if query.activity_id is not None or not planned:
        return ""
    activity = min(planned, key=lambda each: each.start_at)
    text = _("The next activity: %(activity)s (%(status)s), from %(start)s")
    return text % {
        "activity": activity,
        "status": activity.get_status_display(),
        "start": _moment(activity.start_at),
    }


def _activity(query: TrialQuery, trial: Trial, offer: LiveOffer, now: datetime) -> Iterator[Step]:
    activity, refusals = offer.activity, trial.refusals
    bucket = activity_bucket(activity, query.user_id)
    yield _step(
        _("The activity admits this user"),
        _("%(range)s per cent; this user is admitted from %(bucket)s on")
        % {"range": activity.cut_range, "bucket": bucket},
        not trial.in_activity_range,
        _("Admit %(bucket)s per cent or more to the activity.") % {"bucket": bucket},
    )
    discount = activity.discount
    prices = f"{trial.price.original} → {trial.price.pay}" if trial.price else "?"
    yield _step(
        _("The discount can be calculated"),
        f"{discount.plan} {discount.expression}: {prices}",
        ErrorCode.UNKNOWN_DISCOUNT in refusals,
        _("Correct the discount's expression."),
    )
    if activity.restrict_visible or activity.restrict_join:
        yield _step(
            _("The user is in the activity's crowd"),
            _membership(activity.crowd_id, trial.crowds),
            not (trial.visible and trial.joinable),
            _("Add the user to the crowd %(crowd)s.") % {"crowd": activity.crowd_id},
        )
    if offer.discount_crowd is not None:
        yield _step(
            _("The user is in the discount's crowd"),
            _membership(offer.discount_crowd, trial.crowds),
            not trial.discounted,
            _("Users outside it pay the original price. Add the user to the crowd %(crowd)s.")
            % {"crowd": offer.discount_crowd},
        )
    yield _step(
        _("The activity is in effect"),
        activity.get_status_display(),
        ErrorCode.ACTIVITY_NOT_IN_EFFECT in refusals,
        _("Publish the activity, or resume it. One that is closed can only be copied."),
    )
    window = f"{_moment(activity.start_at)} – {_moment(activity.end_at)}"
    yield _step(
        _("The moment is within the activity's window"),
        f"{window}; {_moment(now)}",
        ErrorCode.OUTSIDE_WINDOW in refusals,
        _("Change the activity's start or end. Teams that are open can still be joined."),
    )


def _membership(tag_id: str | None, inside: frozenset[str]) -> str:
    texts = {True: _("%(crowd)s: inside"), False: _("%(crowd)s: outside")}
    return texts[tag_id in inside] % {"crowd": tag_id}


def _moment(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "DATETIME_FORMAT")
