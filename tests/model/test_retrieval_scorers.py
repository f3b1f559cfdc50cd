"""Retrieval without a store: choices, ranks and figures, and scorers that learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.retrieval.config import PRINTED, VARIANTS, Config, presets
from model.retrieval.data import Choices, neighbours
from model.retrieval.embeddings import (
    Embeddings,
)
from model.retrieval.errors import RetrievalError
from model.retrieval.metrics import chance, figures, ranks
from model.retrieval.module import RetrievalModule
from model.retrieval.scorer import Scorer

SMALL = Config(
    hidden=(16,), ways=3, pair_skips=1, neighbours=4, batch_size=4, max_steps=4, val_every_steps=2
)
STREAMS = ("vision", "pose", "audio")


def test_choices_are_a_function_of_their_key() -> None:
    torch.manual_seed(0)
    ids = [f"s/v{n}/whole" for n in range(12)]
    seen = torch.randn(12, 5)
    data = Choices(ids, seen, SMALL, 1)
    again = Choices(ids, seen, SMALL, 1)
    order = neighbours(ids, seen)
    for index in range(12):
        choice = data[2, index]
        assert set(choice) == set(VARIANTS)
        for name, rows in choice.items():
            assert torch.equal(rows, again[2, index][name])
            assert rows[0] == index
            assert len(set(rows.tolist())) == len(rows)
        assert len(choice["audio_to_pose"]) == 3
        assert len(choice["vision_audio_to_pose"]) == 4
        assert set(choice["audio_to_pose"][1:].tolist()) <= set(order[index][:4].tolist())
        assert choice["vision_audio_to_pose"][1] in order[index][1:4], "one hard, not the nearest"
    drawn = {tuple(data[epoch, 0]["audio_to_pose"].tolist()) for epoch in range(20)}
    assert len(drawn) > 5


def test_another_window_of_the_video_is_no_wrong_candidate() -> None:
    ids = ["s/a/0-1000", "s/a/1000-2000", *(f"s/v{n}/whole" for n in range(8))]
    torch.manual_seed(0)
    order = neighbours(ids, torch.randn(10, 4))
    assert sorted(order[0]) == list(range(2, 10))
    assert sorted(order[2]) == [0, 1, *range(3, 10)]
    assert sorted(neighbours(["s/a/whole", "s/b/whole"], torch.ones(2, 3))[0]) == [1]


def test_too_few_clips_for_a_choice_are_refused() -> None:
    ids = [f"s/v{n}/whole" for n in range(4)]
    with pytest.raises(RetrievalError, match=r"4 training clips: each needs 4 clips of other"):
        Choices(ids, torch.randn(4, 3), SMALL, 0)


def test_ranks_count_ties_against_the_right_one() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 0.0], [5.0, 4.0, 6.0]])
    assert ranks(logits, torch.tensor([0, 1, 1])).tolist() == [1, 3, 3]
    with pytest.raises(RetrievalError, match="not a finite number"):
        ranks(torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]))


def test_figures_are_shares_with_intervals() -> None:
    found = figures(np.array([1, 1, 3, 7, 30]), resamples=500, seed=0)
    assert (found["top1"], found["top5"], found["top10"]) == (40.0, 60.0, 80.0)
    assert found["median_rank"] == 3
    low, high = found["top1_interval"]
    assert low < 40 < high
    assert found == figures(np.array([1, 1, 3, 7, 30]), resamples=500, seed=0)


def test_chance_is_what_the_paper_prints_for_its_pool() -> None:
    found = chance(210)
    assert [round(found[f"top{k}"], 2) for k in (1, 5, 10)] == [0.48, 2.38, 4.76]
    assert chance(4)["top10"] == 100
    for figures_of in PRINTED.values():
        for printed in (value for values in figures_of.values() for value in values):
            assert round(printed * 2.1) == pytest.approx(printed * 2.1, abs=0.02)


def test_a_smaller_embedding_is_widened_and_two_are_fused() -> None:
    sizes = {"vision": 32, "pose": 32, "audio": 16}
    single = Scorer("audio_to_vision", sizes, 4, (8,))
    assert isinstance(single.place["audio"], torch.nn.Linear)
    assert isinstance(single.place["vision"], torch.nn.Identity)
    pair = Scorer("vision_audio_to_pose", sizes, 4, (8,))
    vectors = {name: torch.randn(3, size) for name, size in sizes.items()}
    candidates = pair.candidates({"pose": torch.randn(3, 5, 32)})
    assert pair(pair.query(vectors), candidates).shape == (3, 5)
    fused = pair.fusion(vectors["vision"], pair.place["audio"](vectors["audio"]))
    assert fused.shape == (3, 32)


def toy_embeddings(count: int, seed: int) -> Embeddings:
    """Clips whose streams are linear images of one hidden vector each."""
    fixed = torch.Generator().manual_seed(9)
    hidden = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    sizes = {"vision": 32, "pose": 32, "audio": 16}
    return Embeddings(
        item_ids=tuple(f"s/v{seed}-{n}/whole" for n in range(count)),
        vectors={n: hidden @ torch.randn(8, size, generator=fixed) for n, size in sizes.items()},
        tokens=4,
    )


def test_scorers_learn_to_find_what_belongs_together(tmp_path) -> None:
    """Unseen clips are found far above chance, in every variant."""
    torch.manual_seed(0)
    config = replace(presets["tiny"], hidden=(32,), max_steps=250, val_every_steps=50)
    train, val = toy_embeddings(96, 1), toy_embeddings(40, 2)
    module = RetrievalModule(config, train, val)
    data = Choices(train.item_ids, train.vectors["vision"], config, 0)
    optimiser = module.configure_optimizers()
    module.log_dict = lambda *values, **more: None
    rng = np.random.default_rng(0)
    for step in range(config.max_steps):
        samples = [data[step, int(i)] for i in rng.choice(96, config.batch_size)]
        batch = {name: torch.stack([each[name] for each in samples]) for name in samples[0]}
        optimiser.zero_grad()
        module.training_step(batch, 0).backward()
        optimiser.step()
    every = torch.arange(40)
    for variant in VARIANTS:
        with torch.no_grad():
            found = ranks(module.scorers.score_all(variant, val.vectors, every), every)
        top5 = (found <= 5).float().mean()
        assert top5 > 3 * 5 / 40, f"{variant}: {top5}"
