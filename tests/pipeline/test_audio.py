from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.ffmpeg import decode_audio, sample_count
from pipeline.media import MediaInfo
from pipeline.probing import probe_media
from pipeline.stages import AudioConfig, ProbeConfig


def samples(path: Path, rate_hz: int = 16000, **options: Any) -> tuple[np.ndarray, MediaInfo]:
    info = probe_media(str(path), ProbeConfig(), window_length_s=None, timeout_s=30)
    blocks = decode_audio(str(path), info, rate_hz=rate_hz, timeout_s=30, **options)
    return np.concatenate(list(blocks)), info


def write_wav(path: Path, channels: np.ndarray, rate_hz: int) -> Path:
    """Write float channels (n, channels) as 16 bits."""
    from scipy.io import wavfile

    wavfile.write(path, rate_hz, np.round(channels * 32767).astype(np.int16))
    return path


def test_a_tone_keeps_its_level_within_one_percent(tmp_path: Path) -> None:
    time_s = np.arange(44100 * 2) / 44100
    path = write_wav(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * time_s)[:, None], 44100)
    for rate_hz in (11025, 16000):
        got, _ = samples(path, rate_hz)
        inner = got[rate_hz // 4 : -rate_hz // 4].astype(float) / 32768
        assert np.sqrt(np.mean(inner**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_stereo_is_averaged_without_clipping(tmp_path: Path) -> None:
    time_s = np.arange(16000) / 16000
    left, right = 0.9 * np.sin(2 * np.pi * 200 * time_s), 0.9 * np.sin(2 * np.pi * 300 * time_s)
    path = write_wav(tmp_path / "stereo.wav", np.stack([left, right], 1), 16000)
    got, _ = samples(path)
    np.testing.assert_allclose(got / 32768, (left + right) / 2, atol=2e-4)


def test_equal_full_scale_channels_do_not_clip(tmp_path: Path) -> None:
    tone = 0.99 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)
    path = write_wav(tmp_path / "loud.wav", np.stack([tone, tone], 1), 16000)
    got, _ = samples(path)
    np.testing.assert_allclose(got / 32768, tone, atol=2e-4)


def test_each_channel_of_5_1_is_heard_and_none_clips(clips: Any) -> None:
    for channel in ("FL", "FR", "FC", "SL", "SR"):
        others = "|".join(f"{c}=0*c0" for c in ("FL", "FR", "FC", "LFE", "SL", "SR"))
        routing = others.replace(f"{channel}=0*c0", f"{channel}=c0")
        path = clips.ffmpeg(
            f"only_{channel}.mka",
            *("-f", "lavfi", "-i", "sine=f=400:r=48000:d=1"),
            *("-af", f"volume=8,pan=5.1(side)|{routing}", "-c:a", "flac"),
        )
        got, info = samples(path)
        assert info.audio is not None
        assert info.audio.channels == 6
        assert 1500 < np.abs(got[2000:-2000].astype(int)).max() < 20000, channel


@pytest.mark.parametrize("rate_hz", [11025, 16000])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.345])
def test_length_is_the_duration_times_the_rate(
    clips: Any, tmp_path: Path, rate_hz: int, seconds: float
) -> None:
    path = write_wav(tmp_path / "x.wav", np.full((round(44100 * seconds), 1), 0.1), 44100)
    got, info = samples(path, rate_hz)
    assert info.duration_s == pytest.approx(seconds, abs=1e-4)
    assert len(got) == sample_count(info.duration_s, rate_hz) == round(info.duration_s * rate_hz)
    assert got.dtype == np.int16


def test_sound_shorter_than_the_pictures_is_padded_with_zeros(clips: Any) -> None:
    video = clips.numbered("two_seconds.mp4", count=50)
    path = clips.ffmpeg(
        "short_sound.mkv",
        *("-i", str(video), "-f", "lavfi", "-i", "sine=d=1", "-c:v", "copy", "-c:a", "flac"),
    )
    got, _ = samples(path)
    assert len(got) == 32000
    assert np.abs(got[2000:14000]).max() > 1000
    assert not got[17000:].any()


def test_a_late_track_is_padded_and_a_hole_keeps_the_clock(clips: Any, tmp_path: Path) -> None:
    rate_hz = 16000
    signal = np.zeros((rate_hz * 2, 1))
    signal[::4000, 0] = 0.9  # a click each quarter of a second
    wav = write_wav(tmp_path / "clicks.wav", signal, rate_hz)
    video = clips.numbered("three_seconds.mp4", count=75)
    path = clips.ffmpeg(
        "late_clicks.mkv",
        *("-i", str(video), "-itsoffset", "0.4", "-i", str(wav)),
        *("-c:v", "copy", "-c:a", "pcm_s16le"),
    )
    got, info = samples(path)
    assert info.audio is not None
    assert info.audio.start_s == pytest.approx(0.4)
    assert not got[: round(0.4 * rate_hz) - 20].any()
    clicks = np.flatnonzero(np.abs(got.astype(int)) > 10000) / rate_hz
    np.testing.assert_allclose(clicks, 0.4 + np.arange(8) / 4, atol=2e-3)

    holed = clips.ffmpeg(
        "holed.mkv",
        *("-i", str(wav), "-af", "aselect='not(between(t,0.6,1.1))'", "-c:a", "pcm_s16le"),
    )
    got, _ = samples(holed)
    clicks = np.flatnonzero(np.abs(got.astype(int)) > 10000) / rate_hz
    assert clicks[-1] == pytest.approx(1.75, abs=2e-3)


def test_block_size_changes_nothing(clips: Any) -> None:
    path = clips.tone()
    whole, _ = samples(path)
    parts, _ = samples(path, block_samples=777)
    np.testing.assert_array_equal(whole, parts)


def test_stage_stores_samples_with_their_times(clips: Any, laboratory: Any) -> None:
    item = laboratory.add(clips.tone(seconds=2.0))
    outcomes = laboratory.run({"audio_11025": AudioConfig(rate_hz=11025)}, [item])
    assert outcomes["audio_11025"][item].ok
    found = laboratory.store.read("audio_11025", item, start_s=1.0, end_s=1.5)
    assert found.times_s[0] >= 1.0 - 1e-9
    assert len(found.values) == pytest.approx(11025 / 2, abs=1)
    crossings = np.count_nonzero(np.diff(np.signbit(found.values)))
    assert crossings == pytest.approx(440, abs=4)
