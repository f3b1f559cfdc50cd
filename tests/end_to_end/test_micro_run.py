"""The whole pipeline on the smallest demo: one command, run again, changed, put back."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from runs import Workspace

from storage import FeatureStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STAGE_LINE = re.compile(r"^(\w+) [\w.-]+/\d+: ", re.MULTILINE)


def shard_digests(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("stages/**/*.h5"))
    }


def stages_run(text: str) -> set[str]:
    return set(STAGE_LINE.findall(text))


def test_one_command_leaves_models_figures_and_a_report(micro: Workspace) -> None:
    (report,) = micro.store.glob("reports/*/report.html")
    page = report.read_text()
    assert "http://" not in page
    assert "https://" not in page
    for expected in ("random:0", "oracle mask", "predict nothing", "audio/wav", "Coverage"):
        assert expected in page
    recipes = {p.parent.name.partition("-")[0] for p in micro.store.glob("models/*/model.json")}
    assert recipes == {"stgcn", "tribert", "avvp"}
    assert len(list(micro.store.glob("evaluations/*/results.json"))) == 2


def test_store_is_sound_and_no_process_is_left(micro: Workspace) -> None:
    found = json.loads(micro.soundstage("verify", "--json").stdout)
    assert found["problems"] == []
    assert found["shards"] > 10
    assert micro.left_processes() == []


def test_reader_gives_rows_with_times_and_units(micro: Workspace) -> None:
    store = FeatureStore(micro.store)
    item = store.items("vggish")[0]
    feature = store.read("vggish", item, start_s=1.0, end_s=3.0)
    assert feature.values.shape == (2, 128)
    assert feature.times_s.tolist() == [1.0, 2.0]
    music = store.items("stft")[0]
    assert store.read("frames", music).times_s[8] == pytest.approx(1.0)
    assert all(outcome.ok for outcome in store.outcomes("frames").values())


def test_second_run_computes_nothing(micro: Workspace) -> None:
    before = shard_digests(micro.store)
    done = micro.luigi("--dataset", "demo:micro")
    assert done.returncode == 0, done.stderr
    assert stages_run(done.stderr) == set()
    assert "trained" not in done.stderr
    assert shard_digests(micro.store) == before


def test_dry_run_starts_nothing(micro: Workspace) -> None:
    micro.set_key("stft", "hop_samples", "512")
    done = micro.luigi("--dataset", "demo:micro", "--dry-run")
    micro.set_key("stft", "hop_samples", "256")
    assert done.returncode == 0, done.stderr
    assert "hop_samples" in done.stdout
    assert stages_run(done.stderr) == set()


def test_changed_hop_computes_stft_and_what_reads_it(micro: Workspace) -> None:
    before = shard_digests(micro.store)
    models = set(micro.store.glob("models/*"))
    micro.set_key("stft", "hop_samples", "260")
    rows = json.loads(micro.soundstage("explain", "--dataset", "demo:micro", "--json").stdout)
    to_run = {row["name"].partition("-")[0]: row for row in rows if row["state"] != "done"}
    assert set(to_run) == {"stft", "tribert"}
    assert to_run["stft"]["differs"] == ["parameters.hop_samples: 256 -> 260"]
    assert any(d.startswith("stages.stft: ") for d in to_run["tribert"]["differs"])

    done = micro.luigi("--dataset", "demo:micro")
    assert done.returncode == 0, done.stderr
    assert stages_run(done.stderr) == {"stft"}
    after = shard_digests(micro.store)
    assert {k: after[k] for k in before} == before
    assert all(name.startswith("stages/stft-") for name in set(after) - set(before))
    new_models = {
        path.name.partition("-")[0] for path in set(micro.store.glob("models/*")) - models
    }
    assert new_models == {"tribert"}

    micro.set_key("stft", "hop_samples", "256")
    done = micro.luigi("--dataset", "demo:micro")
    assert done.returncode == 0, done.stderr
    assert stages_run(done.stderr) == set()
    assert "trained" not in done.stderr


def test_status_and_ls_speak_json(micro: Workspace) -> None:
    status = json.loads(micro.soundstage("status", "--dataset", "demo:micro", "--json").stdout)
    assert status["coverage"]["ok"] == status["coverage"]["items"] > 0
    assert status["rejected"] == []
    listing = json.loads(micro.soundstage("ls", "--json").stdout)
    assert {row["stage"].partition("-")[0] for row in listing["stages"]} >= {"stft", "vggish"}
    items = json.loads(micro.soundstage("ls", "vggish", "--json").stdout)["items"]
    assert items == FeatureStore(micro.store).items("vggish")
    for command in (("status", "--dataset", "demo:micro"), ("explain", "--dataset", "demo:micro")):
        assert "stft" in micro.soundstage(*command).stdout
