"""A lab's own folder: labels change, clips are added and replaced, and nothing else is redone."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from runs import Workspace

from pipeline.demo import make_demo
from storage import FeatureStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHARD_LINE = re.compile(r"^(\w+) [\w.-]+/(\d+): (\d+) ok", re.MULTILINE)


class LabFolder:
    """A folder of the demo's solos with labels.csv, in a workspace."""

    def __init__(self, workspace: Workspace, clips: Path) -> None:
        self.workspace = workspace
        self.path = workspace.path / "videos"
        self.path.mkdir()
        with (clips / "labels.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if ";" not in row["labels"]]
        self.spare = rows.pop()
        self.rows = rows
        self.clips = clips
        for row in rows:
            self.take(row)
        self.write_labels()

    def take(self, row: dict[str, str]) -> None:
        """Copy a clip and its pose results into the folder."""
        for path in self.clips.glob(f"{Path(row['file']).stem}.*"):
            shutil.copyfile(path, self.path / path.name)

    def write_labels(self) -> None:
        """Write labels.csv for the clips that are in the folder."""
        with (self.path / "labels.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["file", "labels", "split"])
            writer.writeheader()
            writer.writerows(
                {"file": Path(r["file"]).name, "labels": r["labels"], "split": r["split"]}
                for r in self.rows
            )

    def run(self, *arguments: str) -> tuple[str, dict[str, dict[str, int]]]:
        """Run the pipeline; return what it said, and stage -> shard -> items done."""
        done = self.workspace.luigi(
            "--dataset", f"folder:{self.path}", "--recipe", "tribert", *arguments
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, dict[str, int]] = {}
        for stage, shard, items in SHARD_LINE.findall(done.stderr):
            found.setdefault(stage, {})[shard] = int(items)
        return done.stderr, found

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of every shard of the store."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.workspace.store.glob("stages/**/*.h5")
        }

    @property
    def models(self) -> set[str]:
        """Names of the published models."""
        return {path.parent.name for path in self.workspace.store.glob("models/*/model.json")}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> LabFolder:
    """A folder that the pipeline has run over once."""
    root = tmp_path_factory.mktemp("lab")
    made = make_demo(root / "made", size="micro", seed=3)
    clips = {item.path.parent for item in made.items if item.path and "tribert" in item.item.tasks}
    workspace = Workspace(root)
    for section, steps in (("stgcn", "8"), ("tribert", "8")):
        workspace.set_key(section, "max_steps", steps)
    folder = LabFolder(workspace, clips.pop())
    folder.run()
    return folder


def test_a_changed_label_runs_no_stage(lab: LabFolder) -> None:
    shards, models = lab.digests, lab.models
    train = [row for row in lab.rows if row["split"] == "train"]
    train[0]["labels"], train[1]["labels"] = train[1]["labels"], train[0]["labels"]
    lab.write_labels()
    _, ran = lab.run()
    assert ran == {}
    assert lab.digests == shards
    assert {name.partition("-")[0] for name in lab.models - models} == {"tribert"}


def test_an_added_clip_is_the_only_one_computed(lab: LabFolder) -> None:
    shards, models = lab.digests, lab.models
    lab.rows.append(lab.spare)
    lab.take(lab.spare)
    lab.write_labels()
    said, ran = lab.run()
    assert set(ran) == {"probe", "frames", "audio_11025", "stft", "pose", "pose_embed"}
    assert all(done == {"1": 1} for done in ran.values())
    after = lab.digests
    assert {name: after[name] for name in shards} == shards
    assert lab.models == models
    assert "1 item(s) are newer than its snapshot" in said


def test_a_replaced_clip_is_stale_and_the_only_one_computed(lab: LabFolder) -> None:
    shards, models = lab.digests, lab.models
    store = FeatureStore(lab.workspace.store)
    changed, donor = (lab.path / Path(row["file"]).name for row in lab.rows[:2])
    item = next(i for i in store.items("frames") if changed.name in i)
    before = store.rows("frames", item, "jpeg", 0, 1)
    shutil.copyfile(donor, changed)
    command = ("explain", "--dataset", f"folder:{lab.path}", "--recipe", "tribert", "--json")
    rows = json.loads(lab.workspace.soundstage(*command).stdout)
    assert any(row["name"] == "fetch" and row["items"] == 1 for row in rows)
    _, ran = lab.run()
    assert all(done == {"0": 1} for done in ran.values())
    assert set(ran) == {"probe", "frames", "audio_11025", "stft", "pose", "pose_embed"}
    after = lab.digests
    assert {name: after[name] for name in shards} == shards
    assert all(".r1.h5" in name for name in set(after) - set(shards))
    assert lab.models == models
    assert FeatureStore(lab.workspace.store).rows("frames", item, "jpeg", 0, 1) != before


def test_latest_snapshot_trains_on_the_added_clip(lab: LabFolder) -> None:
    models = lab.models
    _, ran = lab.run("--snapshot", "latest")
    assert ran == {}
    (new,) = lab.models - models
    model = json.loads((lab.workspace.store / "models" / new / "model.json").read_text())
    digest = model["record"]["snapshot"]
    (snapshot,) = lab.workspace.store.glob(f"datasets/*/snapshots/{digest}.jsonl")
    assert Path(lab.spare["file"]).name in snapshot.read_text()
