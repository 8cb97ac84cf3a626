"""A failure is logged when it begins, changes and ends."""

import structlog
from structlog.testing import capture_logs

from toban.core.failure_log import FailureLog


def test_a_failure_is_logged_once_until_it_changes_or_ends():
    failure = FailureLog(structlog.get_logger(), "upload failed", "upload recovered", bucket="b")
    with capture_logs() as lines:
        failure.succeeded()
        for error in ("timeout", "timeout", "403", "403"):
            failure.failed(error)
        assert (failure.error, failure.failures) == ("403", 4)
        failure.succeeded()
        failure.succeeded()
    assert lines == [
        {"event": "upload failed", "bucket": "b", "error": "timeout", "log_level": "warning"},
        {"event": "upload failed", "bucket": "b", "error": "403", "log_level": "warning"},
        {"event": "upload recovered", "bucket": "b", "failures": 4, "log_level": "info"},
    ]
    assert (failure.error, failure.failures) == ("", 0)


def test_a_bug_is_logged_with_its_traceback():
    failure = FailureLog(structlog.get_logger(), "upload failed", "upload recovered")
    with capture_logs() as lines:
        failure.failed("ZeroDivisionError: x", ZeroDivisionError("x"))
    assert (lines[0]["log_level"], str(lines[0]["exc_info"])) == ("error", "x")
