"""Codecs: any plain state comes back as it was, other state is refused, and so is what no codec writes."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.preprocessing import OneHotEncoder

from skfm.io._array_codecs import MAX_INLINE_LENGTH
from skfm.io._codec import MAX_DEPTH, Codec, Decoder, Encoder
from skfm.io._codecs import CODECS
from tests.helpers.saved import assert_same


class Stored(Decoder):
    def __init__(self, encoder, codecs=CODECS):
        super().__init__(codecs)
        self.arrays = dict(encoder.arrays)

    def take(self, name):
        return self.arrays.pop(name)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))  # lone surrogates too
)
ARRAYS = st.builds(
    lambda values, dtype: np.array(values, dtype),
    st.lists(st.integers(0, 100)),
    st.sampled_from(["?", "i1", "i8", "u2", "f4", "f8", "<U3", ">i4", object]),
)
STATE = st.recursive(
    SCALARS
    | ARRAYS
    | st.lists(SCALARS, min_size=MAX_INLINE_LENGTH + 1, max_size=2 * MAX_INLINE_LENGTH)
    | st.builds(np.float32, st.floats(width=32)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(STATE)
@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large]
)
def test_any_plain_state_comes_back(state):
    encoder = Encoder(CODECS)
    text = json.dumps(encoder.encode(state, "state"), allow_nan=False)
    stored = Stored(encoder)
    found = stored.decode(json.loads(text))
    assert not stored.arrays

    def native(value):
        if isinstance(value, np.ndarray):
            return value.astype(value.dtype.newbyteorder("="))
        if isinstance(value, dict):
            return {key: native(item) for key, item in value.items()}
        return type(value)(map(native, value)) if isinstance(value, list | tuple) else value

    assert_same(found, native(state))


def test_long_lists_are_no_json():
    for value in ("text", 1.5, 7, True, None):
        assert len(json.dumps(Encoder(CODECS).encode([value] * 10_000, "state"))) < 200


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 1j, b"bytes", np.datetime64("2020-01-01"), np.array([1j]), print]
)
def test_other_types_are_refused(value):
    with pytest.raises(ValueError, match=r"state/a holds a.* which a model file cannot hold"):
        Encoder(CODECS).encode({"a": value}, "state")


def test_state_that_holds_itself():
    state = []
    state.append(state)
    with pytest.raises(ValueError, match=f"more than {MAX_DEPTH} levels"):
        Encoder(CODECS).encode(state, "state")


@given(
    st.sampled_from(sorted(CODECS)),
    st.recursive(SCALARS, lambda i: st.lists(i) | st.dictionaries(st.text(), i)),
)
def test_codecs_take_nothing_that_they_do_not_write(tag, content):
    class Nothing(Decoder):
        def take(self, name):
            raise ValueError("no such array")

    with contextlib.suppress(ValueError):
        Nothing(CODECS).decode({tag: content})


class EncoderCodec(Codec):
    """A codec of one more type, made of what the others can store."""

    tag = "one-hot encoder"

    def accepts(self, value):
        return type(value) is OneHotEncoder

    def encode(self, value, to, name, depth):
        return to.encode({"categories": value.categories_, "unknown": value.handle_unknown}, name, depth)

    def decode(self, content, source, depth):
        state = source.decode(content, depth)
        encoder = OneHotEncoder(categories=state["categories"], handle_unknown=state["unknown"])
        return encoder.fit(np.array([values[:1] for values in state["categories"]], object).T)


def test_one_more_type_is_one_more_codec():
    codecs = CODECS | {EncoderCodec.tag: EncoderCodec()}
    X = np.array([["a", 1.5, None], ["b", np.nan, "x"], ["a", 2.5, None]], object)
    state = {"frame": OneHotEncoder(handle_unknown="ignore").fit(X)}
    to = Encoder(codecs)
    node = json.loads(json.dumps(to.encode(state, "state"), allow_nan=False))
    found = Stored(to, codecs).decode(node)
    assert_array_equal(found["frame"].transform(X).toarray(), state["frame"].transform(X).toarray())
    with pytest.raises(
        ValueError, match="holds a 'one-hot encoder', which this version of skfm does not know"
    ):
        Stored(to).decode(node)
