"""Global context aware attention: every second looks with the whole clip in mind.

In: queries of one modality, keys and values of the same or the other. Out: the attended queries,
as `torch.nn.MultiheadAttention` returns them, in whose place it stands.

Source: Lamba et al., Interspeech 2021, section 3 ("GCAA"); the formulas are those of CSAN (Yang et
al., AAAI 2019), which it follows through CMAN.

Legend: B videos, T seconds, D width, H heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GlobalContextAttention(nn.Module):
    """Attention whose queries and keys are mixed with the mean of their own sequence.

    With c the mean over the present seconds of the unprojected queries or keys, q = W x, u = U c
    and the scalar l = sigmoid(v q + w u) per second, (1 - l) q + l u takes the place of q; keys
    likewise, with weights of their own; values stay as they are.

    Parameters
    ----------
    width, heads : int
        D, a multiple of H.
    dropout : float
        On the attention weights.
    first_step_broadcast : bool
        Give every second what second 0 attended to, as the authors' release does by an index too
        many. For ablation: such a network cannot tell seconds apart by attention.
    """

    def __init__(
        self, width: int, heads: int, *, dropout: float, first_step_broadcast: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.first_step_broadcast = first_step_broadcast
        self.query = ContextGate(width)
        self.key = ContextGate(width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        query_BTD: Tensor,
        key_BTD: Tensor,
        value_BTD: Tensor,
        *,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, None]:
        """Return the attended queries, (B, T, D), and None: weights are not kept.

        `key_padding_mask`, bool (B, T), is True at padded seconds, of queries and keys alike.
        """
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (
                self.query(query_BTD, key_padding_mask),
                self.key(key_BTD, key_padding_mask),
                self.value(value_BTD),
            )
        )
        attended_BHTD = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if key_padding_mask is None else ~key_padding_mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        out_BTD = self.out(attended_BHTD.transpose(1, 2).flatten(-2))
        if self.first_step_broadcast:
            out_BTD = out_BTD[:, :1].expand_as(out_BTD)
        return out_BTD, None


class ContextGate(nn.Module):
    """Projects a sequence and mixes each second with the projected mean, by a learnt gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = nn.Linear(width, width)
        self.context = nn.Linear(width, width)
        self.gate_local = nn.Linear(width, 1)
        self.gate_context = nn.Linear(width, 1)

    def forward(self, x_BTD: Tensor, absent_BT: Tensor | None) -> Tensor:
        """Return the mixed projections, (B, T, D); padded seconds do not count in the mean."""
        if absent_BT is None:
            mean_B1D = x_BTD.mean(1, keepdim=True)
        else:
            present_BT1 = (~absent_BT).to(x_BTD.dtype)[..., None]
            mean_B1D = (x_BTD * present_BT1).sum(1, keepdim=True) / present_BT1.sum(1, keepdim=True)
        local_BTD, context_B1D = self.local(x_BTD), self.context(mean_B1D)
        gate_BT1 = torch.sigmoid(self.gate_local(local_BTD) + self.gate_context(context_B1D))
        return (1 - gate_BT1) * local_BTD + gate_BT1 * context_B1D
