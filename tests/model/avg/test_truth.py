"""Ground truth: equal to networks of other code, and what each setting changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.avg.config import Config
from model.avg.truth import cosines, groups, silent_seconds, video_groups

PICTURE, AUDIO = 0.96, 0.99


def together(numbers_T: np.ndarray) -> np.ndarray:
    return (numbers_T[:, None] == numbers_T[None]).astype(np.int8)


@pytest.mark.parametrize("case", ["sim0", "sim1", "sim2"])
@pytest.mark.parametrize("agreement", ["union", "consensus"])
@pytest.mark.parametrize("strict", [False, True])
def test_components_of_given_similarities(golden, case, agreement, strict) -> None:
    arrays, expected = golden.arrays, golden.values[case]
    numbers = groups(
        arrays[f"{case}_v"],
        arrays[f"{case}_a"],
        picture_threshold=expected["v_threshold"],
        audio_threshold=expected["a_threshold"],
        agreement=agreement,
        strict=strict,
    )
    name = f"{agreement}_strict" if strict else agreement
    assert (together(numbers) == arrays[f"{case}_{name}"]).all()
    assert numbers.max() + 1 == expected["components"][name]


@pytest.mark.parametrize("case", ["feat0", "feat1", "feat2"])
def test_ground_truth_of_features(golden, case) -> None:
    arrays = golden.arrays
    picture, audio = arrays[f"{case}_pooled_video"], arrays[f"{case}_audio"]
    assert np.abs(cosines(picture) - arrays[f"{case}_sim_v"]).max() < 1e-6
    assert np.abs(cosines(audio) - arrays[f"{case}_sim_a"]).max() < 1e-6
    silence = golden.silence_E
    assert (silent_seconds(audio, silence) == arrays[f"{case}_silent"]).all()
    for name, config in (
        ("released", Config(agreement="consensus", strict=True, silence=tuple(silence.tolist()))),
        ("consensus_no_silence", Config(agreement="consensus", strict=True)),
        ("union_no_silence", Config(agreement="union", strict=True)),
    ):
        found = together(video_groups(picture, audio, config))
        assert (found == arrays[f"{case}_{name}"]).all(), name


def test_silence_matters_where_there_is_some(golden) -> None:
    arrays = golden.arrays
    assert arrays["feat2_silent"].any()
    assert (arrays["feat2_released"] != arrays["feat2_consensus_no_silence"]).any()


def test_seconds_join_through_others() -> None:
    """0-1 look alike, 1-2 sound alike: one group by union, none by consensus."""
    picture, audio = np.eye(3), np.eye(3)
    picture[0, 1] = picture[1, 0] = PICTURE
    audio[1, 2] = audio[2, 1] = AUDIO
    thresholds = {"picture_threshold": PICTURE, "audio_threshold": AUDIO}
    assert groups(picture, audio, **thresholds).tolist() == [0, 0, 0]
    assert groups(picture, audio, **thresholds, agreement="consensus").tolist() == [0, 1, 2]
    assert groups(picture, audio, **thresholds, strict=True).tolist() == [0, 1, 2]


def test_rows_of_zeros_are_like_nothing() -> None:
    rows = np.zeros((2, 128))
    rows[1] = 1
    assert cosines(rows).tolist() == [[0, 0], [0, pytest.approx(1)]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.integers(1, 12))
def test_consensus_splits_what_union_joins(seed: int, seconds: int) -> None:
    rng = np.random.default_rng(seed)
    similar = rng.uniform(0, 1, (2, seconds, seconds))
    picture, audio = (similar + similar.transpose(0, 2, 1)) / 2
    found = {
        agreement: together(
            groups(picture, audio, picture_threshold=0.7, audio_threshold=0.7, agreement=agreement)
        )
        for agreement in ("union", "consensus")
    }
    assert (found["consensus"] <= found["union"]).all()
