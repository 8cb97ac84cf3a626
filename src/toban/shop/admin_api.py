"""Acting through Vendure's Admin API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from toban.core.errors import ActionError
from toban.shop.graphql import GraphqlError, execute
from toban.shop.settings import ShopSettings

FORBIDDEN: Final = "FORBIDDEN"
NO_KEY: Final = "shop.admin_api and shop.admin_api_key are not set: an API key of Vendure lets toban act in the shop"


@dataclass(frozen=True, slots=True)
class AdminApi:
    """Vendure's Admin API, with the key of the settings."""

    http: httpx2.AsyncClient
    settings: ShopSettings

    @property
    def missing(self) -> str:
        """What is missing to act through it, with the remedy; empty where nothing is."""
        return "" if self.settings.admin_api and self.settings.admin_api_key else NO_KEY

    async def is_forbidden(self, query: str, variables: Mapping[str, object] | None = None) -> bool:
        """
        Return whether the key may not run a query, which is run: it must be one that changes nothing.

        The key of an API can't ask for its own permissions. Errors other than that are no answer to this question.
        """
        try:
            await self.execute(query, "", variables)
        except ActionError as error:
            cause = error.__cause__
            return isinstance(cause, GraphqlError) and cause.code == FORBIDDEN
        return False

    async def execute(
        self, query: str, permission: str, variables: Mapping[str, object] | None = None
    ) -> Mapping[str, Any]:
        """
        Run a query or mutation and return its data.

        Raises ``ActionError``; Vendure answers 200 to what the key may not do: then the message names the
        ``permission``.
        """
        if not (self.settings.admin_api and self.settings.admin_api_key):
            raise ActionError(NO_KEY)
        headers = {"vendure-api-key": self.settings.admin_api_key.get_secret_value()}
        try:
            response = await execute(self.http, self.settings.admin_api, query, variables, headers=headers)
        except GraphqlError as error:
            remedy = f": the API key needs the permission {permission}" if error.code == FORBIDDEN else ""
            raise ActionError(f"Admin API: {error}{remedy}") from error
        return response.data
