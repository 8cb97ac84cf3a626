"""The client of the running toban, for commands."""

import getpass
import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from toban.cli.options import given_value, shared_option
from toban.core.config_file import expand_variables, parse, strip_copied
from toban.core.errors import SettingsError, TobanError
from toban.core.paths import CONFIGURATION, SOCKET, data_folder, read_text
from toban.core.redaction import redact_url

TIMEOUT = 130
"""Seconds: a little more than the longest query."""

MAX_BYTES = 256 * 2**20
"""Bytes of a response that is read as a whole."""

CHUNK = 2**16
"""Bytes of a response that are read at once."""

config_option = shared_option("config")
data_option = shared_option("data")
json_option = shared_option("as_json")
json_flag = shared_option("as_json", expose_value=False)
"""For commands whose result is printed by `printed_as_json`."""


class _Local(http.client.HTTPConnection):
    """HTTP over the socket in the data folder."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("toban", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(path: str, data: Path | None, /, **parameters: str) -> Any:
    """
    Send a GET request to the running toban and return its JSON.

    That is the one of the data folder, or the one at ``TOBAN_URL`` (with ``TOBAN_TOKEN``).
    Raises ``TobanError`` when it can't be reached, and with the error that it returns.
    """
    return _request("GET", f"{path}?{urlencode(parameters)}" if parameters else path, data, None)


def get_within(seconds: float, path: str, data: Path | None) -> Any:
    """Send a GET request like `get`, to which toban must respond within so many seconds."""
    return _request("GET", path, data, None, seconds)


def post(path: str, data: Path | None, /, **body: Any) -> Any:
    """Send a POST request to the running toban and return its JSON. Raises like `get`."""
    return _request("POST", path, data, json.dumps(body).encode())


def upload(path: str, data: Path | None, body: bytes, headers: Mapping[str, str]) -> str:
    """
    Send samples to the running toban; return why some were rejected, nothing when all were accepted.

    Raises ``TobanError`` when it can't be reached, or when it accepted nothing.
    """
    with _response("POST", path, data, body, headers) as (response, where):
        message = _whole(response, where).decode(errors="replace")
        if response.status not in {204, 400}:
            raise TobanError(f"{where}: status {response.status}: {message[:200].strip()}")
        return message


def download(path: str, data: Path | None, /, **parameters: str | Sequence[str]) -> Iterator[bytes]:
    """Send a GET request to the running toban and return its response in chunks. Raises like `get`."""
    with _response("GET", f"{path}?{urlencode(parameters, doseq=True)}", data) as (response, where):
        if response.status != 200:
            _read(_whole(response, where), response.status, where)
        while chunk := response.read(CHUNK):
            yield chunk


def events(path: str, data: Path | None, /, **parameters: str) -> Iterator[tuple[str, str]]:
    """
    Follow server-sent events of the running toban: yield the kind and the data of each.

    The first one comes when the stream is open, and has no data. Raises like `get`.
    """
    with _response("GET", f"{path}?{urlencode(parameters)}", data) as (response, where):
        if response.status != 200:
            _read(_whole(response, where), response.status, where)
        kind, content = "message", ""
        while text := response.readline(MAX_BYTES).decode(errors="replace"):
            name, _, value = text.rstrip("\r\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                content += value
            elif not name:
                yield kind, content
                kind, content = "message", ""


def _request(method: str, target: str, data: Path | None, content: bytes | None, timeout: float = TIMEOUT) -> Any:
    headers = {} if content is None else {"content-type": "application/json"}
    with _response(method, target, data, content, headers, timeout) as (response, where):
        return _read(_whole(response, where), response.status, where)


def _whole(response: http.client.HTTPResponse, where: str) -> bytes:
    body = response.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise TobanError(f"{where}: the response has more than {MAX_BYTES} bytes")
    return body


def _read(body: bytes, status: int, where: str) -> Any:
    try:
        content = json.loads(body)
    except ValueError:
        raise TobanError(f"{where}: status {status}: {body[:200].decode(errors='replace').strip()}") from None
    if status >= 400:
        # Problem details have `detail`, errors of Prometheus' API have `error`.
        raise TobanError(str(content.get("detail") or content.get("error") or content))
    return content


@contextmanager
def _response(
    method: str,
    target: str,
    data: Path | None,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
) -> Iterator[tuple[http.client.HTTPResponse, str]]:
    """Open a response, with the address it comes from."""
    connection, where = _connection(data, timeout)
    token = strip_copied(os.environ.get("TOBAN_TOKEN", ""))
    shown = {"authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, target, body=content, headers=shown | dict(headers or {}))
        yield connection.getresponse(), where
    except (OSError, http.client.HTTPException) as error:
        raise TobanError(f"can't reach toban at {where} ({error}): is `toban up` running there?") from error
    finally:
        connection.close()


def _connection(data: Path | None, timeout: float) -> tuple[http.client.HTTPConnection, str]:
    url = strip_copied(os.environ.get("TOBAN_URL", ""))
    if url and data is None:
        invalid = f"TOBAN_URL: {redact_url(url)!r} is not a valid URL: write it like https://toban.example:9119"
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise SettingsError(invalid) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(invalid)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname, parts.port, timeout=timeout), redact_url(url)
    socket_file = (data or configured_data()) / SOCKET
    return _Local(socket_file, timeout), str(socket_file)


def current_user() -> str:
    """Return the name of the user, which is shown with silences and acknowledgements."""
    try:
        return os.environ.get("TOBAN_USER") or getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def configured_data() -> Path:
    """Return the data folder, read without all of the settings: loading them takes longer than a command."""
    named = given_value("config") or os.environ.get("TOBAN_CONFIG")
    path = Path(named or CONFIGURATION)
    if named or path.is_file():
        document = parse(read_text(path))
        expand_variables(document, os.environ)
        problems = [mistake for mistake in document.problems if mistake.path in {(), ("data",)}]
        if problems:
            raise SettingsError("\n".join(mistake.as_line(str(path)) for mistake in problems))
        if document.tree.get("data"):
            return Path(str(document.tree["data"]))
    return data_folder(os.environ)
