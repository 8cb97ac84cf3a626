"""The wire format of remote write."""

from contextlib import suppress

import cramjam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_remote import bits
from toban.core.labels import Labels
from toban.core.samples import ABSENT, STALE, Batch, Layout
from toban.remote.remote_write_model import RemoteSample, RemoteWriteDecodeError
from toban.remote.remote_write_protobuf import Decoder, Encoder, encode

SERIES = [Labels(__name__="orders_total", shop="東京"), Labels(__name__="load"), Labels(__name__="x", a='"\\\n')]


def batch(layout, at, *values):
    return Batch(layout, at, np.array(values, np.float64))


def sent(batches, **extra):
    """Encode batches and decode them again; values as their bits."""
    body, count = Encoder(extra).encode(batches)
    found = [(it.labels, it.at, bits(it.value)) for it in Decoder().decode(body, 2**20)[0]]
    assert len(found) == count
    return found


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**50), 2**50),
            st.lists(st.floats() | st.sampled_from([STALE, ABSENT]), min_size=3, max_size=3),
        ),
        unique_by=lambda it: it[0],
    )
)
def test_encoded_samples_are_decoded(rows):
    """
    Bit by bit, without absent ones; the samples of a series in order of time.
    """
    layout = Layout(SERIES)
    found = sent([batch(layout, at, *values) for at, values in rows])

    assert found == [
        (labels, at, bits(values[place]))
        for place, labels in enumerate(SERIES)
        for at, values in sorted(rows)
        if bits(values[place]) != bits(ABSENT)
    ]


NOW = 1_795_000_000_000
SAMPLES = st.lists(
    st.builds(
        RemoteSample,
        st.sampled_from([*SERIES, Labels(__name__="y", a="\x12\x10\t12345678\x10123456", b="\x12\x07\x10345678")]),
        st.integers(NOW, NOW + 5) | st.sampled_from([0, 1, -1, 2**35 - 1, 2**35, 2**42 - 1, 2**42, 2**62]),
        st.sampled_from([0.0, -0.0, 1.0, STALE]) | st.floats(),
    )
)


@given(SAMPLES, st.integers(0, 20), st.data())
def test_decoding_at_once_equals_decoding_one_by_one(samples, cut, data):
    """
    For times of any length, with and without values, several samples of a series, and corrupt messages.
    """
    request = bytearray(cramjam.snappy.decompress_raw(encode(samples)))
    if cut == 0 and request:
        request[data.draw(st.integers(0, len(request) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    body, decoder = compressed(bytes(request)), Decoder()
    results = []
    for patched in (False, False, True):
        with pytest.MonkeyPatch.context() as patch:
            if patched:
                patch.setattr(decoder, "_decode_at_once", lambda messages: None)
            try:
                results.append([(it.labels, it.at, bits(it.value)) for it in decoder.decode(body, 2**20)[0]])
            except RemoteWriteDecodeError as error:
                results.append(str(error))

    assert results[0] == results[1] == results[2]


def test_extra_labels_are_added_where_they_are_missing():
    """
    A series keeps its own.
    """
    found = sent([batch(Layout(SERIES[:2]), 1, 1, 2)], shop="mine")
    assert [labels for labels, _, _ in found] == [SERIES[0], Labels(__name__="load", shop="mine")]


def compressed(data):
    return bytes(cramjam.snappy.compress_raw(data))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "corrupt"),
        (b"\xff" * 40, "corrupt"),
        (compressed(b"\xff" * 40), "not a WriteRequest"),
        (compressed(b"\n\x08\n\x02\n\xff\x12\x02\x10\x01"), "a label is not valid UTF-8"),
        (compressed(b"\n\n\n\x04\x12\x02ab\x12\x02\x10\x01"), "has no metric name"),
        (compressed(b"\n\x02\x22\x00"), "native histograms"),
        (compressed(bytes(2**20 + 1)), "more than 1048576 bytes"),
    ],
)
def test_an_invalid_request_is_rejected(body, error):
    """
    With the reason.
    """
    with pytest.raises(RemoteWriteDecodeError, match=error):
        Decoder().decode(body, 2**20)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data):
    """
    They are rejected, or happen to be a request.
    """
    with suppress(RemoteWriteDecodeError):
        Decoder().decode(compressed(data), 2**20)
