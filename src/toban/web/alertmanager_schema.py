"""Alerts, silences and matchers as Alertmanager's HTTP API reads and writes them."""

import json
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from toban.alerting.external_alerts import PostedAlert, posted_alert
from toban.core.errors import BadQueryError, InvalidCommandError
from toban.core.input_limits import (
    EARLIEST,
    LATEST,
    MATCHERS,
    parse_time,
    repair_surrogates,
)
from toban.core.matcher_syntax import make_matcher, parse_matcher
from toban.core.matchers import Matcher, MatchOperator, compile_regex
from toban.notify.silence_commands import SilenceSpec
from toban.notify.silences import Silence
from toban.web.json_response import JsonResponse

MAX_BYTES: Final = 2_000_000
"""Bytes that a body may have."""


class RequestError(ValueError):
    """An invalid request; Alertmanager returns some errors as a string, others as an object."""

    def __init__(self, message: str, *, structured: bool = False, status: int = 400) -> None:
        super().__init__(message)
        self.body: object = {"code": status, "message": message} if structured else message
        self.status = status


def error_response(status: int, message: str) -> Response:
    """Return the response to a body that is not accepted."""
    text = f"unsupported media type: {message}" if status == 415 else message
    return JsonResponse(RequestError(text, structured=True, status=status).body, status)


async def read_json(request: Request) -> Any:
    """Return a body's JSON. Raises ``RequestError``."""
    try:
        return _read(await request.body())
    except (ValueError, RecursionError) as error:
        raise RequestError(f"parsing body failed, because json: {error}", structured=True) from error


def _read(body: bytes) -> Any:
    """Read JSON; invalid Unicode is replaced, as in Go. Raises ``ValueError``."""
    try:
        return orjson.loads(body)
    except ValueError:
        return json.loads(body.decode("utf-8", "replace"))


def parse_alert(raw: Any) -> PostedAlert:
    """Read one alert. Raises ``ValueError``, with Alertmanager's messages where it has some."""
    if not isinstance(raw, dict) or not isinstance(raw.get("labels"), dict):
        raise ValueError("each alert must be an object with labels")  # noqa: TRY004  # handled like any invalid alert
    starts, ends = parse_go_time(raw.get("startsAt"), "startsAt"), parse_go_time(raw.get("endsAt"), "endsAt")
    return posted_alert(raw["labels"], raw.get("annotations"), starts, ends, str(raw.get("generatorURL") or ""))


def parse_webhook_alert(raw: Any, now: datetime) -> Any:
    """
    Return an alert of a webhook notification as it would be posted.

    A firing one has the zero time as its end; Alertmanager sends another notification when it resolves.
    """
    if not isinstance(raw, dict):
        return raw
    is_over = raw.get("status") == "resolved"
    return {**raw, "endsAt": (raw.get("endsAt") or now.isoformat()) if is_over else LATEST.isoformat()}


def parse_go_time(text: Any, where: str) -> datetime | None:
    """Read a time; Go writes up to nine digits of a second, and the zero time for none. Raises ``ValueError``."""
    if not text or str(text).startswith("0001-01-01T00:00:00"):
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise ValueError(f"{where}: {repair_surrogates(str(error))}") from error


def parse_silence(raw: Any) -> SilenceSpec:
    """Read a silence. Raises ``RequestError``."""
    try:
        starts, ends = parse_go_time(raw.get("startsAt"), "startsAt"), parse_go_time(raw.get("endsAt"), "endsAt")
    except ValueError as error:
        raise RequestError(f"silence invalid: {error}") from error
    matchers = raw.get("matchers") or []
    if not isinstance(matchers, list) or len(matchers) > MATCHERS:
        raise RequestError(f"silence invalid: matchers must be an array of {MATCHERS} at most")
    return SilenceSpec(
        [parse_silence_matcher(it) for it in matchers],
        ends or EARLIEST,
        raw.get("comment") or "",
        raw.get("createdBy") or "",
        starts,
    )


def silence_error(error: InvalidCommandError) -> RequestError:
    """Return the error for a silence that is not accepted, in Alertmanager's words where it has some."""
    prefix = {"": "", "starts": "Failed to create silence: ", "ends": "Failed to create silence: "}
    return RequestError(f"{prefix.get(error.field, 'silence invalid: ')}{error.reason}")


def parse_silence_matcher(raw: Any) -> Matcher:
    """Read one matcher of a silence. Raises ``RequestError``."""
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not isinstance(raw.get("value"), str):
        raise RequestError("silence invalid: a matcher needs name and value")
    regex, equal = bool(raw.get("isRegex")), raw.get("isEqual", True) is not False
    match = (
        (MatchOperator.REGEX if equal else MatchOperator.NOT_REGEX)
        if regex
        else (MatchOperator.EQUAL if equal else MatchOperator.NOT_EQUAL)
    )
    try:
        return make_matcher(raw["name"], match, raw["value"])
    except ValueError as error:
        raise RequestError(f"silence invalid: {error}") from error


def parse_filter(text: str) -> Matcher:
    """Read a matcher of a filter. Raises ``RequestError``."""
    try:
        return parse_matcher(text)
    except ValueError as error:
        raise RequestError(f"bad matcher format: {repair_surrogates(text)[:200]}") from error


def parse_receiver_pattern(text: str) -> Any:
    """Read a pattern of receivers; nothing when there is none. Raises ``RequestError``."""
    try:
        return compile_regex(text) if text else None
    except BadQueryError as error:
        raise RequestError(f"failed to parse receiver param: {error}") from error


def is_silence_selected(silence: Silence, matcher: Matcher) -> bool:
    """Tell whether a silence has a matcher of that name whose value matches."""
    return any(it.name == matcher.name and matcher.accepts(it.value) for it in silence.matchers)


def source_of(request: Request) -> str:
    """Return the source of alerts, by the name of the client: a Prometheus and amtool are two."""
    agent = request.headers.get("user-agent", "").partition("/")[0].strip()
    return agent[:50] or "unknown"


def silence_json(silence: Silence, now: datetime) -> dict[str, Any]:
    """Write a silence."""
    state = "active" if silence.active(now) else "pending" if now < silence.starts else "expired"
    return {
        "id": silence.id,
        "status": {"state": state},
        "updatedAt": format_time(silence.updated),
        "startsAt": format_time(silence.starts),
        "endsAt": format_time(silence.ends),
        "createdBy": silence.by,
        "comment": silence.comment,
        "matchers": [_matcher(it) for it in silence.matchers],
    }


def _matcher(matcher: Matcher) -> dict[str, Any]:
    return {
        "name": matcher.name,
        "value": matcher.value,
        "isRegex": matcher.operator in {MatchOperator.REGEX, MatchOperator.NOT_REGEX},
        "isEqual": matcher.operator in {MatchOperator.EQUAL, MatchOperator.REGEX},
    }


def format_time(at: datetime) -> str:
    """Write a time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
