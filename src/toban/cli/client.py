"""How commands talk to the running toban."""

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

PATIENCE = 130
"""Seconds: a little more than the longest a query may take."""

LARGEST = 256 * 2**20
"""Bytes that an answer may have which is read as a whole."""

LARGE = 2**16
"""Bytes of an answer that are read at once."""

config_option = shared_option("config")
data_option = shared_option("data")
json_option = shared_option("as_json")


class _Local(http.client.HTTPConnection):
    """HTTP over the socket in the data folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("toban", timeout=PATIENCE)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(path: str, data: Path | None, /, **parameters: str) -> Any:
    """
    Ask the running toban and return its JSON.

    That is the one of the data folder, or ``TOBAN_URL`` (with ``TOBAN_TOKEN``) for one elsewhere.
    Raises ``TobanError`` when none answers, or with the reason it gives.
    """
    return _exchanged("GET", f"{path}?{urlencode(parameters)}" if parameters else path, data, None)


def post(path: str, data: Path | None, /, **body: Any) -> Any:
    """Tell the running toban something and return its JSON. Raises like `get`."""
    return _exchanged("POST", path, data, json.dumps(body).encode())


def upload(path: str, data: Path | None, body: bytes, headers: Mapping[str, str]) -> str:
    """
    Send the running toban a body; return what it says of what it did not keep, nothing when it kept all.

    Raises ``TobanError`` when none answers, or when it kept nothing.
    """
    with _answered("POST", path, data, body, headers) as (response, where):
        said = _whole(response, where).decode(errors="replace")
        if response.status not in {204, 400}:
            raise TobanError(f"{where}: answered {response.status}: {said[:200].strip()}")
        return said


def download(path: str, data: Path | None, /, **parameters: str | Sequence[str]) -> Iterator[bytes]:
    """Ask the running toban and return its answer in pieces. Raises like `get`."""
    with _answered("GET", f"{path}?{urlencode(parameters, doseq=True)}", data) as (response, where):
        if response.status != 200:
            _read(_whole(response, where), response.status, where)
        while piece := response.read(LARGE):
            yield piece


def _exchanged(method: str, target: str, data: Path | None, content: bytes | None) -> Any:
    headers = {} if content is None else {"content-type": "application/json"}
    with _answered(method, target, data, content, headers) as (response, where):
        return _read(_whole(response, where), response.status, where)


def _whole(response: http.client.HTTPResponse, where: str) -> bytes:
    body = response.read(LARGEST + 1)
    if len(body) > LARGEST:
        raise TobanError(f"{where}: the answer has more than {LARGEST} bytes")
    return body


def _read(body: bytes, status: int, where: str) -> Any:
    try:
        answer = json.loads(body)
    except ValueError:
        raise TobanError(f"{where}: answered {status}: {body[:200].decode(errors='replace').strip()}") from None
    if status >= 400:
        raise TobanError(str(answer.get("error", answer)))
    return answer


@contextmanager
def _answered(
    method: str, target: str, data: Path | None, content: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Iterator[tuple[http.client.HTTPResponse, str]]:
    """Lend an answer, and say where it comes from."""
    connection, where = _connection(data)
    token = strip_copied(os.environ.get("TOBAN_TOKEN", ""))
    shown = {"authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request(method, target, body=content, headers=shown | dict(headers or {}))
        yield connection.getresponse(), where
    except (OSError, http.client.HTTPException) as error:
        raise TobanError(f"no toban answers at {where} ({error}): is `toban up` running there?") from error
    finally:
        connection.close()


def _connection(data: Path | None) -> tuple[http.client.HTTPConnection, str]:
    url = strip_copied(os.environ.get("TOBAN_URL", ""))
    if url and data is None:
        wrong = f"TOBAN_URL: {redact_url(url)!r} is no address: write it like https://toban.example:9119"
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError:
            raise SettingsError(wrong) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError(wrong)
        sort = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return sort(parts.hostname, parts.port, timeout=PATIENCE), redact_url(url)
    socket_file = (data or _configured_data()) / SOCKET
    return _Local(socket_file), str(socket_file)


def current_user() -> str:
    """Return who types, for the journal."""
    try:
        return os.environ.get("TOBAN_USER") or getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"


def _configured_data() -> Path:
    """Return the data folder, read without the whole of the settings: they take longer than the answer."""
    named = given_value("config") or os.environ.get("TOBAN_CONFIG")
    path = Path(named or CONFIGURATION)
    if named or path.is_file():
        document = parse(read_text(path))
        expand_variables(document, os.environ)
        wrong = [mistake for mistake in document.problems if mistake.path in {(), ("data",)}]
        if wrong:
            raise SettingsError("\n".join(mistake.as_line(str(path)) for mistake in wrong))
        if document.tree.get("data"):
            return Path(str(document.tree["data"]))
    return data_folder(os.environ)
