"""
Log lines with secrets and personal data in every shape, each secret another: what must be nowhere afterwards.

```python
planted = plant(random.Random(1), 200)
planted[0].fields    # what a program logs
planted[0].secrets   # what must not be found
planted[0].mark      # what must be found
```
"""

import json
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

# fmt: off
KEYS = (
    "password", "Password", "passwd", "passphrase", "user_password", "pwd", "secret", "client_secret",
    "clientSecret", "apiKey", "api_key", "api-key", "X-Api-Key", "x-api-key", "authorization", "Authorization",
    "cookie", "Set-Cookie", "token", "accessToken", "access_token", "refresh-token", "sessionToken", "session_id",
    "sessionId", "privateKey", "private-key", "signing.key", "credentials", "cardNumber", "card_number", "cvv",
    "cvc", "creditCard", "securityCode", "vendure-auth-token", "VENDURE_AUTH_TOKEN", "PGPASSWORD", "iban",
)
# fmt: on
"""Names of secret fields, in the spellings of programs, headers and the environment."""

WORDS = ["payment", "order", "refund", "shipped", "stock", "customer", "cart", "checkout", "webhook", "retry"]


@dataclass(frozen=True)
class PlantedLine:
    """A line, and what of it must not be found. ``shape`` is for people."""

    mark: str
    shape: str
    fields: Mapping[str, Any]
    secrets: tuple[str, ...]


def plant(chance: Random, count: int) -> list[PlantedLine]:
    """Return so many lines, of each shape about as many; an eighth of them is longer than toban keeps."""
    return [_line(chance, number, SHAPES[number % len(SHAPES)]) for number in range(count)]


def _line(chance: Random, number: int, shape: "Shape") -> PlantedLine:
    mark, (text, facts, secrets) = f"mark{number}x{_letters(chance, 6)}", shape(chance)
    words = " ".join(chance.choices(WORDS, k=3))
    message = f"{mark} {words} {text}" if chance.random() < 0.7 else f"{mark}\n{text}\n{words}"
    fields: dict[str, Any] = {"level": chance.choice(["error", "warn", "info", "debug"]), "message": message, **facts}
    if text and chance.random() < 0.3:
        fields |= {"message": f"{mark} {words}", chance.choice(["stack", "context", "note", "url"]): text}
    if chance.random() < 0.125 and "message" in fields:
        # The secret stands where the line is cut.
        padding = "lorem ipsum " * 2_000
        at = 16_384 - chance.randint(0, len(text) + 60)
        fields["message"] = f"{mark} {padding}"[:at] + f" {text} {padding}"[:2_000]
    return PlantedLine(mark, shape.__name__.strip("_"), fields, secrets)


Shape = Callable[[Random], tuple[str, dict[str, Any], tuple[str, ...]]]


def _secret(chance: Random, length: int = 14) -> str:
    """Return a password: nothing in its form says that it is one."""
    return "zq" + _letters(chance, length)


def _letters(chance: Random, length: int) -> str:
    return "".join(chance.choices(string.ascii_lowercase, k=length))


def _hex(chance: Random, length: int) -> str:
    return f"{chance.getrandbits(length * 4):0{length}x}"


def _base64(chance: Random, length: int) -> str:
    return "".join(chance.choices(string.ascii_letters + string.digits + "-_", k=length))


def _nested_key(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret = _secret(chance)
    value: Any = chance.choice([secret, [secret], {"value": secret}, f"{secret} {secret}"])
    value = {chance.choice(KEYS): value, "shown": 1}
    for _ in range(chance.randint(0, 8)):
        value = chance.choice([{"inner": value}, [value, 2], {"headers": value, "n": None}])
    return "nested", {"data": value}, (secret,)


def _plain_key(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret = _secret(chance)
    return "field", {chance.choice(KEYS): secret}, (secret,)


def _key_in_text(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret, key = _secret(chance), chance.choice([key for key in KEYS if key not in {"iban", "creditCard"}])
    forms = ("{}={}", "{}: {}", '"{}":"{}"', "{}='{}'", '{{"{}": "{}"}}', '\\"{}\\":\\"{}\\"', "{}  =>  {}")
    return chance.choice(forms).format(key, secret), {}, (secret,)


def _json_in_text(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    _, facts, secrets = _nested_key(chance)
    text = json.dumps(facts)
    for _ in range(chance.randint(0, 2)):
        text = json.dumps({"body": text})
    return text, {}, secrets


def _bearer(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret = _base64(chance, chance.randint(8, 60)).strip("-_") + "zq"
    scheme = chance.choice(["Bearer", "bearer", "BEARER", "Basic", "Token: Bearer"])
    return f"{chance.choice(['', 'Authorization: ', 'sent '])}{scheme} {secret}", {}, (secret,)


def _jwt(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    parts = (_base64(chance, 24), _base64(chance, 43))
    token = ".".join((f"eyJ{_base64(chance, 15)}", *parts))
    return f"{chance.choice(['', 'token is ', '(', 'jwt='])}{token}", {"also": [token]}, parts


def _card(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    digits = chance.choice("3456") + "".join(chance.choices(string.digits, k=14))
    doubled = sum(sum(divmod(int(digit) * 2, 10)) for digit in digits[::-2])
    digits += str(-(doubled + sum(int(digit) for digit in digits[-2::-2])) % 10)
    between = chance.choice(["", " ", "-"])
    text = between.join(digits[at : at + 4] for at in range(0, 16, 4))
    fact: Any = chance.choice([text, int(digits), [digits]])
    return f"paid with {text}", {"used": fact}, (text, digits)


def _email(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    name = f"{_letters(chance, 6)}.{_letters(chance, 7)}{chance.choice(['', '+shop', '_1'])}"
    address = f"{name}@{_letters(chance, 5)}.{chance.choice(['example', 'co.jp', 'museum'])}"
    return (
        chance.choice(["from {}", "<{}>", "user={}", "mailto:{}"]).format(address),
        {"who": {"mail": address}},
        (name,),
    )


def _iban(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    account = "".join(chance.choices(string.digits, k=18))
    check = 98 - int(account + "131400") % 97
    iban = f"DE{check:02}{account}"
    spaced = " ".join(iban[at : at + 4] for at in range(0, 22, 4))
    return f"to {chance.choice([iban, spaced])}.", {"account": {"to": iban}}, (iban, spaced)


def _session(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    token = _hex(chance, 64)
    forms = (
        "CacheService hit for key [vendure-session-cache:{}]",
        "vendure-auth-token: {}",
        "Cookie: session={}; session.sig=x",
        "GET /?session={}",
        "session {} expired",
    )
    return chance.choice(forms).format(token), {"key": f"vendure-session-cache:{token}", "ids": [token]}, (token,)


def _connection(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret = _secret(chance)
    forms = (
        "postgres://shop:{}@db.internal:5432/shop",
        "redis://:{}@redis:6379/0",
        "rediss://default:{}@eu1.upstash.example:6379",
        "amqp://u:{}@mq/x",
        "host=db user=shop password={} dbname=shop",
        "Server=db;Uid=shop;Pwd={};",
    )
    address = chance.choice(forms).format(secret)
    return f"connect {address} failed", {"database": address, "url": {"dsn": address}}, (secret,)


def _evalsha(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret = _secret(chance)
    job = json.dumps({"id": 1, "data": {"ctx": {"req": {"headers": {"x": secret}}}, "address": secret}})
    arguments = ["bull:mail:wait", "bull:mail:paused", job]
    forms = (
        f"evalsha {_hex(chance, 40)} 8 bull:mail:wait {job}",
        f"EVALSHA {_hex(chance, 40)} 8 bull:mail:wait {job}",
        json.dumps({"command": {"name": "evalsha", "args": [_hex(chance, 40), "8", *arguments]}}),
        json.dumps({"body": json.dumps({"name": "evalsha", "args": ["8", *arguments]})}),
    )
    text = chance.choice(forms)
    return text, {"db.statement": forms[0], "command": {"name": "evalsha", "args": arguments}}, (secret,)


def _query(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret = _secret(chance)
    key = chance.choice(["token", "api_key", "apiKey", "access_token", "password", "secret"])
    return (
        f"GET https://shop.example/reset?x=1&{key}={secret}&y=2",
        {"request": {"path": f"/x?{key}={secret}"}},
        (secret,),
    )


def _provider_key(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    secret = chance.choice(["sk_live_", "rk_test_", "whsec_", "ghp_", "xoxb-", "glpat-"]) + _base64(chance, 24)
    return f"using {secret}", {"stripe": [secret]}, (secret[-24:],)


def _secret_name(chance: Random) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    token = _hex(chance, 64)
    return "names", {token: 1, "counts": {f"{token}@x.example": 2}}, (token,)


SHAPES: tuple[Shape, ...] = (
    _nested_key,
    _plain_key,
    _key_in_text,
    _json_in_text,
    _bearer,
    _jwt,
    _card,
    _email,
    _iban,
    _session,
    _connection,
    _evalsha,
    _query,
    _provider_key,
    _secret_name,
)
