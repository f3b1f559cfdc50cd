"""What a bench or a table trains on: one dataset of a store, and the stages that its sources read.

In: a store, the name of a dataset or none, names of stages. Out: the dataset's name, and each
stage's address. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from model.train.errors import RecipeError
from storage.layout import Layout
from storage.records import DatasetItem
from storage.store import FeatureStore
from storage.views import list_datasets


def chosen_dataset(layout: Layout, name: str = "") -> str:
    """Return the dataset that is named, or the only one.

    Raises
    ------
    RecipeError
        None is named, and the store has none or several.
    """
    names = list_datasets(layout)
    if not name and len(names) != 1:
        raise RecipeError(f"{layout.root}: it has the datasets {names}; name one with --dataset")
    return name or names[0]


def stages_of(
    store: FeatureStore, items: Iterable[DatasetItem], stages: Iterable[str]
) -> dict[str, str]:
    """Return stage -> `<stage>-<fingerprint>`, the one that all sources of the items read.

    Raises
    ------
    RecipeError
        The sources read different ones.
    storage.errors.StoreError
        A source reads none.
    """
    sources = sorted({item.item_id.split("/")[0] for item in items})
    addresses = {}
    for stage in stages:
        found = {source: store.resolve(stage, source) for source in sources}
        if len(set(found.values())) > 1:
            raise RecipeError(
                f"{stage}: the dataset's sources read different ones ({found}): finish a run of "
                "the pipeline on it first"
            )
        addresses[stage] = next(iter(found.values()))
    return addresses
