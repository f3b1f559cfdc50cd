"""A posture in, the 136 joints of a performer and their picture out.

Body units: 1 is the standing height, the origin is the pelvis, x to the right of the picture, y
down. The figure faces the camera, so the person's left is at positive x. Joints are in Halpe-136
order (26 body, 68 face, 21 left hand, 21 right hand).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.demo.drawing import Colour, Pen, rotation, vector

UPPER_ARM, FORE_ARM = 0.17, 0.16
NECK = vector(0.0, -0.32)
HEAD_CENTRE = vector(0.0, -0.43)
HEAD_RADIUS = 0.085
MOUTH = HEAD_CENTRE + vector(0.0, 0.045)
SHOULDER = vector(0.115, -0.30)

LEFT_HAND, RIGHT_HAND = slice(94, 115), slice(115, 136)
_BODY_PAIRS = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
_FOOT_PAIRS = ((20, 21), (22, 23), (24, 25))


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """Where a performer's parts are; positions (2,) in body units, angles in radians, clockwise.

    `left_*` and `right_*` are the person's. `fingers` are five numbers, thumb first: 0 is
    stretched, 1 is bent.
    """

    left_wrist: np.ndarray
    right_wrist: np.ndarray
    left_hand_angle: float = np.pi / 2
    right_hand_angle: float = np.pi / 2
    left_fingers: np.ndarray | float = 0.3
    right_fingers: np.ndarray | float = 0.3
    lean: float = 0.0
    head_tilt: float = 0.0
    seated: bool = False
    right_foot_lift: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The colours of one performer."""

    skin: Colour
    shirt: Colour
    trousers: Colour
    hair: Colour


def _hand_shapes() -> tuple[np.ndarray, np.ndarray]:
    """Return a stretched and a bent hand, (21, 2) each, pointing along +x, thumb at -y."""
    spread = np.array([-0.95, -0.32, -0.02, 0.22, 0.48])
    root = np.array([0.02, 0.042, 0.045, 0.042, 0.038])
    reach = np.array([0.06, 0.085, 0.092, 0.085, 0.07])
    steps = np.linspace(0, 1, 4)
    radius = root[:, None] + (reach - root)[:, None] * steps
    stretched = np.stack([radius * np.cos(spread)[:, None], radius * np.sin(spread)[:, None]], -1)
    curl = root[:, None] + 0.02 * np.sin(np.pi * steps) - 0.01 * steps
    bent = np.stack([curl * np.cos(spread)[:, None], curl * np.sin(spread)[:, None]], -1)
    wrist = np.zeros((1, 2))
    return (
        np.concatenate([wrist, stretched.reshape(20, 2)]),
        np.concatenate([wrist, bent.reshape(20, 2)]),
    )


def _face_shape() -> np.ndarray:
    """Return 68 face points in head radii: jaw, brows, nose, eyes, mouth."""
    jaw_turn = np.linspace(0.0, np.pi, 17)
    jaw = np.stack([-0.85 * np.cos(jaw_turn), -0.1 + 0.95 * np.sin(jaw_turn)], 1)
    brow = np.stack([np.linspace(-0.6, -0.2, 5), [-0.4, -0.47, -0.5, -0.47, -0.42]], 1)
    brows = np.concatenate([brow, brow[::-1] * (-1, 1)])
    nose = np.stack([np.zeros(4), np.linspace(-0.25, 0.12, 4)], 1)
    nostrils = np.stack([np.linspace(-0.14, 0.14, 5), [0.18, 0.2, 0.22, 0.2, 0.18]], 1)
    eye_turn = np.linspace(0, 2 * np.pi, 6, endpoint=False) + np.pi
    eye = np.stack([0.13 * np.cos(eye_turn), 0.06 * np.sin(eye_turn)], 1)
    mouth_turn = np.linspace(0, 2 * np.pi, 12, endpoint=False) + np.pi
    outer = np.stack([0.28 * np.cos(mouth_turn), 0.53 + 0.1 * np.sin(mouth_turn)], 1)
    inner_turn = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi
    inner = np.stack([0.2 * np.cos(inner_turn), 0.53 + 0.04 * np.sin(inner_turn)], 1)
    eyes = [eye + vector(-0.35, -0.2), eye + vector(0.35, -0.2)]
    return np.concatenate([jaw, brows, nose, nostrils, *eyes, outer, inner])


_STRETCHED, _BENT = _hand_shapes()
_FACE = _face_shape()


def skeleton(posture: Posture) -> np.ndarray:
    """Return the joints of `posture`, shape (136, 2), float64, body units."""
    joints = np.zeros((136, 2))
    trunk, head = rotation(posture.lean), rotation(posture.lean + posture.head_tilt)
    neck = trunk @ NECK
    _head(joints, neck, head)
    joints[5], joints[6] = trunk @ SHOULDER, trunk @ (SHOULDER * (-1, 1))
    joints[18], joints[19] = neck, (0, 0)
    joints[9], joints[10] = posture.left_wrist, posture.right_wrist
    joints[7] = elbow(joints[5], joints[9], bend=1)
    joints[8] = elbow(joints[6], joints[10], bend=-1)
    _legs(joints, posture)
    joints[LEFT_HAND] = joints[9] + _hand(
        posture.left_hand_angle, posture.left_fingers, thumb_side=1
    )
    joints[RIGHT_HAND] = joints[10] + _hand(
        posture.right_hand_angle, posture.right_fingers, thumb_side=-1
    )
    return joints


def elbow(shoulder: np.ndarray, wrist: np.ndarray, *, bend: int) -> np.ndarray:
    """Return the elbow between two joints: of the two places, the lower one, and the one further
    to the right (`bend` +1) or left (-1). A wrist out of reach gets a straight arm."""
    reach = wrist - shoulder
    distance = float(
        np.clip(np.hypot(*reach), UPPER_ARM - FORE_ARM + 1e-6, UPPER_ARM + FORE_ARM - 1e-6)
    )
    along = reach / max(float(np.hypot(*reach)), 1e-6)
    a = (UPPER_ARM**2 - FORE_ARM**2 + distance**2) / (2 * distance)
    out = np.sqrt(max(UPPER_ARM**2 - a**2, 0.0))
    across = vector(-along[1], along[0])
    sides = [shoulder + along * a + across * out, shoulder + along * a - across * out]
    return max(sides, key=lambda p: p[1] + 0.6 * bend * p[0])


def _head(joints: np.ndarray, neck: np.ndarray, turn: np.ndarray) -> None:
    centre = neck + turn @ (HEAD_CENTRE - NECK)
    around = {0: (0.0, 0.15), 1: (0.35, -0.2), 2: (-0.35, -0.2), 3: (0.95, 0.0), 4: (-0.95, 0.0)}
    for joint, place in around.items():
        joints[joint] = centre + turn @ (np.array(place) * HEAD_RADIUS)
    joints[17] = centre + turn @ vector(0.0, -1.1 * HEAD_RADIUS)
    joints[26:94] = centre + (_FACE * HEAD_RADIUS) @ turn.T


def _legs(joints: np.ndarray, posture: Posture) -> None:
    knee, ankle = ((0.13, 0.13), (0.12, 0.36)) if posture.seated else ((0.07, 0.23), (0.075, 0.45))
    for side, hip_joint, lift in ((1, 11, 0.0), (-1, 12, posture.right_foot_lift)):
        up = vector(0.0, -lift)
        joints[hip_joint] = vector(0.06 * side, 0.0)
        joints[hip_joint + 2] = vector(knee[0] * side, knee[1]) + up / 2
        foot = vector(ankle[0] * side, ankle[1]) + up / 2
        joints[hip_joint + 4] = foot
        joints[hip_joint + 9] = foot + vector(0.035 * side, 0.035) - up / 2
        joints[hip_joint + 11] = foot + vector(0.05 * side, 0.028) - up / 2
        joints[hip_joint + 13] = foot + vector(-0.005 * side, 0.02)


def _hand(angle: float, fingers: np.ndarray | float, *, thumb_side: int) -> np.ndarray:
    bent = np.concatenate([[0.0], np.repeat(np.broadcast_to(fingers, 5), 4)])[:, None]
    shape = (_STRETCHED * (1 - bent) + _BENT * bent) * (1, thumb_side)
    return shape @ rotation(angle).T


def mirrored(joints: np.ndarray) -> np.ndarray:
    """Return the joints of the mirror image: x negated, left and right exchanged."""
    order = np.arange(136)
    for left, right in (*_BODY_PAIRS, *_FOOT_PAIRS):
        order[[left, right]] = right, left
    order[LEFT_HAND], order[RIGHT_HAND] = np.arange(115, 136), np.arange(94, 115)
    order[26:94] = _mirrored_face()
    return joints[order] * (-1, 1)


def _mirrored_face() -> np.ndarray:
    """Return, for each face point, the one at its mirror image."""
    distance = np.linalg.norm(_FACE[:, None] * (-1, 1) - _FACE[None], axis=-1)
    return 26 + distance.argmin(axis=1)


def draw_body(pen: Pen, joints: np.ndarray, look: Look) -> None:
    """Draw legs, trunk and head; the arms come after the instrument (`draw_arms`)."""
    for hip, knee, ankle, toe in ((11, 13, 15, 20), (12, 14, 16, 21)):
        pen.lines(joints[[hip, knee, ankle]], 0.07, look.trousers)
        pen.lines(joints[[ankle, toe]], 0.045, look.hair)
    trunk = joints[[5, 6, 12, 11]] + [(0.02, 0), (-0.02, 0), (-0.02, 0.03), (0.02, 0.03)]
    pen.area(trunk, look.shirt)
    pen.lines(joints[[5, 6]], 0.06, look.shirt)
    pen.lines(joints[[18, 0]], 0.055, look.skin)
    centre = (joints[3] + joints[4]) / 2
    up = joints[17] - centre
    pen.disc(centre + 0.25 * up, HEAD_RADIUS, look.hair)
    pen.disc(centre - 0.1 * up, 0.93 * HEAD_RADIUS, look.skin)
    for eye in (1, 2):
        pen.disc(joints[eye], 0.014, look.hair)
    pen.lines(joints[[26 + 48, 26 + 57, 26 + 54]], 0.012, look.hair)


def draw_arms(pen: Pen, joints: np.ndarray, look: Look) -> None:
    """Draw both arms with their hands."""
    for shoulder, upper, wrist, hand in ((5, 7, 9, LEFT_HAND), (6, 8, 10, RIGHT_HAND)):
        pen.lines(joints[[shoulder, upper]], 0.058, look.shirt)
        pen.lines(joints[[upper, wrist]], 0.042, look.skin)
        fingers = joints[hand]
        pen.area(fingers[[0, 1, 5, 9, 13, 17]], look.skin)
        for base in (1, 5, 9, 13, 17):
            pen.lines(np.concatenate([fingers[:1], fingers[base : base + 4]]), 0.016, look.skin)
