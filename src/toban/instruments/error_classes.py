"""Classes of errors, from fixed lists: free text is never a label value."""

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
"""Codes of GraphQL errors that the client caused; all others are the shop's."""

CONNECTION_CODES: Final = frozenset({"ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "EPIPE", "ETIMEDOUT", "EAI_AGAIN"})
"""Error codes of Node for connections that failed."""

UNKNOWN: Final = "UNKNOWN"
"""The code of an error without one: unexpected errors of Vendure have none."""

CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,60}")


def error_code(text: str) -> str:
    """Return a code as a label value: what doesn't look like one is unknown."""
    return text if CODE.fullmatch(text) else UNKNOWN


def responsible_party(code: str) -> str:
    """Return who caused an error: `client` or `shop`."""
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
"""Classes of payment errors, with expressions for their messages; the first match counts."""


def payment_error(state: str, message: str) -> str:
    """Return the class of a failed payment, by the provider's message and the state of its row."""
    known = next((name for name, pattern in PAYMENT_ERRORS if re.search(pattern, message, re.IGNORECASE)), "")
    return known or ("declined" if state == "Declined" else "error")
