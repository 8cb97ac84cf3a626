"""Operations of toban's own API: a request model in, a response model out."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from toban.access.passwords import BusyError
from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError, StateError, StoreError
from toban.web.compression import compress_any
from toban.web.endpoint import JSON, NOTHING, Endpoint, Operation, actor
from toban.web.problem_details import FieldError, invalid_request, problem
from toban.web.request_bodies import RETRY_AFTER


class RequestModel(BaseModel):
    """The JSON body, or the query, of a request: nothing in it is converted, and nothing unknown is accepted."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,  # many are never asked for, and take memory
        hide_input_in_errors=True,
    )


class ResponseModel(BaseModel):
    """The JSON body of a response."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        defer_build=True,  # many are never asked for, and take memory
        from_attributes=True,
    )


class NoParameters(RequestModel):
    """Nothing."""


Q = TypeVar("Q", bound=RequestModel)
R = TypeVar("R", bound=ResponseModel)


class ApiEndpoint(Endpoint):
    """
    An operation: its request and response models are its documentation, and are enforced.

    The model of a GET is read from the query, that of a POST from the JSON body.
    """

    def __init__(
        self,
        path: str,
        operation: Callable[[Q, Actor], Awaitable[R]],
        permission: Permission,
        request_model: type[Q],
        response_model: type[R],
        *,
        method: str = "GET",
    ) -> None:
        async def respond(request: Request) -> Response:
            try:
                if method == "GET":
                    parameters = request_model.model_validate(dict(request.query_params))
                else:
                    # Without a body, an operation that needs nothing is executed all the same.
                    parameters = request_model.model_validate_json(await request.body() or b"{}", strict=True)
            except ValidationError as error:
                return invalid_request(error)
            try:
                result = await operation(parameters, actor(request))
            except InvalidCommandError as error:
                fields = [FieldError(field=error.field, message=error.reason)] if error.field else []
                return problem(400, str(error), fields)
            except NotFoundError as error:
                return problem(404, str(error))
            except (StateError, StoreError, BusyError) as error:
                return problem(503, str(error), headers={"retry-after": str(RETRY_AFTER)})
            body, headers = await compress_any(request, result.model_dump_json().encode())
            headers["vary"] = "accept-encoding"
            return Response(body, headers=headers, media_type="application/json")

        super().__init__(
            path,
            respond,
            permission,
            methods=[method],
            takes=NOTHING if method == "GET" else JSON,
            refuse=problem,
            operation=Operation.of(operation, request_model, response_model),
        )
