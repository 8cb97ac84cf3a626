"""Snapshots of volumes at Fly.io, through its Machines API: https://fly.io/docs/machines/api/volumes-resource/."""

from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import httpx2
import orjson

from toban.core.errors import ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, request_timeout
from toban.core.untyped_json import as_list, as_mapping
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.record import BackupRecord
from toban.maintenance.task import TaskTools
from toban.shop.fly import authorization

Source: TypeAlias = Coroutine[Any, Any, dict[str, list[BackupRecord]]]
"""Asks a source of backups; the result is by the name of what is backed up."""

REQUEST_SECONDS: Final = 20.0
MAX_BODY: Final = 4 * 2**20
PAUSE: Final = 1.0
"""Seconds between two requests: Fly allows one a second."""
MAX_VOLUMES: Final = 50
COMPLETE: Final = "created"


async def backups(apps: Sequence[str], tools: TaskTools) -> dict[str, list[BackupRecord]]:
    """Return the complete snapshots of each volume of some apps, oldest first. Raises ``BackupError``."""
    found: dict[str, list[BackupRecord]] = {}
    for app in apps:
        for volume in map(as_mapping, as_list(await _get(f"/v1/apps/{app}/volumes", tools))):
            if len(found) == MAX_VOLUMES:
                raise BackupError(Problem.PLACE, f"the apps have more than {MAX_VOLUMES} volumes: name fewer apps")
            number = str(volume.get("id"))
            snapshots = as_list(await _get(f"/v1/apps/{app}/volumes/{number}/snapshots", tools))
            records = [it for it in map(_record, map(as_mapping, snapshots)) if it]
            found[f"volume {number} of {app}"] = sorted(records, key=lambda it: it.time)
        if not any(name.endswith(f" of {app}") for name in found):
            raise BackupError(Problem.PLACE, f"the app {app} has no volume at Fly.io")
    return found


def _record(snapshot: Mapping[str, Any]) -> BackupRecord | None:
    if snapshot.get("status") != COMPLETE:
        return None
    try:
        time = datetime.fromisoformat(str(snapshot.get("created_at")))
    except ValueError:
        return None
    # What a snapshot stores is the difference to the one before: sizes can't be compared.
    return BackupRecord(str(snapshot.get("id")), time, None) if time.tzinfo else None


async def _get(path: str, tools: TaskTools) -> Any:
    settings = tools.shop.settings
    token = settings.fly_token.get_secret_value() if settings.fly_token else ""
    url = f"{settings.fly_api.rstrip('/')}{path}"
    try:
        async with (
            request_timeout(REQUEST_SECONDS) as progress,
            tools.http.stream(
                "GET",
                url,
                headers={"authorization": authorization(token)},
                timeout=progress.timeout,
                extensions={"trace": progress.trace},
            ) as response,
        ):
            body, status = await read_body(response, MAX_BODY), response.status_code
    except (httpx2.HTTPError, OSError, ResponseTooLargeError) as error:
        raise BackupError(Problem.PLACE, f"Fly.io: GET {path}: {error_reason(error)}") from error
    if status != 200:
        remedy = "shop.fly_token must be able to read the app" if status in {401, 403} else ""
        raise BackupError(Problem.PLACE, f"Fly.io: GET {path}: answered {status}", remedy)
    await tools.clock.sleep(PAUSE)
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise BackupError(Problem.PLACE, f"Fly.io: GET {path}: the response is not JSON") from error
