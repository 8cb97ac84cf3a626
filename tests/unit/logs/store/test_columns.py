"""Columns and signatures: what is stored is what was given, and no signature denies what a chunk holds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toban.core.log_line import LogStream
from toban.logs.store.chunk import Column, OpenChunk, StoredChunk, TraceIds, pack_integers, unpack_integers
from toban.logs.store.signature import (
    PLACES,
    may_hold,
    places_of,
    sign,
    slice_signatures,
    terms_of,
    trace_term,
)

TEXT = st.text(st.sampled_from("abcxyzABC019_ .,注文確定カートé\u212a😀\t"), max_size=30)
IDS = st.sampled_from(["", "0" * 32, "f" * 32, "F" * 32, "注文", "x", "0" * 31])


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1) | st.lists(st.integers(-300, 300), min_size=1))
def test_any_integers_come_back(values):
    assert unpack_integers(pack_integers(np.array(values, np.int64)), len(values)).tolist() == values


@given(st.lists(IDS, min_size=1), IDS)
def test_any_trace_ids_come_back_and_are_found(ids, wanted):
    stored = TraceIds.unpack(TraceIds.of(ids).pack())
    assert stored.at(np.arange(len(ids))) == ids
    if wanted:
        assert stored.equal(wanted).tolist() == [one == wanted for one in ids]


@given(
    st.lists(st.tuples(st.integers(-(2**45), 2**45), st.sampled_from(["error", "info", "warn"]), TEXT, IDS), min_size=1)
)
def test_a_chunk_comes_back(lines):
    times, levels, texts, ids = zip(*lines, strict=True)
    chunk = OpenChunk(7, times, [LogStream(level=level) for level in levels], [text.encode() for text in texts], ids)
    stored = StoredChunk(chunk.info, chunk.pack().__getitem__)
    everything = np.arange(len(lines))
    assert stored.lines(everything) == chunk.lines(everything)
    assert [it.line.message for it in chunk.lines(everything)] == list(texts)
    assert (stored.sizes() == [len(text.encode()) for text in texts]).all()
    for column in (Column.LOUD, Column.QUIET):
        assert bytes(stored.data(column)) == chunk.data(column)


@given(st.lists(TEXT, min_size=1, max_size=5), st.data())
def test_a_signature_admits_each_part_of_each_text(texts, data):
    signature = sign(["\n".join(texts).encode()], ["a" * 32])
    text = data.draw(st.sampled_from(texts))
    start = data.draw(st.integers(0, len(text)))
    part = text[start : data.draw(st.integers(start, len(text)))]
    assert may_hold(signature, terms_of(part))
    assert may_hold(signature, np.array([trace_term("a" * 32)], np.uint64))


def test_a_signature_denies_nearly_all_that_a_chunk_lacks():
    words = [f"word{number:x}" for number in range(6000)]
    signature = sign([" ".join(words).encode()], [f"{number:032x}" for number in range(3000)])
    absent = [f"other {number:x} here" for number in range(2000)]
    assert sum(may_hold(signature, terms_of(text)[:1]) for text in absent) < 2000 * 0.08


@given(st.integers(1, 20), st.integers(0, 2**32))
def test_turned_signatures_have_the_same_bits(count, seed):
    chance = np.random.default_rng(seed)
    signatures = [chance.integers(0, 256, PLACES // 8, np.uint8).tobytes() for _ in range(count)]
    turned = np.unpackbits(np.frombuffer(b"".join(slice_signatures(signatures)), np.uint8)).reshape(PLACES, count)
    for chunk, signature in enumerate(signatures):
        assert (turned[:, chunk] == np.unpackbits(np.frombuffer(signature, np.uint8))).all()
    assert places_of(terms_of("")) == []
