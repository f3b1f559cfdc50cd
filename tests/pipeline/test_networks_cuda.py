"""Networks on a GPU give what they give on the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pipeline.networks import loading
from pipeline.stages import STAGES, resolve

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
FLOAT32, BFLOAT16 = 2e-4, 5e-2
"""Largest relative differences (L2): sums in another order; and eight bits of mantissa."""


@needs_gpu
@pytest.mark.parametrize("name", ["vggish", "resnet152", "r2plus1d"])
@pytest.mark.parametrize("precision, most", [("float32", FLOAT32), ("bfloat16", BFLOAT16)])
def test_a_gpu_gives_the_rows_of_the_cpu(name: str, precision: str, most: float) -> None:
    stage = resolve({name: STAGES[name].default}, precision=precision)[name]
    torch.manual_seed(0)
    batch = loading.ARCHITECTURES[name].batch()[:4]
    exact = loading.runner(replace(stage, precision="float32"))(batch)
    found = loading.runner(replace(stage, device="cuda"))(batch)
    assert found.device.type == "cpu"
    assert float((found - exact).norm() / exact.norm()) < most
