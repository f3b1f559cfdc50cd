"""What a trainer or an evaluator is told: one JSON file in, one typed job out.

In: the fields that a Luigi task knows (recipe, stages, snapshot, store). Out: `TrainJob` and
`EvaluateJob`, with the names under which their results are published. Light: no torch here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from storage.errors import InvalidRecord
from storage.fingerprint import sha256_json
from storage.layout import Layout
from storage.models import ModelRecord

FINGERPRINT_DIGITS = 12


class _JsonJob:
    """Reading and writing a job as one JSON file."""

    __slots__ = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        values = asdict(self)  # type: ignore[call-overload]
        return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}

    def to_json(self, path: Path) -> Path:
        """Write the job to `path` and return the path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1, sort_keys=True) + "\n")
        return path

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """Return the job that `to_json` wrote.

        Raises InvalidRecord for a missing or unknown field, naming it and the file.
        """
        values = json.loads(path.read_text())
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        if unknown := sorted(set(values) - known):
            raise InvalidRecord(
                f"{path}: unknown field {', '.join(unknown)} for {cls.__name__}; "
                f"expected only {', '.join(sorted(known))}"
            )
        try:
            return cls(**values)
        except TypeError as error:
            raise InvalidRecord(f"{path}: not a {cls.__name__}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob(_JsonJob):
    """Train one model and publish it under `record.name`.

    `recipe` names the package `model.<recipe>`; `stages` maps a stage's name to `name-<fp>`;
    `snapshot` is the digest of the exact ids, labels and splits. `device` is 'auto', 'cpu' or
    'cuda', with a number of processes after a colon if more than one ('cuda:4'). Device, workers,
    store, run directory, where weights lie (not which they are) and how often a checkpoint is
    written are not part of the model's address.
    """

    recipe: str
    recipe_version: int
    configuration: Mapping[str, Any]
    seed: int
    stages: Mapping[str, str]
    snapshot: str
    dataset: str
    store_root: Path
    run_dir: Path
    device: str = "auto"
    loader_workers: int = 0
    checkpoint_every_s: float = 60.0
    weights_dir: str = ""
    """Where published weights lie, for a recipe that starts with some."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "store_root", Path(self.store_root))
        object.__setattr__(self, "run_dir", Path(self.run_dir))

    @classmethod
    def beside(
        cls,
        layout: Layout,
        record: ModelRecord,
        *,
        recipe: str,
        recipe_version: int,
        configuration: Mapping[str, Any],
        seed: int,
        device: str = "auto",
    ) -> Self:
        """Return the job of a model on the snapshot and the stages of a published one."""
        return cls.on(
            layout,
            dataset=record.dataset,
            snapshot=record.snapshot,
            stages=record.stages,
            recipe=recipe,
            recipe_version=recipe_version,
            configuration=configuration,
            seed=seed,
            device=device,
        )

    @classmethod
    def on(
        cls,
        layout: Layout,
        *,
        dataset: str,
        snapshot: str,
        stages: Mapping[str, str],
        recipe: str,
        recipe_version: int,
        configuration: Mapping[str, Any],
        seed: int,
        device: str = "auto",
    ) -> Self:
        """Return the job of a model on a snapshot and stages, with its run's directory."""
        job = cls(
            recipe=recipe,
            recipe_version=recipe_version,
            configuration=configuration,
            seed=seed,
            stages=stages,
            snapshot=snapshot,
            dataset=dataset,
            store_root=layout.root,
            run_dir=layout.root,
            device=device,
        )
        return replace(job, run_dir=layout.run(job.name))

    @property
    def record(self) -> ModelRecord:
        """The model's address: everything that decides its weights."""
        return ModelRecord(
            recipe=self.recipe,
            recipe_version=self.recipe_version,
            configuration=dict(self.configuration),
            seed=self.seed,
            stages=dict(self.stages),
            snapshot=self.snapshot,
            dataset=self.dataset,
        )

    @property
    def name(self) -> str:
        """`<recipe>-<fingerprint>`, the directory under `models/`."""
        return self.record.name


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateJob(_JsonJob):
    """Evaluate one or several published models and publish the results under `name`.

    `what` is 'separation' or 'parsing'; `model` is a published model's name or a list of them
    (the first is the one under test, the others are controls that their own records describe).
    """

    what: str
    version: int
    model: str | Sequence[str]
    dataset: str
    snapshot: str
    stages: Mapping[str, str]
    store_root: Path
    out_dir: Path
    configuration: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "store_root", Path(self.store_root))
        object.__setattr__(self, "out_dir", Path(self.out_dir))
        if not self.models:
            raise InvalidRecord(f"evaluation '{self.what}': no model given; name at least one")

    @classmethod
    def beside(
        cls,
        layout: Layout,
        record: ModelRecord,
        *,
        what: str,
        version: int,
        models: Sequence[str],
        configuration: Mapping[str, Any] | None = None,
        device: str = "auto",
    ) -> Self:
        """Return the evaluation of models on the snapshot and the stages of a model's record."""
        job = cls(
            what=what,
            version=version,
            model=list(models),
            dataset=record.dataset,
            snapshot=record.snapshot,
            stages=record.stages,
            configuration=configuration or {},
            store_root=layout.root,
            out_dir=layout.root,
            device=device,
        )
        return replace(job, out_dir=layout.run(job.name))

    @property
    def models(self) -> tuple[str, ...]:
        """Every model's name, the one under test first."""
        return (self.model,) if isinstance(self.model, str) else tuple(self.model)

    @property
    def fingerprint(self) -> str:
        """12 hex digits over everything that decides the figures."""
        decisive = {
            "what": self.what,
            "version": self.version,
            "models": list(self.models),
            "configuration": dict(self.configuration),
            "snapshot": self.snapshot,
            "stages": dict(self.stages),
        }
        return sha256_json(decisive)[:FINGERPRINT_DIGITS]

    @property
    def name(self) -> str:
        """`<what>-<fingerprint>`, the directory under `evaluations/`."""
        return f"{self.what}-{self.fingerprint}"
