"""Errors of toban's own API: problem details of RFC 9457."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.responses import Response

from toban.core.config_types import readable_error
from toban.core.input_limits import repair_surrogates

MEDIA_TYPE: Final = "application/problem+json"

MAX_ERRORS: Final = 20
"""How many errors of one request are named."""

_REASONS: Final = {
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_type": "must be a string",
    "list_type": "must be an array",
    "extra_forbidden": "unknown field",
    "json_invalid": "invalid JSON: {error}",
}
"""Messages of the API, in place of those that `readable_error` has for settings."""


class FieldError(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    field: str
    """Its path in the request, like `matchers.0`; empty for the whole."""
    message: str
    line: int | None = None
    """The line of a body of several, or the place in its array, from 1."""


class Problem(BaseModel):
    """Why a request was not executed."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str = "about:blank"
    title: str
    """The reason phrase of the status."""
    status: int
    detail: str
    """What is wrong, and what to do about it."""
    errors: list[FieldError] = []
    """The fields that are wrong, where it is their fault."""


def problem(
    status: int, detail: str, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error response."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=repair_surrogates(detail), errors=[*errors])
    content = orjson.dumps(body.model_dump(exclude_none=True))
    return Response(content, status, dict(headers or {}), MEDIA_TYPE)


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return what is wrong with which fields of a request."""
    errors = []
    for it in error.errors(include_url=False, include_input=False)[:MAX_ERRORS]:
        reason = _REASONS.get(it["type"])
        message = reason.format(**it.get("ctx", {})) if reason else readable_error(it)
        errors.append(FieldError(field=".".join(map(str, it["loc"]))[:200], message=repair_surrogates(message)))
    return errors


def readable_fields(error: ValidationError) -> str:
    """Return in words what is wrong with a request."""
    return "; ".join(f"{it.field}: {it.message}" if it.field else it.message for it in field_errors(error))


def invalid_request(error: ValidationError) -> Response:
    """Return the response to a request that does not fit its model."""
    return problem(400, readable_fields(error), [it for it in field_errors(error) if it.field])
