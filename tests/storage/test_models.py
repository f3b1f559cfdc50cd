import json
import multiprocessing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import DatasetItem, Event, ModelRecord, models, open_store
from storage.errors import InvalidRecord, ItemNotFound, StoreDamaged, StoreError
from storage.views import list_datasets, read_dataset_view, write_dataset_view

texts = st.text(max_size=8)
items = st.lists(
    st.builds(
        DatasetItem,
        item_id=st.integers(0, 50).map(lambda i: f"demo/v{i}/whole"),
        labels=st.lists(texts, max_size=3).map(tuple),
        split=st.sampled_from(["train", "val", "test", ""]),
        tasks=st.lists(texts, max_size=2).map(tuple),
        events=st.none()
        | st.lists(
            st.builds(
                Event,
                modality=st.sampled_from(["audio", "visual"]),
                label=texts,
                onset_s=st.floats(0, 10),
                offset_s=st.floats(0, 10),
            ),
            max_size=3,
        ).map(tuple),
    ),
    max_size=6,
    unique_by=lambda item: item.item_id,
)


@given(items, st.randoms())
def test_a_snapshots_digest_depends_on_its_items_not_on_their_order(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    reordered = [
        DatasetItem.from_json(dict(reversed(list(item.as_json().items())))) for item in shuffled
    ]
    assert models.snapshot_digest(reordered) == models.snapshot_digest(rows)


@given(items.filter(len))
def test_labels_splits_and_events_move_a_snapshots_digest(rows):
    first = rows[0].as_json()
    changes = [
        {"labels": [*first["labels"], "more"]},
        {"split": first["split"] + "x"},
        {"events": [*(first["events"] or []), ["audio", "dog", 0.0, 1.0]]},
        {"item_id": "demo/another/whole"},
    ]
    before = models.snapshot_digest(rows)
    for change in changes:
        changed = [DatasetItem.from_json({**first, **change}), *rows[1:]]
        assert models.snapshot_digest(changed) != before


@settings(deadline=None, max_examples=40)
@given(rows=items)
def test_snapshots_and_views_read_back(tmp_path_factory, rows):
    layout = open_store(tmp_path_factory.mktemp("s"), create=True)
    digest = models.write_snapshot(layout, "music", rows)
    found = models.read_snapshot(layout, "music", digest)
    assert sorted(rows, key=lambda item: item.item_id) == found
    assert models.write_snapshot(layout, "music", found) == digest
    assert models.list_snapshots(layout, "music") == [digest]
    write_dataset_view(layout, "music", rows)
    assert read_dataset_view(layout, "music") == rows


def test_snapshots_refuse_an_item_twice_and_a_changed_file(layout):
    item = DatasetItem(item_id="a/b/whole")
    with pytest.raises(InvalidRecord, match="a/b/whole"):
        models.write_snapshot(layout, "d", [item, item])
    digest = models.write_snapshot(layout, "d", [item])
    path = layout.snapshot("d", digest)
    path.chmod(0o644)
    path.write_text(path.read_text().replace('"split":""', '"split":"test"'))
    with pytest.raises(StoreDamaged, match=digest):
        models.read_snapshot(layout, "d", digest)
    with pytest.raises(ItemNotFound, match=digest):
        models.read_snapshot(layout, "d", "absent")


def test_a_dataset_gets_a_new_revision_only_when_it_changed(layout):
    rows = [DatasetItem(item_id="a/b/whole"), DatasetItem(item_id="a/a/whole")]
    assert write_dataset_view(layout, "d", rows) == "00001"
    assert write_dataset_view(layout, "d", rows) == "00001"
    assert write_dataset_view(layout, "d", rows[::-1]) == "00002"
    assert write_dataset_view(layout, "d", rows) == "00003"
    assert read_dataset_view(layout, "d") == rows
    assert list_datasets(layout) == ["d"]
    with pytest.raises(ItemNotFound, match="'d'"):
        read_dataset_view(layout, "absent")


def record(**changes):
    values = {
        "recipe": "han",
        "recipe_version": 1,
        "configuration": {"width": 512, "shape": (1, 2)},
        "seed": 0,
        "stages": {"vggish": "vggish-0123456789ab"},
        "snapshot": "0123456789ab",
        "dataset": "llp",
    }
    return ModelRecord(**(values | changes))


def test_a_models_fingerprint_has_everything_but_the_datasets_name():
    assert record(dataset="renamed").fingerprint == record().fingerprint
    changes = [
        {"recipe": "x"},
        {"recipe_version": 2},
        {"configuration": {}},
        {"seed": 1},
        {"stages": {}},
        {"snapshot": "b"},
    ]
    prints = {record(**change).fingerprint for change in changes} | {record().fingerprint}
    assert len(prints) == 7
    assert record().name == f"han-{record().fingerprint}"
    assert record().differences(record(seed=1, snapshot="b")) == [
        "seed: 0 -> 1",
        'snapshot: "0123456789ab" -> "b"',
    ]
    assert ModelRecord.from_json(json.loads(json.dumps(record().as_json()))) == record()


def test_a_model_is_complete_when_it_is_published(layout, tmp_path):
    name = record().name
    assert not models.model_complete(layout, name)
    assert models.list_models(layout) == []
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "weights.safetensors").write_bytes(b"w")
    assert models.publish_model(layout, record(), tmp_path / "p", {"weights_sha256": "s"})
    assert models.model_complete(layout, name)
    assert models.list_models(layout) == [name]
    described = models.read_model(layout, name)
    assert described == {"record": record().as_json(), "weights_sha256": "s"}
    (tmp_path / "p").mkdir()
    assert not models.publish_model(layout, record(), tmp_path / "p", {})
    assert models.read_model(layout, name) == described
    with pytest.raises(ItemNotFound, match=name):
        models.read_model(layout, "absent-0123")
    with pytest.raises(InvalidRecord, match="record"):
        models.publish_model(layout, record(), tmp_path / "p", {"record": 1})


def test_a_folder_without_its_marker_is_not_a_model(layout, tmp_path):
    folder = layout.model(record().name)
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"w")
    assert not models.model_complete(layout, record().name)
    (tmp_path / "p").mkdir()
    with pytest.raises(StoreDamaged, match=r"without model\.json"):
        models.publish_model(layout, record(), tmp_path / "p", {})


def test_evaluations_are_published_with_their_results(layout, tmp_path):
    (tmp_path / "p").mkdir()
    with pytest.raises(StoreError, match=r"results\.json"):
        models.publish_evaluation(layout, "parsing-0123", tmp_path / "p")
    (tmp_path / "p" / "results.json").write_text('{"kind": "parsing"}')
    assert models.publish_evaluation(layout, "parsing-0123", tmp_path / "p")
    assert models.evaluation_complete(layout, "parsing-0123")
    assert models.read_evaluation(layout, "parsing-0123") == {"kind": "parsing"}
    assert models.list_evaluations(layout) == ["parsing-0123"]
    with pytest.raises(ItemNotFound):
        models.read_evaluation(layout, "absent")


def pin_many(layout, start):
    for i in range(start, start + 10):
        models.pin(layout, "d", f"pose_embed:{i}", f"stgcn-{i}")


def test_pins_are_kept_when_several_pin_at_once(layout):
    assert models.read_pins(layout, "d") == {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        pool.starmap(pin_many, [(layout, start) for start in (0, 10, 20)])
        pool.close()
        pool.join()
    assert models.read_pins(layout, "d") == {f"pose_embed:{i}": f"stgcn-{i}" for i in range(30)}
    models.pin(layout, "d", "pose_embed:3", "other")
    assert models.read_pins(layout, "d")["pose_embed:3"] == "other"
