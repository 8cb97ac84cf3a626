"""How commands talk to the running toban."""

import getpass
import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import click
import yaml

from toban.core.errors import SettingsError, TobanError
from toban.core.places import CONFIGURATION, SOCKET, data_folder

PATIENCE = 130
"""Seconds: a little more than the longest a query may take."""

config_option = click.option(
    "--config", type=click.Path(path_type=Path), envvar="TOBAN_CONFIG", help="The configuration; ./toban.yaml if there."
)
data_option = click.option("--data", type=click.Path(path_type=Path), help="The data folder of the running toban.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


class _Local(http.client.HTTPConnection):
    """HTTP over the socket in the data folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("toban", timeout=PATIENCE)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path: str, data: Path | None, /, **parameters: str) -> Any:
    """
    Ask the running toban and return its JSON.

    That is the one of the data folder, or ``TOBAN_URL`` (with ``TOBAN_TOKEN``) for one elsewhere.
    Raises ``TobanError`` when none answers, or with the reason it gives.
    """
    return _exchanged("GET", f"{path}?{urlencode(parameters)}" if parameters else path, data, None)


def tell(path: str, data: Path | None, /, **body: Any) -> Any:
    """Tell the running toban something and return its JSON. Raises like `ask`."""
    return _exchanged("POST", path, data, json.dumps(body).encode())


def _exchanged(method: str, target: str, data: Path | None, content: bytes | None) -> Any:
    connection, where = _connection(data)
    headers = {"authorization": f"Bearer {os.environ['TOBAN_TOKEN']}"} if os.environ.get("TOBAN_TOKEN") else {}
    if content is not None:
        headers["content-type"] = "application/json"
    try:
        connection.request(method, target, body=content, headers=headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise TobanError(f"no toban answers at {where} ({error}): is `toban up` running there?") from error
    finally:
        connection.close()
    try:
        answer = json.loads(body)
    except ValueError:
        raise TobanError(
            f"{where}: answered {response.status}: {body[:200].decode(errors='replace').strip()}"
        ) from None
    if response.status >= 400:
        raise TobanError(str(answer.get("error", answer)))
    return answer


def _connection(data: Path | None) -> tuple[http.client.HTTPConnection, str]:
    url = os.environ.get("TOBAN_URL")
    if url and data is None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(f"TOBAN_URL: {url!r} is no address: write it like https://toban.example:9119")
        sort = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return sort(parts.hostname, parts.port, timeout=PATIENCE), url
    socket_file = (data or _configured_data()) / SOCKET
    return _Local(socket_file), str(socket_file)


def who() -> str:
    """Return who types, for the journal."""
    try:
        return os.environ.get("TOBAN_USER") or getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def _configured_data() -> Path:
    """Return the data folder, read without the whole of the settings: they take longer than the answer."""
    path = Path(os.environ.get("TOBAN_CONFIG", CONFIGURATION))
    if path.is_file():
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SettingsError(f"{path}: can't be read: {error}") from error
        if isinstance(found, dict) and isinstance(found.get("data"), str):
            return Path(found["data"])
    return data_folder(os.environ)
