"""TriBERT's parts: shapes, masks for absent persons, conditioning, settings."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from small_tribert import ENCODER
from small_tribert import random_batch as noise

from model.settings import ConfigError
from model.tribert.attention import CoAttention, Streams, Widths
from model.tribert.batch import collate
from model.tribert.config import (
    AudioConfig,
    Config,
    DataConfig,
    PoseConfig,
    SeparationConfig,
    VisionConfig,
    presets,
)
from model.tribert.fusion import KeyFusion
from model.tribert.heads import wsddn
from model.tribert.losses import class_loss, loss_terms, mask_loss, top_class_hit
from model.tribert.network import TriBERT
from model.tribert.pose_tokens import with_sos
from model.tribert.vision import SegmentationTokens, VisionTokens

CLASSES = 5


def small_config(**changes):
    tiny = presets["tiny"]
    base = replace(
        tiny,
        data=DataConfig(picture_px=32, spec_rows=32, spec_frames=32),
        vision=replace(tiny.vision, small_widths=(8, 16), feature_width=32),
        pose=PoseConfig(channels=4),
        audio=AudioConfig(widths=(8, 16)),
        encoder=ENCODER,
        separation=SeparationConfig(widths=(8, 16, 16), mask_channels=4),
    )
    return replace(base, **changes)


def random_batch(mixes=3, videos=2, seed=0):
    return noise(mixes, videos, seed=seed, classes=CLASSES)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TriBERT(small_config(), CLASSES).eval()


VARIANTS = {
    "tiny": {},
    "one mask channel": {"separation": SeparationConfig(widths=(8, 16, 16))},
    "released switches": {
        "vision": VisionConfig(
            backbone="small",
            small_widths=(8, 16),
            feature_width=32,
            expansive="class_softmax",
            norm_tokens=False,
        ),
        "audio": AudioConfig(widths=(8, 16), log="ln", input_norm=False),
        "encoder": replace(small_config().encoder, keys="feature"),
        "heads": presets["released"].heads,
        "separation": SeparationConfig(unet="double", widths=(8, 16, 48), fusion="channel_softmax"),
        "loss": presets["released"].loss,
    },
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_outputs_have_the_promised_shapes_and_every_parameter_learns(changes):
    torch.manual_seed(0)
    config = small_config(**changes)
    network = TriBERT(config, CLASSES).train()
    batch = random_batch()
    outputs = network(batch)
    assert outputs.mask_logits_BNQF.shape == (3, 2, 32, 32)
    assert outputs.vision_BNC.shape == outputs.pose_BNC.shape == (3, 2, CLASSES)
    assert outputs.audio_BNC.shape == (3, 2, CLASSES)
    assert outputs.scores_BNSC.shape == (3, 2, 4, CLASSES)
    assert outputs.maps_BNSOYX.shape[:4] == (3, 2, 4, 2)
    assert outputs.audio_ZSPD.shape == (6, 4, 2, 16)
    loss_terms(outputs, batch, config.loss).total.backward()
    dead = [name for name, tensor in network.named_parameters() if tensor.grad is None]
    assert not dead
    assert all(torch.isfinite(tensor.grad).all() for tensor in network.parameters())


def test_absent_persons_change_nothing(network):
    batch = random_batch()
    absent = ~batch.present_BNTP
    other = replace(
        batch,
        pose_BNTPKV=torch.where(absent[..., None, None], 7.0, batch.pose_BNTPKV),
        box_BNTP5=torch.where(absent[..., None], 0.3, batch.box_BNTP5),
    )
    with torch.no_grad():
        first, second = network(batch), network(other)
    torch.testing.assert_close(first.mask_logits_BNQF, second.mask_logits_BNQF)
    torch.testing.assert_close(first.pose_BNC, second.pose_BNC)
    torch.testing.assert_close(first.vision_BNC, second.vision_BNC)


def test_a_video_without_people_is_still_separated(network):
    batch = random_batch()
    nobody = replace(
        batch,
        present_BNTP=torch.zeros_like(batch.present_BNTP),
        pose_BNTPKV=torch.zeros_like(batch.pose_BNTPKV),
    )
    network.train()
    outputs = network(nobody)
    loss_terms(outputs, nobody, small_config().loss).total.backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in network.parameters())


def test_the_sos_step_averages_over_the_steps_where_a_person_is_present():
    present = torch.tensor([[[True, False], [False, False], [True, False]]])
    pose = torch.zeros(1, 3, 2, 1, 1)
    pose[0, :, 0, 0, 0] = torch.tensor([2.0, 100.0, 4.0])
    steps, boxes, valid = with_sos(pose, torch.full((1, 3, 2, 5), 0.5), present)
    assert steps[0, 0, 0].item() == 3.0
    assert boxes[0, 0, 0].tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
    assert valid[0].tolist() == [[True, False], [True, False], [False, False], [True, False]]


def test_masked_keys_are_as_good_as_removed_ones():
    torch.manual_seed(0)
    layer = CoAttention(Widths(8, 8, 8), 8, heads=2, keys="sequence", dropout=0.1).eval()
    tokens = Streams(*(torch.randn(2, 6, 8) for _ in range(3)))
    everything = torch.ones(2, 6, dtype=torch.bool)
    pose_valid = everything.clone()
    pose_valid[:, 4:] = False
    masked = layer(tokens, Streams(everything, pose_valid, everything))
    cut = layer(
        tokens._replace(pose=tokens.pose[:, :4]),
        Streams(everything, everything[:, :4], everything),
    )
    torch.testing.assert_close(masked.vision, cut.vision)
    torch.testing.assert_close(masked.audio, cut.audio)
    torch.testing.assert_close(masked.pose[:, :4], cut.pose)


@pytest.mark.parametrize(("keys", "width"), [("sequence", 16), ("feature", 8)])
def test_key_widths_follow_the_preset(keys, width):
    layer = CoAttention(Widths(8, 8, 8), 16, heads=2, keys=keys, dropout=0.0)
    assert {linear.out_features for linear in layer.key} == {width}


def test_the_mixture_is_encoded_once_a_mix(network):
    sizes = []
    network.audio.register_forward_pre_hook(lambda _m, given: sizes.append(len(given[0])))
    network.unet.down[0].register_forward_pre_hook(lambda _m, given: sizes.append(len(given[0])))
    network(random_batch(mixes=3))
    assert sizes == [3, 3]


def test_masks_follow_the_conditioning_from_the_start(network):
    batch = random_batch()
    with torch.no_grad():
        straight = network(batch).mask_logits_BNQF
        swapped = network(batch.swapped()).mask_logits_BNQF
    assert (straight - swapped).abs().mean() > 1e-2 * straight.std()
    torch.testing.assert_close(straight.flip(1), swapped, rtol=1e-4, atol=1e-5)


def test_key_fusion_ignores_invalid_keys():
    torch.manual_seed(0)
    fusion = KeyFusion(Widths(6, 6, 6), 8)
    bottleneck = torch.randn(2, 8, 3, 3)
    pooled = Streams(*(torch.randn(2, 2, 6) for _ in range(3)))
    both = torch.ones(2, 2, dtype=torch.bool)
    first = torch.tensor([[True, False]]).expand(2, 2)
    other = pooled._replace(pose=pooled.pose + torch.tensor([[[0.0], [9.0]]]))
    torch.testing.assert_close(
        fusion(bottleneck, pooled, Streams(both, first, both)),
        fusion(bottleneck, other, Streams(both, first, both)),
    )


def test_integer_and_float_pictures_agree():
    torch.manual_seed(0)
    tokens = VisionTokens(small_config().vision, CLASSES).eval()
    frames = random_batch().frames_BNTHWC[0]
    torch.testing.assert_close(tokens(frames)[0], tokens(frames.float() / 255.0)[0])


def test_class_score_is_a_mean_weighted_by_the_expansive_map():
    torch.manual_seed(0)
    module = SegmentationTokens(small_config().vision, trunk_width=4, classes=CLASSES).eval()
    trunk = torch.randn(2, 4, 3, 3)
    places = module.features(trunk)
    raw = torch.nn.functional.softplus(module.expand(places)).flatten(2)
    share = raw / raw.sum(2, keepdim=True)
    expected = (share * module.discriminate(places).flatten(2)).sum(2)
    torch.testing.assert_close(module(trunk).scores_BSC, expected)


def test_tokens_are_hidden_only_in_training(network):
    batch = random_batch()
    with torch.no_grad():
        torch.testing.assert_close(network(batch).mask_logits_BNQF, network(batch).mask_logits_BNQF)
    network.train()
    hidden = network._hide_tokens(torch.ones(200, 4, 2, 3))
    share = (hidden[:, 1:] == 0).float().mean().item()
    assert share == pytest.approx(0.15 * 0.9, abs=0.04)
    assert (hidden[:, 0] == 1).all()


def test_wsddn_gives_invalid_regions_no_share():
    torch.manual_seed(0)
    recognise, detect = torch.randn(2, 4, CLASSES), torch.randn(2, 4, CLASSES)
    valid = torch.tensor([[True, True, False, False]]).expand(2, 4)
    expected = wsddn(recognise[:, :2], detect[:, :2], None)
    torch.testing.assert_close(wsddn(recognise, detect, valid), expected)


def test_mask_loss_is_a_plain_mean_of_weighted_cross_entropy():
    logits = torch.tensor([[[[0.0, 2.0]], [[-1.0, 0.5]]]])
    masks = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    weight = torch.tensor([[[[0.5, 3.0]]]])
    p = logits.sigmoid()
    cells = -(masks * p.log() + (1 - masks) * (1 - p).log()) * weight
    torch.testing.assert_close(mask_loss(logits, masks, weight), cells.mean())


def test_released_classification_terms_are_sums_over_videos(network):
    batch, base = random_batch(), small_config().loss
    with torch.no_grad():
        outputs = network(batch)
        mean = loss_terms(outputs, batch, base)
        total = loss_terms(outputs, batch, replace(base, over_videos="sum"))
    torch.testing.assert_close(total.vision, 2 * mean.vision)
    torch.testing.assert_close(total.mask, mean.mask)


def test_class_loss_stays_finite_at_certain_probabilities():
    probability = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    loss = class_loss(probability, torch.tensor([[[1.0, 0.0]]]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(probability.grad).all()


def test_top_class_hit_accepts_any_label_of_a_duet():
    labels = torch.tensor([[[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    scores = torch.tensor([[[0.1, 0.8, 0.1], [0.1, 0.8, 0.1]]])
    assert top_class_hit(scores, labels).item() == 0.5


def test_bfloat16_autocast_keeps_losses_in_float32(network):
    batch = random_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = loss_terms(network(batch), batch, small_config().loss)
    assert all(value.dtype == torch.float32 for value in terms.named().values())
    assert torch.isfinite(terms.total)


def test_collate_joins_samples_in_order():
    samples = [random_batch(mixes=1, seed=seed) for seed in range(3)]
    joined = collate(samples)
    assert len(joined) == 3
    torch.testing.assert_close(joined.mix_B1QF[2:], samples[2].mix_B1QF)
    assert joined.to(torch.float64).mix_B1QF.dtype == torch.float64


def test_swapping_moves_pictures_and_poses_only():
    batch = random_batch()
    swapped = batch.swapped()
    assert torch.equal(swapped.frames_BNTHWC[:, 0], batch.frames_BNTHWC[:, 1])
    assert torch.equal(swapped.masks_BNQF, batch.masks_BNQF)
    assert torch.equal(swapped.labels_BNC, batch.labels_BNC)


def test_released_sizes_match_the_original():
    with torch.device("meta"):
        network = TriBERT(presets["released"], classes=21)
    sizes = {
        name: sum(tensor.numel() for tensor in child.parameters())
        for name, child in network.named_children()
    }
    separation = sizes.pop("unet") + sizes.pop("fusion")
    assert separation == 51_316_077
    query_outputs = 6 * (2 * (512 * 1024 + 1024) + (512 * 512 + 512))
    audio_box, next_sentence = 5 * 512 + 512, 512 * 2 + 2
    never_used = query_outputs + audio_box + next_sentence
    assert sum(sizes.values()) == 223_206_577 - never_used


@pytest.mark.parametrize("name", presets)
def test_settings_survive_json(name):
    assert Config.from_json(presets[name].as_json()) == presets[name]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"optim": {"learning_rate": 1.0}}, "tribert.optim"),
        ({"separation": {"fusion": "film"}}, "tribert.separation.fusion"),
        ({"encoder": {"layers": "six"}}, "tribert.encoder.layers"),
        ({"encoder": {"heads": 7}}, "encoder.vision_width"),
        ({"data": {"spec_rows": 100}}, "data.spec_rows"),
        ({"vision": 3}, "tribert.vision"),
        ({"data": {"scale_low": 0.9, "scale_high": 0.5}}, "data.scale_low"),
        ({"data": {"colour": 1.0}}, "data.colour"),
    ],
)
def test_bad_settings_are_named(value, named):
    with pytest.raises(ConfigError, match=named):
        Config.from_json(value)


def test_settings_load_without_torch():
    code = "import sys, model.tribert.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
