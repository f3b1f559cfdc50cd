"""Two rates of sound come out of one decode, with the bytes of two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ffmpeg import decode_audio, read_samples
from pipeline.probing import probe_media
from pipeline.stages import STAGES, ProbeConfig, default_configs, resolve
from pipeline.work import run_item
from storage.staging import read_staged

AUDIO = ("audio_11025", "audio_16000")
H264 = ("-c:v", "libx264", "-preset", "ultrafast")


def clip(clips: Any, name: str) -> Path:
    tone = ("-f", "lavfi", "-i", "sine=f=300:r=44100:d=2,volume=4")
    video = ("-f", "lavfi", "-i", "testsrc2=s=160x120:r=25:d=2.5")
    made = {
        "plain.mp4": (*video, *tone, *H264, "-c:a", "aac"),
        "late.mkv": (*video, "-itsoffset", "0.4", *tone, *H264, "-c:a", "flac"),
        "stereo.webm": (*tone, "-ac", "2", "-c:a", "libopus"),
        "odd_rate.wav": ("-f", "lavfi", "-i", "anoisesrc=d=1.2345:r=22051:a=0.3:seed=1"),
    }
    return clips.ffmpeg(f"one_decode_{name}", *made[name])


@pytest.mark.parametrize("window_s", [None, 1.0])
@pytest.mark.parametrize("name", ["plain.mp4", "late.mkv", "stereo.webm", "odd_rate.wav"])
def test_one_decode_gives_the_samples_of_two(
    clips: Any, tmp_path: Path, name: str, window_s: float | None
) -> None:
    path = str(clip(clips, name))
    info = probe_media(path, ProbeConfig(), window_length_s=window_s, timeout_s=30)
    apart = {
        rate: np.concatenate(list(decode_audio(path, info, rate_hz=rate, timeout_s=30)))
        for rate in (11025, 16000, 8000)
    }
    files = {rate: tmp_path / f"{rate}.raw" for rate in (16000, 8000)}
    first = decode_audio(path, info, rate_hz=11025, timeout_s=30, also=files)
    np.testing.assert_array_equal(np.concatenate(list(first)), apart[11025])
    for rate, file in files.items():
        blocks = list(read_samples(file, info, rate_hz=rate, block_samples=5000))
        assert max(map(len, blocks)) <= 5000
        np.testing.assert_array_equal(np.concatenate(blocks), apart[rate])


def test_a_job_stages_the_other_rate_by_the_way(
    clips: Any, laboratory: Any, sound_decodes: Callable[[], list[str]]
) -> None:
    items = [laboratory.add(clip(clips, name)) for name in ("plain.mp4", "late.mkv")]
    stages = resolve({name: STAGES[name].default for name in AUDIO})
    laboratory.run_stage(stages["probe"], items)
    first, second = (stages[name] for name in AUDIO)
    before = len(sound_decodes())
    for item in items:
        other = laboratory.job(second, item)
        assert run_item(laboratory.job(first, item, also=(other,))).ok
        staged = read_staged(Path(other.staged_path))
        assert staged.outcome.ok
        assert staged.media_sha256 == laboratory.media[item].sha256
        by_the_way = Path(other.staged_path).read_bytes()
        assert len(sound_decodes()) == before + 1
        assert run_item(other).ok
        assert len(sound_decodes()) == before + 2
        assert Path(other.staged_path).read_bytes() == by_the_way
        before = len(sound_decodes())


def test_a_failure_is_left_to_each_stages_own_job(clips: Any, laboratory: Any) -> None:
    item = laboratory.add(clips.numbered("one_decode_mute.mp4", count=25))
    stages = resolve({name: STAGES[name].default for name in AUDIO})
    laboratory.run_stage(stages["probe"], [item])
    other = laboratory.job(stages["audio_16000"], item)
    outcome = run_item(laboratory.job(stages["audio_11025"], item, also=(other,)))
    assert outcome.reason == "no_audio"
    assert not Path(other.staged_path).exists()


def test_a_decode_that_fails_late_leaves_no_other_rate(
    clips: Any, laboratory: Any, tmp_path: Path
) -> None:
    """An ffmpeg that dies when the first rate is complete and the second is not."""
    path = str(clip(clips, "plain.mp4"))
    info = probe_media(path, ProbeConfig(), window_length_s=None, timeout_s=30)
    program = tmp_path / "ffmpeg"
    program.write_text(
        "#!/bin/sh\n"
        'for last; do case $last in file:*.raw) touch "${last#file:}";; esac; done\n'
        "head -c 100000 /dev/zero\nexit 3\n"
    )
    program.chmod(0o755)
    left = tmp_path / "16000.raw"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        blocks = decode_audio(path, info, rate_hz=11025, timeout_s=30, also={16000: left})
        assert sum(map(len, blocks)) == round(info.duration_s * 11025)
    assert not left.exists()


def test_stages_of_one_decode_read_the_same() -> None:
    stages = resolve(default_configs())
    groups: dict[str, set[object]] = {}
    for name, stage in stages.items():
        if word := STAGES[name].decode:
            groups.setdefault(word, set()).add((STAGES[name].module, tuple(stage.upstream)))
    assert {word: len(kinds) for word, kinds in groups.items()} == {"sound": 1}
