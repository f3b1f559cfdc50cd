"""One training batch of TriBERT: `B` mixes of `N` videos each.

In: what the dataset draws for one mix (a batch of size 1). Out: what the network and losses read.

Legend: B mixes, N videos of a mix, T visual steps (without the SOS step, which the network adds),
H W picture rows and columns, P persons, K channels and V joints of a pose embedding, C classes,
Q frequency rows (log scale), F spectrogram frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Inputs and targets of `B` mixes.

    Attributes
    ----------
    frames_BNTHWC
        RGB pictures, C = 3: uint8 in 0..255, or float in 0..1. The network normalises them.
    pose_BNTPKV
        Pose embeddings at the times of the pictures, any float type; absent persons are zero.
    present_BNTP
        bool, True where the person is there.
    box_BNTP5
        float: x1, y1, x2, y2 and area of the person's box as fractions of the picture, after any
        crop or flip of it.
    mix_B1QF
        float32 >= 0: warped magnitude of the mixture (linear; the network takes the logarithm).
    masks_BNQF
        float32 in 0..1: target mask of each video.
    weight_B1QF
        float32 >= 0: weight of each cell in the mask loss (tribert.md section 5).
    labels_BNC
        float32, multi-hot: instruments of each video.
    joints_BNRPVK
        float32, or None where `data.joint_frames` is 0: R rows of the pose stage around the
        middle picture; x and y in -0.5..0.5 of the whole picture and confidence, zero where a
        joint or a person is absent and beyond the clip's ends.
    patches_BRTM
        float32, or None where `data.sound_patches` is 0: R log-mel patches of the mixture, T
        frames of M bands, as VGGish takes them.
    """

    frames_BNTHWC: torch.Tensor
    pose_BNTPKV: torch.Tensor
    present_BNTP: torch.Tensor
    box_BNTP5: torch.Tensor
    mix_B1QF: torch.Tensor
    masks_BNQF: torch.Tensor
    weight_B1QF: torch.Tensor
    labels_BNC: torch.Tensor
    joints_BNRPVK: torch.Tensor | None = None
    patches_BRTM: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return B, the number of mixes."""
        return self.mix_B1QF.shape[0]

    def apply(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """Return the batch with `change` applied to every tensor."""
        return Batch(**{name: change(value) for name, value in self.tensors().items()})

    def to(self, *args: Any, **kwargs: Any) -> Batch:
        """Return the batch moved as `torch.Tensor.to` moves (Lightning calls this).

        From page-locked memory it travels while the device computes.
        """

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(*args, **({"non_blocking": tensor.is_pinned()} | kwargs))

        return self.apply(moved)

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory (the data loader calls this)."""
        return self.apply(lambda tensor: tensor.pin_memory())

    def swapped(self) -> Batch:
        """Return the batch with pictures and poses handed to the wrong video (rolled by one).

        Mixture, masks and labels stay: what a network loses by it is what its conditioning is
        worth.
        """
        rolled = {"frames_BNTHWC", "pose_BNTPKV", "present_BNTP", "box_BNTP5", "joints_BNRPVK"}
        return Batch(
            **{
                name: value.roll(1, dims=1) if name in rolled else value
                for name, value in self.tensors().items()
            }
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every field that is there, by its name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


def collate(samples: Sequence[Batch]) -> Batch:
    """Return one batch from batches of size 1 (or more), in order, joined on axis 0.

    Raises
    ------
    RuntimeError
        The samples' shapes differ.
    """
    each = [sample.tensors() for sample in samples]
    return Batch(**{name: torch.cat([tensors[name] for tensors in each]) for name in each[0]})
