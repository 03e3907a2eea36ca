"""Smooth random fields of stated grain in cm: the same pattern at every image size."""

from __future__ import annotations

import numpy as np

from medjax.data.phantom.plane import Plane
from medjax.rng import generator

_REACH = 56.0  # cm covered by the lattice: more than any detector


def noise(plane: Plane, grain: float, *key: int | str) -> np.ndarray:
    """A field [H, W] of about unit variance from a cubic B-spline on a lattice of `grain` cm drawn from `key`."""
    count = int(_REACH / grain) + 4
    lattice = generator(*key, round(grain * 1e4)).standard_normal((count, count), dtype=np.float32)
    position = plane.u / grain + count / 2
    rows = interpolate(lattice, position)
    return np.ascontiguousarray(interpolate(np.ascontiguousarray(rows.T), position).T) * np.float32(315 / 151)


def fractal(plane: Plane, grains: tuple[float, ...], slope: float, *key: int | str) -> np.ndarray:
    """Octaves of `noise`, the amplitude of each in proportion to grain**slope; scaled to unit variance.

    Octaves finer than the pixels are left out (a pixel averages them away).
    """
    amplitudes = np.array([g**slope for g in grains])
    amplitudes /= np.linalg.norm(amplitudes)
    total = np.zeros(plane.x.shape, np.float32)
    for grain, amplitude in zip(grains, amplitudes, strict=True):
        if grain > 0.6 * plane.pixel:
            total += np.float32(amplitude) * noise(plane, grain, *key)
    return total


def interpolate(lattice: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Cubic B-spline along the first axis, its coefficients the rows of `lattice`, at `position` [N] in rows."""
    base = np.clip(np.floor(position).astype(int), 1, len(lattice) - 3)
    t = (position - base).astype(np.float32)[:, None]
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum(lattice[base - 1 + i] * (weight / 6) for i, weight in enumerate(weights))
