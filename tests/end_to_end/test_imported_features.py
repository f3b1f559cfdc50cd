"""Published LLP features without any video: import, training, export; a video that comes later."""

from __future__ import annotations

import configparser
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from runs import Workspace

from pipeline.npy_features import FOLDERS
from storage.layout import open_store
from storage.outcomes import read_fetch_log
from storage.store import FeatureStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CLASSES = ("Speech", "Dog", "Banjo")
CLIPS = {"train": 12, "val": 6, "test": 6}
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
LISTS = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}


def small_lists(folder: Path) -> dict[str, str]:
    """Lists of 24 clips as LLP's are written; return name -> label."""
    folder.mkdir(parents=True)
    labels = {}
    dense = ["filename\tonset\toffset\tevent_labels"]
    for split, file in LISTS.items():
        rows = ["filename\tevent_labels"]
        for number in range(CLIPS[split]):
            name = f"{split:_<7}{number:04d}_{number}_{number + 10}"
            labels[name] = CLASSES[number % len(CLASSES)]
            rows.append(f"{name}\t{labels[name]}")
            if split != "train":
                dense.append(f"{name}\t0\t10\t{labels[name]}")
        (folder / file).write_text("\n".join(rows) + "\n")
    for file in ("AVVP_eval_audio_pre2024.csv", "AVVP_eval_visual.csv"):
        (folder / file).write_text("\n".join(dense) + "\n")
    return labels


def published_features(folder: Path, labels: dict[str, str]) -> None:
    """Features that tell the classes apart, in the published layout."""
    rng = np.random.default_rng(0)
    for published in FOLDERS.values():
        (folder / published.folder).mkdir(parents=True)
        for name, label in labels.items():
            rows = rng.random((published.rows, published.width), np.float32)
            rows[:, CLASSES.index(label) :: len(CLASSES)] += 1
            np.save(folder / published.folder / f"{name}.npy", rows)


def settings_of(made: Workspace, printed: str) -> None:
    """Put the lines that import-features printed into luigi.cfg."""
    lines = configparser.ConfigParser()
    lines.read_string(printed[printed.index("[vggish]") :])
    for section in lines.sections():
        made.set_key(section, "weights", lines[section]["weights"])


def test_features_without_a_video(tmp_path: Path, shared_dir: Path) -> None:
    made = Workspace(tmp_path / "w")
    labels = small_lists(made.path / "lists" / "llp")
    published = made.path / "published"
    published_features(published, labels)
    made.set_key("lists", "dir", "lists")
    made.set_key("avvp", "max_steps", "40")
    brought = made.soundstage("import-features", "--dataset", "llp", str(published))
    assert brought.returncode == 0, brought.stderr
    settings_of(made, brought.stdout)
    asked = json.loads(made.soundstage("estimate", "--dataset", "llp", "--json").stdout)
    assert asked["download"]["videos"] == 0
    done = made.luigi("--dataset", "llp", env=NO_NETWORK)
    assert done.returncode == 0, done.stderr
    assert "24 of 24 items came through" in done.stderr
    assert "avvp" in done.stderr
    assert read_fetch_log(open_store(made.store), "youtube") == {}
    (results,) = made.store.glob("evaluations/*/results.json")
    figures = json.loads(results.read_text())
    assert (len(figures["items"]), figures["missing"]) == (CLIPS["test"], {})
    assert figures["rows"]["HAN"]["segment"]["type_at_av"] > 90
    back = made.soundstage("export-features", "--dataset", "llp", "back", "--json")
    folders = json.loads(back.stdout)["folders"]
    assert folders == {f.folder: {"written": 24} for f in FOLDERS.values()}
    for path in published.rglob("*.npy"):
        copy = made.path / "back" / path.relative_to(published)
        assert copy.read_bytes() == path.read_bytes()
    _a_video_comes(made, next(iter(labels)), shared_dir)


def _a_video_comes(made: Workspace, name: str, shared_dir: Path) -> None:
    """Sound of one planned clip is computed; the others have the outcome that they have none."""
    videos = made.path / "lab"
    videos.mkdir()
    clip = shared_dir / "media" / "clips" / "vtaldm_-26aVYRtEAc_000030.mp4"
    shutil.copyfile(clip, videos / f"{name}.mp4")
    made.set_key("fetch", "videos_dir", "lab")
    made.set_key("fetch", "network_failures", "1")
    made.set_key("fetch", "retries", "0")
    made.set_key("vggish", "weights", "random:0")
    made.set_key("soundstage", "workers", "1")
    made.set_key("soundstage", "min_coverage", "0")
    done = made.luigi("--dataset", "llp", env=NO_NETWORK)
    assert "vggish youtube/0: 23 missing_file, 1 ok" in done.stderr, done.stderr
    store = FeatureStore(made.store)
    computed = next(p.name for p in (made.store / "stages").glob("vggish-*") if _has(p, store))
    assert len(store.items(computed)) == 1
    explained = made.soundstage("explain", "--dataset", "llp", "--json")
    rows = {row["name"]: row for row in json.loads(explained.stdout)}
    assert rows[computed]["state"] == "done"
    assert json.loads(made.soundstage("verify", "--json").stdout)["problems"] == []


def _has(folder: Path, store: FeatureStore) -> bool:
    return any(o.reason == "missing_file" for o in store.outcomes(folder.name).values())
