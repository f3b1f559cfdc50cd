"""SDR, SIR and SAR against stored values; silence is counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.tribert.metrics import Scores, bss_eval, mean, silent

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden" / "bss_eval"


def sources(samples: int = 3000) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (2, samples)).astype(np.float32)


def test_scores_equal_the_stored_ones() -> None:
    if not GOLDEN.exists():
        pytest.skip(f"no golden numbers at {GOLDEN}")
    cases = np.load(GOLDEN / "cases.npz")
    for name, expected in json.loads((GOLDEN / "values.json").read_text())["cases"].items():
        got = bss_eval(cases[f"{name}_ref"], cases[f"{name}_est"]).as_json()
        for metric in ("sdr", "sir", "sar"):
            for value, target in zip(got[metric], expected[metric], strict=True):
                if target > 100:  # rounding noise around a perfect value
                    assert value > 100, (name, metric)
                elif target < 60:
                    assert value == pytest.approx(target, abs=1e-6), (name, metric)


def test_order_is_kept() -> None:
    waves = sources()
    assert min(bss_eval(waves, waves).sdr) > 100
    assert max(bss_eval(waves, waves[::-1]).sdr) < 0


def test_scale_does_not_matter() -> None:
    waves = sources()
    estimates = waves + 0.3 * waves[::-1]
    half = bss_eval(0.5 * waves, 2 * estimates)
    np.testing.assert_allclose(half.sdr, bss_eval(waves, estimates).sdr, atol=1e-4)


def test_silence_is_the_published_rule() -> None:
    waves = np.zeros((2, 4))
    waves[1, 0] = -1.1e-5
    assert silent(waves) == (True, False)


def test_silent_reference_is_refused() -> None:
    waves = sources()
    with pytest.raises(ValueError, match="reference sources should be non-silent"):
        bss_eval(np.stack([waves[0], np.zeros_like(waves[0])]), waves)


def test_mean_is_over_mixtures() -> None:
    first = Scores(sdr=(1.0, 3.0), sir=(2.0, 2.0), sar=(0.0, 0.0))
    second = Scores(sdr=(4.0, 4.0), sir=(0.0, 0.0), sar=(1.0, 1.0))
    assert mean([first, second]) == {"sdr": 3.0, "sir": 1.0, "sar": 0.5}
