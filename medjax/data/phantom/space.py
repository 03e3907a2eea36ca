"""Grids in space and the shapes drawn on them: signed distances in millimetres, negative outside, and smooth noise.

A shape is given in millimetres, never in voxels, so the same anatomy is drawn on any grid; what a voxel holds follows
from the distance of its centre to a surface and the voxel's width (`cover`, `layer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medjax.data.phantom.texture import interpolate
from medjax.rng import generator
from medjax.types import ConfigError

Points = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y, z in mm, float32, shapes that broadcast


@dataclass(frozen=True)
class Grid:
    """Voxels along the axes: `shape`, `spacing` in mm, `centre` in mm (RAS+) of the whole grid."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def affine(self) -> np.ndarray:
        """float64 [4, 4]: voxel index to RAS+ mm."""
        matrix = np.diag([*self.spacing, 1.0])
        matrix[:3, 3] = [c - s * (n - 1) / 2 for c, s, n in zip(self.centre, self.spacing, self.shape, strict=True)]
        return matrix

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates in mm of the voxel centres along each axis, float64."""
        origin = self.affine[:3, 3]
        return tuple(o + s * np.arange(n) for o, s, n in zip(origin, self.spacing, self.shape, strict=True))

    @property
    def points(self) -> Points:
        """The axes as an open mesh, float32: shapes [I, 1, 1], [1, J, 1], [1, 1, K]."""
        return tuple(np.ix_(*(a.astype(np.float32) for a in self.axes)))

    @property
    def voxel(self) -> float:
        """Edge in mm of the cube of the same volume."""
        return float(np.prod(self.spacing) ** (1 / 3))


def make_grid(shape: Sequence[int], spacing: float | Sequence[float], centre: Sequence[float] = (0.0, 0.0, 0.0)) -> Grid:
    """A grid; one spacing stands for three. ConfigError unless axes have 8 to 1024 voxels of 0.2 to 20 mm."""
    steps = (spacing,) * 3 if np.isscalar(spacing) else tuple(spacing)
    if len(shape) != 3 or len(steps) != 3 or not all(8 <= int(n) <= 1024 for n in shape):
        raise ConfigError(f"a phantom volume has three axes of 8 to 1024 voxels, not {tuple(shape)}")
    if not all(0.2 <= s <= 20 for s in steps):
        raise ConfigError(f"voxels of a phantom are 0.2 to 20 mm wide, not {steps}")
    return Grid(tuple(map(int, shape)), tuple(map(float, steps)), tuple(map(float, centre)))


def finer(grid: Grid, limit: float) -> tuple[Grid, tuple[int, int, int]]:
    """The grid with axes coarser than `limit` mm split, and into how many parts."""
    parts = tuple(int(np.ceil(s / limit - 1e-9)) for s in grid.spacing)
    shape = tuple(n * p for n, p in zip(grid.shape, parts, strict=True))
    return Grid(shape, tuple(s / p for s, p in zip(grid.spacing, parts, strict=True)), grid.centre), parts


def binned(a: np.ndarray, parts: Sequence[int]) -> np.ndarray:
    """Mean over blocks of `parts` voxels along the last three axes."""
    for axis, part in zip((-3, -2, -1), parts, strict=True):
        if part > 1:
            where = a.ndim + axis
            shape = (*a.shape[:where], a.shape[where] // part, part, *a.shape[where + 1 :])
            a = a.reshape(shape).mean(where + 1, dtype=np.float32)
    return a


def noise(grid: Grid, grain: float, *key: int | str) -> np.ndarray:
    """A field float32 [I, J, K] of about unit variance: a cubic B-spline on a lattice of `grain` mm drawn from `key`.

    Beyond 13 cm from the origin (26 cm for a grain above 12 mm) the field goes on as it ends.
    """
    count = int((260.0 if grain < 12 else 520.0) / grain) + 4
    field = generator(*key, round(grain * 1e3)).standard_normal((count,) * 3, dtype=np.float32)
    for axis in grid.axes:  # the first axis is interpolated and goes to the back; three turns restore the order
        rest = field.shape[1:]
        position = np.clip(axis / grain + count / 2, 1, count - 2)
        rows = interpolate(np.ascontiguousarray(field).reshape(count, -1), position)
        field = np.moveaxis(rows.reshape(-1, *rest), 0, -1)
    return np.ascontiguousarray(field) * np.float32((315 / 151) ** 1.5)


def ellipsoid(points: Points, centre: Sequence[float], axes: Sequence[float], turn: float = 0.0, lean: float = 0.0) -> np.ndarray:
    """Distance (mm, about; positive inside) to an ellipsoid of half `axes`, turned about z, then leant about x (radians)."""
    x, y, z = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    x, y = _rotate(x, y, turn)
    y, z = _rotate(y, z, lean)
    a, b, c = (np.float32(1 / v) for v in axes)
    x, y, z = x * a, y * b, z * c
    near = np.sqrt(x * x + y * y + z * z)
    x, y, z = x * a, y * b, z * c
    return near * (1 - near) / (np.sqrt(x * x + y * y + z * z) + np.float32(1e-6))


def rod(
    points: Points, path: Sequence[Sequence[float]], radii: Sequence[float], squash: Sequence[float] = (1, 1, 1)
) -> np.ndarray:
    """Distance (mm; positive inside) to a tapered rod along the corners `path`; `squash` above 1 flattens it along an axis."""
    pull = np.float32(squash)
    x, y, z = (p * s for p, s in zip(points, pull, strict=True))
    best = None
    corners = np.float32(path) * pull
    for a, b, start, end in zip(corners[:-1], corners[1:], radii[:-1], radii[1:], strict=True):
        along = b - a
        dx, dy, dz = x - a[0], y - a[1], z - a[2]
        share = (dx * along[0] + dy * along[1] + dz * along[2]) / np.float32(along @ along)
        share = np.clip(share, 0, 1)
        dx, dy, dz = dx - share * along[0], dy - share * along[1], dz - share * along[2]
        inside = np.float32(start) + np.float32(end - start) * share - np.sqrt(dx * dx + dy * dy + dz * dz)
        best = inside if best is None else np.maximum(best, inside)
    return best


def _rotate(a: np.ndarray, b: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    if angle == 0:
        return a, b
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * a + sin * b, cos * b - sin * a


def join(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """The union of two bodies, the crease between them filled over `width` mm."""
    h = np.maximum(np.float32(width) - np.abs(a - b), 0)
    return np.maximum(a, b) + h * h * np.float32(0.25 / width)


def cut(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """What two bodies share, the edge rounded over `width` mm."""
    return -join(-a, -b, width)


def cover(distance: np.ndarray, voxel: float) -> np.ndarray:
    """Share (0 to 1) of a voxel inside a surface at signed `distance` (mm, positive inside) from its centre."""
    return np.clip(distance * np.float32(1 / voxel) + np.float32(0.5), 0, 1)


def layer(distance: np.ndarray, half: np.ndarray | float, voxel: float) -> np.ndarray:
    """Share of a voxel within `half` mm of a sheet at `distance` (mm, not negative): exact for a flat one."""
    v = np.float32(voxel / 2)
    return np.maximum(np.minimum(distance + v, half) - np.maximum(distance - v, -half), 0) * np.float32(1 / voxel)


def block(grid: Grid, low: Sequence[float], high: Sequence[float]) -> tuple[slice, slice, slice]:
    """The slices of the grid that hold the box from `low` to `high` (mm), possibly empty."""
    return tuple(
        slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b)))
        for axis, a, b in zip(grid.axes, low, high, strict=True)
    )


def part(grid: Grid, where: Sequence[slice]) -> Grid:
    """The grid of the block `where`."""
    axes = [axis[s] for axis, s in zip(grid.axes, where, strict=True)]
    return Grid(tuple(map(len, axes)), grid.spacing, tuple(float(a[0] + a[-1]) / 2 if len(a) else 0.0 for a in axes))


def box_of(points: Points, low: Sequence[float], high: Sequence[float]) -> tuple[tuple[slice, ...], Points]:
    """The block of voxels, perhaps empty, that holds the box from `low` to `high` in the coordinates `points`; and those."""
    inside = np.ones(points[0].shape, bool)
    for p, a, b in zip(points, low, high, strict=True):
        inside &= (p > a) & (p < b)
    where = []
    for axis in range(3):
        found = np.flatnonzero(inside.any(tuple(i for i in range(3) if i != axis)))
        where.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0))
    return tuple(where), tuple(p[tuple(where)] for p in points)
