"""What can go wrong, by whose trouble it is."""


class TobanError(Exception):
    """
    Expected trouble: it is reported in a line and costs its cause one turn.

    A message names the thing, what was tried and what came back:
    ``redis shop: PING: connection refused``.
    """


class SettingsError(TobanError):
    """The configuration asks for something impossible."""


class StateError(TobanError):
    """State can't be read or written just now."""


class StoreError(TobanError):
    """Samples can't be read or written just now."""


class SeriesLimitError(StoreError):
    """There would be too many series: nothing of what was handed over is kept."""


class CollectError(TobanError):
    """A target could not be read."""

    connection_lost: bool = False
    """Whether there is no connection (any more): no other read of this target would succeed now."""


class QueryError(TobanError):
    """A query is wrong, too large, too slow, or was given up."""

    kind: str = "execution"
    """The word Prometheus' HTTP API uses for this trouble (its ``errorType``)."""


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
    """Nobody waits for the answer any more."""

    kind = "canceled"


class ResponseTooLargeError(TobanError):
    """A service answered more than anybody wants to hold in memory."""


class DeliveryError(TobanError):
    """
    Something could not be delivered.

    ``permanent`` says that another try would end the same; ``after`` is how many seconds the receiver asked to wait.
    """

    def __init__(self, message: str, *, permanent: bool = False, after: float | None = None) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.after = after
