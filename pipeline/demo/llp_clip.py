"""A plan of an event clip in, its sound and its frames out: events exactly at their seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.demo.drawing import Pen, background
from pipeline.demo.llp_objects import OBJECTS, Coat, coat, plain_shape
from pipeline.demo.llp_plan import LlpPlan
from pipeline.demo.llp_sounds import event_sound, room_sound
from pipeline.demo.timbre import RATE_HZ
from storage.records import Event

_PLACES = {0: (), 1: (0.5,), 2: (0.29, 0.71)}
"""Where objects stand by their number, in widths of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One visual event: what, when, and where in the picture (its middle, 0-1)."""

    event: Event
    coat: Coat
    place: tuple[float, float]
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LlpClip:
    """A clip that is ready to be drawn: sound (samples,) float32 at `timbre.RATE_HZ`."""

    sound: np.ndarray
    sights: tuple[Sight, ...]
    bystander: Coat
    backdrop: np.ndarray
    fps: int
    duration_s: int

    def frames(self) -> Iterator[np.ndarray]:
        """Yield each picture, (side, side, 3) uint8 BGR."""
        for index in range(self.duration_s * self.fps):
            yield self.picture(index / self.fps)

    def picture(self, time_s: float) -> np.ndarray:
        """Return the picture of one moment."""
        picture = self.backdrop.copy()
        side_px = picture.shape[0]
        plain_shape(Pen(picture, side_px, (side_px / 2, side_px / 2)), time_s, self.bystander)
        for sight in self.sights:
            if sight.event.onset_s <= time_s < sight.event.offset_s:
                place = (sight.place[0] * side_px, sight.place[1] * side_px)
                pen = Pen(picture, sight.size * side_px, place)
                moment_s = sight.coat.pace * time_s + sight.coat.phase
                OBJECTS[sight.event.label](pen, moment_s, sight.coat)
        return picture


def stage(plan: LlpPlan, *, side_px: int, fps: int) -> LlpClip:
    """Return the clip of `plan`: everything but the pixels of its frames."""
    rng = np.random.default_rng(plan.seed)
    backdrop = background(rng, side_px, strength=0.4)
    sound = room_sound(plan.duration_s, rng)
    for event in plan.events:
        if event.modality == "audio":
            tone = event_sound(event.label, event.offset_s - event.onset_s, rng)
            start = round(event.onset_s * RATE_HZ)
            sound[start : start + len(tone)] += tone[: len(sound) - start]
    return LlpClip(
        sound=np.clip(sound, -0.95, 0.95).astype(np.float32),
        sights=_sights(plan, rng),
        bystander=coat(rng),
        backdrop=backdrop,
        fps=fps,
        duration_s=plan.duration_s,
    )


def _sights(plan: LlpPlan, rng: np.random.Generator) -> tuple[Sight, ...]:
    """Return the visual events, side by side in a random order."""
    seen = [event for event in plan.events if event.modality == "visual"]
    places = _PLACES[len(seen)]
    order = rng.permutation(len(seen))
    return tuple(
        Sight(
            event=event,
            coat=coat(rng),
            place=(places[where] + float(rng.uniform(-0.02, 0.02)), float(rng.uniform(0.46, 0.54))),
            size=float(rng.uniform(0.9, 1.0)),
        )
        for event, where in zip(seen, order, strict=True)
    )
