"""Errors of a training run. Each message says what, where, expected and got, and what to do."""

from __future__ import annotations


class TrainingError(Exception):
    """Base of every error that ends a training run without publishing."""


class TrainingDiverged(TrainingError):
    """The loss or the monitored value stopped being a finite number."""


class RunMismatch(TrainingError):
    """The run directory holds the checkpoint of another training."""


class LeaseLost(TrainingError):
    """Another trainer took the run over while this one did not answer."""


class RecipeError(TrainingError):
    """A job that its recipe cannot serve: unknown settings, stages or items."""


class InvalidParts(TrainingError, ValueError):
    """Parts or a device that no training can be made of."""
