import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import StageRecord, canonical_json, sha256_file, sha256_json
from storage.errors import InvalidRecord

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_canonical_json_survives_a_round_trip(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert json.loads(text) == value


@given(st.dictionaries(st.text(max_size=6), values, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value, random):
    keys = list(value)
    random.shuffle(keys)
    assert sha256_json({key: value[key] for key in keys}) == sha256_json(value)


@given(values, values)
def test_different_values_have_different_texts(a, b):
    if json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True):
        assert canonical_json(a) != canonical_json(b)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, {1: 2}, {"a": {None: 1}}, {"a": object()}, b"x", {"s": {1}}]
)
def test_what_json_cannot_hold_is_refused_with_its_place(value):
    with pytest.raises(InvalidRecord, match="value"):
        canonical_json(value)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(InvalidRecord, match="surrogate"):
        canonical_json("\udc80")


def record(**changes):
    values = {
        "stage": "stft",
        "stage_version": 1,
        "parameters": {"n_fft": 1022, "hop_samples": 256, "dtype": "float32", "bins": (1, 2)},
        "backend": "torch",
        "precision": "float32",
        "weights": {"net": "random:0"},
        "upstream": {"audio_11025": "0123456789ab"},
    }
    return StageRecord(**(values | changes))


def test_golden_fingerprint():
    # A change here moves every stage of every store: it must never change by accident.
    assert record().fingerprint == "cd7c9fd67d8d"
    assert record().name == "stft-cd7c9fd67d8d"


def test_every_field_of_a_record_moves_the_fingerprint():
    changes = [
        {"stage": "mel"},
        {"stage_version": 2},
        {"parameters": {"n_fft": 1022}},
        {"backend": "numpy"},
        {"precision": "bfloat16"},
        {"weights": {"net": "random:1"}},
        {"upstream": {"audio_11025": "ba9876543210"}},
    ]
    prints = {record(**change).fingerprint for change in changes}
    assert len(prints | {record().fingerprint}) == len(changes) + 1


def test_differences_name_the_dotted_field():
    new = record(
        parameters={"n_fft": 1022, "hop_samples": 512, "dtype": "float32", "window": "hann"}
    )
    assert record().differences(new) == [
        "parameters.bins: [1,2] -> absent",
        "parameters.hop_samples: 256 -> 512",
        'parameters.window: absent -> "hann"',
    ]
    assert record().differences(record()) == []


def test_records_read_back_and_are_detached_from_what_made_them():
    parameters = {"a": [1]}
    made = record(parameters=parameters)
    parameters["a"].append(2)
    assert made.parameters == {"a": [1]}
    assert StageRecord.from_json(json.loads(canonical_json(made.as_json()))) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_sha256_of_a_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert sha256_file(path).startswith("ba7816bf8f01cfea")
