"""The detector plane and the shapes that are projected on it; every shape returns a path length in cm.

Patient coordinates are centimetres: x grows towards the patient's left (the right of the film), y towards the feet,
z towards the front; the beam runs along z. Shapes are given by their geometry, never by pixels, so the same patient is
drawn at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plane:
    """A square detector: `x`, `y` float32 [H, W] are the patient coordinates (cm) of the pixel centres."""

    size: int
    pixel: float  # cm
    shift: tuple[float, float]
    angle: float
    x: np.ndarray
    y: np.ndarray
    u: np.ndarray  # float64 [H]: detector coordinate of the rows and columns from the centre, cm


def make_plane(size: int, field: float, shift: tuple[float, float], angle: float) -> Plane:
    """A detector of `size` pixels and `field` cm, the patient moved by `shift` cm and turned by `angle` radians."""
    u = (np.arange(size) + 0.5) * (field / size) - field / 2
    dx, dy = u[None, :] - shift[0], u[:, None] - shift[1]
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = (cos * dx + sin * dy).astype(np.float32), (cos * dy - sin * dx).astype(np.float32)
    return Plane(size, field / size, shift, angle, x, y, u)


Cloud = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y (cm) and volume (cm^3) of many small pieces, float32 [N]


def deposit(plane: Plane, clouds: list[Cloud]) -> np.ndarray:
    """Spread the volumes of `clouds` over the nearest four pixels of each piece: path length [H, W] in cm."""
    x, y, volume = (np.concatenate(parts) for parts in zip(*clouds, strict=True))
    n, half = plane.size, plane.size / 2 + 0.5
    cos, sin = np.float32(np.cos(plane.angle) / plane.pixel), np.float32(np.sin(plane.angle) / plane.pixel)
    col = cos * x - sin * y + np.float32(plane.shift[0] / plane.pixel + half)
    row = sin * x + cos * y + np.float32(plane.shift[1] / plane.pixel + half)
    inside = np.flatnonzero((col >= 0) & (col < n + 1) & (row >= 0) & (row < n + 1))
    col, row, volume, width = col[inside], row[inside], volume[inside], n + 2
    c0, r0 = col.astype(np.int64), row.astype(np.int64)
    fc, fr = col - c0, row - r0
    index, low = r0 * width + c0, volume * fr
    high, total = volume - low, np.zeros(width * width + width + 2)
    for step, weight in ((0, high - high * fc), (1, high * fc), (width, low - low * fc), (width + 1, low * fc)):
        part = np.bincount(index, weight)
        total[step : step + len(part)] += part
    return (total[: width * width].reshape(width, width)[1:-1, 1:-1] / plane.pixel**2).astype(np.float32)


def tubes(
    plane: Plane,
    centre: np.ndarray,
    height: np.ndarray,
    *,
    thickness: np.ndarray | None = None,
    normal: np.ndarray | None = None,
    cortex: float | np.ndarray | None = None,
    core: float = 0.0,
    step: float = 0.5,
) -> Cloud:
    """The pieces of tubes along the curves `centre` [K, N, 3], fine enough for the pixels of `plane`.

    Args:
      height: half axis of the cross-section [K, N] in cm; the radius where `thickness` is None.
      thickness: the other half axis [K, N], along `normal` [K, N, 3].
      cortex: thickness (cm) of a wall around a core that holds `core` of the wall's matter; None is solid.
      step: distance between pieces across the tube, in pixels.
    """
    tangent = np.gradient(centre, axis=1)
    length = np.linalg.norm(tangent, axis=-1)
    length[:, (0, -1)] /= 2
    flat = np.hypot(tangent[..., 0], tangent[..., 1]) + 1e-9
    across = np.stack([-tangent[..., 1] / flat, tangent[..., 0] / flat], -1)
    if thickness is None or normal is None:
        thickness, reach = height, height
    else:
        other = np.cross(tangent, normal)
        other /= np.linalg.norm(other, axis=-1, keepdims=True) + 1e-9
        reach = np.hypot(height * (other[..., :2] * across).sum(-1), thickness * (normal[..., :2] * across).sum(-1))
    edges = np.linspace(-1, 1, 1 + max(1, int(2 * reach.max() / (step * plane.pixel) + 0.9)))
    volume = (np.pi * height * thickness * length)[..., None] * np.diff(_segment(edges))
    if cortex is not None:
        inner, within = np.maximum(height - cortex, 0.01), np.maximum(thickness - cortex, 0.01)
        shrink = np.maximum(reach - cortex, 0.01) / np.maximum(reach, 0.02)
        share = np.diff(_segment(np.clip(edges / shrink[..., None], -1, 1)), axis=-1)
        volume -= (1 - core) * (np.pi * inner * within * length)[..., None] * share
    u = (edges[1:] + edges[:-1]) / 2
    x = centre[..., 0, None] + (reach * across[..., 0])[..., None] * u
    y = centre[..., 1, None] + (reach * across[..., 1])[..., None] * u
    return tuple(a.astype(np.float32).ravel() for a in (x, y, volume))


def _segment(u: np.ndarray) -> np.ndarray:
    """Share of the unit disc's area to the left of `u`."""
    return 0.5 + (u * np.sqrt(1 - u * u) + np.arcsin(u)) / np.pi


def bezier(points: np.ndarray, count: int) -> np.ndarray:
    """Points [K, count, 3] on Bezier curves of control points [K, 3 or 4, 3]."""
    t = np.linspace(0, 1, count)[None, :, None]
    p = [points[:, i, None, :] for i in range(points.shape[1])]
    if len(p) == 3:
        return (1 - t) ** 2 * p[0] + 2 * t * (1 - t) * p[1] + t**2 * p[2]
    return (1 - t) ** 3 * p[0] + 3 * t * (1 - t) ** 2 * p[1] + 3 * t**2 * (1 - t) * p[2] + t**3 * p[3]


def samples(plane: Plane, length: float, step: float = 0.5) -> int:
    """How many points a curve of `length` cm needs, `step` pixels apart; at 0.5 the pieces leave no ripple."""
    return 3 + int(length / (step * plane.pixel))


def ellipsoid(
    plane: Plane, centre: tuple[float, float], axes: tuple[float, float, float], angle: float = 0.0
) -> np.ndarray:
    """Chord (cm) [H, W] of an ellipsoid with half `axes` (along, across, depth), the first turned by `angle`."""
    dx, dy = plane.x - np.float32(centre[0]), plane.y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    a = (cos * dx + sin * dy) / np.float32(axes[0])
    b = (cos * dy - sin * dx) / np.float32(axes[1])
    return np.float32(2 * axes[2]) * np.sqrt(np.maximum(1 - a * a - b * b, 0))


def capsule(
    plane: Plane, start: tuple[float, float], end: tuple[float, float], radii: tuple[float, float], depth: float = 1.0
) -> np.ndarray:
    """Chord (cm) [H, W] of a tapered rod with round ends; `depth` stretches it along the beam."""
    ax, ay = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    dx, dy = plane.x - np.float32(start[0]), plane.y - np.float32(start[1])
    t = np.clip((dx * ax + dy * ay) / (ax * ax + ay * ay), 0, 1)
    radius = np.float32(radii[0]) + np.float32(radii[1] - radii[0]) * t
    dx, dy = dx - t * ax, dy - t * ay
    return np.float32(2 * depth) * np.sqrt(np.maximum(radius * radius - dx * dx - dy * dy, 0))


def union(*chords: np.ndarray) -> np.ndarray:
    """One body of several that overlap: the 4-norm of their chords, a maximum with rounded joins."""
    total = sum(np.square(np.square(c)) for c in chords)
    return np.sqrt(np.sqrt(total))


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
