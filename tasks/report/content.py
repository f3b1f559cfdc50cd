"""What stands on a report's page: the spec and the store in, plain values for the template out.

Every name of the store is resolved here; the template only lays out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.avvp.metrics import LEVELS
from model.avvp.published import PUBLISHED_ROWS, SOURCE
from model.avvp.rows import HEADINGS, headline, level_rows
from storage.layout import Layout
from storage.models import read_evaluation, read_model
from tasks.report import figures
from tasks.report.examples import retrieval_figures, separation_example
from tasks.report.gallery import Gallery
from tasks.report.retrieval import retrieval
from tasks.report.spec import ReportSpec

PAPER_PARSING = {
    "HAN, LLP test (paper)": {level: PUBLISHED_ROWS["HAN"].level(level) for level in LEVELS}
}
FIGURES = ("audio", "visual", "audio_visual", "type_at_av", "event_at_av")
MODALITIES = ("audio", "visual")


def page(spec: ReportSpec, gallery: Gallery) -> dict[str, Any]:
    """Return the template's values; every figure also goes into the gallery."""
    layout = Layout(Path(spec.root))
    results = [(name, read_evaluation(layout, name)) for name in spec.evaluations]
    return {
        "spec": spec,
        "random_weights": _random_weights(spec),
        "coverage": spec.coverage,
        "stages": _stage_rows(spec),
        "models": [_model(layout, name, gallery) for name in spec.models],
        "separation": [
            _separation(layout, n, r, gallery) for n, r in results if r["kind"] == "separation"
        ],
        "retrieval": [
            retrieval(r, retrieval_figures(layout.evaluation(n), r, gallery, n))
            for n, r in results
            if r["kind"] == "retrieval"
        ],
        "parsing": [_parsing(n, r) for n, r in results if r["kind"] == "parsing"],
        "parsing_tables": [
            _parsing_tables(read_evaluation(layout, name)) for name in spec.parsing_tables
        ],
        "versions": spec.provenance["versions"],
        "settings": spec.provenance["settings"],
    }


def _random_weights(spec: ReportSpec) -> list[str]:
    """Return `stage (random:<seed>)` for each network that no trained file was given for."""
    found = {
        f"{row['record']['stage']} ({value})"
        for rows in spec.stages.values()
        for row in rows
        for value in row["record"]["weights"].values()
        if value.startswith("random:")
    }
    return sorted(found)


def _stage_rows(spec: ReportSpec) -> list[dict[str, Any]]:
    rows = []
    for source, stages in spec.stages.items():
        for stage in stages:
            record = stage["record"]
            settings = {**record["parameters"], **record["weights"]}
            for key in ("backend", "precision"):
                if record[key]:
                    settings[key] = record[key]
            rows.append(
                {
                    "source": source,
                    "name": stage["name"],
                    "ok": stage["outcomes"].get("ok", 0),
                    "failed": {k: v for k, v in stage["outcomes"].items() if k != "ok"},
                    "settings": ", ".join(f"{k} = {v}" for k, v in sorted(settings.items())),
                }
            )
    return rows


def _model(layout: Layout, name: str, gallery: Gallery) -> dict[str, Any]:
    model = read_model(layout, name)
    history = [
        json.loads(line)
        for line in (layout.model(name) / "history.jsonl").read_text().splitlines()
        if line.strip()
    ]
    record = model["record"]
    drawn = figures.curves(history)
    return {
        "name": name,
        "title": _title(record),
        "snapshot": record["snapshot"],
        "seed": record["seed"],
        "steps": model["steps"],
        "wall_s": model["wall_s"],
        "parameters": model["weights_parameters"],
        "metrics": model["metrics"],
        "used": {split: len(ids) for split, ids in model["ids_used"].items()},
        "ids_used": model["ids_used"],
        "ids_missing": model["ids_missing"],
        "curves": gallery.keep(f"{name}-curves", drawn) if drawn else None,
    }


def _title(record: Mapping[str, Any]) -> str:
    """Return what a model is: its recipe, and which of those of this recipe."""
    settings = record["configuration"]
    which = {
        "separation": f", {settings.get('system')}",
        "retrieval": f", {settings.get('embedding')} {settings.get('protocol')}",
        "avvp": ", permuted labels (control)" if settings.get("label_permutation") else "",
    }
    return record["recipe"] + which.get(record["recipe"], "")


def _separation(
    layout: Layout, name: str, results: Mapping[str, Any], gallery: Gallery
) -> dict[str, Any]:
    folder = layout.evaluation(name)
    silent = sum(any(pair["silent"]) for pair in results["pairs"])
    return {
        "name": name,
        "pairs": len(results["pairs"]),
        "silent": silent,
        "rows": results["summary"],
        "first": next(iter(results["summary"])),
        "differences": results["differences"],
        "printed": results["published"],
        "settings": results.get("settings", {}),
        "left_out": results.get("left_out", {}),
        "examples": [
            separation_example(folder, example, gallery, f"{name}-{number}")
            for number, example in enumerate(results["examples"])
        ],
    }


def _parsing(name: str, results: Mapping[str, Any]) -> dict[str, Any]:
    classes = sorted({c for f1 in results["per_class"].values() for c in f1})
    return {
        "name": name,
        "figures": FIGURES,
        "rows": results["rows"],
        "paper": PAPER_PARSING,
        "note": results.get("note", ""),
        "items": len(results["items"]),
        "missing": results["missing"],
        "per_class": results["per_class"],
        "classes": classes,
        "examples": [_timeline(example) for example in results["examples"]],
    }


def _parsing_tables(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables of ReproduceParsingTables, every cell as text."""
    return {
        "said": headline(results),
        "headings": HEADINGS[1:],
        "levels": {level: level_rows(results, level) for level in LEVELS},
        "source": SOURCE,
    }


def _timeline(example: Mapping[str, Any]) -> dict[str, Any]:
    """Return bars in percent of the clip's length, truth over prediction, by modality and class."""
    seconds = max(1.0, float(example["seconds"]))
    truth = example["truth"] or {}
    rows = []
    for modality in MODALITIES:
        said, meant = example["prediction"].get(modality, []), truth.get(modality, [])
        for label in sorted({event[0] for event in [*said, *meant]}):
            bars = {
                kind: _bars(events, label, seconds)
                for kind, events in (("truth", meant), ("prediction", said))
            }
            rows.append({"modality": modality, "label": label, **bars})
    return {"item": example["item"], "seconds": seconds, "tags": example["tags"], "rows": rows}


def _bars(events: Sequence[Sequence[Any]], label: str, seconds: float) -> list[dict[str, float]]:
    return [
        {
            "left": 100 * onset / seconds,
            "width": 100 * (min(offset, seconds) - onset) / seconds,
            "onset_s": onset,
            "offset_s": offset,
        }
        for name, onset, offset in events
        if name == label and onset < seconds
    ]
