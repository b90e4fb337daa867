"""Purchase history for crowd jobs (人群统计): implements tag.jobs.History.

Refunded orders never count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import BigIntegerField, Count, F, FloatField, QuerySet, Sum
from django.db.models.functions import Cast, Round

from tag.jobs import Rule, rule_of
from tag.models import CrowdJob, CrowdMember, CrowdTag
from trade.models import Order

SLICE = 5000  # orders of a slice's shoppers, roughly
# Amounts in whole fen, because SQLite sums decimals as floats.
FENS = Cast(Round(F("pay_price") * 100, output_field=FloatField()), BigIntegerField())
MEASURES = {CrowdJob.Kind.ORDERS: Count("pk"), CrowdJob.Kind.AMOUNT: Sum(FENS)}
UNITS = {CrowdJob.Kind.ORDERS: 1, CrowdJob.Kind.AMOUNT: 100}


def slices() -> Iterator[tuple[str, str]]:
    """Ranges of user ids that cover every shopper: after < id <= upto, "" for no bound."""
    after = ""
    while True:
        ids = Order.objects.filter(user_id__gt=after).order_by("user_id")
        upto = ids.values_list("user_id", flat=True)[SLICE : SLICE + 1].first()
        yield after, upto or ""
        if not upto:
            return
        after = upto


def found(rule: Rule, *, after: str, upto: str) -> list[str]:
    """The user ids of the range that fulfil the rule, sorted."""
    shoppers = Order.objects.filter(user_id__gt=after)
    if upto:
        shoppers = shoppers.filter(user_id__lte=upto)
    measured = _paid(shoppers, rule).values("user_id").annotate(measure=MEASURES[rule.kind])
    enough = measured.filter(measure__gte=int(rule.at_least * UNITS[rule.kind]))
    return list(enough.order_by("user_id").values_list("user_id", flat=True))


def measure(user_id: str, rule: Rule) -> Decimal:
    """The shopper's number of orders, or amount in yuan, by this rule."""
    paid = _paid(Order.objects.filter(user_id=user_id), rule)
    counted = paid.aggregate(measure=MEASURES[rule.kind])["measure"] or 0
    return Decimal(counted) / UNITS[rule.kind]


@dataclass(frozen=True, slots=True)
class Reason:
    """One origin of a crowd, and whether the user is in the crowd by it."""

    job: CrowdJob | None  # None: added by operators
    inside: bool  # the user is a member by this origin
    measure: Decimal  # the user's figure by the job's rule, now
    enough: bool  # a run now would find the user


def why(tag: CrowdTag, user_id: str, *, now: datetime) -> list[Reason]:
    """Every origin of the crowd; the user belongs to the crowd if any of them is inside."""
    members = CrowdMember.objects.filter(part__tag=tag, part__is_live=True, user__user_id=user_id)
    origins = set(members.values_list("part__job", flat=True))
    reasons = [Reason(None, None in origins, Decimal(0), enough=False)]
    for job in tag.jobs.select_related("run").order_by("pk"):
        counted = measure(user_id, rule_of(job, now))
        reasons.append(Reason(job, job.pk in origins, counted, counted >= job.at_least))
    return reasons


def _paid(orders: QuerySet[Order], rule: Rule) -> QuerySet[Order]:
    orders = orders.filter(status=Order.Status.PAID)
    if rule.since:
        orders = orders.filter(paid_at__gte=rule.since)
    if rule.until:
        orders = orders.filter(paid_at__lt=rule.until)
    return orders
