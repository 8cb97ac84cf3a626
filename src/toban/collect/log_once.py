"""What is told once."""

import structlog

log = structlog.get_logger("toban.collect")


class LogOnce:
    """Says once what a collector has to do without, and once when it is there again."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}

    def update(self, collector: str, what: str, trouble: str = "") -> None:
        """Note how something stands: nothing, when it is well."""
        before = self._troubles.get(what, "")
        self._troubles[what] = trouble
        if trouble and trouble != before:
            log.warning("less can be seen", name=collector, what=what, why=trouble)
        elif before and not trouble:
            log.info("can be seen again", name=collector, what=what)
