"""Curved rods on a grid by depositing many small pieces: exact in volume however thin they are against a voxel."""

from __future__ import annotations

import numpy as np

from medjax.data.phantom.space import Grid

_GOLDEN = np.pi * (3 - np.sqrt(5))


def deposit(grid: Grid, points: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Spread `volume` (mm^3, [N]) at `points` (mm, [N, 3]) over the nearest eight voxels: share of a voxel [I, J, K]."""
    steps, origin = np.array(grid.spacing), grid.affine[:3, 3]
    place = (points - origin) / steps + 1
    shape = np.array(grid.shape) + 2  # a margin takes what falls half outside
    inside = ((place >= 0) & (place < shape - 1)).all(1)
    place, volume = place[inside], volume[inside]
    low = place.astype(np.int64)
    part = place - low
    index = np.ravel_multi_index(low.T, shape)
    total = np.zeros(int(np.prod(shape)))
    for corner in np.ndindex(2, 2, 2):
        weight = volume * np.prod(np.where(corner, part, 1 - part), axis=1)
        step = int(np.ravel_multi_index(corner, shape))
        total += np.bincount(index + step, weight, minlength=len(total))
    return (total.reshape(shape)[1:-1, 1:-1, 1:-1] / np.prod(steps)).astype(np.float32)


def pieces(
    curve: np.ndarray,
    radius: np.ndarray,
    step: float,
    *,
    flat: np.ndarray | None = None,
    normal: np.ndarray | None = None,
    inset: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Points [M, 3] (mm) and volumes [M] (mm^3) that fill rods along `curve` [K, N, 3], `step` mm apart across.

    Args:
      radius: half axis of the section [K, N]; the radius where `flat` is None.
      flat: the other half axis [K, N], along `normal` [K, N, 3].
      inset: mm by which the section is smaller than said (the marrow inside a cortex); nothing where none is left.
    """
    tangent = np.gradient(curve, axis=1)
    length = np.linalg.norm(tangent, axis=-1)
    length[:, (0, -1)] /= 2
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-12
    if normal is None:
        normal = np.cross(tangent, np.where(np.abs(tangent[..., 2:]) < 0.9, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]))
        normal = normal / (np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-12)
    other = np.cross(tangent, normal)
    tall, thick = np.maximum(radius - inset, 0), np.maximum((radius if flat is None else flat) - inset, 0)
    count = int(np.clip(np.ceil(np.pi * tall.max() * thick.max() / step**2), 1, 200))
    # A sunflower's seeds fill the unit disc evenly.
    away, angle = np.sqrt((np.arange(count) + 0.5) / count), np.arange(count) * _GOLDEN
    if count == 1:
        away = np.zeros(1)
    u, v = away * np.cos(angle), away * np.sin(angle)
    points = (
        curve[..., None, :]
        + (tall[..., None] * u)[..., None] * other[..., None, :]
        + (thick[..., None] * v)[..., None] * normal[..., None, :]
    )
    volume = np.repeat((np.pi * tall * thick * length / count)[..., None], count, axis=-1)
    return points.reshape(-1, 3), volume.ravel()
