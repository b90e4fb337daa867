"""Discount arithmetic. Source: the wire contract, section 4."""

from decimal import Decimal

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from activity.discounts import Plan, pay_price

MONEY = st.decimals("0.01", "9999999999.99", places=2)


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
        (Plan.MINUS, "", "is not a number"),
        (Plan.MINUS, "x", "is not a number"),
        (Plan.MINUS, "0", "above 0"),
        (Plan.MINUS, "-1", "above 0"),
        (Plan.MINUS, "NaN", "above 0"),
        (Plan.MINUS, "Infinity", "above 0"),
        (Plan.MINUS, "1e99", "above 0"),
        (Plan.THRESHOLD, "100", "threshold,amount"),
        (Plan.THRESHOLD, "100,", "is not a number"),
        (Plan.THRESHOLD, ",10", "is not a number"),
        (Plan.THRESHOLD, "100,10,1", "is not a number"),
        (Plan.RATE, "1.01", "between 0 and 1"),
        (Plan.RATE, "0", "above 0"),
        (Plan.FIXED, "0", "above 0"),
        ("XX", "1", "valid Plan"),
    ],
)
def test_an_expression_that_makes_no_sense_is_refused(
    plan: str, expression: str, sentence: str
) -> None:
    with translation.override("en"), pytest.raises(ValueError, match=sentence):
        pay_price(plan, expression, Decimal(100))


@given(plan=st.sampled_from(Plan), original=MONEY, amount=MONEY, threshold=MONEY)
def test_a_price_is_always_between_one_fen_and_the_original(
    plan: Plan, original: Decimal, amount: Decimal, threshold: Decimal
) -> None:
    expression = {
        Plan.MINUS: str(amount),
        Plan.THRESHOLD: f"{threshold},{amount}",
        Plan.RATE: str(amount / Decimal("9999999999.99")),
        Plan.FIXED: str(amount),
    }[plan]

    price = pay_price(plan, expression, original)

    assert Decimal("0.01") <= price <= original
    assert price == price.quantize(Decimal("0.01"))
