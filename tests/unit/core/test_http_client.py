"""Readable reasons of connection errors."""

import errno
import socket
import ssl

import httpx2
import pytest

from toban.core.http_client import RequestTimeoutError, error_reason


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
WRONG = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)")
WRONG.reason = "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (TimeoutError(), "no response in time"),
        (httpx2.ReadTimeout("read"), "accepts connections but does not answer: it hangs"),
        (httpx2.ConnectTimeout("connect"), "no connection in time"),
        (RequestTimeoutError("the response did not end in time"), "the response did not end in time"),
        (REFUSED, "connection refused"),
        (caused(httpx2.ConnectError("All connection attempts failed"), REFUSED), "connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service not known"),
        (WRONG, "TLS: wrong version number: the server does not speak TLS"),
        (ConnectionResetError(), "the server closed the connection"),
        (httpx2.RemoteProtocolError("peer closed connection"), "peer closed connection"),
        (caused(httpx2.ReadError(""), OSError()), "ReadError"),
    ],
)
def test_the_root_cause_of_an_error_is_returned(error, wanted):
    """
    Without numbers, and without places in somebody's source.
    """
    assert error_reason(error) == wanted
