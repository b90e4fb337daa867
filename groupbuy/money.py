"""Money is Decimal yuan with two places; this module does the only rounding, half up."""

from decimal import ROUND_HALF_UP, Decimal

FEN = Decimal("0.01")


def to_money(amount: Decimal) -> Decimal:
    """Round half up to whole fen.

    >>> to_money(Decimal("0.005"))
    Decimal('0.01')
    """
    return amount.quantize(FEN, rounding=ROUND_HALF_UP)
