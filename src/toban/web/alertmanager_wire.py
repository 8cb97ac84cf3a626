"""What the HTTP API of Alertmanager says on the wire: alerts, silences and conditions, read and written."""

from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request

from toban.alerting.outside import Posted
from toban.core.errors import BadQueryError
from toban.core.labels import LABEL_NAME, Labels
from toban.core.matching import Match, Matcher, expression
from toban.notify.matching import matcher
from toban.notify.muting import Silence

LARGEST: Final = 8_000_000
"""Bytes that a body may have."""

HOOKED: Final = "9999-01-01T00:00:00Z"
"""Until when an alert of a real Alertmanager is believed: it says itself when one is over."""


class RefusedError(ValueError):
    """What was sent is wrong; Alertmanager says so as a text, or as an object."""

    def __init__(self, message: str, *, structured: bool = False, status: int = 400) -> None:
        super().__init__(message)
        self.body: object = {"code": status, "message": message} if structured else message
        self.status = status


async def body_of(request: Request) -> Any:
    """Return a body's JSON. Raises ``RefusedError``."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        said = f'unsupported media type "{kind[:100]}", only [application/json] are allowed'
        raise RefusedError(said, structured=True, status=415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise RefusedError(f"the body is larger than {LARGEST} bytes", structured=True, status=413)
    try:
        return orjson.loads(bytes(body))
    except ValueError as error:
        raise RefusedError(f"parsing body failed, because json: {error}", structured=True) from error


def posted_in(raw: Any) -> Posted:
    """Read one alert. Raises ``RefusedError``."""
    if not isinstance(raw, dict) or not isinstance(raw.get("labels"), dict):
        raise RefusedError("parsing alerts body failed: each alert must be an object with labels", structured=True)
    labels = _texts(raw["labels"], "labels")
    if not labels:
        raise RefusedError("at least one label pair required")
    for name in labels:
        if not LABEL_NAME.fullmatch(name):
            raise RefusedError(f'invalid label set: invalid name "{name}"')
    annotations = _texts(raw.get("annotations") or {}, "annotations")
    starts, ends = moment_in(raw.get("startsAt"), "startsAt"), moment_in(raw.get("endsAt"), "endsAt")
    return Posted(Labels(labels), annotations, starts, ends, str(raw.get("generatorURL") or "")[:2000])


def _texts(raw: Any, where: str) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise RefusedError(f"{where}: all values must be text", structured=True)
    return dict(raw)


def moment_in(text: Any, where: str) -> datetime | None:
    """Read a time; Go writes up to nine digits of a second, and the zero time for none."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise RefusedError(f"{where}: {str(text)[:50]!r} is no time (RFC 3339)", structured=True) from error
    if at.year == 1:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def condition_in(raw: Any) -> Matcher:
    """Read one matcher of a silence. Raises ``RefusedError``."""
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not isinstance(raw.get("value"), str):
        raise RefusedError("silence invalid: a matcher needs name and value")
    regex, equal = bool(raw.get("isRegex")), raw.get("isEqual", True) is not False
    match = (Match.REGEX if equal else Match.NOT_REGEX) if regex else (Match.EQUAL if equal else Match.NOT_EQUAL)
    try:
        return Matcher(raw["name"], match, raw["value"])
    except BadQueryError as error:
        raise RefusedError(f"silence invalid: {error}") from error


def filter_in(text: str) -> Matcher:
    """Read a condition that a question names. Raises ``RefusedError``."""
    try:
        return matcher(text)
    except ValueError as error:
        raise RefusedError(f"bad matcher format: {text}") from error


def pattern_in(text: str) -> Any:
    """Read a pattern of receivers; nothing when there is none. Raises ``RefusedError``."""
    try:
        return expression(text) if text else None
    except BadQueryError as error:
        raise RefusedError(f"failed to parse receiver param: {error}") from error


def concerns(silence: Silence, condition: Matcher) -> bool:
    """Tell whether a silence has a matcher of that name whose value meets the condition."""
    return any(it.name == condition.name and condition.accepts(it.value) for it in silence.matchers)


def source_of(request: Request) -> str:
    """Return who sends alerts, by the name of its program: a Prometheus and a person with amtool are two."""
    agent = request.headers.get("user-agent", "").partition("/")[0].strip()
    return agent[:50] or "somebody"


def silence_out(silence: Silence, now: datetime) -> dict[str, Any]:
    """Write a silence."""
    state = "active" if silence.active(now) else "pending" if now < silence.starts else "expired"
    return {
        "id": silence.id,
        "status": {"state": state},
        "updatedAt": time_out(silence.updated),
        "startsAt": time_out(silence.starts),
        "endsAt": time_out(silence.ends),
        "createdBy": silence.by,
        "comment": silence.comment,
        "matchers": [_matcher(it) for it in silence.matchers],
    }


def _matcher(condition: Matcher) -> dict[str, Any]:
    return {
        "name": condition.name,
        "value": condition.value,
        "isRegex": condition.match in {Match.REGEX, Match.NOT_REGEX},
        "isEqual": condition.match in {Match.EQUAL, Match.REGEX},
    }


def time_out(at: datetime) -> str:
    """Write a time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
