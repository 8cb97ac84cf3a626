"""toban behind nginx, configured as `docs/reverse-proxy.md` says."""

import re
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests import servers
from tests.integration.test_tls import DAY, NOW, Authority
from tests.needs import need
from tests.program import toban

PAGE = (Path(__file__).parents[2] / "docs" / "reverse-proxy.md").read_text(encoding="utf-8")
NAME = "toban.example.com"
TOKEN = "t0ken-of-toban"
FRAME = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    scgi_temp_path scgi; uwsgi_temp_path uwsgi;
{}
}}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """A client of nginx, which stands before a toban with a token."""
    nginx = need("nginx", shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin"))
    data = tmp_path_factory.mktemp("proxy") / "data"
    (data.parent / "toban.yaml").write_text(block("yaml"))
    authority = Authority()
    with toban(data, TOBAN_TOKEN=TOKEN) as program, servers.folder() as folder:
        authority.server(folder, NAME, ends=NOW + DAY)
        (folder / "htpasswd").write_text("owner:{PLAIN}secret\n")
        port = servers.free_port()
        changes = {
            "listen 443": f"listen 127.0.0.1:{port}",
            "http://127.0.0.1:9119": program.url,
            "/etc/ssl/toban.example.com.pem": str(folder / "server.pem"),
            "/etc/ssl/private/toban.example.com.key": str(folder / "server.pem"),
            "/etc/nginx/toban.htpasswd": str(folder / "htpasswd"),
            "TOKEN": TOKEN,
        }
        text = block("nginx")
        for written, here in changes.items():
            assert written in text
            text = text.replace(written, here)
        (folder / "nginx.conf").write_text(FRAME.format(text))
        for file in folder.iterdir():
            file.chmod(0o644)
        command = [str(nginx), "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"]
        trusted = ssl.create_default_context(cadata=authority.certificate.public_bytes(Encoding.PEM).decode())
        with (
            servers.running(servers.Server(port, folder, command, name="nginx")),
            httpx2.Client(
                base_url=f"https://127.0.0.1:{port}",
                headers={"host": NAME},
                verify=trusted,
                timeout=20,
            ) as client,
        ):
            yield client


def block(kind: str) -> str:
    """Return the page's only block of this kind."""
    [text] = re.findall(rf"(?ms)^```{kind}\n(.*?)^```", PAGE)
    return text


def request(client: httpx2.Client, method: str, path: str, **options) -> httpx2.Response:
    return client.request(method, path, extensions={"sni_hostname": NAME}, **options)


PERSON = httpx2.BasicAuth("owner", "secret")
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize("path", ["/health", "/health/readiness", "/health/liveness", "/-/healthy", "/-/ready"])
def test_health_needs_no_password(client, path):
    assert request(client, "GET", path).status_code == 200


def test_a_person_needs_the_password_and_no_token(client):
    refused = request(client, "GET", "/")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="toban"')
    shown = request(client, "GET", "/", auth=PERSON)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert shown.headers["strict-transport-security"]


def test_a_program_needs_the_token_and_no_password(client):
    assert request(client, "GET", "/api/status", headers=BEARER).status_code == 200
    for wrong in ("Bearer of-somebody", "bearer", f"BearerX {TOKEN}"):
        assert request(client, "GET", "/api/status", headers={"authorization": wrong}).status_code == 401


def test_changes_are_accepted_from_its_own_pages_only(client):
    silence = {"matchers": ['alertname="x"'], "duration": "1h", "comment": "a test"}
    for origin, status in ((f"https://{NAME}", 200), ("https://evil.example", 403)):
        response = request(client, "POST", "/api/silences", json=silence, auth=PERSON, headers={"origin": origin})
        assert response.status_code == status, response.text


def test_a_name_that_is_not_its_own_is_rejected(client):
    assert request(client, "GET", "/health", headers={"host": "evil.example"}).status_code == 421


@pytest.mark.parametrize(("size", "status"), [(4 * 2**20 - 1000, 200), (4 * 2**20 + 1000, 413)])
def test_bodies_are_as_large_as_toban_accepts_them(client, size, status):
    body = b'{"resourceLogs":[]' + b" " * size + b"}"
    headers = {**BEARER, "content-type": "application/json"}
    assert request(client, "POST", "/v1/logs", content=body, headers=headers).status_code == status
