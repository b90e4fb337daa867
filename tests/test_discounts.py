"""Discount arithmetic. Source: docs/contract.md, section 4."""

from decimal import Decimal

import pytest
from django.utils import translation
from hypothesis import given, settings
from hypothesis import strategies as st

from activity.discounts import Plan, pay_price, uses_up

FEN, MOST = Decimal("0.01"), Decimal("9999999999.99")
MONEY = st.decimals(FEN, MOST, places=2).filter(lambda amount: amount >= 2 * FEN)


@pytest.mark.parametrize(
    ("plan", "expression", "original", "price"),
    [
        (Plan.MINUS, "20", "100.00", "80.00"),
        (Plan.MINUS, "20.5", "100.00", "79.50"),
        (Plan.MINUS, "100", "100.00", "0.01"),
        (Plan.MINUS, "200", "100.00", "0.01"),
        (Plan.THRESHOLD, "100,10", "100.00", "90.00"),
        (Plan.THRESHOLD, "100,10", "99.99", "99.99"),
        (Plan.THRESHOLD, " 100 , 10 ", "120.00", "110.00"),
        (Plan.RATE, "0.8", "100.00", "80.00"),
        (Plan.RATE, "0.8", "59.90", "47.92"),
        (Plan.RATE, "0.85", "0.10", "0.09"),  # 0.085, half up
        (Plan.RATE, "0.5", "0.01", "0.01"),
        (Plan.RATE, "1", "100.00", "100.00"),
        (Plan.FIXED, "1.99", "100.00", "1.99"),
        (Plan.FIXED, "1.99", "1.00", "1.00"),
        ("NYG", "1.99", "100.00", "1.99"),
        ("N", "1.99", "100.00", "1.99"),
    ],
)
def test_price_in_a_team(plan: str, expression: str, original: str, price: str) -> None:
    assert pay_price(plan, expression, Decimal(original)) == Decimal(price)


@pytest.mark.parametrize(
    ("plan", "expression", "sentence"),
    [
        (Plan.MINUS, "", "is not a plain number"),
        (Plan.MINUS, "x", "is not a plain number"),
        (Plan.MINUS, "0", "above 0"),
        (Plan.MINUS, "0.00", "above 0"),
        (Plan.MINUS, "-1", "is not a plain number"),
        (Plan.MINUS, "NaN", "is not a plain number"),
        (Plan.MINUS, "1e5", "is not a plain number"),
        (Plan.MINUS, "１０", "is not a plain number"),
        (Plan.MINUS, "99999999999", "is not a plain number"),
        (Plan.MINUS, "1.001", "more than 2 decimals"),
        (Plan.THRESHOLD, "100", "threshold,amount"),
        (Plan.THRESHOLD, "100,", "is not a plain number"),
        (Plan.THRESHOLD, ",10", "is not a plain number"),
        (Plan.THRESHOLD, "100,10,1", "is not a plain number"),
        (Plan.THRESHOLD, "10,100", "less than the threshold"),
        (Plan.RATE, "1.01", "between 0 and 1"),
        (Plan.RATE, "0", "above 0"),
        (Plan.RATE, "0.00001", "more than 4 decimals"),
        (Plan.FIXED, "0", "above 0"),
        (Plan.FIXED, "0.001", "more than 2 decimals"),
        ("XX", "1", "valid Plan"),
    ],
)
def test_an_expression_that_makes_no_sense_is_refused(
    plan: str, expression: str, sentence: str
) -> None:
    with translation.override("en"), pytest.raises(ValueError, match=sentence):
        pay_price(plan, expression, Decimal(100))


@settings(deadline=None)
@given(
    plan=st.sampled_from(Plan), original=MONEY, amount=MONEY, more=MONEY, rate=st.integers(1, 10000)
)
def test_a_price_is_always_between_one_fen_and_the_original(
    plan: Plan, original: Decimal, amount: Decimal, more: Decimal, rate: int
) -> None:
    expression = {
        Plan.MINUS: str(amount),
        Plan.THRESHOLD: f"{min(amount + more, MOST)},{amount - FEN or FEN}",
        Plan.RATE: str(Decimal(rate) / 10000),
        Plan.FIXED: str(amount),
    }[plan]

    price = pay_price(plan, expression, original)

    assert FEN <= price <= original
    assert price == price.quantize(FEN)


@pytest.mark.parametrize(
    ("plan", "expression", "original", "used_up"),
    [
        (Plan.MINUS, "20", "20.00", True),
        (Plan.MINUS, "500", "88.00", True),
        (Plan.MINUS, "87.98", "88.00", False),
        (Plan.RATE, "0.0001", "88.00", True),
        (Plan.FIXED, "0.01", "88.00", False),
        (Plan.MINUS, "20", "0.01", False),
    ],
)
def test_a_discount_that_leaves_nothing_is_noticed(
    plan: Plan, expression: str, original: str, used_up: bool
) -> None:
    assert uses_up(plan, expression, Decimal(original)) is used_up
