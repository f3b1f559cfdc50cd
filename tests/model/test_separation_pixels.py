"""Sound-of-Pixels against numbers computed with the original code (golden/sound_of_pixels)."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from goldens import gap

from model.separation.config import Config, NetworkConfig, of_system, presets, twin
from model.separation.module import learning_rate_factor, parameter_groups
from model.separation.pixels import PictureNet, SoundOfPixels, Synthesizer, pooled
from model.separation.unet import SoundUNet
from model.settings import ConfigError
from model.tribert.batch import Batch
from model.tribert.config import presets as tribert_presets
from model.tribert.losses import mask_loss
from model.tribert.masks import half_masks, loss_weight
from model.tribert.spectrogram import unwarp, warp

PUBLISHED = NetworkConfig()
SMALL = NetworkConfig(widths=(4, 8, 8), maps=3, backbone="small", small_widths=(4, 6))


@pytest.fixture(scope="module")
def golden(shared_dir: Path) -> dict[str, np.ndarray]:
    with np.load(shared_dir / "golden" / "sound_of_pixels" / "sop.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def values(shared_dir: Path):
    return json.loads((shared_dir / "golden" / "sound_of_pixels" / "values.json").read_text())


@pytest.fixture(scope="module")
def fill(shared_dir: Path):
    spec = importlib.util.spec_from_file_location(
        "golden_fill", shared_dir / "golden" / "golden_fill.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unet_name(name: str, levels: int) -> str:
    """Reference name of one of our U-Net's tensors."""
    part, rest = name.split(".", 1)
    if part == "input_norm":
        return f"bn0.{rest}"
    if part == "out":
        return f"unet_block.model.4.{rest}"
    number, leaf = rest.split(".", 1)
    level = int(number) if part.startswith("down") else levels - 1 - int(number)
    if level == 0:
        return f"unet_block.model.0.{leaf}"
    block = "unet_block.model.1.model." + "3.model." * (level - 1)
    innermost = level == levels - 1
    place = {"down": 1, "down_norms": 2, "up": 4 if innermost else 6}
    place["up_norms"] = place["up"] + 1
    return f"{block}{place[part]}.{leaf}"


def load(module, rename, fill, gain):
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            given = fill.param(rename(name), tuple(tensor.shape), gain)
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(given)).reshape(tensor.shape))
    return module.eval()


def given(fill, name, shape, scale=1.0, offset=0.0):
    return torch.from_numpy(fill.tensor(name, shape, scale, offset))


@pytest.fixture(scope="module")
def system(fill, values) -> SoundOfPixels:
    """The whole system, its weights the golden ones."""
    network = SoundOfPixels(PUBLISHED)
    load(network.sound, lambda name: unet_name(name, 7), fill, values["gain"])
    load(
        network.pictures,
        lambda name: name.replace("trunk.", "features."),
        fill,
        values["gain_frame"],
    )
    with torch.no_grad():
        network.synthesizer.scale_K.copy_(given(fill, "syn:scale", (32,), 0.5, 1.0))
        network.synthesizer.bias.copy_(given(fill, "syn:bias", (1,), 0.5))
    return network.eval()


def test_parameter_counts() -> None:
    network = SoundOfPixels(PUBLISHED)
    counts = [
        sum(p.numel() for p in part.parameters())
        for part in (network.sound, network.pictures, network.synthesizer)
    ]
    assert counts == [30_274_210, 11_324_000, 33]
    two_maps = SoundUNet(PUBLISHED.widths, 2, "published")
    assert sum(p.numel() for p in two_maps.parameters()) == 30_239_620


def test_every_reference_tensor_has_its_place(values, system) -> None:
    named = {unet_name(name, 7): list(t.shape) for name, t in system.sound.state_dict().items()}
    assert named == {name: shape for name, shape, _ in values["unet7_parameters"]}
    assert len(system.pictures.state_dict()) == len(values["frame_parameters"])


@torch.inference_mode()
def test_unet_of_five_levels(fill, values, golden) -> None:
    network = SoundUNet((64, 128, 256, 512, 512), 32, "published")
    load(network, lambda name: unet_name(name, 5), fill, values["gain"])
    log = given(fill, "sop:logmag5", (2, 1, 64, 64), 4, -3).double()
    out = network(log.exp() - 1e-10)  # the network takes the logarithm itself
    assert gap(out[:, ::4], golden["unet5_out"]) <= 1e-3


@torch.inference_mode()
def test_unet_of_seven_levels(fill, golden, system) -> None:
    log = given(fill, "sop:logmag", (1, 1, 128, 128), 4, -3)
    outputs = []
    convolutions = [*system.sound.down, *system.sound.up, system.sound.out]
    hooks = [c.register_forward_hook(lambda m, i, o: outputs.append(o)) for c in convolutions]
    out = system.sound(log.double().exp() - 1e-10)
    for hook in hooks:
        hook.remove()
    assert gap(out[:, ::4, ::2, ::2], golden["unet7_out"]) <= 1e-3
    for number, each in enumerate(outputs):
        step = 4 if each.shape[-1] >= 16 else 1
        assert gap(each[:, ::16, ::step, ::step], golden[f"unet7_conv{number:02d}"]) <= 1e-3


@torch.inference_mode()
def test_pictures(fill, golden, system) -> None:
    for video in (0, 1):
        frames = given(fill, f"sop:frames{video}", (2, 3, 3, 64, 64), 1.5).permute(0, 2, 1, 3, 4)
        maps_ZTKYX = system.pictures.places(frames)
        assert gap(maps_ZTKYX.transpose(1, 2), golden[f"frame_map{video}"]) <= 1e-5
        vector_ZK = pooled(maps_ZTKYX, "max")
        assert gap(vector_ZK, golden[f"frame_pooled{video}"]) <= 1e-5
        assert gap(vector_ZK.sigmoid(), golden[f"frame_act{video}"]) <= 1e-5
        if video == 0:
            assert gap(pooled(maps_ZTKYX, "mean"), golden["frame_avgpooled0"]) <= 1e-5


@torch.inference_mode()
def test_synthesizers(fill, golden, system) -> None:
    picture = given(fill, "syn:img", (2, 32), 0.5, 0.5)
    sound = given(fill, "syn:sound", (2, 32, 8, 8), 2.0)
    linear = system.synthesizer
    assert gap(linear(picture[:, None], sound), golden["syn_linear"]) <= 1e-5
    assert gap(linear.parts(picture[:, None], sound)[:, 0], golden["syn_linear_nosum"]) <= 1e-5
    places = given(fill, "syn:imgmap", (2, 32, 3, 5), 0.5, 0.5)
    assert gap(linear.at_places(places, sound), golden["syn_pixelwise"]) <= 1e-5
    plain = Synthesizer(32, "bias")
    plain.bias.copy_(given(fill, "syn:bias", (1,), 0.5))
    assert gap(plain(picture[:, None], sound), golden["syn_bias"]) <= 1e-5


def test_whole_forward_loss_and_gradients(fill, golden, values, system) -> None:
    pooled_BNK, maps = [], []
    for video in (0, 1):
        frames = given(fill, f"sop:frames{video}", (2, 3, 3, 64, 64), 1.5).permute(0, 2, 1, 3, 4)
        maps.append(system.pictures.places(frames))
        pooled_BNK.append(pooled(maps[-1], "max").sigmoid())
    shape = (2, 1, 512, 128)
    magnitudes = [given(fill, f"sop:mag{video}", shape).abs() for video in (0, 1)]
    mixture_B1QF = warp(given(fill, "sop:magmix", shape, 0.6, 0.7) + 1e-10, 256)
    targets_BNQF = half_masks(warp(torch.cat(magnitudes, 1), 256), mixture_B1QF[:, 0])
    sound = system.sound(mixture_B1QF)
    logits_BNQF = system.synthesizer(torch.stack(pooled_BNK, 1), sound)
    assert gap(sound[:, ::8, ::8, ::8], golden["full_sound"]) <= 1e-3
    for video in (0, 1):
        logit = logits_BNQF[:, video : video + 1]
        assert gap(logit[:, :, ::2, ::2], golden[f"full_logit{video}"]) <= 1e-3
        assert gap(logit.sigmoid()[:, :, ::2, ::2], golden[f"full_mask{video}"]) <= 2e-4
        differs = (
            targets_BNQF[:, video, ::4, ::4] != torch.from_numpy(golden[f"full_gt{video}"])[:, 0]
        )
        assert differs.sum() <= 2
    back = unwarp(logits_BNQF[:, :1].sigmoid(), 512)
    assert gap(back[:, :, ::4, ::2], golden["full_unwarped0"]) <= 2e-4
    with torch.inference_mode():
        rows = [
            system.synthesizer.at_places(maps[0][:, 0, :, y : y + 1].sigmoid(), sound)
            for y in range(4)
        ]
        assert gap(torch.cat(rows, 1)[..., ::16, ::16], golden["pixelwise"]) <= 1e-3
    loss = mask_loss(logits_BNQF, targets_BNQF, loss_weight(mixture_B1QF))
    assert float(loss.detach()) == pytest.approx(values["float64"]["bce_weighted"], abs=1e-5)
    system.zero_grad()
    loss.backward()
    sums = values["float64"]["grad_abs_sum"]
    parameters = {
        "sound.bn0.weight": system.sound.input_norm.weight,
        "sound.unet_block.model.0.weight": system.sound.down[0].weight,
        "frame.features.0.weight": system.pictures.trunk[0].weight,
        "frame.fc.weight": system.pictures.fc.weight,
        "frame.fc.bias": system.pictures.fc.bias,
        "synth.scale": system.synthesizer.scale_K,
        "synth.bias": system.synthesizer.bias,
    }
    assert set(parameters) == set(sums)
    for name, parameter in parameters.items():
        assert float(parameter.grad.abs().sum()) == pytest.approx(sums[name], rel=2e-3), name


def test_swapping_the_videos_swaps_the_masks(noise_batch: Batch) -> None:
    torch.manual_seed(0)
    network = SoundOfPixels(replace(SMALL, init="kaiming")).eval()
    batch = noise_batch
    masks = network(batch).masks_BNQF
    torch.testing.assert_close(network(batch.swapped()).masks_BNQF, masks.flip(1))
    assert (masks[:, 0] - masks[:, 1]).abs().max() > 1e-4


def test_a_mask_does_not_depend_on_the_other_video(noise_batch: Batch) -> None:
    torch.manual_seed(0)
    network = SoundOfPixels(replace(SMALL, init="kaiming")).eval()
    batch = noise_batch
    frames = batch.frames_BNTHWC.clone()
    frames[:, 1] = 0
    alone = network(replace(batch, frames_BNTHWC=frames)).masks_BNQF
    torch.testing.assert_close(alone[:, 0], network(batch).masks_BNQF[:, 0])


def test_linear_synthesizer_starts_as_the_biased_one() -> None:
    picture, sound = torch.rand(2, 2, 3), torch.rand(2, 3, 4, 4)
    one, other = Synthesizer(3, "linear"), Synthesizer(3, "bias")
    torch.testing.assert_close(one(picture, sound), other(picture, sound))
    place = picture[:, 0, :, None, None]
    torch.testing.assert_close(one.at_places(place, sound)[:, 0, 0], one(picture, sound)[:, 0])


def test_pictures_are_normalised_from_bytes_and_from_fractions() -> None:
    network = PictureNet(SMALL)
    pixels = torch.randint(0, 256, (1, 2, 4, 4, 3), dtype=torch.uint8)
    got = network.normalised(pixels)
    torch.testing.assert_close(got, network.normalised(pixels.float() / 255))
    expected = (pixels[0, 1, 2, 3, 0].float() / 255 - 0.485) / 0.229
    torch.testing.assert_close(got[0, 1, 0, 2, 3], expected)


def test_loss_is_divided_by_cells_not_by_weights(noise_batch: Batch) -> None:
    batch = noise_batch
    logits = torch.zeros_like(batch.masks_BNQF)
    expected = batch.weight_B1QF.mean() * float(np.log(2))
    torch.testing.assert_close(mask_loss(logits, batch.masks_BNQF, batch.weight_B1QF), expected)


def test_groups_hold_every_parameter_once_at_its_rate() -> None:
    network = SoundOfPixels(SMALL)
    published = presets["released"].optim
    for optim in (published, presets["tiny"].optim):
        groups = parameter_groups(network, optim)
        held = [id(p) for group in groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in network.parameters())
    rates = {group["name"]: group["lr"] for group in parameter_groups(network, published)}
    assert rates == {
        "sound": 1e-3,
        "synthesizer": 1e-3,
        "pictures.trunk": 1e-4,
        "pictures": 1e-3,
    }
    plain = [g for g in parameter_groups(network, presets["tiny"].optim) if "no_decay" in g["name"]]
    assert plain
    assert all(p.ndim < 2 for group in plain for p in group["params"])
    assert all(group["weight_decay"] == 0 for group in plain)


def test_rates_drop_twice() -> None:
    optim = replace(presets["released"].optim, max_steps=100)
    factors = [learning_rate_factor(step, optim) for step in (0, 39, 40, 79, 80, 99)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_twin_has_the_mixes_steps_and_batch_of_its_tribert() -> None:
    for name, config in tribert_presets.items():
        found = twin(config, "sound_of_pixels")
        assert found.data == config.data, name
        assert (found.optim.max_steps, found.optim.batch_size) == (
            config.optim.max_steps,
            config.optim.batch_size,
        )
        assert Config.from_json(found.as_json()) == found


def test_settings_that_cannot_work_are_refused() -> None:
    tiny = presets["tiny"]
    with pytest.raises(ConfigError, match=r"data\.spec_rows: not a multiple of 32"):
        replace(tiny, data=replace(tiny.data, spec_rows=48))
    with pytest.raises(ConfigError, match="up to 4 sources"):
        of_system("tiny", "unet_pit").__class__.from_json(
            {**of_system("tiny", "unet_pit").as_json(), "data": {"videos": 5}}
        )
    with pytest.raises(ConfigError, match="one of"):
        Config.from_json({"system": "music"})
