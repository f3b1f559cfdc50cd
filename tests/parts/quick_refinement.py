"""Settings with which labels are refined and a network is trained in a second or two."""

from __future__ import annotations

from dataclasses import replace

from model.avvp.config import presets

QUICK = replace(
    presets["tiny"],
    width=16,
    batch_size=16,
    epochs=2,
    val_every_epochs=1,
    teacher_epochs=1,
    teacher_folds=2,
    swap_partners=2,
)
