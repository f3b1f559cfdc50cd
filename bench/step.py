"""One training step of the preset `released`: forward and backward, ours against the plain way.

    python -m bench.step [--small] [--batch 2] [--steps 3] [--threads 2] [--device cpu] [--json]

Each way runs in a process of its own: `plain` is `PlainTriBERT`, float32 and channel by channel,
with the mixture encoded once a video; the others are `TriBERT` in float32, in bfloat16 and in
bfloat16 with activations computed twice. All start from the same weights on the same random batch,
with dropout off; their losses must agree to 1 %. Seconds are the median over the steps after one
more that is not counted; processor seconds, of all threads, say the same where others use the
machine; the peak is that of the process (on a GPU: of its allocated memory) and
includes weights and gradients. `--small` has spectrograms of 64 x 64 and pictures of 64 pixels.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from model.tribert.config import Config, presets

WAYS = ("plain", "float32", "bf16", "bf16 recomputed")
CLASSES = 21
AGREE = 1e-2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", choices=WAYS, help="measure this one only, in this process")
    arguments = parser.parse_args()
    if arguments.way:
        print(json.dumps(measure(arguments)))
        return
    found = {way: in_own_process(way, sys.argv[1:]) for way in WAYS}
    summary = summarised(found, arguments)
    if arguments.json:
        print(json.dumps({"step": summary}))
        return
    columns = ("s a step", "faster", "processor s", "peak, MB", "loss")
    table = Table("released, forward and backward", *columns)
    for way, figures in found.items():
        faster = found["plain"]["step_s"] / figures["step_s"]
        table.add_row(
            way,
            f"{figures['step_s']:.2f}",
            f"{faster:.2f}x",
            f"{figures['cpu_s']:.2f}",
            f"{figures['peak_mb']:.0f}",
            f"{figures['loss']:.5f}",
        )
    Console(width=100).print(table)


def in_own_process(way: str, given: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.step", *given, "--way", way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way}: ended with {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def summarised(found: dict[str, dict[str, float]], arguments: argparse.Namespace) -> dict[str, Any]:
    plain = found["plain"]
    for way, figures in found.items():
        if abs(figures["loss"] - plain["loss"]) > AGREE * abs(plain["loss"]):
            raise SystemExit(f"{way}: loss {figures['loss']:.5f}, expected {plain['loss']:.5f}")
    return {
        "speedup_bf16": plain["step_s"] / found["bf16"]["step_s"],
        "speedup_float32": plain["step_s"] / found["float32"]["step_s"],
        "step_s": {way: figures["step_s"] for way, figures in found.items()},
        "cpu_s": {way: figures["cpu_s"] for way, figures in found.items()},
        "peak_mb": {way: figures["peak_mb"] for way, figures in found.items()},
        "loss": {way: figures["loss"] for way, figures in found.items()},
        "batch": arguments.batch,
        "small": arguments.small,
        "threads": arguments.threads,
        "device": arguments.device,
    }


def configuration(small: bool) -> Config:
    """Return `released` without anything that is drawn at random."""
    config = presets["released"]
    sizes = {"spec_rows": 64, "spec_frames": 64, "picture_px": 64} if small else {}
    return replace(
        config,
        data=replace(config.data, **sizes),
        vision=replace(config.vision, dropout=0.0),
        pose=replace(config.pose, dropout=0.0),
        audio=replace(config.audio, dropout=0.0, **({"widths": (64, 128, 256)} if small else {})),
        encoder=replace(config.encoder, dropout=0.0, token_mask=0.0),
    )


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Return seconds a step, the loss of the first step and the peak memory of one way."""
    import torch

    from model.tribert.losses import loss_terms

    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)  # as the trainer does
    config = configuration(arguments.small)
    network = build(config, arguments.way).to(arguments.device)
    batch = random_batch(config, arguments.batch).to(arguments.device)
    dtype = torch.bfloat16 if arguments.way.startswith("bf16") else None
    losses, seconds, cpu_seconds = [], [], []
    for _ in range(1 + arguments.steps):
        network.zero_grad(set_to_none=True)
        began, cpu_began = time.perf_counter(), time.process_time()
        with torch.autocast(arguments.device, dtype=dtype, enabled=dtype is not None):
            loss = loss_terms(network(batch), batch, config.loss).total
        loss.backward()
        losses.append(loss.item())
        if arguments.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        cpu_seconds.append(time.process_time() - cpu_began)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if arguments.device == "cuda":
        peak_kb = torch.cuda.max_memory_allocated() // 1024
    return {
        "step_s": statistics.median(seconds[1:]),
        "cpu_s": statistics.median(cpu_seconds[1:]),
        "loss": losses[0],
        "peak_mb": peak_kb / 1024,
    }


def build(config: Config, way: str) -> Any:
    import torch

    from model.tribert.network import TriBERT
    from model.tribert.network_memory import checkpoint_activations
    from model.tribert.network_plain import PlainTriBERT

    torch.manual_seed(0)
    network = TriBERT(config, CLASSES).train()
    if way == "bf16 recomputed":
        checkpoint_activations(network)
    return PlainTriBERT(network).train() if way == "plain" else network


def random_batch(config: Config, mixes: int) -> Any:
    import torch

    from model.tribert.batch import Batch

    draw = torch.Generator().manual_seed(0)
    data, pose = config.data, config.pose
    lead = (mixes, data.videos, data.steps, pose.persons)
    picture = (mixes, data.videos, data.steps, data.picture_px, data.picture_px, 3)
    cells = (data.spec_rows, data.spec_frames)
    mix = 5 * torch.rand(mixes, 1, *cells, generator=draw)
    classes = torch.randint(0, CLASSES, (mixes, data.videos), generator=draw)
    return Batch(
        frames_BNTHWC=torch.randint(0, 256, picture, dtype=torch.uint8, generator=draw),
        pose_BNTPKV=torch.randn(*lead, pose.channels, pose.joints, generator=draw),
        present_BNTP=torch.ones(lead, dtype=torch.bool),
        box_BNTP5=torch.rand(*lead, 5, generator=draw),
        mix_B1QF=mix,
        masks_BNQF=torch.rand(mixes, data.videos, *cells, generator=draw).round(),
        weight_B1QF=mix.log1p().clamp(1e-3, 10.0),
        labels_BNC=torch.eye(CLASSES)[classes],
    )


if __name__ == "__main__":
    main()
