"""Health responses in Terminus format."""

import pytest

from toban.collect.collectors.http.terminus import health_error

WELL = {"status": "ok", "info": {"database": {"status": "up"}}, "error": {}, "details": {"database": {"status": "up"}}}


@pytest.mark.parametrize(
    ("response", "wanted"),
    [
        (WELL, ""),
        ({**WELL, "status": "error", "error": {"redis": {"status": "down"}, "database": {}}}, "database, redis down"),
        ({"status": "error", "details": {}}, "unhealthy"),
        ({**WELL, "status": "shutting_down"}, "shutting down"),
        ({"status": "ok"}, ""),
        ({"status": "error", "message": "somebody else's words"}, ""),
        ({"statusCode": 500, "message": ""}, ""),
        ("OK", ""),
        (None, ""),
    ],
)
def test_the_error_names_the_parts_that_are_down(response, wanted):
    """
    And what isn't said in Terminus' words is no complaint.
    """
    assert health_error(response) == wanted


def test_the_error_is_short_for_any_response():
    """
    It becomes a line in a log.
    """
    assert len(health_error({"status": "error", "details": {}, "error": {f"{n}" * 99: {} for n in range(99)}})) < 500
