"""What a discount (折扣) makes of a price. Source: the wire contract, section 4."""

from decimal import Decimal, InvalidOperation
from typing import assert_never

from django.db.models import TextChoices
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from groupbuy.money import FEN, MAX, to_money


class Plan(TextChoices):
    MINUS = "ZJ", gettext_lazy("ZJ: minus an amount (20)")
    THRESHOLD = "MJ", gettext_lazy("MJ: minus an amount from a threshold on (100,10)")
    RATE = "ZK", gettext_lazy("ZK: times a rate (0.8)")
    FIXED = "N", gettext_lazy("N: a fixed price (1.99)")

    @classmethod
    def _missing_(cls, value: object) -> "Plan | None":
        return cls.FIXED if value == "NYG" else None  # the name in data of older systems


def pay_price(plan: str, expression: str, original: Decimal) -> Decimal:
    """The price in a team, at least one fen and never above the original.

    Raises ValueError for an unknown plan, and with a sentence for the operator for an
    expression it cannot read.

    >>> pay_price(Plan.THRESHOLD, "100,10", Decimal(120))
    Decimal('110.00')
    """
    match Plan(plan):
        case Plan.MINUS:
            price = original - _amount(expression)
        case Plan.THRESHOLD:
            threshold, comma, minus = expression.partition(",")
            if not comma:
                raise ValueError(_("Expected threshold,amount such as 100,10."))
            price = original - _amount(minus) if original >= _amount(threshold) else original
        case Plan.RATE:
            rate = _amount(expression)
            if rate > 1:
                raise ValueError(_("A rate is between 0 and 1, such as 0.8."))
            price = original * rate
        case Plan.FIXED:
            price = min(_amount(expression), original)
        case unhandled:
            assert_never(unhandled)
    return max(to_money(price), FEN)


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text.strip())
    except InvalidOperation as exc:
        raise ValueError(_("“%(text)s” is not a number.") % {"text": text.strip()}) from exc
    if not amount.is_finite() or not 0 < amount <= MAX:
        raise ValueError(_("“%(text)s” must be a number above 0.") % {"text": text.strip()})
    return amount
