"""The OpenAPI 3.1 document of toban's own API, generated from the declarations of its routes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.access.permissions import Permission
from toban.core.config_types import ConfigSchema
from toban.web.api.api_endpoint import NoParameters
from toban.web.endpoint import Endpoint, Operation
from toban.web.problem_details import MEDIA_TYPE, Problem

PATH: Final = "/api/openapi.json"
REF: Final = "#/components/schemas/{model}"
DESCRIPTION: Final = (
    "toban's own API. The APIs of Prometheus (`/api/v1`), Alertmanager (`/api/v2`) and OTLP (`/v1`) are compatible with"
    " the originals, and documented there. Errors are problem details (RFC 9457)."
)

Refs = Mapping[Any, Mapping[str, Any]]
"""References to schemas, by model and mode."""


class OpenApiDocument(BaseModel):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


class OpenApi:
    """Describes routes. The document is written when it is requested first."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = [*endpoints, self.route()]
        self._document = b""

    def route(self) -> Endpoint:
        """Return the route of the document."""
        operation = Operation.of(self.respond, NoParameters, OpenApiDocument)
        return Endpoint(PATH, self.respond, Permission.READ, operation=operation)

    async def respond(self, request: Request) -> Response:
        """Return this document."""
        self._document = self._document or orjson.dumps(openapi(self._endpoints))
        return Response(self._document, media_type="application/json")


def openapi(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the document of all endpoints that declare an operation."""
    described = [(it, it.operation) for it in endpoints if it.operation]
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    for _, operation in described:
        models += [(operation.request_model, "validation"), (operation.response_model, "serialization")]
    refs, definitions = models_json_schema(models, ref_template=REF, schema_generator=ConfigSchema)
    schemas = definitions["$defs"]
    paths: dict[str, dict[str, Any]] = {}
    for endpoint, operation in described:
        request = _resolved(refs[operation.request_model, "validation"], schemas)
        for method in sorted((endpoint.methods or set()) - {"HEAD"}):
            paths.setdefault(endpoint.path, {})[method.lower()] = {
                "operationId": _operation_id(method, endpoint.path),
                "summary": operation.summary,
                **({"description": operation.description} if operation.description else {}),
                **(_parameters(request) if method == "GET" else _body(endpoint, refs, operation)),
                "responses": {
                    "200": _content(["application/json"], refs[operation.response_model, "serialization"], "Success"),
                    "default": _content([MEDIA_TYPE], refs[Problem, "serialization"], "Error"),
                },
                "security": [] if endpoint.permission is Permission.PUBLIC else [{"token": []}],
                "x-toban-permission": endpoint.permission.value,
            }
    token = {"type": "http", "scheme": "bearer", "description": "An API token (`/api/tokens`), or that of `web.token`."}
    return {
        "openapi": "3.1.0",
        "info": {"title": "toban", "version": toban.__version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": token}},
    }


def _operation_id(method: str, path: str) -> str:
    words = path.removeprefix("/api/").replace(".", "/").split("/")
    return "_".join([method.lower(), *words])


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return schemas[name] if name else schema


def _parameters(request: Mapping[str, Any]) -> dict[str, Any]:
    required = request.get("required", ())
    parameters = [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in request.get("properties", {}).items()
    ]
    return {"parameters": parameters} if parameters else {}


def _body(endpoint: Endpoint, refs: Refs, operation: Operation) -> dict[str, Any]:
    if operation.request_model is NoParameters:
        return {}
    content = _content(sorted(endpoint.takes), refs[operation.request_model, "validation"])
    return {"requestBody": {"required": True, **content}}


def _content(types: Sequence[str], schema: Mapping[str, Any], description: str = "") -> dict[str, Any]:
    content = {"content": {media_type: {"schema": schema} for media_type in types}}
    return {"description": description, **content} if description else content
