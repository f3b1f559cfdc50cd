"""Dropout drawn in words does what torch's does."""

from __future__ import annotations

import pytest
import torch

from model.avvp.dropout import WordDropout


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_it_drops_its_share_and_keeps_the_mean(p) -> None:
    torch.manual_seed(0)
    layer, x = WordDropout(p), torch.ones(401, 777, requires_grad=True)
    out = layer(x)
    out.sum().backward()
    dropped = out.detach() == 0
    assert float(dropped.float().mean()) == pytest.approx(p, abs=0.005)
    assert float(out.detach().mean()) == pytest.approx(1, abs=0.01)
    assert out.detach().unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)
    assert torch.equal(x.grad, out.detach())
    rows = dropped.float()[:-1].flatten()
    neighbours = torch.corrcoef(torch.stack([rows[:-1], rows[1:]]))[0, 1]
    assert abs(float(neighbours)) < 0.01


def test_the_seed_decides_it_and_each_call_draws_anew() -> None:
    layer, x = WordDropout(0.3), torch.ones(50, 7)
    torch.manual_seed(1)
    first, second = layer(x), layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


def test_it_does_nothing_in_evaluation_or_at_zero() -> None:
    x = torch.rand(5, 3)
    assert torch.equal(WordDropout(0.4).eval()(x), x)
    assert torch.equal(WordDropout(0.0)(x), x)
    low = WordDropout(0.5)(x.to(torch.bfloat16))
    assert low.dtype is torch.bfloat16
