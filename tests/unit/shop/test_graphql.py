"""Vendure's GraphQL responses."""

import httpx2
import orjson
import pytest

from toban.shop.graphql import GraphqlError, execute, parse_data


def body(**response):
    return orjson.dumps(response)


def test_a_response_with_data_and_without_errors_succeeds():
    """
    Whatever else stands in it.
    """
    assert parse_data(200, body(data={"products": {"totalItems": 3}}, extensions={})) == {"products": {"totalItems": 3}}


@pytest.mark.parametrize(
    ("status", "content", "words"),
    [
        (200, b"<html>", "answered 200, but the response is not GraphQL"),
        (502, b"Bad Gateway", "answered 502, but the response is not GraphQL"),
        (200, body(hello=1), "the response is not GraphQL"),
        (200, body(data=None), "answered 200 without data"),
        (500, body(data={}), "answered 500 without data"),
        (
            200,
            body(errors=[{"message": "connect ECONNREFUSED 127.0.0.1:5432", "path": ["products"]}], data=None),
            "answered 200, but with the error ECONNREFUSED at products",
        ),
        (
            200,
            body(errors=[{"message": "ann@example.com has no rights", "extensions": {"code": "FORBIDDEN"}}]),
            "FORBIDDEN$",
        ),
        (200, body(errors="?"), "the error without a code"),
    ],
)
def test_errors_are_reported_without_personal_data(status, content, words):
    """
    Vendure answers 200 with its database down: the errors tell, by their code and field alone.
    """
    with pytest.raises(GraphqlError, match=words) as refused:
        parse_data(status, content)
    assert "example.com" not in str(refused.value)


async def test_an_endless_response_is_aborted():
    """
    It would fill the memory.
    """
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"x" * 1_000_001))
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(GraphqlError, match="more than 1000000 bytes"):
            await execute(client, "http://shop/shop-api", "{ x }")


@pytest.mark.parametrize("errors", [None, []])
def test_an_empty_list_of_errors_is_no_error(errors):
    """
    Some servers always write the field.
    """
    assert parse_data(200, body(errors=errors, data={"a": 1})) == {"a": 1}
    with pytest.raises(GraphqlError, match="without data"):
        parse_data(200, body(errors=errors))
