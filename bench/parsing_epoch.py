"""The epoch part of `bench.parsing`: HAN trained by us, and the way its authors' code does.

In: how many clips. Out: seconds for 1 000 clips. The original way reads one .npy file for each clip
and feature (80 frames of ResNet-152 among them), maps every frame and averages afterwards, and
steps with plain Adam; the network is otherwise the same and has none of the published dead weights.
Ours is `fit`, as in any training: features resident and averaged over each second, both directions
of cross attention at once. Both run on the same threads, in turns; the fastest turn counts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.avvp.config import Config, presets
from model.avvp.data import SIZES, Clip, ClipDataset, collate
from model.avvp.han import HAN, Parsing
from model.avvp.losses import weak_loss
from model.avvp.module import ParsingModule
from model.avvp.parse import Parser
from model.train.fit import fit
from model.train.parts import TrainParts, steps_per_epoch

ITEMS = 320
SECONDS = 10
CLASSES = 25
FRAMES = 8
"""Pictures a second."""
TURNS = 3
BATCHES = (16, 64)
PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}
PER = 1000
SMOOTHING = {"audio_smoothing": 0.0, "visual_smoothing": 0.1}


class EnoughSteps(Exception):
    """Ends a training whose time is known."""


Item = tuple[Tensor, Tensor, Tensor, Tensor]


class NpyFolder(Dataset[Item]):
    """Clips as the features are published: a folder for each, a file for each clip."""

    def __init__(self, root: Path, tags: Tensor) -> None:
        self.root = root
        self.tags = tags

    def __len__(self) -> int:
        return len(self.tags)

    def __getitem__(self, index: int) -> Item:
        audio, picture, motion = (
            torch.from_numpy(np.load(self.root / stage / f"{index}.npy")) for stage in SIZES
        )
        return audio, picture, motion, self.tags[index]


class PlainHAN(HAN):
    """HAN that maps every frame before it averages those of a second."""

    def mapped(
        self, audio_BTE: Tensor, picture_BTE: Tensor, motion_BTE: Tensor
    ) -> tuple[Tensor, Tensor]:
        frames = self.from_picture(picture_BTE)
        picture_BTD = frames.unflatten(1, (-1, FRAMES)).mean(2)
        seen = torch.cat([picture_BTD, self.from_motion(motion_BTE)], dim=-1)
        return self.from_audio(audio_BTE), self.fusion(seen)


def measure(items: int = ITEMS) -> dict[str, float]:
    """Return seconds an epoch of 1 000 clips takes, speedups, and the loader's share."""
    with tempfile.TemporaryDirectory() as folder, quick_subnormals():
        root = Path(folder)
        folder_of_npy = write_npy(root, items)
        clips = [clip_of(number, *folder_of_npy[number]) for number in range(items)]
        found: dict[str, float] = {}
        for turn in range(TURNS):
            for batch in BATCHES:
                plain = original(folder_of_npy, batch)
                fastest(found, f"original_s_batch{batch}", plain * PER / items)
                for name, precision in PRECISIONS.items():
                    config = replace(presets["han"], batch_size=batch, precision=precision)
                    seconds = ours(clips, config, root / f"{turn}-{batch}-{name}")
                    fastest(found, f"{name}_s_batch{batch}", seconds * PER / items)
                fastest(found, f"loading_s_batch{batch}", loading(clips, batch) * PER / items)
    for batch in BATCHES:
        for name in PRECISIONS:
            ratio = found[f"original_s_batch{batch}"] / found[f"{name}_s_batch{batch}"]
            found[f"speedup_{name}_batch{batch}"] = ratio
    found["speedup_epoch"] = found["speedup_bf16_batch16"]
    found["speedup_epoch_float32"] = found["speedup_float32_batch16"]
    found["loading_share"] = found["loading_s_batch16"] / found["bf16_s_batch16"]
    found["threads"] = torch.get_num_threads()
    return found


@contextmanager
def quick_subnormals() -> Iterator[None]:
    """Flush subnormal numbers, as the trainer does, for both."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def fastest(found: dict[str, float], name: str, seconds: float) -> None:
    """Keep the smaller of two measurements."""
    found[name] = min(seconds, found.get(name, seconds))


def write_npy(root: Path, items: int) -> NpyFolder:
    """Write made-up features in the published layout."""
    generator = np.random.default_rng(0)
    for stage, size in SIZES.items():
        rows = SECONDS * (FRAMES if stage == "resnet152" else 1)
        (root / stage).mkdir(parents=True)
        for number in range(items):
            np.save(root / stage / f"{number}.npy", generator.random((rows, size), np.float32))
    tags = generator.random((items, CLASSES)) < 0.07
    return NpyFolder(root, torch.from_numpy(tags.astype(np.float32)))


def clip_of(number: int, audio: Tensor, picture: Tensor, motion: Tensor, tags: Tensor) -> Clip:
    """Return a clip with its pictures averaged over each second."""
    return Clip(
        item_id=f"bench/{number}/whole",
        audio_TE=audio,
        picture_TE=picture.unflatten(0, (-1, FRAMES)).mean(1),
        motion_TE=motion,
        tags_C=tags,
    )


def original(clips: NpyFolder, batch_size: int) -> float:
    """Return the seconds of one epoch the original way."""
    torch.manual_seed(0)
    network = PlainHAN(width=presets["han"].width, classes=CLASSES, dropout=0.1)
    optimiser = torch.optim.Adam(network.parameters(), lr=presets["han"].learning_rate)

    def step(batch: Item) -> None:
        audio, picture, motion, tags = batch
        parsing: Parsing = network(audio, picture, motion)
        optimiser.zero_grad()
        weak_loss(parsing, tags, **SMOOTHING).total.backward()
        optimiser.step()

    step(tuple(x[None] for x in clips[0]))  # type: ignore[arg-type]
    start = time.perf_counter()
    for batch in DataLoader(clips, batch_size=batch_size, shuffle=True):
        step(batch)
    return time.perf_counter() - start


def ours(clips: list[Clip], config: Config, run_dir: Path) -> float:
    """Return the seconds of the second epoch of a whole training, which is left after it."""
    per_epoch = steps_per_epoch(len(clips), config.batch_size)
    steps = config.epochs * per_epoch
    clock: list[float] = []

    class Timed(ParsingModule):
        def on_train_batch_end(self, *arguments: object) -> None:
            if self.global_step in (per_epoch, 2 * per_epoch):
                clock.append(time.perf_counter())
            if len(clock) == 2:
                raise EnoughSteps

    parser = Parser(config, CLASSES, None)
    parts = TrainParts(
        module=Timed(parser, config, steps_per_epoch=per_epoch, steps=steps),
        train=ClipDataset(clips=clips),
        collate=collate,
        batch_size=config.batch_size,
        max_steps=steps,
        precision=config.precision,
        export=parser.state_dict,
    )
    with suppress(EnoughSteps):
        fit(parts, run_dir, seed=0, device="cpu", checkpoint_every_s=1e6)
    return clock[1] - clock[0]


def loading(clips: list[Clip], batch_size: int) -> float:
    """Return the seconds in which an epoch's batches are put together."""
    start = time.perf_counter()
    for first in range(0, len(clips), batch_size):
        collate(clips[first : first + batch_size])
    return time.perf_counter() - start
