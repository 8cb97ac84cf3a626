"""
Signatures: which words a chunk may hold, as a Bloom filter.

The terms of a chunk are its whole words, every three letters in a row, every two neighbouring characters of Japanese
(from U+3000 on), and its trace ids. A search for a text asks for those terms that any line with the text must have.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

PLACES: Final = 2**16
"""Bits of a signature."""

SIGNATURE_BYTES: Final = PLACES // 8
MAX_TERMS: Final = 40
"""Terms of one text that are asked for."""

Terms = NDArray[np.uint64]

_PLACES_PER_TERM: Final = 5
_LETTERS: Final = 26
_FIRST_WIDE: Final = 0x3000
_TRIGRAMS, _PAIRS = np.uint64(1 << 40), np.uint64(2 << 40)
_WORD_BYTES: Final = b"0123456789abcdefghijklmnopqrstuvwxyz_"
_WORDS: Final = bytes(byte if byte in _WORD_BYTES else 0x20 for byte in bytes(range(256)).lower())
_WIDE: Final = bytes(byte if byte >= 0x80 else 0x20 for byte in range(256))
_INNER_WORD: Final = re.compile(rb"(?<=[^0-9a-z_])[0-9a-z_]+(?=[^0-9a-z_])")


Text = bytes | bytearray


def trace_term(trace_id: str) -> int:
    """Return the term of a trace id."""
    return crc32(trace_id.encode(), 1)


def sign(texts: Iterable[Text], trace_ids: Iterable[str]) -> bytes:
    """Return the signature of a chunk: its columns of text, and its trace ids."""
    bits = np.zeros(PLACES, np.bool_)
    bits[_places(_array(trace_term(one) for one in set(trace_ids) if one))] = True
    for text in texts:
        words = bytes(text).translate(_WORDS)
        bits[_places(_array(map(crc32, set(words.split()))))] = True
        bits[_places(_trigrams(words))] = True
        bits[_places(_pairs(text))] = True
    return np.packbits(bits).tobytes()


def terms_of(text: str) -> Terms:
    """
    Return terms that every line with a text somewhere in it has.

    The first and the last word of the text may be parts of longer words: they are not asked for as a whole.
    """
    data = text.encode()
    lower = data.lower()
    words = _array(map(crc32, set(_INNER_WORD.findall(lower))))
    return np.concatenate([words, _trigrams(lower.translate(_WORDS)), _pairs(data)])[:MAX_TERMS]


def may_hold(signature: bytes, terms: Terms) -> bool:
    """Return whether a chunk may have all terms."""
    places = _places(terms)
    bits = np.frombuffer(signature, np.uint8)[places >> 3] >> (7 - (places & 7)).astype(np.uint8)
    return bool((bits & 1).all())


def places_of(terms: Terms) -> list[int]:
    """Return the bits that are set in the signature of a chunk that has all terms."""
    return sorted(set(_places(terms).ravel().tolist()))


def slice_signatures(signatures: Sequence[bytes]) -> Iterable[bytes]:
    """
    Yield signatures turned: for each bit's place a bit of each chunk, without gaps; a slice of places at a time.

    A search then reads a few bytes for each place instead of all signatures.
    """
    step = 512
    for start in range(0, SIGNATURE_BYTES, step):
        rows = [np.frombuffer(signature, np.uint8, step, start) for signature in signatures]
        yield np.packbits(np.unpackbits(np.stack(rows), axis=1).T).tobytes()


def _array(terms: Iterable[int]) -> Terms:
    return np.fromiter(terms, np.uint64)


def _places(terms: Terms) -> NDArray[np.int64]:
    """Return the places of each term: double hashing over a mixed term."""
    mixed = (terms ^ (terms >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(32)
    first, step = (mixed >> np.uint64(32)) & np.uint64(0xFFFF), (mixed & np.uint64(0xFFFF)) | np.uint64(1)
    factors = np.arange(_PLACES_PER_TERM, dtype=np.uint64)[:, None]
    return ((first + factors * step) & np.uint64(PLACES - 1)).astype(np.int64)


def _trigrams(words: Text) -> Terms:
    """Return the terms of three letters in a row."""
    letters = np.frombuffer(words, np.uint8) - np.uint8(ord("a"))
    if len(letters) < 3:
        return np.empty(0, np.uint64)
    is_letter = letters < _LETTERS
    here = is_letter[:-2] & is_letter[1:-1] & is_letter[2:]
    wide = letters.astype(np.uint16)
    codes = (wide[:-2] * np.uint16(_LETTERS**2) + wide[1:-1] * np.uint16(_LETTERS) + wide[2:])[here]
    present = np.zeros(_LETTERS**3, np.bool_)
    present[codes] = True
    return np.flatnonzero(present).astype(np.uint64) | _TRIGRAMS


def _pairs(text: Text) -> Terms:
    """Return the terms of two neighbouring characters of Japanese."""
    runs = set(bytes(text).translate(_WIDE).split())
    if not runs:
        return np.empty(0, np.uint64)
    characters = np.frombuffer(b" ".join(runs).decode().encode("utf-32-le"), "<u4").astype(np.uint64)
    pairs = (characters[:-1] << np.uint64(20)) ^ characters[1:]
    here = (characters[:-1] >= _FIRST_WIDE) & (characters[1:] >= _FIRST_WIDE)
    return np.unique(pairs[here]) | _PAIRS
