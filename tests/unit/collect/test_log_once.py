"""What is told once."""

from structlog.testing import capture_logs

from toban.collect.log_once import LogOnce


def test_the_same_trouble_is_told_once_and_so_is_its_end() -> None:
    """
    A trouble that changes is told again; what was always well is never mentioned.
    """
    told = LogOnce()
    with capture_logs() as logs:
        for trouble in ("", "no right", "no right", "no time", "", ""):
            told.update("postgres", "sizes", trouble)
    assert [(line["event"], line.get("why")) for line in logs] == [
        ("less can be seen", "no right"),
        ("less can be seen", "no time"),
        ("can be seen again", None),
    ]
