"""What the HTTP API of Alertmanager says on the wire: alerts, silences and conditions, read and written."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from toban.alerting.external_alerts import Posted, posted
from toban.core.errors import BadQueryError
from toban.core.input_limits import COMMENT_LENGTH, LATEST, MATCHERS, PERSON_LENGTH, instant, repaired, text
from toban.core.matchers import Match, Matcher, expression
from toban.notify.matcher_syntax import made, matcher
from toban.notify.muting import Silence
from toban.web.json_response import Json

LARGEST: Final = 2_000_000
"""Bytes that a body may have."""


class RefusedError(ValueError):
    """What was sent is wrong; Alertmanager says so as a text, or as an object."""

    def __init__(self, message: str, *, structured: bool = False, status: int = 400) -> None:
        super().__init__(message)
        self.body: object = {"code": status, "message": message} if structured else message
        self.status = status


def refused(status: int, message: str) -> Response:
    """Return the answer to a body that is not taken."""
    said = f"unsupported media type: {message}" if status == 415 else message
    return Json(RefusedError(said, structured=True, status=status).body, status)


async def body_of(request: Request) -> Any:
    """Return a body's JSON. Raises ``RefusedError``."""
    try:
        return _read(await request.body())
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"parsing body failed, because json: {error}", structured=True) from error


def _read(body: bytes) -> Any:
    """Read JSON; a text that is no Unicode costs itself alone, as in Go. Raises ``ValueError``."""
    try:
        return orjson.loads(body)
    except ValueError:
        return json.loads(body.decode("utf-8", "replace"))


def posted_in(raw: Any) -> Posted:
    """Read one alert. Raises ``ValueError``, in Alertmanager's words where it has some."""
    if not isinstance(raw, dict) or not isinstance(raw.get("labels"), dict):
        raise ValueError("each alert must be an object with labels")  # noqa: TRY004  # a mistake like any other
    starts, ends = moment_in(raw.get("startsAt"), "startsAt"), moment_in(raw.get("endsAt"), "endsAt")
    return posted(raw["labels"], raw.get("annotations"), starts, ends, str(raw.get("generatorURL") or ""))


def hooked(raw: Any, now: datetime) -> Any:
    """
    Return an alert of a notification as it would be posted.

    One that fires names the zero time as its end; Alertmanager says itself when it is over.
    """
    if not isinstance(raw, dict):
        return raw
    over = raw.get("status") == "resolved"
    return {**raw, "endsAt": (raw.get("endsAt") or now.isoformat()) if over else LATEST.isoformat()}


def moment_in(text: Any, where: str) -> datetime | None:
    """Read a time; Go writes up to nine digits of a second, and the zero time for none. Raises ``ValueError``."""
    if not text or str(text).startswith("0001-01-01T00:00:00"):
        return None
    try:
        return instant(text)
    except ValueError as error:
        raise ValueError(f"{where}: {repaired(str(error))}") from error


def silence_in(raw: Any, now: datetime) -> Silence:
    """Read a silence, with a new id. Raises ``RefusedError``."""
    try:
        starts = moment_in(raw.get("startsAt"), "startsAt") or now
        ends = moment_in(raw.get("endsAt"), "endsAt")
        by = text(raw.get("createdBy") or "", PERSON_LENGTH)
        comment = text(raw.get("comment") or "", COMMENT_LENGTH)
    except ValueError as error:
        raise RefusedError(f"silence invalid: {error}") from error
    if ends is not None and ends <= starts:
        raise RefusedError("Failed to create silence: start time must be before end time")
    if ends is None or ends <= now:
        raise RefusedError("Failed to create silence: end time can't be in the past")
    found = raw.get("matchers") or []
    if not isinstance(found, list) or len(found) > MATCHERS:
        raise RefusedError(f"silence invalid: matchers must be an array of {MATCHERS} at most")
    conditions = tuple(condition_in(it) for it in found)
    if all(condition.accepts("") for condition in conditions):
        raise RefusedError("silence invalid: at least one matcher must not match the empty string")
    return Silence(str(uuid.uuid4()), conditions, starts, ends, by, comment, now)


def condition_in(raw: Any) -> Matcher:
    """Read one matcher of a silence. Raises ``RefusedError``."""
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not isinstance(raw.get("value"), str):
        raise RefusedError("silence invalid: a matcher needs name and value")
    regex, equal = bool(raw.get("isRegex")), raw.get("isEqual", True) is not False
    match = (Match.REGEX if equal else Match.NOT_REGEX) if regex else (Match.EQUAL if equal else Match.NOT_EQUAL)
    try:
        return made(raw["name"], match, raw["value"])
    except ValueError as error:
        raise RefusedError(f"silence invalid: {error}") from error


def filter_in(text: str) -> Matcher:
    """Read a condition that a question names. Raises ``RefusedError``."""
    try:
        return matcher(text)
    except ValueError as error:
        raise RefusedError(f"bad matcher format: {repaired(text)[:200]}") from error


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
