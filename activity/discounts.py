"""Discount arithmetic (折扣). Source: docs/contract.md, section 4."""

import re
from decimal import Decimal
from typing import assert_never

from django.db.models import TextChoices
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from groupbuy.money import FEN, to_money


class Plan(TextChoices):
    MINUS = "ZJ", gettext_lazy("ZJ: minus an amount (20)")
    THRESHOLD = "MJ", gettext_lazy("MJ: minus an amount from a threshold on (100,10)")
    RATE = "ZK", gettext_lazy("ZK: times a rate (0.8)")
    FIXED = "N", gettext_lazy("N: a fixed price (1.99)")

    @classmethod
    def _missing_(cls, value: object) -> "Plan | None":
        return cls.FIXED if value == "NYG" else None  # the name in data of older systems


def pay_price(plan: str, expression: str, original: Decimal) -> Decimal:
    """The team price in yuan: at least one fen, at most the original.

    Raises ValueError for an unknown plan, and for an unreadable expression; then its text is a
    sentence for the operator.

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
            if _amount(minus) >= _amount(threshold):
                raise ValueError(_("The amount must be less than the threshold."))
            price = original - _amount(minus) if original >= _amount(threshold) else original
        case Plan.RATE:
            rate = _amount(expression, places=4)
            if rate > 1:
                raise ValueError(_("A rate is between 0 and 1, such as 0.8."))
            price = original * rate
        case Plan.FIXED:
            price = min(_amount(expression), original)
        case unhandled:
            assert_never(unhandled)
    return max(to_money(price), FEN)


def uses_up(plan: str, expression: str, original: Decimal) -> bool:
    """Does the discount leave nothing to pay? False for an unreadable expression."""
    try:
        intended = Plan(plan) is Plan.FIXED  # a fixed price of one fen
        return not intended and original > FEN == pay_price(plan, expression, original)
    except ValueError:
        return False


def _amount(text: str, places: int = 2) -> Decimal:
    """Parse a plain number above 0 with at most `places` decimals."""
    text = text.strip()
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]+)?", text):
        raise ValueError(_("“%(text)s” is not a plain number such as 20 or 9.9.") % {"text": text})
    amount = Decimal(text)
    if not amount:
        raise ValueError(_("“%(text)s” must be above 0.") % {"text": text})
    if amount != round(amount, places):
        values = {"text": text, "places": places}
        raise ValueError(_("“%(text)s” has more than %(places)d decimals.") % values)
    return amount
