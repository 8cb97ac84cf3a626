"""Expected errors, by what failed."""


class TobanError(Exception):
    """
    An expected error: it is one line in the log and fails one run of what caused it.

    A message names the object, what was tried and what came back: ``redis shop: PING: connection refused``.
    """


class SettingsError(TobanError):
    """The configuration is invalid, or can't be applied on this machine."""


class InvalidCommandError(TobanError):
    """A command is invalid; ``field`` names the invalid field, if it is one."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field


class NotFoundError(TobanError):
    """A command names something that does not exist."""


class StateError(TobanError):
    """State can't be read or written just now."""


class StoreError(TobanError):
    """Samples can't be read or written just now."""


class SeriesLimitError(StoreError):
    """The limit of series would be exceeded: nothing of what was appended is stored."""


class CollectError(TobanError):
    """A target could not be read."""

    connection_lost: bool = False
    """Whether there is no connection (any more): no other read of this target would succeed now."""


class QueryError(TobanError):
    """A query is wrong, too large, too slow, or was canceled."""

    kind: str = "execution"
    """The ``errorType`` of Prometheus' HTTP API."""


class BadQueryError(QueryError):
    """The query itself is wrong: no data could make it right."""

    kind = "bad_data"


class SampleLimitError(QueryError):
    """A query would hold more samples in memory than it may."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"query processing would load too many samples into memory in query execution: more than {most:,}"
        )


class QueryTimeoutError(QueryError):
    """The query was still running at its deadline."""

    kind = "timeout"


class QueryCanceledError(QueryError):
    """The client has disconnected."""

    kind = "canceled"


class ResponseTooLargeError(TobanError):
    """A response is larger than its limit."""


class DeliveryError(TobanError):
    """
    A notification could not be delivered.

    ``permanent``: a retry would fail alike; ``after``: seconds to wait before the retry, as the receiver asks.
    """

    def __init__(self, message: str, *, permanent: bool = False, after: float | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.after = after


class ActionError(TobanError):
    """
    An action of a runbook can't or must not be done, or had no effect.

    The message is a sentence for the timeline, with the remedy where there is one.
    """
