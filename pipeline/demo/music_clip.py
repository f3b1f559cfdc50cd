"""A plan of a music clip in; its sound, its frames and its performers' joints out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.demo.drawing import Colour, Pen, background, colours, skin
from pipeline.demo.figure import Look, draw_arms, draw_body, mirrored, skeleton
from pipeline.demo.plan import MusicPlan
from pipeline.demo.player import Player
from pipeline.demo.players_held import Flute, Guitar, Tuba, Violin
from pipeline.demo.players_struck import DrumKit, Xylophone
from pipeline.demo.score import Score, groove, melody
from pipeline.demo.timbre import TIMBRES, level, perform

PlayerMaker = Callable[[Score, np.ndarray, list[Colour], np.random.Generator], Player]
"""Notes, frame times, three colours and a generator in, a player out."""

PLAYERS: dict[str, PlayerMaker] = {
    "acoustic_guitar": Guitar,
    "drum": DrumKit,
    "flute": Flute,
    "tuba": Tuba,
    "violin": Violin,
    "xylophone": Xylophone,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """One player on stage.

    `body_joints` (frames, 136, 2) are in body units and not mirrored; `scale_px`, `place_px` and
    `mirror` bring them into the picture.
    """

    player: Player
    look: Look
    body_joints: np.ndarray
    scale_px: float
    place_px: tuple[float, float]
    mirror: bool

    def joints_px(self) -> np.ndarray:
        """Return the joints in the picture, (frames, 136, 2) pixels; left is the person's."""
        joints = self.body_joints
        if self.mirror:
            joints = np.stack([mirrored(frame) for frame in joints])
        return joints * self.scale_px + self.place_px


@dataclass(frozen=True, slots=True, kw_only=True)
class MusicClip:
    """A clip that is ready to be drawn: sound (samples,) float32 at `timbre.RATE_HZ`."""

    sound: np.ndarray
    performers: tuple[Performer, ...]
    backdrop: np.ndarray

    def frames(self) -> Iterator[np.ndarray]:
        """Yield each picture, (side, side, 3) uint8 BGR."""
        for index in range(len(self.performers[0].body_joints)):
            yield self.picture(index)

    def picture(self, index: int) -> np.ndarray:
        """Return one picture."""
        picture = self.backdrop.copy()
        for performer in self.performers:
            _draw(performer, picture, index)
        return picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Who plays, and what and how it sounds, by the instrument's name.

    `score` gets (instrument, duration_s, generator) and returns the notes; `sound` gets
    (instrument, score, duration_s, generator) and returns their sound, (samples,) float32 mono at
    `timbre.RATE_HZ`, at the loudness of `timbre.level`.
    """

    players: Mapping[str, PlayerMaker]
    score: Callable[[str, float, np.random.Generator], Score]
    sound: Callable[[str, Score, float, np.random.Generator], np.ndarray]


def stage(plan: MusicPlan, *, side_px: int, fps: int, band: Band | None = None) -> MusicClip:
    """Return the clip of `plan`: everything but the pixels of its frames.

    `band` is the demo's where none is given.
    """
    band = band or DEMO_BAND
    rng = np.random.default_rng(plan.seed)
    backdrop = background(rng, side_px)
    times_s = np.arange(round(plan.duration_s * fps)) / fps
    sounds, performers = [], []
    for position, instrument in enumerate(plan.instruments):
        score = band.score(instrument, plan.duration_s, rng)
        sounds.append(band.sound(instrument, score, plan.duration_s, rng))
        place = _place(rng, position, len(plan.instruments), side_px)
        performers.append(_performer(band.players[instrument], score, times_s, rng, place))
    return MusicClip(
        sound=level(np.sum(sounds, axis=0)), performers=tuple(performers), backdrop=backdrop
    )


def _score(instrument: str, duration_s: float, rng: np.random.Generator) -> Score:
    timbre = TIMBRES[instrument]
    beat_s = float(rng.uniform(*timbre.beat_s))
    if instrument == "drum":
        return groove(rng, duration_s=duration_s, beat_s=beat_s)
    return melody(
        rng, duration_s=duration_s, lowest=timbre.lowest, highest=timbre.highest, beat_s=beat_s
    )


def _sound(
    instrument: str, score: Score, duration_s: float, rng: np.random.Generator
) -> np.ndarray:
    return perform(instrument, score, duration_s=duration_s, rng=rng)


DEMO_BAND = Band(players=PLAYERS, score=_score, sound=_sound)


def _place(
    rng: np.random.Generator, position: int, count: int, side_px: int
) -> tuple[float, float, float]:
    """Return the height of a performer and the place of their pelvis, pixels."""
    if count == 1:
        height, x = rng.uniform(0.80, 0.95), rng.uniform(0.43, 0.57)
    else:
        height, x = rng.uniform(0.58, 0.66), 0.28 + 0.44 * position + rng.uniform(-0.02, 0.02)
    foot = rng.uniform(0.96, 1.0)
    return height * side_px, x * side_px, (foot - 0.46 * height) * side_px


def _performer(
    make: PlayerMaker,
    score: Score,
    times_s: np.ndarray,
    rng: np.random.Generator,
    place: tuple[float, float, float],
) -> Performer:
    shirt, trousers, hair, *finish = colours(rng, 6)
    player = make(score, times_s, finish, rng)
    joints = np.stack([skeleton(player.posture(frame)) for frame in range(len(times_s))])
    return Performer(
        player=player,
        look=Look(skin=skin(rng), shirt=shirt, trousers=trousers, hair=hair),
        body_joints=joints,
        scale_px=place[0],
        place_px=(place[1], place[2]),
        mirror=bool(rng.random() < 0.25),
    )


def _draw(performer: Performer, picture: np.ndarray, index: int) -> None:
    pen = Pen(picture, performer.scale_px, performer.place_px, performer.mirror)
    joints, player = performer.body_joints[index], performer.player
    player.draw_behind(pen, index)
    draw_body(pen, joints, performer.look)
    player.draw_front(pen, index)
    player.draw_tools(pen, index)
    draw_arms(pen, joints, performer.look)
