"""Logs of changes."""

from structlog.testing import capture_logs

from toban.collect.log_once import LogOnce


def test_error_and_recovery_are_logged_once() -> None:
    """
    A different error is logged again; what never failed is not logged.
    """
    log = LogOnce("postgres")
    with capture_logs() as logs:
        for error in ("", "no right", "no right", "no time", "", ""):
            log.update("sizes", error)
    assert [(line["event"], line.get("error")) for line in logs] == [
        ("partial data", "no right"),
        ("partial data", "no time"),
        ("recovered", None),
    ]
