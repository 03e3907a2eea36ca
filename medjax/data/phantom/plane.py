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


def deposit(plane: Plane, x: np.ndarray, y: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Spread small volumes (cm^3) at patient positions `x`, `y` over the nearest four pixels: path length [H, W]."""
    n, half = plane.size, plane.size / 2 - 0.5
    cos, sin = np.cos(plane.angle) / plane.pixel, np.sin(plane.angle) / plane.pixel
    col = (cos * x - sin * y + (plane.shift[0] / plane.pixel + half)).ravel()
    row = (sin * x + cos * y + (plane.shift[1] / plane.pixel + half)).ravel()
    inside = (col > -1) & (col < n) & (row > -1) & (row < n)
    col, row, volume = col[inside] + 1, row[inside] + 1, volume.ravel()[inside]
    c0, r0 = col.astype(np.int64), row.astype(np.int64)
    fc, fr = col - c0, row - r0
    index, total, width = r0 * (n + 2) + c0, np.zeros((n + 2) ** 2), n + 2
    for step, weight in ((0, (1 - fr) * (1 - fc)), (1, (1 - fr) * fc), (width, fr * (1 - fc)), (width + 1, fr * fc)):
        total += np.bincount(index + step, weight * volume, minlength=total.size)[: total.size]
    return (total.reshape(width, width)[1:-1, 1:-1] / plane.pixel**2).astype(np.float32)


def tubes(
    plane: Plane,
    centre: np.ndarray,
    height: np.ndarray,
    thickness: np.ndarray | None = None,
    normal: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Path length [H, W] of solid tubes along the curves `centre` [K, N, 3], by spreading their volume.

    Args:
      height: half axis of the cross-section [K, N] in cm; the radius where `thickness` is None.
      thickness: the other half axis [K, N], along `normal` [K, N, 3].
      weight: factor for the volume [K, N], for tubes that fade.
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
    edges = np.linspace(-1, 1, 2 + int(2 * reach.max() / (0.5 * plane.pixel)))
    area = (edges * np.sqrt(1 - edges**2) + np.arcsin(edges)) / np.pi
    u = (edges[1:] + edges[:-1]) / 2
    volume = np.pi * height * thickness * length * (1 if weight is None else weight)
    x = centre[..., 0, None] + (reach * across[..., 0])[..., None] * u
    y = centre[..., 1, None] + (reach * across[..., 1])[..., None] * u
    return deposit(plane, x, y, volume[..., None] * np.diff(area))


def bezier(points: np.ndarray, count: int) -> np.ndarray:
    """Points [K, count, 3] on Bezier curves of control points [K, 3 or 4, 3]."""
    t = np.linspace(0, 1, count)[None, :, None]
    p = [points[:, i, None, :] for i in range(points.shape[1])]
    if len(p) == 3:
        return (1 - t) ** 2 * p[0] + 2 * t * (1 - t) * p[1] + t**2 * p[2]
    return (1 - t) ** 3 * p[0] + 3 * t * (1 - t) ** 2 * p[1] + 3 * t**2 * (1 - t) * p[2] + t**3 * p[3]


def samples(plane: Plane, length: float) -> int:
    """How many points a curve of `length` cm needs so that no gap shows between them."""
    return 3 + int(length / (0.5 * plane.pixel))


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
