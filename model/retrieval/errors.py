"""Errors of retrieval."""

from __future__ import annotations

from model.train.errors import RecipeError


class RetrievalError(RecipeError):
    """A model, stage or set of clips that retrieval cannot be trained or judged on."""
