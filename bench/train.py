"""Training TriBERT at full size: seconds a step, loader included, and what they project to.

    python -m bench.train [--presets paper released] [--batches 12] [--steps 200] [--json]

The real trainer, loader and optimiser on synthetic videos: pictures, poses, spectra and masks as in
a run, `bf16-mixed` unless told otherwise. Steps are timed between callbacks of the trainer after a
quarter of them has passed. On a GPU a step is replayed from graphs unless `--eager` is given. MFU
counts the floating-point operations of products and convolutions (torch's counter) against
`--peak-tflops`, 990 for an H100 or H200 in bfloat16. `project_h` is 420,000 steps, the paper's
length.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu_use import GpuUse
from bench.loader_data import CLASSES, Videos, make_videos
from model.train.fit import fit
from model.train.parts import TrainParts
from model.tribert.batch import Batch, collate
from model.tribert.clips import find_clips, spectrogram_config, stages_read
from model.tribert.config import Config, presets
from model.tribert.data import MixDataset
from model.tribert.losses import loss_terms
from model.tribert.module import TriBERTModule
from storage.store import FeatureStore

PAPER_STEPS = 420_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--presets", nargs="+", default=["paper", "released"])
    parser.add_argument("--batches", type=int, nargs="+", default=[12])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--precision", default="bf16-mixed", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--small", action="store_true", help="64 x 64 pixels and cells, to try it")
    parser.add_argument("--eager", action="store_true", help="launch each kernel by itself")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peak-tflops", type=float, default=990.0)
    parser.add_argument("--json", type=Path, help="write the rows there after each of them")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        made = make_videos(Path(folder), clips=arguments.clips, seconds=20.0)
        for preset in arguments.presets:
            for batch in arguments.batches:
                rows.append(measured(made, Path(folder), preset, batch, arguments))
                print(json.dumps(rows[-1]), flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps(rows, indent=1))
    print_table(rows)


def measured(
    made: Videos, folder: Path, preset: str, batch: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Return the figures of one preset at one batch."""
    config = configured(presets[preset], batch, arguments)
    dataset = mixes(made, config)
    module = TriBERTModule(config, CLASSES)
    clock = Clock(after=arguments.steps // 4, steps=arguments.steps)
    parts = TrainParts(
        module=module,
        train=dataset,
        collate=collate,
        batch_size=batch,
        max_steps=config.optim.max_steps,
        precision=config.optim.precision,
        clip_norm=config.optim.clip_norm,
        export=module.network.state_dict,
    )
    run_dir = Path(tempfile.mkdtemp(dir=folder))
    with GpuUse() as use:
        fit(
            parts,
            run_dir,
            seed=0,
            loader_workers=arguments.workers,
            device=arguments.device,
            checkpoint_every_s=1e9,
            callbacks=(clock,),
        )
    step_s = clock.median_s()
    sample = collate([dataset[(0, index)] for index in range(batch)])
    alone_s, flops = alone(config, sample, clock.device)
    found = {
        "preset": preset,
        "batch": batch,
        "graphs": config.optim.cuda_graphs,
        "precision": config.optim.precision,
        "timed_steps": len(clock.steps_s),
        "step_s": step_s,
        "mean_step_s": clock.mean_s(),
        "eager_forward_backward_s": alone_s,
        "gflop_a_step": flops / 1e9,
        "mfu": flops / step_s / (arguments.peak_tflops * 1e12),
        "gpu_use_percent": use.median(),
        "peak_mb": peak_mb(),
        "project_h": clock.mean_s() * PAPER_STEPS / 3600,
    }
    del module, parts
    gc.collect()
    return found


def configured(config: Config, batch: int, arguments: argparse.Namespace) -> Config:
    optim = replace(
        config.optim,
        batch_size=batch,
        precision=arguments.precision,
        cuda_graphs=not arguments.eager,
    )
    if not arguments.small:
        return replace(config, optim=optim)
    data = replace(config.data, spec_rows=64, spec_frames=64, picture_px=64)
    audio = replace(config.audio, widths=(16, 32, 64))
    unet = replace(config.separation, widths=(16, 32, 64, 64, 1536))
    return replace(config, data=data, audio=audio, separation=unet, optim=optim)


def mixes(made: Videos, config: Config) -> MixDataset:
    store = FeatureStore(made.layout.root)
    stages = stages_read(store, made.stages)
    clips = find_clips(store, stages, made.items, config.data).clips
    return MixDataset(
        store=store,
        stages=stages,
        clips=clips * (1 + 16 * config.optim.batch_size // len(clips)),
        classes=CLASSES,
        data=config.data,
        sizes=spectrogram_config(store, stages, config.data),
        seed=0,
        augment=True,
    )


class Clock(Callback):
    """Notes when each step ended, and ends the training after so many counted ones.

    The device is waited for before the first and behind the last one.
    """

    def __init__(self, *, after: int, steps: int) -> None:
        self.after, self.last = after, after + steps
        self.device = torch.device("cpu")
        self._ends_s: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Note the time; the last step's is taken once the device is done."""
        self.device = pl_module.device
        step = trainer.global_step
        if step < self.after:
            return
        if self.device.type == "cuda" and step in (self.after, self.last):
            torch.cuda.synchronize()
        self._ends_s.append(time.perf_counter())
        trainer.should_stop = step >= self.last

    @property
    def steps_s(self) -> list[float]:
        """Seconds of each counted step."""
        return [b - a for a, b in zip(self._ends_s, self._ends_s[1:], strict=False)]

    def median_s(self) -> float:
        """Return the median of the counted steps."""
        return sorted(self.steps_s)[len(self.steps_s) // 2]

    def mean_s(self) -> float:
        """Return the mean of the counted steps: what a long run takes."""
        return (self._ends_s[-1] - self._ends_s[0]) / len(self.steps_s)


def alone(config: Config, sample: Batch, device: torch.device) -> tuple[float, float]:
    """Return the seconds of forward and backward on one batch on the device, and its operations.

    Each kernel is launched by itself.
    """
    module = TriBERTModule(config, CLASSES).to(device).train()
    batch = sample.to(device)
    dtype = torch.bfloat16 if config.optim.precision == "bf16-mixed" else None

    def step() -> None:
        module.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            loss = loss_terms(module.network(batch), batch, config.loss).total
        loss.backward()

    with FlopCounterMode(display=False) as counter:
        step()
    step()
    rounds = 10 if device.type == "cuda" else 2
    with timed(device) as took:
        for _ in range(rounds):
            step()
    return took[0] / rounds, float(counter.get_total_flops())


@contextmanager
def timed(device: torch.device) -> Iterator[list[float]]:
    """Give a list that holds the seconds of the block once it is left."""
    took: list[float] = []
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    yield took
    if device.type == "cuda":
        torch.cuda.synchronize()
    took.append(time.perf_counter() - began)


def peak_mb() -> float | None:
    """Return the most memory that tensors held on the GPU, and start to count anew."""
    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated() / 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return peak


def print_table(rows: list[dict[str, Any]]) -> None:
    table = Table("preset", "batch", "ms a step", "eager", "MFU", "GPU use", "peak GB", "hours")
    for row in rows:
        peak, use = row["peak_mb"], row["gpu_use_percent"]
        table.add_row(
            row["preset"] + ("" if row["graphs"] else ", eager"),
            str(row["batch"]),
            f"{1e3 * row['step_s']:.1f}",
            f"{1e3 * row['eager_forward_backward_s']:.1f}",
            f"{100 * row['mfu']:.0f} %",
            "-" if use is None else f"{use:.0f} %",
            "-" if peak is None else f"{peak / 1024:.1f}",
            f"{row['project_h']:.1f}",
        )
    table.caption = (
        "a step of a run, loader included; eager: forward and backward on one batch, kernel by "
        "kernel; hours: 420,000 steps"
    )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
