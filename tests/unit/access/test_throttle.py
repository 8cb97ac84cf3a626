"""Limits of sign-in attempts."""

import pytest

from toban.access import throttle
from toban.access.throttle import FORGOTTEN_AFTER, MOST_PER_MINUTE, SignInThrottle, network_of


def fail(limits, count, now, user="ann", address="192.0.2.7"):
    for _ in range(count):
        limits.begin(user, address, now)


def test_waits_grow_to_a_minute_after_five_failures():
    limits, now = SignInThrottle(), 1000.0
    fail(limits, 4, now)
    assert limits.wait("ann", "192.0.2.7", now) == 0
    waits = []
    for _ in range(9):
        fail(limits, 1, now)
        waits.append(limits.wait("ann", "192.0.2.7", now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert limits.wait("ann", "192.0.2.7", now) == 0


@pytest.mark.parametrize(
    ("user", "address", "is_limited"),
    [
        ("ann", "192.0.2.8", True),
        ("bob", "192.0.2.7", True),
        ("bob", "::ffff:192.0.2.7", True),
        ("bob", "192.0.2.8", False),
    ],
)
def test_failures_count_for_the_user_and_for_the_address(user, address, is_limited):
    limits = SignInThrottle()
    fail(limits, 5, 0.0)
    assert (limits.wait(user, address, 0.0) > 0) is is_limited


def test_an_ipv6_client_is_its_64():
    """
    It has all of its addresses.
    """
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("unknown") == "unknown"


def test_a_success_forgets_the_failures_of_the_user_and_not_those_of_the_address():
    """
    With an account of one's own nobody guesses the passwords of others.
    """
    limits = SignInThrottle()
    fail(limits, 5, 0.0, user="bob")
    limits.begin("eve", "192.0.2.7", 1.0)
    limits.succeeded("eve", "192.0.2.7", 1.0)
    assert limits.wait("eve", "192.0.2.7", 1.0) == 1
    fail(limits, 5, 0.0, address="192.0.2.9")
    limits.begin("ann", "192.0.2.10", 1.0)
    limits.succeeded("ann", "192.0.2.10", 1.0)
    assert limits.wait("ann", "192.0.2.10", 1.0) == 0


def test_a_user_is_not_kept_out_by_failures_elsewhere():
    """
    From where the user has a session; failures there count.
    """
    limits = SignInThrottle()
    for host in range(100):
        fail(limits, 1, 0.0, address=f"198.51.100.{host}")
    assert limits.wait("ann", "192.0.2.7", 0.0) == 60
    assert limits.wait("ann", "192.0.2.7", 0.0, is_known=True) == 0
    fail(limits, 5, 0.0)
    assert limits.wait("ann", "192.0.2.7", 0.0, is_known=True) == 1


def test_all_attempts_together_are_limited_each_minute():
    limits = SignInThrottle()
    for place in range(MOST_PER_MINUTE):
        fail(limits, 1, 10.0, user=f"u{place}", address=f"198.51.100.{place}")
    assert limits.wait("ann", "192.0.2.7", 10.0) == 50
    assert limits.wait("ann", "192.0.2.7", 60.0) == 0


def test_failures_are_forgotten_after_a_while():
    limits = SignInThrottle()
    fail(limits, 20, 0.0)
    limits.begin("ann", "192.0.2.7", FORGOTTEN_AFTER)
    assert limits.wait("ann", "192.0.2.7", FORGOTTEN_AFTER) == 0


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(throttle, "MAX_KEYS", 100)
    limits = SignInThrottle()
    for place in range(1000):
        fail(limits, 1, place * 60.0, user="x" * 10_000 + str(place), address=f"2001:db8:{place:x}::1")
    assert len(limits._failures) == 100
    assert max(len(key) for key in limits._failures) < 250
