"""Errors of the store. Each message says what, where, expected and got, and what to do."""

from __future__ import annotations


class StoreError(Exception):
    """Base of every error the store raises."""


class InvalidRecord(StoreError, ValueError):
    """A value that breaks the contract of a record."""


class ItemNotFound(StoreError, KeyError):
    """No rows for this item in this stage."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class StageNotFound(StoreError, KeyError):
    """No such stage in the store, or several without a view to choose one."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class CorruptShard(StoreError):
    """A shard that fails its checksums or its contract."""


class StoreTooNew(StoreError):
    """The store was written by a newer version of this software."""


class StoreNotWritable(StoreError, PermissionError):
    """The store's root cannot be written."""


class StoreNotFound(StoreError, FileNotFoundError):
    """No store at this root."""


class StoreDamaged(StoreError):
    """Files of the store contradict each other; a person has to look."""
