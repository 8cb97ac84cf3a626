"""Planned visits, and their ground truth."""

from collections import Counter
from datetime import UTC, datetime
from random import Random

import pytest

from toban.demo.customers import code_of
from toban.demo.ground_truth import GroundTruth, PaymentAttempt, PlacedOrder
from toban.demo.traffic_model import NOBODY_CAN_PAY, SOLD_OUT, CustomerHabits, PaymentOutcome, next_visit, plan_visits

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_seed_determines_all_visits():
    """
    The same seed is the same day, another is another; each has as many orders as were asked for, the last one last.
    """
    for seed in range(20):
        visits = plan_visits(seed, 50)
        assert visits == plan_visits(seed, 50)
        assert sum(visit.buys for visit in visits) == 50
        assert visits[-1].buys
    assert plan_visits(1, 50) != plan_visits(2, 50)


def test_fifty_orders_include_every_outcome_of_a_visit():
    """
    Declined, failed, tried again, given up, a cart left behind, wholesale, wrong password, sold out: over a few seeds.
    """
    visits = [visit for seed in range(5) for visit in plan_visits(seed, 50)]
    for happens in (
        [visit for visit in visits if visit.buys and len(visit.payments) > 1],
        [visit for visit in visits if visit.payments and not visit.buys],
        [visit for visit in visits if visit.cart and not visit.payments],
        [visit for visit in visits if not visit.cart],
        [visit for visit in visits if visit.wholesale and visit.buys],
        [visit for visit in visits if visit.mistypes],
        [visit for visit in visits if visit.sold_out],
        [visit for visit in visits if visit.dead_link],
        [visit for visit in visits if visit.coupon and visit.buys],
        [visit for visit in visits if visit.method == "invoice" and visit.buys],
        [visit for visit in visits if visit.regular and visit.regular.status == "gold" and visit.buys],
    ):
        assert happens


def test_visits_with_payments_have_a_cart_and_visits_with_login_have_none():
    """
    Two visits under one account at a time would share a cart, so those who log in only look.
    """
    chance = Random(7)
    for number in range(2000):
        visit = next_visit(chance, CustomerHabits(), number)
        assert visit.cart or not visit.payments
        assert not (visit.logs_in and visit.cart)
        assert visit.logs_in or not visit.mistypes
        assert set(visit.payments[:-1]) <= {PaymentOutcome.DECLINED, PaymentOutcome.FAILED}
        assert SOLD_OUT not in {slug for slug, _, _ in visit.cart}


def test_all_payments_fail_while_the_provider_is_down():
    """
    People shop as ever, and try.
    """
    chance = Random(7)
    visits = [next_visit(chance, NOBODY_CAN_PAY, number) for number in range(200)]

    assert [visit for visit in visits if visit.payments]
    assert not [visit for visit in visits if visit.buys]


@pytest.mark.parametrize(
    ("name", "code"),
    [("PaymentDeclinedError", "PAYMENT_DECLINED_ERROR"), ("InvalidCredentialsError", "INVALID_CREDENTIALS_ERROR")],
)
def test_an_error_type_has_its_code(name, code):
    """
    Vendure writes both; customers ask for the first.
    """
    assert code_of(name) == code


def test_sums_of_the_ground_truth():
    """
    Placed, unpaid, failed attempts, revenue: each from what was written down.
    """

    def order(code: str, channel: str, currency: str, net: int) -> PlacedOrder:
        return PlacedOrder(
            code,
            channel,
            currency,
            net,
            net,
            "PaymentSettled",
            "general",
            "card",
            "",
            0,
            datetime(2026, 1, 1, tzinfo=UTC),
        )

    ground_truth = GroundTruth(
        orders=[order("A", "default", "USD", 1000), order("B", "default", "USD", 500), order("C", "b2b", "EUR", 70)],
        attempts=[
            PaymentAttempt("A", "card", "Declined", NOW),
            PaymentAttempt("A", "card", "Settled", NOW),
            PaymentAttempt("B", "invoice", "Authorized", NOW),
            PaymentAttempt("C", "card", "Settled", NOW),
            PaymentAttempt("D", "card", "Error", NOW),
            PaymentAttempt("D", "card", "Declined", NOW),
        ],
    )
    assert ground_truth.unpaid == {"D"}
    assert ground_truth.failed_attempts == Counter({("card", "Declined"): 2, ("card", "Error"): 1})
    assert ground_truth.created == Counter({("general", "default"): 2, ("general", "b2b"): 1})
    assert ground_truth.revenue == Counter({("default", "USD"): 1500, ("b2b", "EUR"): 70})
