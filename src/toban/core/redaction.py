"""Leaving out secrets and customers' data, by the name of a field and by what it looks like."""

import re
from collections.abc import Mapping
from typing import Final

REDACTED: Final = "[redacted]"
"""What stands where something was left out."""

LARGEST: Final = 50_000
"""How many characters of a value are looked at, names and all; what comes after them is left out."""

DEEPEST: Final = 30
"""How many levels of a value are looked at; what lies deeper is left out as a whole."""

SECRET_KEY: Final = re.compile(
    r"pass(word|wd|phrase|code)|pwd|secret|token|apikey|(access|private|session|signing)key|authoriz|cookie"
    r"|session(id|cache)|credential|cardn(umber|o)|creditcard|cv[cv]2?$|securitycode|^iban$"
)
"""What the name of a field with a secret holds, in lower case and without what stands between words."""

_BETWEEN: Final = re.compile(r"[-_. ]+")

_VALUE: Final = (
    r'"(?:[^"\\]|\\.)*|'  # in quotes, which may be missing at the end where a text was cut off
    r"'(?:[^'\\]|\\.)*|"
    r'\\+"[^"]*|'  # JSON in JSON
    r"\\+'[^']*|"
    r"(?:(?:Bearer|Basic|Digest|Token)\s+)?[^\s,;&\"'\\)}\]\[]+"
)
_NAMED: Final = re.compile(
    r"((?:pass(?:word|wd|phrase|code)|pwd|secret|token|api[_-]?key|(?:access|private|session|signing)[_-]?key"
    r"|authorization|session[_-]?id|credentials?|card[_-]?number|cv[cv]2?)[\w-]{0,40}+"
    r"\\*+[\"']?+\s{0,3}+(?::|=>?+)\s{0,3}+(?!\\*[\"']?\[redacted\]))(?:" + _VALUE + ")",
    re.IGNORECASE,
)
_NAMES: Final = ("pass", "pwd", "secret", "token", "api", "key", "authorization", "session", "credential", "card", "cv")
"""What must be in a text before it is worth looking for names: the look at every place costs the most."""

_SCHEMES: Final = ("bearer", "basic", "digest")
_COOKIES: Final = re.compile(
    r"((?:set-)?cookie\\*+[\"']?+\s{0,3}+[:=]\s{0,3}+\\*+[\"']?+)(?!\[redacted\])[^\"'\\\r\n]+", re.IGNORECASE
)
_SCHEME: Final = re.compile(r"(Bearer|Basic|Digest)(\s++)(?!\[redacted\])[\w.~+/=:-]{6,}", re.IGNORECASE)
_USER: Final = re.compile(r"(://)(?!\[redacted\]@)[^\s/@\"'<>]{1,300}@")
_DOTTED: Final = re.compile(r"(?<![\w.-])[\w-]*+(?:\.[\w-]*+)++")
_JWT: Final = re.compile(r"(?:^|(?<=-))eyJ[\w-]{5}")
"""How the first of a token's parts begins, which dots separate."""

_PREFIXED: Final = re.compile(
    r"(?:(?:sk|pk|rk)_(?:live|test)_|whsec_|gh[pousr]_|github_pat_|xox[a-z]-|glpat-)[\w.-]{8,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|AKIA[A-Z0-9]{16}"
)
_HEX: Final = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{40,}")
_LONG: Final = re.compile(r"(?<![\w+/-])[\w+/-]{32,}={0,2}")
_LOCAL: Final = r"[\w.!#$%&'*+/=?^`{|}~-]"
_EMAIL: Final = re.compile(rf"(?<!{_LOCAL}){_LOCAL}++@[\w-]++(?:\.[\w-]++)++")
_CARD: Final = re.compile(r"(?<![\w.])[2-6](?:[ -]?\d){12,18}(?!\w)")


def redact_text(text: str) -> str:
    """
    Return a text without what looks like a secret or a customer's own: tokens, keys, cookies, cards, e-mail addresses.

    What is left out is replaced as a whole; doing it twice changes nothing more. Ids of traces (32 hex digits), UUIDs
    and times stay.
    """
    lower = text.lower()
    if "eyj" in lower:
        text = _DOTTED.sub(_without_jwt, text)
    if "cookie" in lower:
        text = _COOKIES.sub(rf"\1{REDACTED}", text)
    if any(word in lower for word in _NAMES):
        text = _NAMED.sub(_unnamed, text)
    if any(word in lower for word in _SCHEMES):
        text = _SCHEME.sub(rf"\1\2{REDACTED}", text)
    if "@" in text:
        text = _USER.sub(rf"\1{REDACTED}@", text)
        text = _EMAIL.sub(REDACTED, text)
        text = _USER.sub(rf"\1{REDACTED}@", text)
    text = _PREFIXED.sub(REDACTED, text)
    text = _HEX.sub(REDACTED, text)
    text = _LONG.sub(_unless_words, text)
    return _CARD.sub(_unless_no_card, text)


def redact(value: object) -> object:
    """Return plain data without secrets: by the names of its fields, and in all its texts. Nothing is changed."""
    return _Redacting().redacted(value, DEEPEST)


def redact_texts(fields: Mapping[str, str]) -> dict[str, str]:
    """Return texts by name without secrets, like `redacted`; names stay what they are."""
    return {name: REDACTED if is_secret(name) else redact_text(text) for name, text in fields.items()}


def redact_url(address: str) -> str:
    """
    Return an address as it may be printed: without user, password, and secrets in its query.

    Wrong ones too: a password with `/` or `@` in it is what makes most of them wrong.
    """
    scheme, separator, rest = address.partition("://") if "://" in address else ("", "", address)
    before, _, host = rest.rpartition("@")
    return redact_text(f"{scheme}{separator}{f'{REDACTED}@' if before else ''}{host}")


def is_secret(key: str) -> bool:
    """Tell whether a field of this name holds a secret, however the name is spelled."""
    return SECRET_KEY.search(_BETWEEN.sub("", key).lower()) is not None


class _Redacting:
    """Goes through one value, as long as there is not too much of it."""

    def __init__(self) -> None:
        self._left = LARGEST

    def redacted(self, value: object, levels: int) -> object:
        self._left -= 8
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, bool | float) or value is None:
            return value
        if isinstance(value, int):
            return value if -(10**12) < value < 10**12 or self._text(str(value)) == str(value) else REDACTED
        if levels == 0 or self._left < 0:
            return REDACTED
        if isinstance(value, Mapping):
            return {
                self._text(str(key)): REDACTED if is_secret(str(key)) else self.redacted(inner, levels - 1)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.redacted(inner, levels - 1) for inner in value]
        if isinstance(value, bytes | bytearray):
            return REDACTED
        return self._text(str(value))

    def _text(self, text: str) -> str:
        self._left -= len(text)
        return redact_text(text) if self._left >= 0 else REDACTED


def _unnamed(found: re.Match[str]) -> str:
    value = found[0][len(found[1]) :]
    opening = re.match(r"\\*[\"']", value)
    return f"{found[1]}{opening[0] if opening else ''}{REDACTED}"


def _without_jwt(found: re.Match[str]) -> str:
    """Leave tokens of two or three parts out. Part by part: an expression for all of it would look at some often."""
    kept, parts = [], found[0].split(".")
    place = 0
    while place < len(parts):
        begins = _JWT.search(parts[place]) if len("".join(parts[place + 1 : place + 2])) >= 2 else None
        kept.append(parts[place][: begins.start()] + REDACTED if begins else parts[place])
        place += 3 if begins else 1
    return ".".join(kept)


def _unless_words(found: re.Match[str]) -> str:
    """Leave words and paths: a token of base64 mixes digits and both cases, and paths have a dot or a slash often."""
    text = found[0]
    digits = sum(character.isdigit() for character in text)
    upper = sum("A" <= character <= "Z" for character in text)
    lower = sum("a" <= character <= "z" for character in text)
    return REDACTED if digits >= 2 and upper >= 3 and lower >= 3 and text.count("/") * 12 <= len(text) else text


def _unless_no_card(found: re.Match[str]) -> str:
    digits = [int(character) for character in found[0] if character.isdigit()]
    doubled = [sum(divmod(digit * 2, 10)) for digit in digits[-2::-2]]
    return REDACTED if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found[0]
