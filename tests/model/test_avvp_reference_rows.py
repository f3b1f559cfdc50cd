"""The reference rows on LLP's real annotations, and what cannot be compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.avvp.reference_rows import always, reference_rows, tag_oracle, true_events
from pipeline.datasets.llp import read_llp
from storage.records import DatasetItem, Event

FIGURES = ("audio", "visual", "audio_visual", "type_at_av", "event_at_av")
PUBLISHED = {
    "predict nothing": {
        "segment": (0.5, 10.1, 14.5, 8.4, 0),
        "event": (0.5, 10.1, 14.5, 8.4, 0),
    },
    "always Speech, heard only": {
        "segment": (16.6, 10.1, 14.5, 13.7, 14.4),
        "event": (9.3, 10.1, 14.5, 11.3, 7.7),
    },
    "weak-tag oracle": {
        "segment": (76.1, 60.3, 52.6, 63.0, 71.7),
        "event": (63.0, 55.8, 44.7, 54.5, 61.6),
    },
}


@pytest.fixture(scope="module", params=["pre2024", "2024"])
def rows(request, shared_dir: Path) -> tuple[str, dict]:
    """The audio edition and the rows on its test videos."""
    read = read_llp(shared_dir / "data", audio_edition=request.param)
    items = [entry.item for entry in read.items]
    tested = [item for item in items if item.split == "test"]
    trained = [item for item in items if item.split == "train"]
    return request.param, reference_rows(tested, trained, read.classes)


def test_rows_on_the_real_annotations(rows) -> None:
    for name, levels in PUBLISHED.items():
        if name.startswith("always") and rows[0] != "2024":
            continue  # published for the corrected edition
        for level, expected in levels.items():
            scores = rows[1][name][level]
            assert tuple(round(getattr(scores, f), 1) for f in FIGURES) == expected, (name, level)
    heard_only = rows[1]["always Speech, heard only"]["segment"]
    both = rows[1]["always Speech"]["segment"]
    assert both.audio == heard_only.audio
    assert both.visual < heard_only.visual


def test_the_oracle_equals_the_original_code(rows, shared_dir: Path) -> None:
    golden = shared_dir / "golden" / "avvp_metrics" / "llp_test_weak_label_oracle.json"
    expected = json.loads(golden.read_text())
    if rows[0] == "pre2024":
        expected = expected["with_pre2024_audio_annotation"]
    for level in ("segment", "event"):
        scores = rows[1]["weak-tag oracle"][level].as_json()
        assert scores == pytest.approx(expected[level], abs=1e-9)


def test_events_that_cannot_be_compared_with_are_named() -> None:
    weak = DatasetItem(item_id="s/v/0-10000", labels=("Dog",), split="test", events=None)
    with pytest.raises(ValueError, match="s/v/0-10000: expected dense events"):
        true_events([weak], ["Dog"])
    event = Event(modality="audio", label="Owl", onset_s=1.0, offset_s=3.0)
    dense = DatasetItem(item_id="s/w/0-10000", labels=("Dog",), split="test", events=(event,))
    with pytest.raises(ValueError, match="s/w/0-10000: its events name Owl; expected Dog"):
        true_events([dense], ["Dog"])


def test_answers_are_on_where_they_say() -> None:
    audio, visual = always(1, 2, 3, 4, modalities=("visual",))
    assert not audio.any()
    assert visual.sum() == 8
    assert visual[:, 1].all()
    audio, visual = tag_oracle([[1, 0]], 5)
    assert audio.tolist() == visual.tolist() == [[[1] * 5, [0] * 5]]
