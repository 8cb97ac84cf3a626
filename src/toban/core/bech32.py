"""Bech32, the encoding of age's keys: https://github.com/bitcoin/bips/blob/master/bip-0173.mediawiki."""

from collections.abc import Iterable, Sequence
from typing import Final

CHARACTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def decode(text: str) -> tuple[str, bytes]:
    """Return the prefix, in lower case, and the bytes of a text. Raises ``ValueError``."""
    if text not in {text.lower(), text.upper()}:
        raise ValueError("its letters are partly small and partly capital")
    prefix, separator, data = text.lower().rpartition("1")
    if not separator or not prefix or len(data) < 6:
        raise ValueError("it is cut off")
    values = [CHARACTERS.find(it) for it in data]
    if -1 in values:
        raise ValueError("it has a character that no key has")
    if _checksum(prefix, values) != 1:
        raise ValueError("its checksum is wrong: a character is missing or wrong")
    return prefix, bytes(_regroup(values[:-6], 5, 8, pad=False))


def encode(prefix: str, data: bytes) -> str:
    """Return the text of some bytes, in lower case."""
    values = list(_regroup(data, 8, 5, pad=True))
    rest = _checksum(prefix, [*values, 0, 0, 0, 0, 0, 0]) ^ 1
    checksum = [(rest >> 5 * (5 - place)) & 31 for place in range(6)]
    return f"{prefix}1{''.join(CHARACTERS[it] for it in [*values, *checksum])}"


def _checksum(prefix: str, values: Sequence[int]) -> int:
    found = 1
    expanded = [*(ord(it) >> 5 for it in prefix), 0, *(ord(it) & 31 for it in prefix), *values]
    for value in expanded:
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(GENERATORS):
            found ^= generator if (top >> place) & 1 else 0
    return found


def _regroup(values: Iterable[int], before: int, after: int, *, pad: bool) -> Iterable[int]:
    """Regroup numbers of so many bits. Raises ``ValueError`` where bits that only fill up are set."""
    found, bits, result = 0, 0, []
    for value in values:
        found = found << before | value
        bits += before
        while bits >= after:
            bits -= after
            result.append(found >> bits & (1 << after) - 1)
        found &= (1 << bits) - 1
    if pad and bits:
        result.append(found << after - bits & (1 << after) - 1)
    elif not pad and (bits >= before or found):
        raise ValueError("its length is wrong")
    return result
