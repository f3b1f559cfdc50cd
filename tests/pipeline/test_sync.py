"""Flash and beep at one instant come out at one instant, whatever the container's clock says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.stages import AudioConfig, FramesConfig

INSTANT_S = 1.2
RATE_HZ = 16000
FPS = 25.0


def flash_and_beep(clips: Any, name: str, *, sound_late_s: float, codecs: tuple[str, ...]) -> Path:
    """Pictures that turn white at INSTANT_S, a beep that begins then, the track itself later."""
    start_s = INSTANT_S - sound_late_s
    return clips.ffmpeg(
        name,
        *("-f", "lavfi", "-i", f"color=c=black:s=128x96:r={FPS}:d=3"),
        *("-itsoffset", f"{sound_late_s}"),
        *("-f", "lavfi", "-i", f"aevalsrc='0.8*sin(2*PI*1000*t)*gte(t,{start_s})':s=48000:d=2"),
        *("-vf", f"drawbox=c=white:t=fill:enable='gte(t,{INSTANT_S})'"),
        *("-pix_fmt", "yuv420p", *codecs),
    )


def instants(laboratory: Any, item: str) -> tuple[float, float]:
    """When the flash and the beep begin, by the times in the store."""
    frames = laboratory.store.read("frames", item)
    light = [
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE).mean()
        for jpeg in frames.values
    ]
    flash = frames.times_s[int(np.argmax(np.asarray(light) > 128))]
    sound = laboratory.store.read("audio_16000", item)
    beep = sound.times_s[int(np.argmax(np.abs(sound.values.astype(int)) > 3000))]
    return flash, beep


H264_AAC = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")


@pytest.mark.parametrize(
    "name, late_s, codecs",
    [
        ("even.mp4", 0.0, H264_AAC),
        ("late.mp4", 0.5, H264_AAC),
        ("late.mkv", 0.5, ("-c:v", "libx264", "-bf", "2", "-c:a", "flac")),
        ("late.ts", 0.5, H264_AAC),
        ("late.webm", 0.5, ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus")),
        ("even.avi", 0.0, ("-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame")),
    ],
)
def test_a_sound_track_that_starts_late_stays_in_step(
    clips: Any, laboratory: Any, name: str, late_s: float, codecs: tuple[str, ...]
) -> None:
    path = flash_and_beep(clips, f"sync_{name}", sound_late_s=late_s, codecs=codecs)
    item = laboratory.add(path)
    configs = {"frames": FramesConfig(fps=FPS), "audio_16000": AudioConfig(rate_hz=RATE_HZ)}
    outcomes = laboratory.run(configs, [item])
    assert outcomes["audio_16000"][item].ok, outcomes
    flash_s, beep_s = instants(laboratory, item)
    assert flash_s == pytest.approx(beep_s, abs=1 / FPS)
    assert flash_s == pytest.approx(INSTANT_S, abs=1.5 / FPS)


def test_a_window_keeps_the_step_and_the_clock(clips: Any, laboratory: Any) -> None:
    path = flash_and_beep(clips, "sync_window.mp4", sound_late_s=0.5, codecs=H264_AAC)
    item = laboratory.add(path, "lab/window/700-2200")
    configs = {"frames": FramesConfig(fps=FPS), "audio_16000": AudioConfig(rate_hz=RATE_HZ)}
    laboratory.run(configs, [item])
    flash_s, beep_s = instants(laboratory, item)
    assert flash_s == pytest.approx(INSTANT_S - 0.7, abs=1 / FPS)
    assert beep_s == pytest.approx(INSTANT_S - 0.7, abs=0.005)
    assert laboratory.store.length("audio_16000", item) == round(1.5 * RATE_HZ)
    assert laboratory.store.length("frames", item) == 38  # rows i with i / 25 < 1.5


def test_a_window_before_the_sound_begins_is_still_on_the_windows_clock(
    clips: Any, laboratory: Any
) -> None:
    path = flash_and_beep(clips, "sync_before.mp4", sound_late_s=0.5, codecs=H264_AAC)
    item = laboratory.add(path, "lab/before/200-1700")
    configs = {"frames": FramesConfig(fps=FPS), "audio_16000": AudioConfig(rate_hz=RATE_HZ)}
    laboratory.run(configs, [item])
    flash_s, beep_s = instants(laboratory, item)
    assert flash_s == pytest.approx(INSTANT_S - 0.2, abs=1 / FPS)
    assert beep_s == pytest.approx(INSTANT_S - 0.2, abs=0.005)
