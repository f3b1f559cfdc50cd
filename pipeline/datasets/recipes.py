"""A dataset in, the recipe that suits it and one sentence that says why out."""

from __future__ import annotations

from collections import defaultdict

from pipeline.datasets.base import Dataset, video_of
from pipeline.datasets.classes import LLP, MUSIC21

_ENOUGH = 3
"""Videos that a class needs to count: one each to train, select and test on."""

_MUSIC, _PARSING = "tribert", "avvp"


def default_recipe(dataset: Dataset) -> tuple[str, str]:
    """Return ('tribert' | 'avvp' | 'all' | 'features', one sentence that says why).

    'all' where items name the recipes that they serve and name both. Otherwise the classes with
    three videos or more decide: fewer than two of them, 'features'; most of them instruments of
    MUSIC21, 'tribert'; most of them classes of LLP, 'avvp'. A name is looked up as it is written
    first ('banjo' is MUSIC21's, 'Banjo' LLP's), then without regard to capitals; a name that could
    be either counts for both, and a tie goes to 'tribert'.
    """
    named = {task for s in dataset.items for task in s.item.tasks}
    if {_MUSIC, _PARSING} <= named:
        return "all", f"Recipe 'all': {dataset.name} has items for both TriBERT and AVVP."
    classes = _counted(dataset)
    if not any(s.item.labels for s in dataset.items):
        return "features", f"Recipe 'features': no clip of {dataset.name} has a label."
    if len(classes) < 2:
        return "features", (
            f"Recipe 'features': {dataset.name} has {len(classes)} class(es) with at least "
            f"{_ENOUGH} videos, and training needs two."
        )
    votes = [_votes(name) for name in classes]
    music, parsing = sum(_MUSIC in v for v in votes), sum(_PARSING in v for v in votes)
    if sum(bool(v) for v in votes) * 2 <= len(classes):
        return "features", (
            f"Recipe 'features': of {len(classes)} classes with at least {_ENOUGH} videos, "
            f"{music} are MUSIC21's and {parsing} LLP's; choose a recipe to train on the others."
        )
    if music >= parsing:
        return _MUSIC, (
            f"Recipe 'tribert': {music} of {len(classes)} classes with at least {_ENOUGH} videos "
            "are instruments of MUSIC21."
        )
    return _PARSING, (
        f"Recipe 'avvp': {parsing} of {len(classes)} classes with at least {_ENOUGH} videos "
        "are classes of LLP."
    )


def _counted(dataset: Dataset) -> list[str]:
    videos: dict[str, set[str]] = defaultdict(set)
    for source_item in dataset.items:
        for label in source_item.item.labels:
            videos[label].add(video_of(source_item.item.item_id))
    return sorted(label for label, of in videos.items() if len(of) >= _ENOUGH)


def _votes(name: str) -> set[str]:
    """Return the recipes whose published class list holds `name`."""
    if name in MUSIC21:
        return {_MUSIC}
    if name in LLP:
        return {_PARSING}
    plain = name.casefold().replace(" ", "_")
    lists = {_MUSIC: MUSIC21, _PARSING: LLP}
    return {recipe for recipe, names in lists.items() if plain in {n.casefold() for n in names}}
