"""Forms of pages: each executes an operation of the API, and goes on to another page."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.web.api.api_endpoint import RequestModel, ResponseModel
from toban.web.endpoint import FORM, Endpoint, actor
from toban.web.problem_details import readable_fields

Q = TypeVar("Q", bound=RequestModel)
R = TypeVar("R", bound=ResponseModel)

Fields = Mapping[str, str]

LARGEST_FORM: Final = 64 * 1024
"""Bytes."""


@dataclass(frozen=True, slots=True)
class FormState:
    """What somebody has filled in, and why it was not executed."""

    fields: Fields = field(default_factory=dict)
    error: str = ""
    status: int = 200


async def read_fields(request: Request) -> dict[str, str]:
    """Return the fields of a form; of a repeated one the last."""
    return dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))


class FormEndpoint(Endpoint):
    """
    Executes an operation with the fields of a form.

    ``parameters`` makes the request of the operation from the fields, ``then`` returns the path to go on with, and
    ``show`` shows the page of the form again when the operation was not executed.
    """

    def __init__(
        self,
        path: str,
        operation: Callable[[Q, Actor], Awaitable[R]],
        request_model: type[Q],
        parameters: Callable[[Fields], Mapping[str, object]],
        then: Callable[[R, Fields], str],
        show: Callable[[Request, FormState], Awaitable[Response]],
        permission: Permission = Permission.ACT,
    ) -> None:
        async def respond(request: Request) -> Response:
            fields = await read_fields(request)
            try:
                asked = request_model.model_validate(parameters(fields))
                result = await operation(asked, actor(request))
            except ValidationError as error:
                return await show(request, FormState(fields, readable_fields(error), 400))
            except InvalidCommandError as error:
                return await show(request, FormState(fields, str(error), 400))
            except NotFoundError as error:
                return await show(request, FormState(fields, str(error), 404))
            except StateError as error:
                return await show(request, FormState(fields, str(error), 503))
            return RedirectResponse(then(result, fields), 303)

        super().__init__(path, respond, permission, methods=["POST"], takes=FORM, largest=LARGEST_FORM)
