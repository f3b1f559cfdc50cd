"""Shape of an ST-GCN: what its weights do not say. Light: imports no torch.

Flows in: the JSON of a published model's configuration. Flows out: `NetworkConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Blocks of an ST-GCN; the defaults are the published ten (Yan et al., AAAI 2018).

    `channels` and `strides` (in time) have one entry a block; `kernel_rows` is odd.
    """

    channels: tuple[int, ...] = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    strides: tuple[int, ...] = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
    kernel_rows: int = 9
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.channels or len(self.channels) != len(self.strides):
            raise ValueError(
                f"ST-GCN: {len(self.channels)} channel counts and {len(self.strides)} strides; "
                "expected one of each for every block, and at least one block"
            )
        if self.kernel_rows % 2 == 0 or min(self.strides) < 1 or min(self.channels) < 1:
            raise ValueError(
                f"ST-GCN: kernel_rows={self.kernel_rows} must be odd, strides={self.strides} and "
                f"channels={self.channels} positive"
            )

    @property
    def stride(self) -> int:
        """Input rows from one output step to the next."""
        return prod(self.strides)

    @property
    def reach_rows(self) -> int:
        """Input rows on either side of an output step that it depends on."""
        reach, rows_per_step = 0, 1
        for stride in self.strides:
            reach += rows_per_step * (self.kernel_rows // 2)
            rows_per_step *= stride
        return reach

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Return the configuration from JSON values (lists for tuples)."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fields)
