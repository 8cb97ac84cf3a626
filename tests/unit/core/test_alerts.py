"""Alerts and their changes."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from toban.core.alerts import Acknowledgement, Alert, AlertChange, AlertStatus, fingerprint, priority
from toban.core.labels import Labels

MOMENTS = st.datetimes(timezones=st.just(UTC))
NAMES = st.dictionaries(st.text(), st.text(), max_size=4)


def test_a_fingerprint_is_the_one_that_alertmanager_computes():
    """
    The labels and the hash that a real Alertmanager 0.25 showed for them.
    """
    labels = {"alertname": "DbDown", "service": "shop", "severity": "warning"}
    assert fingerprint(labels) == "e4aec3dd49d20ecc"


@given(
    st.builds(
        Alert,
        labels=NAMES.map(Labels),
        annotations=NAMES,
        status=st.sampled_from(AlertStatus),
        starts=MOMENTS,
        fired=st.none() | MOMENTS,
        ends=st.none() | MOMENTS,
        value=st.none() | st.floats(allow_nan=False),
        acknowledged=st.none() | st.builds(Acknowledgement, st.text(), MOMENTS, st.text()),
    )
)
def test_a_saved_change_is_loaded_unchanged(alert):
    """
    Whatever its labels, and also an infinite value.
    """
    change = AlertChange(alert, datetime(2026, 1, 1, tzinfo=UTC), "because")
    assert AlertChange.from_dict(change.as_dict()) == change


def test_priority_is_the_label_then_that_of_the_name_then_that_of_the_severity():
    """
    The names are those of the original design: a real Prometheus posts them without the label.
    """
    assert priority({"alertname": "order_failure_rate", "severity": "warning"}) == "P1"
    assert priority({"alertname": "order_failure_rate", "severity": "warning", "priority": "P3"}) == "P3"
    assert priority({"alertname": "x", "severity": "critical", "priority": "p4"}) == "P4"
    assert [priority({"severity": it}) for it in ("critical", "warning", "info")] == ["P1", "P2", "P3"]
