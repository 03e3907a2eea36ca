"""Who lies in the scanner: a head's measures, a pure function of (seed, index), and where its points are on a grid.

Anatomical coordinates are RAS+ millimetres about as in the MNI atlases: the anterior commissure at the origin, a
cerebrum 14 cm wide, 17 cm long. A head's own size, shape and position are a map from scanner to anatomical points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medjax.data.phantom.space import Grid, Points, noise
from medjax.rng import generator


@dataclass(frozen=True)
class Head:
    """Measures in mm where nothing else is said."""

    key: tuple[int, int]
    sex: str
    age: float
    scale: tuple[float, float, float]  # against the average adult
    turn: tuple[float, float, float]  # radians about x, y, z
    shift: tuple[float, float, float]
    warp: float  # standard deviation of the smooth deformation
    ventricles: float  # width against the average at 45 years
    uneven: float  # left against right ventricle
    atrophy: float  # added to half the width of sulci
    cortex: float  # thickness
    fold: float  # from one sulcus to the next
    skull: float
    scalp: float


def sample_head(seed: int, index: int) -> Head:
    """Draw a head; age widens ventricles and sulci."""
    r = generator(seed, index, "head")
    sex = "M" if r.random() < 0.5 else "F"
    age = float(np.clip(r.normal(46, 17), 20, 86).round())
    size = np.exp(r.normal(0.0 if sex == "M" else -0.03, 0.03)) * np.exp(r.normal(0, [0.03, 0.03, 0.025]))
    old = (age - 45) / 40
    return Head(
        key=(seed, index),
        sex=sex,
        age=age,
        scale=tuple(map(float, size)),
        turn=tuple(map(float, r.normal(0, [0.05, 0.025, 0.035]))),
        shift=tuple(map(float, r.normal(0, [1.5, 3.0, 3.0]))),
        warp=float(r.uniform(1.2, 2.4)),
        ventricles=float(np.exp(0.30 * old + r.normal(0, 0.14))),
        uneven=float(r.normal(0, 0.06)),
        atrophy=float(np.clip(0.15 + 0.25 * old + r.normal(0, 0.08), 0, 0.8)),
        cortex=float(r.normal(2.7, 0.15) - 0.15 * max(old, 0)),
        fold=float(r.uniform(10.5, 13.0)),
        skull=float(np.clip(r.normal(6.5, 0.9), 4.5, 9)),
        scalp=float(np.clip(r.normal(5.5, 1.3), 3.5, 10)),
    )


def anatomical(grid: Grid, head: Head) -> Points:
    """The anatomical coordinates (mm, float32 [I, J, K] each) of the voxels of `grid`."""
    matrix = np.diag(1 / np.array(head.scale)) @ _rotation(head.turn)
    x, y, z = (p - np.float32(s) for p, s in zip(grid.points, head.shift, strict=True))
    places = []
    for name, (a, b, c) in zip("xyz", matrix.astype(np.float32), strict=True):
        bend = noise(grid, 62.0, *head.key, "warp", name)
        bend *= np.float32(head.warp)
        bend += (a * x + b * y) + c * z
        places.append(bend)
    places[1] -= np.float32(18.0)  # the middle of the head, which lies in the middle of the scanner, is behind the origin
    places[2] += np.float32(6.0)
    return tuple(places)


def _rotation(turn: tuple[float, float, float]) -> np.ndarray:
    total = np.eye(3)
    for axis, angle in enumerate(turn):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        total = step @ total
    return total
