"""What computed a stage: canonical JSON, digests, and the record whose digest is in a stage's path.

In: plain values and files. Out: hex digests, and the list of fields in which two records differ.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.errors import InvalidRecord

FINGERPRINT_DIGITS = 12


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces, no NaN, floats as `repr`.

    Tuples become lists. Raises InvalidRecord for anything JSON does not hold exactly: NaN and
    infinities, keys that are not strings, text that is not valid Unicode, objects of other types.
    """
    _check_json(value, "value")
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecord(f"not JSON: a text with a lone surrogate ({error})") from error
    return text


def _check_json(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidRecord(f"{where}: key {key!r} is not a string")
            _check_json(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRecord(f"{where}: {value} has no JSON form")
    elif value is not None and not isinstance(value, (str, int, bool)):
        raise InvalidRecord(f"{where}: {type(value).__name__} has no canonical JSON form")


def plain_json(value: Any) -> Any:
    """Return `value` as JSON reads it back (tuples become lists), detached from the original."""
    return json.loads(canonical_json(value))


def sha256_json(value: Any) -> str:
    """Return the hex sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Return the hex sha256 of a file's bytes; memory does not grow with the file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of every leaf of nested mappings; a list is one leaf."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{prefix}.{key}" if prefix else key)
    elif prefix and not isinstance(value, Mapping):
        yield prefix, value


def json_differences(old: Any, new: Any) -> list[str]:
    """Return one line a differing leaf, sorted: `parameters.hop_samples: 256 -> 512`."""
    before, after = dict(leaves(old)), dict(leaves(new))
    lines = []
    for name in sorted(before.keys() | after.keys()):
        texts = [canonical_json(v[name]) if name in v else "absent" for v in (before, after)]
        if texts[0] != texts[1]:
            lines.append(f"{name}: {texts[0]} -> {texts[1]}")
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """Everything that decides a stage's rows, apart from the items themselves.

    `weights` maps a weight file's role to its sha256 (or `random:<seed>`), `upstream` a stage that
    is read to its fingerprint. Tool versions are not here: they are provenance, kept in each shard.
    """

    stage: str
    stage_version: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    backend: str = ""
    precision: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("parameters", "weights", "upstream"):
            object.__setattr__(self, name, plain_json(getattr(self, name)))

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back."""
        return {
            "stage": self.stage,
            "stage_version": self.stage_version,
            "parameters": dict(self.parameters),
            "backend": self.backend,
            "precision": self.precision,
            "weights": dict(self.weights),
            "upstream": dict(self.upstream),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageRecord:
        """Return the record that `as_json` described."""
        return cls(**value)

    @property
    def fingerprint(self) -> str:
        """The first 12 hex digits of the sha256 of the record's canonical JSON."""
        return sha256_json(self.as_json())[:FINGERPRINT_DIGITS]

    @property
    def name(self) -> str:
        """`<stage>-<fingerprint>`, the stage's folder."""
        return f"{self.stage}-{self.fingerprint}"

    def differences(self, new: StageRecord) -> list[str]:
        """Return the fields in which `new` differs from this (older) record, one line each."""
        return json_differences(self.as_json(), new.as_json())
