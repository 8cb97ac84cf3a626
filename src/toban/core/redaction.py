"""Redacts secrets and personal data, by the name of a field and by the form of a text."""

import re
import string
from collections.abc import Mapping
from functools import lru_cache
from itertools import permutations
from typing import Final

import re2

from toban.core.text_values import value_end

REDACTED: Final = "[REDACTED]"
"""The replacement of what is redacted."""

MAX_CHARACTERS: Final = 50_000
"""Characters of a value that are searched, names included; the rest is redacted."""

MAX_DEPTH: Final = 30
"""Levels of a value that are searched; deeper ones are redacted."""

SECRET_KEY: Final = re.compile(
    r"pass(word|wd|phrase|code)|pwd|secret|token|apikey|(access|private|session|signing)key|authoriz|cookie"
    r"|session(id|cache)|credential|cardn(umber|o)|creditcard|cv[cv]2?$|securitycode|^iban$"
)
"""What the name of a secret field contains, in lower case and without separators."""

_SEPARATORS: Final = re.compile(r"[-_. ]+")

_NAME: Final = (
    r"(?:pass(?:word|wd|phrase|code)|pwd|secret|token|api[-_. ]?key|(?:access|private|session|signing)[-_. ]?key"
    r"|authorization|session[-_. ]?id|credentials?|card[-_. ]?n(?:umber|o)|credit[-_. ]?card|security[-_. ]?code"
    r"|iban|cv[cv]2?)"
)
"""The same in a text."""

_VALUE: Final = (
    r'"(?:[^"\\]|\\.)*|'  # in quotes; the closing one is missing where a text was truncated
    r"'(?:[^'\\]|\\.)*|"
    r"(?:(?:Bearer|Basic|Digest|Token)\s+)?[^\s,;&\"'\\)}\]\[]+"
)
_ASSIGNMENT: Final = r"\\*+[\"']?+\s{0,3}+(?::|=>?+)\s{0,3}+(?!\\*[\"']?\[REDACTED\]))"
_KEY_VALUE: Final = re.compile(rf"({_NAME}[\w-]{{0,40}}+{_ASSIGNMENT}(?:{_VALUE})", re.IGNORECASE)
_KEY_NESTED: Final = re.compile(rf"((?:{_NAME}[\w-]{{0,40}}+|cookie){_ASSIGNMENT}(?=[\[{{]|\\+[\"'])", re.IGNORECASE)
"""A secret field whose value is a list, an object, or a string in JSON that is a string itself."""

_KEY_HINTS: Final = (
    "pass",
    "pwd",
    "secret",
    "token",
    "api",
    "key",
    "authorization",
    "session",
    "credential",
    "card",
    "security",
    "cookie",
    "iban",
    "cv",
)
"""A text without any of these has no secret field: searching for names is the most expensive part."""

_CAPITALS: Final = string.ascii_uppercase.encode()
_AUTH_SCHEMES: Final = ("bearer", "basic", "digest")
_COOKIES: Final = re.compile(
    r"((?:set-)?cookie\\*+[\"']?+\s{0,3}+[:=]\s{0,3}+\\*+[\"']?+)(?!\[REDACTED\])[^\"'\\\r\n]+", re.IGNORECASE
)
_AUTH_SCHEME: Final = re.compile(r"(Bearer|Basic|Digest)(\s++)(?!\[REDACTED\])[\w.~+/=:-]{6,}", re.IGNORECASE)
_URL_USER: Final = re.compile(r"(://)(?!\[REDACTED\]@)[^\s/@\"'<>]{1,300}@")
_DOTTED: Final = re.compile(r"(?<![\w.-])[\w-]*+(?:\.[\w-]*+)++")
_JWT: Final = re.compile(r"(?:^|(?<=-))eyJ[\w-]{5}")
"""The beginning of a token's first part; dots separate the parts."""

_PREFIXED: Final = re.compile(
    r"(?:(?:sk|pk|rk)_(?:live|test)_|whsec_|gh[pousr]_|github_pat_|xox[a-z]-|glpat-)[\w.-]{8,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|AKIA[A-Z0-9]{16}"
)
_HEX: Final = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{40,}")
_BASE64: Final = re.compile(r"(?<![\w+/-])[\w+/-]{32,}={0,2}")
_EMAIL_CHARACTER: Final = r"[\w.!#$%&'*+/=?^`{|}~-]"
_EMAIL: Final = re.compile(rf"(?<!{_EMAIL_CHARACTER}){_EMAIL_CHARACTER}++@[\w-]++(?:\.[\w-]++)++")
_CARD: Final = re.compile(r"(?<![A-Za-z0-9_.０-９])[2-6２-６](?:[ -]?[0-9０-９]){12,18}(?![A-Za-z0-9_０-９])")
_IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9_])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}+(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9_])"
)
_EVALSHA_STATEMENT: Final = re.compile(r"(evalsha\s{1,3}[0-9a-f]{40}\s)[^\r\n]+", re.IGNORECASE)
_EVALSHA_ARGUMENTS: Final = re.compile(
    r"evalsha[\\\"']{0,20}+,\s{0,20}+[\\\"']{0,20}+args[\\\"']{0,20}+:\s{0,9}+\[", re.IGNORECASE
)
"""What BullMQ hands to Redis: jobs, and in those requests with their cookies."""

_BYTES: Final = re2.Options()
_BYTES.encoding = re2.Options.Encoding.LATIN1

_CERTAIN_HINTS: Final = (
    rb"eyJ[\w-]{5}"
    rb"|(?i:cookie\\*[\"']?\s{0,3}[:=])"
    rb"|(?i:" + _NAME.encode() + rb"[\w\x80-\xff-]*\\*[\"']?\s{0,3}[:=])"
    rb"|(?i:(?:bearer|basic|digest)\s+\S{6})"
    rb"|(?i:evalsha)"
    rb"|://[^\s/@]+@|\S@[^\s@/]+\."
    rb"|(?:sk|pk|rk)_(?:live|test)_|whsec_|gh[pousr]_|github_pat_|xox[a-z]-|glpat-|SG\.|AKIA"
    rb"|[0-9a-fA-F]{40}"
    rb"|(?:^|[^\w.])(?:[2-6]|\xef\xbc[\x92-\x96])(?:[ -]?(?:[0-9]|\xef\xbc[\x90-\x99])){12}"
)
"""What every text has, as UTF-8, that holds one of the above, and most texts don't; runs of base64 come apart."""

_CERTAIN: Final = re2.compile(_CERTAIN_HINTS, _BYTES)
_SUSPICIOUS: Final = re2.compile(
    _CERTAIN_HINTS + rb"|(?:^|\W)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2}",
    _BYTES,
)
"""The same, and what looks like an account number: one in thirty codes of Vendure's orders does."""

_RUN: Final = re2.compile(rb"[\w+/\x80-\xff-]{32,}", _BYTES)
_MIXED_RUN: Final = re2.compile(
    b"|".join(
        rb"[\w+/\x80-\xff-]*".join(order)
        for order in sorted({*permutations((*[b"[A-Z]"] * 3, *[rb"[0-9\x80-\xff]"] * 2, b"[a-z]"))})
    ),
    _BYTES,
)
"""A run with three capitals, two digits and a small letter, in any order: without one no text has base64."""


def redact_text(text: str) -> str:
    """
    Return a text without what looks like a secret or personal data: tokens, keys, cookies, cards, e-mail addresses.

    Redacting twice changes nothing more. Ids of traces (32 hex digits), UUIDs and times stay.
    """
    return _redact_suspicious(text) if may_hold_secret(text) else text


def _redact_suspicious(text: str) -> str:
    lower = text.lower()
    if "eyj" in lower:
        text = _DOTTED.sub(_without_jwt, text)
    if any(word in lower for word in _KEY_HINTS):
        text = _without_nested_values(text)
    if "cookie" in lower:
        text = _COOKIES.sub(rf"\1{REDACTED}", text)
    if any(word in lower for word in _KEY_HINTS):
        text = _KEY_VALUE.sub(_redacted_value, text)
    if any(word in lower for word in _AUTH_SCHEMES):
        text = _AUTH_SCHEME.sub(rf"\1\2{REDACTED}", text)
    if "@" in text:
        text = _URL_USER.sub(rf"\1{REDACTED}@", text)
        # An address that follows another, after two dots, is found when that is gone.
        text = _EMAIL.sub(REDACTED, _EMAIL.sub(REDACTED, text))
        text = _URL_USER.sub(rf"\1{REDACTED}@", text)
    if "evalsha" in lower:
        text = _without_arguments(_EVALSHA_STATEMENT.sub(rf"\1{REDACTED}", text))
    text = _PREFIXED.sub(REDACTED, text)
    text = _HEX.sub(REDACTED, text)
    text = _BASE64.sub(_redacted_unless_words, text)
    text = _IBAN.sub(_redacted_if_iban, text)
    return _CARD.sub(_redacted_if_card, text)


def _without_nested_values(text: str) -> str:
    """Redact the values of secret fields that are no plain strings, each as a whole."""
    kept, at = [], 0
    while found := _KEY_NESTED.search(text, at):
        kept += [text[at : found.end()], REDACTED]
        at = value_end(text, found.end())
    return "".join((*kept, text[at:]))


def _without_arguments(text: str) -> str:
    """Redact the arguments of a script: up to the last bracket of the text, for a job may hold any."""
    found = _EVALSHA_ARGUMENTS.search(text)
    if not found:
        return text
    end = text.rfind("]", found.end())
    return f"{text[: found.end()]}{REDACTED}{text[end:] if end >= 0 and text[found.end() :] != f'{REDACTED}]' else ']'}"


def may_hold_secret(text: str) -> bool:
    """Tell whether a text may have something to redact; for most texts it can be ruled out in some microseconds."""
    data = text.encode("utf-8", "surrogatepass")
    if _SUSPICIOUS.search(data) and (_CERTAIN.search(data) or any(map(_is_iban, _IBAN.finditer(text)))):
        return True
    if len(data) < 32 or not _MIXED_RUN.search(data):
        return False
    # Most runs are ids and paths, which have no capital letter.
    return any(_may_be_base64(run[0]) for run in _RUN.finditer(data))


def _may_be_base64(run: bytes) -> bool:
    return run != run.lower() and len(run) - len(run.translate(None, _CAPITALS)) >= 3


def redact(value: object) -> object:
    """Return a redacted copy of plain data: by the names of its fields, and in all its texts."""
    return _Redactor().redacted(value, MAX_DEPTH)


def redact_texts(fields: Mapping[str, str]) -> dict[str, str]:
    """Return redacted texts by name; the names stay."""
    return {name: REDACTED if is_secret(name) else redact_text(text) for name, text in fields.items()}


def redact_url(address: str) -> str:
    """
    Return a URL that may be printed: without user, password, and secrets in its query.

    Invalid ones too: a password with `/` or `@` makes most of them invalid.
    """
    scheme, separator, rest = address.partition("://") if "://" in address else ("", "", address)
    before, _, host = rest.rpartition("@")
    return redact_text(f"{scheme}{separator}{f'{REDACTED}@' if before else ''}{host}")


@lru_cache(1024)
def is_secret(key: str) -> bool:
    """Return whether a field of this name is secret, in any spelling of the name."""
    return SECRET_KEY.search(_SEPARATORS.sub("", key).lower()) is not None


class _Redactor:
    """Redacts one value, up to the limits of characters and depth."""

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS

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


def _redacted_value(found: re.Match[str]) -> str:
    value = found[0][len(found[1]) :]
    opening = re.match(r"\\*[\"']", value)
    return f"{found[1]}{opening[0] if opening else ''}{REDACTED}"


def _without_jwt(found: re.Match[str]) -> str:
    """Redact tokens of two or three parts, part by part: one expression for all would search some parts repeatedly."""
    kept, parts = [], found[0].split(".")
    index = 0
    while index < len(parts):
        start = _JWT.search(parts[index]) if len("".join(parts[index + 1 : index + 2])) >= 2 else None
        kept.append(parts[index][: start.start()] + REDACTED if start else parts[index])
        index += 3 if start else 1
    return ".".join(kept)


def _redacted_unless_words(found: re.Match[str]) -> str:
    """Redact all but words and paths: a base64 token mixes digits and both cases, a path has many slashes."""
    text = found[0]
    digits = sum(character.isdigit() for character in text)
    upper = sum("A" <= character <= "Z" for character in text)
    lower = sum("a" <= character <= "z" for character in text)
    return REDACTED if digits >= 2 and upper >= 3 and lower >= 3 and text.count("/") * 12 <= len(text) else text


def _redacted_if_iban(found: re.Match[str]) -> str:
    return REDACTED if _is_iban(found) else found[0]


def _is_iban(found: re.Match[str]) -> bool:
    """Tell whether the check digits of an account number are right (ISO 13616)."""
    letters = found[0].replace(" ", "")
    number = "".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])
    return int(number) % 97 == 1


def _redacted_if_card(found: re.Match[str]) -> str:
    digits = [int(character) for character in found[0] if character.isdigit()]
    doubled = [sum(divmod(digit * 2, 10)) for digit in digits[-2::-2]]
    return REDACTED if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found[0]
