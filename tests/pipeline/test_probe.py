from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipeline.failures import ItemFailure
from pipeline.media import MediaInfo
from pipeline.probing import probe_media
from pipeline.stages import ProbeConfig
from storage.records import path_safe


def probe(path: Path, **options: Any) -> MediaInfo:
    options = {"window_length_s": None, "timeout_s": 60.0} | options
    return probe_media(str(path), ProbeConfig(), **options)


def test_an_ordinary_clip(clips: Any) -> None:
    info = probe(clips.tone(seconds=2.0))
    assert (info.video_reason, info.audio_reason) == ("ok", "ok")
    assert info.video is not None
    assert info.audio is not None
    assert (info.video.codec, info.audio.codec) == ("h264", "aac")
    assert (info.video.width_px, info.video.height_px) == (320, 240)
    assert info.video.fps == pytest.approx(25.0)
    assert (info.audio.rate_hz, info.audio.channels) == (44100, 1)
    assert info.duration_s == pytest.approx(2.0, abs=0.03)
    assert MediaInfo.from_json(info.to_json()) == info


def test_a_stream_less_clip_says_which_stream_is_missing(clips: Any) -> None:
    video = probe(clips.numbered("mute.mp4", count=25))
    assert (video.video_reason, video.audio_reason) == ("ok", "no_audio")
    sound = probe(clips.ffmpeg("blind.wav", "-f", "lavfi", "-i", "sine=d=1"))
    assert (sound.video_reason, sound.audio_reason) == ("no_video", "ok")
    assert sound.verdict("video") == ("no_video", "no picture stream")


def test_cover_art_is_no_video(clips: Any) -> None:
    picture = clips.ffmpeg("cover.png", "-f", "lavfi", "-i", "testsrc2=s=64x64", "-frames:v", "1")
    path = clips.ffmpeg(
        "covered.m4a",
        *("-f", "lavfi", "-i", "sine=d=1", "-i", str(picture), "-map", "0", "-map", "1"),
        *("-c:v", "png", "-disposition:v", "attached_pic"),
    )
    assert (probe(path).video_reason, probe(path).audio_reason) == ("no_video", "ok")


@pytest.mark.parametrize("level_db, verdict", [(-50, "ok"), (-80, "silent"), (-200, "silent")])
def test_silence_is_a_matter_of_the_loudest_sample(clips: Any, level_db: int, verdict: str) -> None:
    path = clips.ffmpeg(
        f"quiet{-level_db}.wav",
        *("-f", "lavfi", "-i", f"sine=d=1,volume=volume={level_db + 18}dB:precision=double"),
    )
    info = probe(path)
    assert info.audio_reason == verdict
    assert ("dBFS" in info.audio_detail) == (verdict == "silent")


def test_one_click_at_the_end_is_no_silence(clips: Any) -> None:
    path = clips.ffmpeg("click.wav", "-f", "lavfi", "-i", "aevalsrc='0.5*gt(t,4.9)':d=5")
    assert probe(path).audio_reason == "ok"


def test_short_clips(clips: Any) -> None:
    info = probe(clips.tone("blink.mp4", seconds=0.2))
    assert (info.video_reason, info.audio_reason) == ("too_short", "too_short")
    assert "expected at least 0.25 s" in info.video_detail


def test_the_window_sets_the_length_unless_the_media_ends_before(clips: Any) -> None:
    path = clips.tone(seconds=2.0)
    assert probe(path, window_length_s=2.3).duration_s == 2.3
    assert probe(path, window_length_s=1.5).duration_s == 1.5
    assert probe(path, window_length_s=10.0).duration_s == pytest.approx(2.0, abs=0.03)


def test_a_cut_off_download_is_corrupt(clips: Any, tmp_path: Path) -> None:
    whole = clips.tone(
        "faststart.mp4",
        seconds=8.0,
        codecs=("-c:v", "libx264", "-c:a", "aac", "-movflags", "+faststart"),
    ).read_bytes()
    path = tmp_path / "half.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    info = probe(path)
    assert (info.video_reason, info.audio_reason) == ("corrupt", "corrupt")
    assert "Get it again" in info.video_detail


@pytest.mark.parametrize("content", [b"\x00" * 5000, b"not a video\n" * 100, b"FLV\x01"])
def test_an_unreadable_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(ItemFailure, match="corrupt"):
        probe(path)


def test_random_bytes_after_a_good_header_never_crash(clips: Any, tmp_path: Path) -> None:
    whole = bytearray(clips.tone(seconds=2.0).read_bytes())
    rng = np.random.default_rng(0)
    reasons, durations_s = set(), []
    for trial in range(4):
        broken = whole.copy()
        places = rng.integers(1000, len(broken), 400)
        for place in places:
            broken[place] = rng.integers(256)
        path = tmp_path / f"damaged{trial}.mp4"
        path.write_bytes(broken)
        try:
            durations_s.append(probe(path).duration_s)
        except ItemFailure as failure:
            reasons.add(failure.reason)
    assert reasons <= {"corrupt"}
    assert all(seconds > 0 for seconds in durations_s)


@pytest.mark.parametrize("name", ["-dash.mp4", "a b'c\"d.mp4", "te[s]t_ % 05d ü.mp4", "x:y,z;.mp4"])
def test_odd_names(clips: Any, tmp_path: Path, name: str) -> None:
    shutil.copy(clips.tone(seconds=2.0), tmp_path / name)
    assert probe(tmp_path / name).video_reason == "ok"


VERDICTS = {
    "no_audio__androidx_video_only.mp4": ("ok", "no_audio"),
    "audio_only__androidx.mp4": ("no_video", "ok"),
    "audio_two_tracks__aac.mp4": ("no_video", "ok"),
    "audio51__bbb_small.mp4": ("ok", "ok"),
    "audio71_only__dts_hd.mkv": ("no_video", "silent"),
    "silent_black_10s.mp4": ("ok", "silent"),
    "alpha__transparent.webm": ("ok", "silent"),
    "no_duration__vp9.webm": ("ok", "silent"),
    "short__decord_0.mov": ("too_short", "no_audio"),
    "corrupt__decode_errors.mp4": ("ok", "no_audio"),
    "corrupt__invalid_nalu.mp4": ("ok", "no_audio"),
    "corrupt__missing_stsd.mp4": ("ok", "corrupt"),
    "corrupt__13_bytes.flv": ("unreadable", "unreadable"),
    "corrupt__no_moov_broken.mp4": ("unreadable", "unreadable"),
    "corrupt__malformed_free_box.mp4": ("unreadable", "unreadable"),
    "vfr__android_slow_motion.mp4": ("ok", "no_audio"),
    "edit_list__edts.mp4": ("ok", "ok"),
}
SIZES = {
    "rot90__portrait.MOV": (320, 568),
    "rot90__sideways_movie.mov": (480, 640),
    "rot180__decord_180.mov": (568, 320),
    "rot_reflect__androidx.mp4": (720, 1080),
    "vfr_rot180__fire2.mp4": (1280, 720),
    "odd_dims_161x121.webm": (161, 121),
    "hostile_name_1.mp4": (1, 1),
}
TRUE_NAMES = {
    "hostile_name_1.mp4": "-video-with-dash-.mp4",
    "hostile_name_2.mp4": "file+with+data&streams=works?.mp4",
    "hostile_name_3.flv": "te[s]t_ video ' _ .flv",
}


def odd_items(shared_dir: Path, laboratory: Any, folder: Path) -> dict[str, str]:
    """File name -> item of every odd file, under the name that makes it odd."""
    items = {}
    for path in sorted((shared_dir / "media" / "odd").iterdir()):
        link = folder / TRUE_NAMES.get(path.name, path.name)
        link.symlink_to(path)
        items[path.name] = laboratory.link(link, f"odd/{path_safe(path.name)}/whole")
    return items


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails the test that leaves a process, or a file among the temporary ones."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    assert list(scratch.iterdir()) == []
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
    assert [p for p in (tmp_path / "store").rglob("*") if "tmp" in p.name or p.name[0] == "."] == []


def probe_or_reason(path: str) -> str:
    try:
        return probe(Path(path)).to_json()
    except ItemFailure as failure:
        return failure.reason


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_every_odd_file_gets_rows_or_a_reason_and_the_same_again(
    shared_dir: Path, laboratory: Any, make_laboratory: Any, tmp_path: Path
) -> None:
    items = odd_items(shared_dir, laboratory, tmp_path)
    done = laboratory.run(["frames", "audio_16000"], list(items.values()))
    infos = {}
    for name, item in items.items():
        outcome = done["probe"][item]
        if not outcome.ok:
            assert outcome.reason == "corrupt", outcome
            assert done["frames"][item].reason == "upstream:probe"
            assert done["audio_16000"][item].reason == "upstream:probe"
            assert VERDICTS[name] == ("unreadable", "unreadable")
            continue
        infos[name] = info = MediaInfo.from_json(laboratory.store.rows("probe", item)[0])
        assert done["frames"][item].reason == info.video_reason, name
        assert done["audio_16000"][item].reason == info.audio_reason, name
        assert VERDICTS.get(name, (info.video_reason, info.audio_reason)) == (
            info.video_reason,
            info.audio_reason,
        ), name
        check_rows(laboratory.store, item, info)
    for name, size in SIZES.items():
        video = infos[name].video
        assert (video.width_px, video.height_px) == size, name
    check_against_manifest(shared_dir / "media" / "MANIFEST.tsv", infos)
    for name, item in items.items():
        again = probe_or_reason(laboratory.media[item].path)
        assert again == (infos[name].to_json() if name in infos else "corrupt"), name
    damaged = [item for name, item in items.items() if name.startswith("corrupt")]
    other = make_laboratory(tmp_path / "again" / "store")
    other.media = laboratory.media
    for stage, outcomes in other.run(["frames", "audio_16000"], damaged).items():
        for item, outcome in outcomes.items():
            assert outcome.reason == done[stage][item].reason, (stage, item)
            if outcome.ok:
                assert list(other.store.rows(stage, item)) == list(
                    laboratory.store.rows(stage, item)
                ), (stage, item)


def check_rows(store: Any, item: str, info: MediaInfo) -> None:
    if info.has_video:
        assert store.length("frames", item) == int(np.ceil(info.duration_s * 8 - 1e-6)), item
        times_s = store.rows("frames", item, "picture_time_s")
        assert np.all(np.diff(times_s) >= 0), item
        assert times_s[0] >= -1e-6, item
        assert times_s[-1] <= info.duration_s, item
    if info.has_audio:
        pcm = store.rows("audio_16000", item)
        assert len(pcm) == round(info.duration_s * 16000), item
        assert np.abs(pcm.astype(int)).max() > 5, item


def check_against_manifest(manifest: Path, infos: dict[str, MediaInfo]) -> None:
    """Durations and average rates agree with those found by a full decode."""
    unreliable = {"codec_flv_1000fps.flv", "no_duration__vp9.webm", "hostile_name_3.flv"}
    with manifest.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            info = infos.get(row["file"])
            if info is None or row["file"] in unreliable:
                continue
            assert info.duration_s == pytest.approx(float(row["dur"]), abs=0.1), row["file"]
            if info.video is not None and row["frames"] != "-":
                pictures = info.video.fps * (info.video.end_s - info.video.start_s)
                assert pictures == pytest.approx(int(row["frames"]), abs=2), row["file"]
