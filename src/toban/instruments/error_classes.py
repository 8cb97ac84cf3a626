"""What went wrong, in classes from fixed lists: free text is never a label."""

import re
from typing import Final

CLIENT_CODES: Final = frozenset(
    {
        "BAD_REQUEST",
        "BAD_USER_INPUT",
        "CHANNEL_NOT_FOUND",
        "ENTITY_NOT_FOUND",
        "FORBIDDEN",
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "INVALID_CREDENTIALS_ERROR",
        "OPERATION_RESOLUTION_FAILURE",
        "PERSISTED_QUERY_NOT_FOUND",
        "PERSISTED_QUERY_NOT_SUPPORTED",
        "UNAUTHORIZED",
        "USER_INPUT_ERROR",
    }
)
"""Codes of GraphQL errors that are the client's mistakes; all else is the shop's fault."""

CONNECTION_CODES: Final = frozenset({"ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "EPIPE", "ETIMEDOUT", "EAI_AGAIN"})
"""Codes of Node that say that something behind the shop could not be reached."""

UNKNOWN: Final = "UNKNOWN"
"""The code of an error that has none: Vendure gives none to what it did not expect."""

CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,60}")


def error_code(text: str) -> str:
    """Return a code as it may stand in a label: what doesn't look like one is unknown."""
    return text if CODE.fullmatch(text) else UNKNOWN


def responsible_party(code: str) -> str:
    """Tell whose fault an error is: the `client`'s or the `shop`'s."""
    return "client" if code in CLIENT_CODES else "shop"


PAYMENT_ERRORS: Final = (
    ("insufficient_funds", r"insufficient|not enough (funds|money)|残高"),
    ("expired_card", r"expired|expiry|expiration"),
    ("fraud", r"fraud|stolen|lost card|pickup|blocked"),
    ("authentication", r"authenticat|3-?d ?secure|sca\b|cvc|cvv|security code"),
    ("invalid_details", r"invalid|incorrect|wrong|not supported|unsupported"),
    ("timeout", r"time(d)? ?out|ETIMEDOUT"),
    ("unreachable", r"ECONN|ENOTFOUND|EAI_AGAIN|EPIPE|network|socket|unreachable|5\d\d\b"),
    ("declined", r"declin|refus|do not honou?r|reject"),
)
"""What a payment's error message is about, first match: class and expression."""


def payment_error(state: str, message: str) -> str:
    """Return the class of a failed payment, from what the provider said and the state of its row."""
    named = next((name for name, words in PAYMENT_ERRORS if re.search(words, message, re.IGNORECASE)), "")
    return named or ("declined" if state == "Declined" else "error")
