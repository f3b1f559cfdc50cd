"""Published lists through the real command, with and without the videos, and without a network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from runs import Workspace

from storage.layout import open_store
from storage.outcomes import read_fetch_log
from storage.store import FeatureStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
"""Nothing listens there: every request fails at once, on machines with a network too."""
LLP_CLIPS = ("BjCEufrlXm4_20_30", "-9WBkdJq104_30_40")
MUSIC_SOLOS = ("-Gdh8N_KpLY", "ZeQPNWdFs_4")


def workspace(path: Path, shared_dir: Path, names: Sequence[str] = ()) -> Workspace:
    """A workspace with the published lists, a lab's folder of videos, and short patience."""
    made = Workspace(path)
    videos = path / "lab"
    videos.mkdir()
    clips = ("vggsound_-Qowmc0P9ic_34000_44000.mp4", "vtaldm_-26aVYRtEAc_000030.mp4")
    for number, name in enumerate(names):
        clip = shared_dir / "media" / "clips" / clips[number % len(clips)]
        shutil.copyfile(clip, videos / f"{name}.mp4")
    made.set_key("lists", "dir", str(shared_dir / "data"))
    made.set_key("fetch", "videos_dir", str(videos))
    made.set_key("fetch", "network_failures", "2")
    made.set_key("fetch", "retries", "0")
    made.set_key("fetch", "backoff_s", "0.1")
    return made


def fetched(made: Workspace) -> dict[str, str]:
    log = read_fetch_log(open_store(made.store), "youtube")
    return {item_id.split("/")[1]: event.reason for item_id, event in log.items()}


def test_a_list_without_network_or_videos_fails_clearly_and_blames_no_video(
    tmp_path: Path, shared_dir: Path
) -> None:
    made = workspace(tmp_path / "w", shared_dir)
    done = made.luigi("--dataset", "llp", env=NO_NETWORK, timeout_s=120)
    assert done.returncode != 0
    assert "11849 of 11849 items are still to be fetched" in done.stderr
    assert "videos_dir" in done.stderr
    assert "Traceback" not in done.stderr
    assert fetched(made) == {}
    covered = json.loads(made.soundstage("coverage", "--dataset", "llp", "--json").stdout)
    assert covered["items"] == 11849
    assert covered["ok"] == 0


def test_imported_clips_go_on_to_features(tmp_path: Path, shared_dir: Path) -> None:
    made = workspace(tmp_path / "w", shared_dir, LLP_CLIPS)
    made.set_key("resnet152", "sampling", "sparse")
    done = made.luigi("--dataset", "llp", env=NO_NETWORK)
    assert done.returncode != 0
    assert set(fetched(made).values()) == {"ok"}
    assert "below min_coverage" in done.stderr
    rows = FeatureStore(made.store).items("vggish")
    assert {item_id.split("/")[1] for item_id in rows} == {name[:11] for name in LLP_CLIPS}


def test_a_second_dataset_of_the_same_videos_extracts_nothing(
    tmp_path: Path, shared_dir: Path
) -> None:
    made = workspace(tmp_path / "w", shared_dir, MUSIC_SOLOS)
    made.set_key("lists", "music_split", "draw")
    made.set_key("lists", "music21_split", "draw")
    first = made.luigi("--dataset", "music21", "--recipe", "tribert", env=NO_NETWORK)
    assert "pose youtube/0: 2 ok" in first.stderr
    second = made.luigi("--dataset", "music", "--recipe", "tribert", env=NO_NETWORK)
    assert "items are still to be fetched" in second.stderr
    assert "youtube/0" not in second.stderr, "no shard is computed"
    assert fetched(made) == dict.fromkeys(MUSIC_SOLOS, "ok")
