"""Acting through Vendure's Admin API."""

from collections.abc import Mapping
from typing import Any, Final

from toban.core.errors import ActionError
from toban.runbooks.action import ActionTools
from toban.shop.graphql import GraphqlError, execute

NO_KEY: Final = "shop.admin_api and shop.admin_api_key are not set: an API key of Vendure lets runbooks act in the shop"


async def admin(
    tools: ActionTools, query: str, permission: str, variables: Mapping[str, object] | None = None
) -> Mapping[str, Any]:
    """
    Run a query or mutation and return its data.

    Raises ``ActionError``; Vendure answers 200 to what the key may not do: then the message names the ``permission``.
    """
    settings = tools.shop.settings
    if not (settings.admin_api and settings.admin_api_key):
        raise ActionError(NO_KEY)
    headers = {"vendure-api-key": settings.admin_api_key.get_secret_value()}
    try:
        response = await execute(tools.http, settings.admin_api, query, variables, headers=headers)
    except GraphqlError as error:
        remedy = f": the API key needs the permission {permission}" if error.code == "FORBIDDEN" else ""
        raise ActionError(f"Admin API: {error}{remedy}") from error
    return response.data


def missing_key(tools: ActionTools) -> str:
    """Return what is missing to act through the Admin API."""
    settings = tools.shop.settings
    return "" if settings.admin_api and settings.admin_api_key else NO_KEY
