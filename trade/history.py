"""Who bought (人群统计), as crowd jobs ask for it. What was refunded never counts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import BigIntegerField, Count, F, FloatField, QuerySet, Sum
from django.db.models.functions import Cast, Round

from tag.jobs import Rule, rule_of
from tag.models import CrowdJob, CrowdMember, CrowdTag
from trade.models import Order

SLICE = 5000  # orders of a slice's shoppers, more or less
# Amounts in whole fen: SQLite would add up floats.
FENS = Cast(Round(F("pay_price") * 100, output_field=FloatField()), BigIntegerField())
MEASURES = {CrowdJob.Kind.ORDERS: Count("pk"), CrowdJob.Kind.AMOUNT: Sum(FENS)}
UNITS = {CrowdJob.Kind.ORDERS: 1, CrowdJob.Kind.AMOUNT: 100}


def slices() -> Iterator[tuple[str, str]]:
    """Ranges of user ids that cover all: after < id <= upto, "" for no end."""
    after = ""
    while True:
        ids = Order.objects.filter(user_id__gt=after).order_by("user_id")
        upto = ids.values_list("user_id", flat=True)[SLICE : SLICE + 1].first()
        yield after, upto or ""
        if not upto:
            return
        after = upto


def found(rule: Rule, *, after: str, upto: str) -> list[str]:
    """Those of the range that the rule lets in, in order."""
    shoppers = Order.objects.filter(user_id__gt=after)
    if upto:
        shoppers = shoppers.filter(user_id__lte=upto)
    measured = _paid(shoppers, rule).values("user_id").annotate(measure=MEASURES[rule.kind])
    enough = measured.filter(measure__gte=int(rule.at_least * UNITS[rule.kind]))
    return list(enough.order_by("user_id").values_list("user_id", flat=True))


def measure(user_id: str, rule: Rule) -> Decimal:
    """What the rule counts of this shopper."""
    paid = _paid(Order.objects.filter(user_id=user_id), rule)
    counted = paid.aggregate(measure=MEASURES[rule.kind])["measure"] or 0
    return Decimal(counted) / UNITS[rule.kind]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a user is in a crowd, or not: one of its origins."""

    job: CrowdJob | None  # None: put in by people
    inside: bool  # by this origin, as things are
    measure: Decimal  # what the job's rule counts of the user now
    enough: bool  # so would the job find the user now?


def why(tag: CrowdTag, user_id: str, *, now: datetime) -> list[Reason]:
    """The user is in the crowd where one of them says so."""
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
