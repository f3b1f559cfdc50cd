"""TriBERT learns to separate by what it sees; its LightningModule logs and schedules."""

from dataclasses import replace

import lightning
import pytest
import torch
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader

from model.tribert.batch import Batch, collate
from model.tribert.config import OptimConfig, SeparationConfig, presets
from model.tribert.losses import loss_terms, mask_loss, top_class_hit
from model.tribert.module import TriBERTModule, learning_rate_factor, parameter_groups

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
]
CLASSES = 4
ROWS = COLUMNS = PIXELS = 32
CHANNELS = 2


def toy_batch(mixes, seed):
    """Draw mixes of two classes; a class has its own rows, its own colour and its own pose."""
    draw = torch.Generator().manual_seed(seed)
    fixed = torch.Generator().manual_seed(1)
    classes_BN = torch.stack([torch.randperm(CLASSES, generator=draw)[:2] for _ in range(mixes)])
    rows = torch.arange(ROWS).float()
    combs_CQ = torch.stack(
        [((rows - 2 * c) % 8).sub(1).square().neg().exp() for c in range(CLASSES)]
    )
    loudness_BN1F = torch.rand(mixes, 2, 1, COLUMNS // 4, generator=draw).repeat_interleave(4, -1)
    sources_BNQF = 10 * combs_CQ[classes_BN][..., None] * loudness_BN1F + 0.01
    mix_B1QF = sources_BNQF.sum(1, keepdim=True)
    colours_C3 = torch.rand(CLASSES, 3, generator=fixed)
    frames = 0.5 * torch.rand(mixes, 2, 3, PIXELS, PIXELS, 3, generator=draw)
    frames[:, :, :, 8:24, 8:24] += 0.5 * colours_C3[classes_BN][:, :, None, None, None]
    poses = torch.randn(CLASSES, CHANNELS, 68, generator=fixed)[classes_BN][:, :, None, None]
    noise = torch.randn(mixes, 2, 3, 2, CHANNELS, 68, generator=draw)
    present = torch.tensor([True, False]).expand(mixes, 2, 3, 2)
    return Batch(
        frames_BNTHWC=(255 * frames).byte(),
        pose_BNTPKV=(poses + noise) * present[..., None, None],
        present_BNTP=present,
        box_BNTP5=torch.rand(mixes, 2, 3, 2, 5, generator=draw),
        mix_B1QF=mix_B1QF,
        masks_BNQF=(sources_BNQF > 0.5 * mix_B1QF).float(),
        weight_B1QF=mix_B1QF.log1p().clamp(1e-3, 10.0),
        labels_BNC=one_hot(classes_BN, CLASSES).float(),
    )


def toy_config(steps):
    tiny = presets["tiny"]
    return replace(
        tiny,
        data=replace(tiny.data, picture_px=PIXELS, spec_rows=ROWS, spec_frames=COLUMNS),
        pose=replace(tiny.pose, channels=CHANNELS),
        vision=replace(tiny.vision, small_widths=(8, 16, 32)),
        audio=replace(tiny.audio, widths=(8, 16, 32)),
        separation=SeparationConfig(widths=(16, 32, 32, 32), mask_channels=8),
        optim=replace(tiny.optim, max_steps=steps, batch_size=8),
    )


def names():
    return tuple(f"class {number}" for number in range(CLASSES))


@pytest.fixture(scope="module")
def trained():
    """A module after 60 steps on ever new mixes, with the loss it started from."""
    torch.manual_seed(0)
    config = toy_config(60)
    module = TriBERTModule(config, names())
    network = module.network.train()
    optimiser = torch.optim.AdamW(parameter_groups(network, config.optim))
    first = None
    for step in range(config.optim.max_steps):
        batch = toy_batch(config.optim.batch_size, seed=step)
        for group in optimiser.param_groups:
            group.setdefault("base", group["lr"])
            group["lr"] = group["base"] * learning_rate_factor(step, config.optim)
        loss = loss_terms(network(batch), batch, config.loss).total
        first = loss.item() if first is None else first
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.optim.clip_norm)
        optimiser.step()
    return module.eval(), first


def test_a_short_training_separates_and_classifies(trained):
    module, first = trained
    batch = toy_batch(32, seed=10**6)
    with torch.no_grad():
        outputs = module(batch)
        terms = loss_terms(outputs, batch, module.config.loss)
    assert terms.total.item() < 0.4 * first
    assert top_class_hit(outputs.vision_BNC, batch.labels_BNC) > 0.9
    assert top_class_hit(outputs.pose_BNC, batch.labels_BNC) > 0.9
    correct = (outputs.masks_BNQF > 0.5) == (batch.masks_BNQF > 0.5)
    weight = batch.weight_B1QF.expand_as(outputs.masks_BNQF)
    assert (correct * weight).sum() / weight.sum() > 0.75


def test_swapped_pictures_and_poses_spoil_the_masks(trained):
    module, _ = trained
    batch = toy_batch(32, seed=10**6)
    with torch.no_grad():
        losses = [
            mask_loss(module(each).mask_logits_BNQF, batch.masks_BNQF, batch.weight_B1QF).item()
            for each in (batch, batch.swapped())
        ]
    assert losses[1] > 1.5 * losses[0]


def test_every_parameter_has_one_group_and_only_matrices_decay():
    module = TriBERTModule(toy_config(10), names())
    groups = parameter_groups(module.network, module.config.optim)
    grouped = [id(tensor) for group in groups for tensor in group["params"]]
    assert sorted(grouped) == sorted(id(tensor) for tensor in module.network.parameters())
    for group in groups:
        assert group["params"], group["name"]
        decays = not group["name"].endswith("_no_decay")
        assert (group["weight_decay"] > 0) == decays
        assert all((tensor.ndim >= 2) == decays for tensor in group["params"])


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_learning_rate_warms_up_and_ends_at_zero(decay):
    optim = OptimConfig(max_steps=100, decay=decay)
    factors = [learning_rate_factor(step, optim) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == 1.0
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[100] == 0.0


def test_lightning_trains_and_logs_every_term(tmp_path):
    torch.manual_seed(0)
    module = TriBERTModule(toy_config(2), names())
    samples = [toy_batch(1, seed) for seed in range(4)]
    loader = DataLoader(samples, batch_size=2, collate_fn=collate)
    trainer = lightning.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, loader, loader)
    logged = set(trainer.callback_metrics)
    terms = {"loss", "mask_loss", "vision_loss", "pose_loss", "audio_loss", "maps_loss"}
    assert {f"{split}/{term}" for split in ("train", "val") for term in terms} <= logged
    assert {"val/mask_loss_swapped", "val/vision_accuracy", "val/pose_accuracy"} <= logged
