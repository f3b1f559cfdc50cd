"""A trained model's folder in the store: weights, provenance, history.

In: the job, what the recipe built and what `fit` returned. Out: `models/<name>/` with
`weights.safetensors`, `model.json` and `history.jsonl` (and `train.log` where there is one).
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from model.jobs import TrainJob
from model.train.fit import CHECKPOINTS, Device, FitResult
from model.train.history import HISTORY
from model.train.parts import TrainParts
from storage.fingerprint import sha256_file
from storage.layout import Layout
from storage.models import publish_model

WEIGHTS = "weights.safetensors"
TRAIN_LOG = "train.log"
_PACKAGES = ("soundstage", "torch", "lightning", "numpy", "safetensors")


def publish_trained(layout: Layout, job: TrainJob, parts: TrainParts, result: FitResult) -> bool:
    """Publish the module's weights under the job's name; False when another was first.

    The checkpoints of the run are removed afterwards; its logs stay.
    """
    prepared = job.run_dir / "publish"
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir(parents=True)
    state = {name: tensor.detach().cpu().clone() for name, tensor in parts.export().items()}
    weights = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(weights, prepared / WEIGHTS)
    for name in (HISTORY, TRAIN_LOG):
        if (job.run_dir / name).exists():
            shutil.copyfile(job.run_dir / name, prepared / name)
    extra = {
        "weights_sha256": sha256_file(prepared / WEIGHTS),
        "weights_parameters": sum(t.numel() for t in weights.values() if t.is_floating_point()),
        **_training(job, parts, result),
    }
    published = publish_model(layout, job.record, prepared, extra)
    shutil.rmtree(prepared, ignore_errors=True)
    shutil.rmtree(job.run_dir / CHECKPOINTS, ignore_errors=True)
    return published


def _training(job: TrainJob, parts: TrainParts, result: FitResult) -> dict[str, Any]:
    """Return what model.json says about the training, as JSON values."""
    validations = [row for row in result.history if any(k.startswith("val/") for k in row)]
    best = [row for row in validations if row["step"] == result.best_step]
    return {
        "classes": list(parts.classes),
        "metrics": {
            "monitor": parts.monitor,
            "best_step": result.best_step,
            "best_value": result.best_value,
            "best": best[-1] if best else None,
            "last": validations[-1] if validations else None,
        },
        "ids_used": {split: list(ids) for split, ids in parts.ids_used.items()},
        "ids_missing": dict(parts.ids_missing),
        "summary": dict(parts.summary),
        "steps": result.steps,
        "steps_per_epoch": parts.steps_per_epoch,
        "wall_s": round(result.wall_s, 3),
        "device": asdict(Device.parse(job.device)),
        "precision": parts.precision,
        "versions": _versions(),
        "published_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _PACKAGES}
    found["python"] = platform.python_version()
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def read_weights(layout: Layout, name: str) -> dict[str, torch.Tensor]:
    """Return a published model's weights, on the CPU."""
    return load_file(layout.model(name) / WEIGHTS)
