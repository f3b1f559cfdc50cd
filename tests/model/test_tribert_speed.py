"""Faster or smaller training gives what the plain float32 path gives."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from small_tribert import made, random_batch, small_config, step

from model.settings import ConfigError
from model.train.fit import fit
from model.train.parts import Key, TrainParts
from model.tribert.batch import Batch, collate
from model.tribert.config import (
    Config,
)
from model.tribert.losses import loss_terms
from model.tribert.mixing import mean_mixture
from model.tribert.module import TriBERTModule
from model.tribert.network_plain import PlainTriBERT
from model.tribert.pictures import PictureCrop, cut_picture


@pytest.mark.parametrize("kind", ["paper", "released"])
@pytest.mark.parametrize("backbone", ["small", "resnet50"])
def test_recomputed_activations_change_nothing(kind: str, backbone: str) -> None:
    config, batch = small_config(kind, dropout=0.1), random_batch()
    config = replace(config, vision=replace(config.vision, backbone=backbone))
    optim = replace(config.optim, checkpoint_activations=True)
    plain, saving = made(config), made(replace(config, optim=optim))
    expected, got = step(plain, batch), step(saving, batch)
    assert got[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(got[1], expected[1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(saving.state_dict(), plain.state_dict())
    assert any("num_batches" in name and n == 1 for name, n in saving.state_dict().items())


def kept_bytes(module: TriBERTModule, batch: Batch) -> int:
    """Bytes that the graph keeps between the pass forward and the pass back."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module.network(batch)
    return sum(kept.values())


def test_recomputed_activations_are_not_kept() -> None:
    config, batch = small_config("released"), random_batch()
    optim = replace(config.optim, checkpoint_activations=True)
    plain, saving = made(config), made(replace(config, optim=optim))
    assert kept_bytes(saving, batch) < 0.6 * kept_bytes(plain, batch)


@pytest.mark.parametrize("kind", ["tiny", "paper", "released"])
def test_the_plain_way_gives_the_same_loss_and_gradients(kind: str) -> None:
    module, batch = made(small_config(kind)), random_batch()
    plain = PlainTriBERT(module.network).train()
    expected = loss_terms(plain(batch), batch, module.config.loss).total
    expected.backward()
    loss, gradients = step(module, batch)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    named = {name.replace("trunk.1.", "trunk."): p.grad for name, p in plain.named_parameters()}
    named = {name.removeprefix("network."): gradient for name, gradient in named.items()}
    whole, other = (torch.cat([g[n].flatten() for n in named]) for g in (gradients, named))
    assert (whole - other).norm() < 5e-3 * other.norm()


@pytest.mark.parametrize("kind", ["paper", "released"])
def test_bfloat16_gives_the_same_loss(kind: str) -> None:
    module, batch = made(small_config(kind)), random_batch()
    plain, _ = step(copy.deepcopy(module), batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        short, gradients = step(module, batch)
    assert short == pytest.approx(plain, rel=1e-2)
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in gradients.values())


class Mixes:
    """Mixes drawn from (epoch, index)."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: Key) -> Batch:
        return random_batch(1, seed=8 * key[0] + key[1])


class Still(TriBERTModule):
    """Norms stay in eval mode, as parts of a batch have statistics of their own."""

    first: dict[str, torch.Tensor]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.trainer.global_step == 0:
            self.first = {name: p.grad.clone() for name, p in self.named_parameters()}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.eval()


def trained(config: Config, run_dir: Path, module_of: type[TriBERTModule] = Still, **changes):
    torch.manual_seed(0)
    module = module_of(config, tuple("abcd"))
    values = {
        "module": module,
        "train": Mixes(),
        "collate": collate,
        "batch_size": config.optim.batch_size,
        "max_steps": config.optim.max_steps,
        "precision": config.optim.precision,
        "accumulate": config.optim.accumulate,
        "clip_norm": config.optim.clip_norm,
        "export": module.state_dict,
    }
    result = fit(TrainParts(**(values | changes)), run_dir, seed=3, device="cpu")
    return module, result


def with_optim(**changes) -> Config:
    base = small_config()
    few = {"batch_size": 4, "max_steps": 3, "val_every_steps": 3}
    return replace(base, optim=replace(base.optim, **(few | changes)))


def test_two_parts_equal_a_doubled_batch(tmp_path: Path) -> None:
    whole, _ = trained(with_optim(), tmp_path / "whole")
    parts, result = trained(with_optim(accumulate=2), tmp_path / "parts")
    torch.testing.assert_close(parts.first, whole.first, rtol=1e-4, atol=1e-5)
    assert [row["step"] for row in result.history] == [1, 2, 3]


def test_the_trainer_computes_in_bfloat16_when_told(tmp_path: Path) -> None:
    _, plain = trained(with_optim(max_steps=1), tmp_path / "plain", TriBERTModule)
    config = with_optim(max_steps=1, precision="bf16-mixed")
    _, short = trained(config, tmp_path / "short", TriBERTModule)
    losses = [result.history[0]["train/loss"] for result in (plain, short)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


class Line(LightningModule):
    """One weight vector: gradients are exact, so accumulated ones can be compared to 1e-6."""

    def __init__(self, stop_at: int = -1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(5))
        self.stop_at = stop_at

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if batch_idx == self.stop_at:
            raise KeyboardInterrupt
        loss = (batch @ self.weight - batch.sum(1)).square().mean()
        self.log("train/loss", loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.05)


class Vectors:
    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: Key) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(key).normal(size=5).astype(np.float32))


def line(run_dir: Path, *, stop_at: int = -1, accumulate: int = 1) -> torch.Tensor:
    module = Line(stop_at)
    parts = TrainParts(
        module=module,
        train=Vectors(),
        batch_size=4,
        max_steps=6,
        export=module.state_dict,
        accumulate=accumulate,
    )
    fit(parts, run_dir, seed=3, device="cpu", checkpoint_every_steps=1)
    return module.weight.detach()


def test_a_run_stopped_between_two_parts_goes_on_from_the_last_whole_step(tmp_path: Path) -> None:
    expected = line(tmp_path / "whole")
    torch.testing.assert_close(line(tmp_path / "parts", accumulate=2), expected)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        line(tmp_path / "stopped", accumulate=2, stop_at=7)
    kept = [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()]
    assert kept == ["step-000000003.ckpt"]
    again = line(tmp_path / "stopped", accumulate=2)
    assert torch.equal(again, line(tmp_path / "uninterrupted", accumulate=2))


def test_parts_that_do_not_divide_the_batch_are_refused() -> None:
    module = Line()
    with pytest.raises(ValueError, match=r"accumulate=3.*divisor"):
        TrainParts(
            module=module,
            train=Vectors(),
            batch_size=4,
            max_steps=6,
            export=module.state_dict,
            accumulate=3,
        )
    with pytest.raises(ConfigError, match=r"optim\.accumulate=5"):
        Config.from_json({"optim": {"accumulate": 5}})


def test_a_linear_resize_looks_the_same_and_skips_no_pixel() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    picture = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
    slightly, much = PictureCrop(scale=233 / 256), PictureCrop(scale=1.0)
    linear, area = (cut_picture(picture, slightly, 224, how) for how in ("linear", "area"))
    assert np.abs(linear.astype(int) - area).max() <= 8
    assert not np.array_equal(linear, area)
    far = [cut_picture(picture, much, 128, how) for how in ("linear", "area")]
    assert np.array_equal(*far)


def test_a_mixture_of_spectra_is_that_of_their_parts() -> None:
    spectra = torch.randn(
        3, 5, 7, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    scaled, mixture = mean_mixture(spectra)
    torch.testing.assert_close(scaled, spectra / 3)
    torch.testing.assert_close(mixture, spectra.mean(0))
