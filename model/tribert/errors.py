"""Errors of the separation data path and its evaluation."""

from __future__ import annotations

from model.train.errors import RecipeError


class SeparationError(RecipeError):
    """A data set, stage or configuration that TriBERT cannot train or be evaluated on."""
