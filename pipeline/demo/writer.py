"""Frames, sound and joints in, finished files out: a small mp4 and AlphaPose's results beside it.

Every file is published whole under its name, or not at all.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Iterable
from pathlib import Path

import cv2
import ffmpeg
import numpy as np

from pipeline.demo.timbre import RATE_HZ
from pipeline.ffmpeg import media_url
from pipeline.process import run
from storage.atomic import private_file, publish_file

_JOINT_NOISE = 0.006
"""Standard deviation of a joint's error, in heights of the person's box."""

_MISSED = 0.01
"""Share of frames in which a detector misses a person."""

_TIMEOUT_S = 300.0


def write_clip(path: Path, frames: Iterable[np.ndarray], sound: np.ndarray, *, fps: int) -> None:
    """Write an mp4 (H.264 and AAC), the same bytes for the same input on one machine.

    Parameters
    ----------
    frames : pictures (height, width, 3) uint8 BGR, all of one even size.
    sound : (samples,) float32 mono at `RATE_HZ`.
    """
    planes, size_px = [], (0, 0)
    for frame in frames:
        size_px = (frame.shape[1], frame.shape[0])
        planes.append(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).tobytes())
    with private_file(path) as wav:
        _write_wav(wav, sound)
        picture = ffmpeg.input(
            "pipe:0", format="rawvideo", pix_fmt="yuv420p", video_size=size_px, framerate=fps
        )
        audio = ffmpeg.input(media_url(str(wav)), format="wav")

        def encode(draft: Path) -> None:
            output = ffmpeg.output(
                picture,
                audio,
                media_url(str(draft)),
                format="mp4",
                vcodec="libx264",
                preset="ultrafast",
                crf=26,
                threads=1,
                acodec="aac",
                audio_bitrate="64k",
                fflags="+bitexact",
                **{"flags:v": "+bitexact", "flags:a": "+bitexact"},
            ).global_args("-hide_banner", "-loglevel", "error", "-y")
            run(output.compile(), timeout_s=_TIMEOUT_S, stdin=b"".join(planes))

        publish_file(path, encode)


def _write_wav(path: Path, sound: np.ndarray) -> None:
    with path.open("wb") as opened, wave.open(opened, "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())


def write_alphapose(path: Path, joints_px: np.ndarray, rng: np.random.Generator) -> None:
    """Write joints (persons, frames, 136, 2) in pixels as AlphaPose writes its results.

    A flat list, one entry per person and frame that was seen, frames in order; a little noise on
    every joint, and now and then a person whom the detector missed.
    """
    low, high = joints_px.min(axis=2), joints_px.max(axis=2)
    margin = 0.05 * (high - low)
    boxes = np.concatenate([low - margin, high - low + 2 * margin], axis=-1)
    noise = rng.normal(0, 1, joints_px.shape) * (_JOINT_NOISE * boxes[..., None, 3:])
    scores = rng.uniform(0.8, 0.98, joints_px.shape[:3])
    keypoints = np.concatenate([joints_px + noise, scores[..., None]], axis=-1)
    seen = rng.random(joints_px.shape[:2]) >= _MISSED
    entries = [
        {
            "image_id": f"{frame}.jpg",
            "category_id": 1,
            "keypoints": keypoints[person, frame].ravel().round(2).tolist(),
            "score": _score(scores[person, frame]),
            "box": boxes[person, frame].round(1).tolist(),
            "idx": [0.0],
        }
        for frame in range(joints_px.shape[1])
        for person in range(joints_px.shape[0])
        if seen[person, frame]
    ]

    def write(draft: Path) -> None:
        draft.write_text(json.dumps(entries, separators=(",", ":")), encoding="utf-8")

    publish_file(path, write)


def _score(joint_scores: np.ndarray) -> float:
    """Return AlphaPose's score of a person whose box scored 0.9."""
    return round(float(joint_scores.mean() + 0.9 + 1.25 * joint_scores.max()), 3)
