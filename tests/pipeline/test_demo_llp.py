"""Event clips: heard and seen exactly when the lists say, and hard to guess."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.classes import LLP
from pipeline.demo.llp_clip import stage
from pipeline.demo.llp_objects import coat
from pipeline.demo.llp_plan import COMMONEST, LlpPlan, plan_llp
from pipeline.demo.timbre import RATE_HZ

FPS = 8
SEEDS = st.integers(0, 10_000)


def seconds(plan: LlpPlan, modality: str, label: str | None = None) -> np.ndarray:
    """Return which seconds have an event of a modality, of one class or of any."""
    on = np.zeros(plan.duration_s, bool)
    for event in plan.events:
        if event.modality == modality and label in (None, event.label):
            on[int(event.onset_s) : int(event.offset_s)] = True
    return on


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.booleans())
def test_events_are_whole_seconds_within_the_clip(seed, few):
    for plan in plan_llp(seed, few=few):
        assert 1 <= len(plan.labels) <= 3
        assert set(plan.labels) <= set(LLP)
        for event in plan.events:
            assert event.onset_s == int(event.onset_s)
            assert event.offset_s == int(event.offset_s)
            assert 0 <= event.onset_s <= event.offset_s - 2
            assert event.offset_s <= plan.duration_s
        assert len({(e.label, e.modality) for e in plan.events}) == len(plan.events)
        assert sum(event.modality == "visual" for event in plan.events) <= 2


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_trivial_answers_are_fair_but_weak(seed):
    plans = plan_llp(seed)
    share = Counter(label for plan in plans for label in plan.labels)
    assert 0.35 < share[COMMONEST] / len(plans) < 0.55
    others = [count for label, count in share.items() if label != COMMONEST]
    assert max(others) < share[COMMONEST]
    assert min(others) >= 8
    test = [plan for plan in plans if plan.split == "test"]
    together = [
        any((seconds(p, "audio", c) & seconds(p, "visual", c)).any() for c in p.labels)
        for p in test
    ]
    assert 0.8 <= np.mean(together) < 1


def test_each_class_is_heard_only_seen_only_and_both_in_training():
    kinds = Counter(
        (label, tuple(sorted(e.modality for e in plan.events if e.label == label)))
        for plan in plan_llp(0)
        if plan.split == "train"
        for label in plan.labels
    )
    both = {label for label, modalities in kinds if len(modalities) == 2}
    assert len(both) == 6
    assert {m for _, m in kinds} == {("audio",), ("visual",), ("audio", "visual")}


@pytest.mark.parametrize("number", [0, 5, 9])
def test_sound_is_loud_exactly_in_the_seconds_of_audio_events(number):
    for plan in [p for p in plan_llp(0) if p.split == "test"][number : number + 1]:
        sound = stage(plan, side_px=64, fps=FPS).sound.reshape(plan.duration_s, RATE_HZ)
        loud = np.sqrt((sound**2).mean(axis=1)) > 0.03
        assert (loud == seconds(plan, "audio")).all()


@pytest.mark.parametrize("number", [0, 5, 9])
def test_objects_are_there_exactly_in_the_seconds_of_visual_events(number):
    plan = [p for p in plan_llp(0) if p.split == "test"][number]
    clip = stage(plan, side_px=64, fps=FPS)
    for index, frame in enumerate(clip.frames()):
        changed = (np.abs(frame.astype(int) - clip.backdrop).max(axis=2) > 25).mean()
        assert (changed > 0.05) == seconds(plan, "visual")[index // FPS], index


def test_labels_are_all_that_happens():
    for plan in plan_llp(0):
        assert set(plan.labels) == {event.label for event in plan.events}


def test_colours_of_an_object_do_not_depend_on_its_class():
    rng = np.random.default_rng(0)
    coats = [coat(rng) for _ in range(400)]
    darker = np.mean([sum(c.ground) < sum(c.pattern) for c in coats])
    assert 0.4 < darker < 0.6
    assert len({c.ground for c in coats}) == len(coats)


def test_colours_do_not_give_the_class_away():
    plans = [plan for seed in range(2) for plan in plan_llp(seed)]
    colours, classes = [], []
    for plan in plans:
        clip = stage(plan, side_px=64, fps=FPS)
        for sight in clip.sights if len(clip.sights) == 1 else ():
            middle_s = (sight.event.onset_s + sight.event.offset_s) / 2
            picture = clip.picture(middle_s)
            planes = np.moveaxis(picture, 2, 0)
            counts = np.concatenate([np.histogram(plane, 8, (0, 256))[0] for plane in planes])
            colours.append(np.concatenate([picture.reshape(-1, 3).mean(0), counts]))
            classes.append(sight.event.label)
    features, names = np.array(colours), np.array(classes)
    scaled = (features - features.mean(0)) / (features.std(0) + 1e-9)
    distance = ((scaled[:, None] - scaled[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    commonest = max(Counter(classes).values()) / len(classes)
    assert np.mean(names[distance.argmin(1)] == names) < commonest + 0.1
