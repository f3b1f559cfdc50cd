"""Retrieval as a LightningModule: cross-entropy over choices, ranks over the validation clips.

In: rows of clips whose embeddings the module holds. Out: a scalar to descend, and under `train/`
and `val/` the loss and the figures of every variant.

Legend: B queries, K candidates, N clips, E size of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import lightning
import torch
from torch.nn import functional

from model.retrieval.config import Config
from model.retrieval.embeddings import Embeddings
from model.retrieval.metrics import ranks
from model.retrieval.scorer import Scorers


class RetrievalModule(lightning.LightningModule):
    """Trains the scorers of `config.variants`.

    Parameters
    ----------
    train, val
        Embeddings of the clips that choices' and rankings' rows point into. They are not part of
        the weights.
    """

    def __init__(self, config: Config, train: Embeddings, val: Embeddings | None) -> None:
        super().__init__()
        self.config = config
        self.scorers = Scorers(config.variants, train.sizes(), train.tokens, config.hidden)
        if config.standardise:
            self.scorers.fit_scale(train.vectors)
        for split, embeddings in (("train", train), ("val", val)):
            for stream, vectors_NE in (embeddings.vectors if embeddings else {}).items():
                self.register_buffer(f"{split}_{stream}_NE", vectors_NE, persistent=False)

    def vectors(self, split: str) -> dict[str, torch.Tensor]:
        """Return the (N, E) of each stream of a split."""
        return {name: getattr(self, f"{split}_{name}_NE") for name in ("vision", "pose", "audio")}

    def training_step(self, batch: Mapping[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Return the sum over the variants of the cross-entropy of their choices."""
        del batch_idx
        vectors = self.vectors("train")
        losses = {
            f"train/{variant}_loss": choice_loss(self.scorers, variant, vectors, rows_BK)
            for variant, rows_BK in batch.items()
        }
        size = len(next(iter(batch.values())))
        total = torch.stack(list(losses.values())).sum()
        self.log_dict({**losses, "train/loss": total}, batch_size=size)
        return total

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        """Log top-1 and the mean reciprocal rank of each variant over all validation clips.

        `val/mrr`, the mean over the variants, chooses the best weights.
        """
        del batch_idx
        vectors = self.vectors("val")
        reciprocal = []
        for variant in self.config.variants:
            rank_B = ranks(self.scorers.score_all(variant, vectors, batch), batch)
            reciprocal.append((1 / rank_B).mean())
            values = {"top1": (rank_B == 1).float().mean(), "mrr": reciprocal[-1]}
            self.log_dict(
                {f"val/{variant}_{name}": value for name, value in values.items()},
                batch_size=len(batch),
            )
        self.log("val/mrr", torch.stack(reciprocal).mean(), batch_size=len(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with one learning rate, as in the paper."""
        return torch.optim.Adam(self.scorers.parameters(), lr=self.config.learning_rate)


def choice_loss(
    scorers: Scorers, variant: str, vectors: Mapping[str, torch.Tensor], rows_BK: torch.Tensor
) -> torch.Tensor:
    """Return the mean cross-entropy of the candidates' logits; the right one stands first."""
    scorer = scorers[variant]
    own_B = rows_BK[:, 0]
    query = scorers.scaled({name: vectors[name][own_B] for name in scorer.queries})
    offered = scorers.scaled({scorer.result: vectors[scorer.result][rows_BK]})
    logits_BK = scorer(scorer.query(query), scorer.candidates(offered))
    return functional.cross_entropy(logits_BK, torch.zeros_like(own_B))
