"""Redaction of secrets and personal data."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.redaction import REDACTED, _redact_suspicious, redact, redact_text, redact_url

KEY = "0add3adc2a67363bdb8373b9427bfefccd11daf5ed5ff1ecaf1b07879f69600a"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdef123456", "abcdef123456"),
        ("authorization=Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ('{"authorization":"Bearer 9f8e7d6c5b4a"}', "9f8e7d6c5b4a"),
        (r"{\"password\":\"my long one\"}", "my long one"),
        ('{"password": "cut off he', "cut off he"),
        ("password='it\\'s'", "it"),
        ("PGPASSWORD=hunter2 psql", "hunter2"),
        ('{"apiKey": ["hush"], "shown": 1}', "hush"),
        ('{"token": {"type": "x", "value": ["a}", "hush"]}}', "hush"),
        (r'"{\"token\": {\"type\": \"a\\\"}\", \"value\": \"hush\"}}"', "hush"),
        (r"{\"password\":\"{\\\"value\\\":\\\"hush\\\"}\"}", "hush"),
        ("{ headers: { cookie: [ 'a=b', 'session=hush' ] } }", "hush"),
        ("credentials: { user: 'it\\'s', key: 'hush', and so on", "hush"),
        ('{"signing.key": "hush", "securityCode":"hush", "creditCard": "hush", "iban" : "hush"}', "hush"),
        ("https://shop.example/?api_key=k123&x=1", "k123"),
        ("postgres://toban:hunter2@db/vendure", "hunter2"),
        (f"CacheService hit for key [vendure-session-cache:{KEY}]", KEY),
        (f"token is {JWT}", JWT),
        ("Cookie: session=abc; session.sig=def", "abc"),
        ('"set-cookie":"session=abc; path=/"', "session=abc"),
        ("paid with 4242 4242 4242 4242", "4242"),
        ("paid with 378282246310005.", "378282246310005"),
        ("from jane.doe+shop@mail.example.com", "jane.doe"),
        ("using sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyj"),
        ("to DE89 3704 0044 0532 0130 00", "0044"),
        ("to GB82WEST12345698765432, please", "WEST1234"),
        ("カード4242424242424242で支払い", "4242424242"),
        ("カード４２４２４２４２４２４２４２４２", "４２４２"),
        (f"evalsha {KEY[:40]} 8 bull:mail:wait [1,{{hush}}]", "hush"),
        ("command: {\n  name: 'evalsha',\n  args: [\n '1', 8, '{\"a\":[\"hush\"]}' ]\n}", "hush"),
        (r"{\"command\":{\"name\":\"evalsha\",\"args\":[\"1\",\"hush\"]}}", "hush"),
        ("got Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg== back", "Zm9vYmFy"),
    ],
)
def test_secrets_are_redacted_by_their_form(text, secret):
    """
    In headers, JSON, JSON in JSON, addresses and sentences alike.
    """
    found = redact_text(text)

    assert secret not in found
    assert REDACTED in found


@pytest.mark.parametrize(
    "text",
    [
        "Job 145 [apply-collection-filters] failed and will not retry.",
        "connect ECONNREFUSED 127.0.0.1:55432",
        "trace 0af7651916cd43dd8448eb211c80319c at 1795462702394000000",
        "order 123e4567-e89b-12d3-a456-426614174000 of 2026-11-23T19:37:31.549Z",
        "Blocking event handler order-service-remove-unassigned-shipping-method-from-active-orders took 0ms",
        "Set key [MultiChannelStockLocationStrategy:StockLocationChannelIds:1] in CacheService",
        "at new I18nError (/app/node_modules/@vendure/core/dist/i18n/i18n-error.js:21:9)",
        "Slow query detected: AddItem took 2100ms",
        "4242 4242 4242 4241 is no card",
    ],
)
def test_ids_times_and_words_are_not_redacted(text):
    """
    A log without its words, ids and times would help nobody.
    """
    assert redact_text(text) == text


def test_secret_fields_are_redacted_in_any_spelling():
    """
    At every depth, in lists too; the rest stays as it is.
    """
    value = {"apiKey": 5, "x": [{"PASS_WORD": "a", "Set-Cookie": ["b"], "sessionToken": {"deep": 1}, "count": 3}]}

    assert redact(value) == {
        "apiKey": REDACTED,
        "x": [{"PASS_WORD": REDACTED, "Set-Cookie": REDACTED, "sessionToken": REDACTED, "count": 3}],
    }


def test_deeply_nested_values_are_redacted():
    """
    A value that holds itself ends too.
    """
    value: dict[str, object] = {}
    value["self"] = value

    assert REDACTED in str(redact(value))


TOKENS = st.text("0123456789abcdef", min_size=40, max_size=80)
PASSWORDS = st.text(string.ascii_letters + string.digits, min_size=8, max_size=30)
AROUND = st.text(string.ascii_letters + " .:-/", max_size=30)


@given(AROUND, TOKENS, AROUND)
def test_a_long_token_is_redacted_in_any_context(before, token, after):
    """
    Whatever stands around it.
    """
    assert token not in redact_text(f"{before}{token}{after}")


@given(st.sampled_from(["password", "apiKey", "access_token", "clientSecret"]), PASSWORDS, st.integers(0, 3))
def test_a_secret_field_is_redacted_in_nested_json(name, password, times):
    """
    A job of BullMQ holds a request as JSON in JSON.
    """
    secret = f"qZ{password}9"
    text: object = {name: secret, "other": 1}
    for _ in range(times + 1):
        text = json.dumps(text)

    assert secret not in redact_text(str(text))


@given(st.text())
def test_redacting_twice_changes_nothing_more(text):
    """
    What was redacted on the way in may be redacted again on the way out.
    """
    once = redact_text(text)

    assert redact_text(once) == once


@given(st.text(alphabet="pasword:=\"'\\ []{}@.Bearer0123456789abcdefABCDEF/+-_\n", max_size=300))
def test_redacting_twice_changes_nothing_more_near_secrets(text):
    """
    Texts made of what the expressions look for.
    """
    once = redact_text(text)

    assert redact_text(once) == once


PARTS = (
    "eyJhbGciOi.eyJz.abc cookie: set-cookie=\" password= api_key: 'x' Bearer abcdef basic ://u:p@h a@b.c"
    " sk_live_4eC39HqL SG.1234567890123456.1234567890123456 AKIAABCDEFGHIJKLMNOP 4242424242424242"
    f" ４２４２-4242 evalsha args: [ ] {KEY} {KEY[:39]} DE89370400440532013000"
    ' Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZg== 日本語 トークン xoxb- whsec_ ghp_123456789 \\" é'
).split(" ")


@given(
    st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=5)), max_size=12), st.sampled_from(["", " ", ".", "/"])
)
def test_what_is_not_searched_thoroughly_has_nothing_to_redact(parts, between):
    """
    Most texts are ruled out by one quick search: it must not miss what the thorough one finds.
    """
    text = between.join(parts)
    assert redact_text(text) == _redact_suspicious(text)


CHARACTERS = (string.ascii_uppercase, string.ascii_lowercase, string.digits, "0123456789０９日", "/+-_", " .")


@given(st.lists(st.sampled_from(CHARACTERS).flatmap(st.sampled_from), min_size=28, max_size=60).map("".join))
def test_runs_that_are_not_searched_thoroughly_have_nothing_to_redact(text):
    """
    Of capitals, small letters and digits, as base64 has them.
    """
    assert redact_text(text) == _redact_suspicious(text)


@pytest.mark.parametrize("code", ["BB7352C19973CF5C", "DE89370400440532013"])
def test_a_code_in_the_form_of_an_account_number_stays(code):
    """
    Its check digits are wrong; one in thirty codes of Vendure's orders looks like one.
    """
    assert redact_text(f"Payment for order {code} declined") == f"Payment for order {code} declined"


def test_what_is_after_a_nested_secret_stays():
    text = r'a {"token": {"x": "}"}, "b": 1} c, {\"secret\": [\"y\"], \"d\": 2} e'
    assert redact_text(text) == rf'a {{"token": {REDACTED}, "b": 1}} c, {{\"secret\": {REDACTED}, \"d\": 2}} e'


@given(st.text(string.digits, min_size=12, max_size=18), st.sampled_from("23456"), st.sampled_from(["", " ", "-"]))
def test_a_card_number_is_redacted(digits, first, between):
    """
    Its last digit makes it one (Luhn), however it is grouped.
    """
    digits = (first + digits)[:18]
    doubled = [sum(divmod(int(digit) * 2, 10)) for digit in digits[::-2]]
    last = -(sum(doubled) + sum(int(digit) for digit in digits[-2::-2])) % 10
    number = between.join(f"{digits}{last}"[place : place + 4] for place in range(0, len(digits) + 1, 4))

    assert number not in redact_text(f"card {number} used")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_any_redacted_value_can_be_written_as_json(value):
    """
    It can still be written as JSON.
    """
    json.dumps(redact(value))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://ann:hush@shop.example/x", "https://[REDACTED]@shop.example/x"),
        ("https://ann:hu/sh@shop.example", "https://[REDACTED]@shop.example"),
        ("https://ann:hu@sh@shop.example", "https://[REDACTED]@shop.example"),
        ("ann:hush@shop.example:9119", "[REDACTED]@shop.example:9119"),
        ("https://shop.example/?token=hushhush", "https://shop.example/?token=[REDACTED]"),
        ("https://shop.example:1/x", "https://shop.example:1/x"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(address, shown):
    """
    Also one that is wrong because of it.
    """
    assert redact_url(address) == shown
