"""Two-dimensional slices of a volume, laid on one canvas for every subject, and the way back.

Volumes are in RAS order: `[X, Y, Z]` with indices growing to the patient's right, front and top. A slice is shown as
radiologists see it:

* axial: seen from the feet, front up, the patient's right on the left;
* coronal: seen from the front, top up, the patient's right on the left;
* sagittal: top up, front on the left.

A canvas is a square of `fov_mm` around the head's centre in pixels of the volume's smaller in-plane spacing, so that all
canvases, resized to one square of pixels, have the same millimetres per pixel (to half a pixel in the field of view). No
value is interpolated where the two in-plane spacings are equal (to 1%), and `paste` is then the exact inverse of `cut`
inside the canvas; else the coarser axis is interpolated linearly, there and back.

Positions are millimetres from the centre, positive to the right, front and top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medjax.formats.volume import Volume
from medjax.types import ConfigError, DataError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
_SAME = 0.01  # spacings that differ by less count as equal
_LEAST = 8  # pixels along a side of a canvas


@dataclass(frozen=True, eq=False)
class Plan:
    """How a volume is cut: `rows` and `columns` are the voxel coordinates of the canvas's pixels, [S] each.

    axis: of the RAS array, across the slices; spacing: mm between slices; pixel_mm: side of a pixel of the canvas;
    positions: float [number of slices], mm from the centre; shape: of the RAS array.
    """

    plane: str
    axis: int
    spacing: float
    pixel_mm: float
    rows: np.ndarray
    columns: np.ndarray
    positions: np.ndarray
    shape: tuple[int, int, int]

    @property
    def side(self) -> int:
        """Pixels along a side of the canvas."""
        return len(self.rows)


def plane_axis(plane: str) -> int:
    """The RAS axis across the slices of `plane`; ConfigError for another name."""
    if plane not in PLANES:
        raise ConfigError(f"plane {plane!r} is not known; choose one of {', '.join(PLANES)}")
    return PLANES[plane]


def in_plane(axis: int) -> tuple[int, int]:
    """(axis down the rows, axis along the columns) of slices across `axis`."""
    return {0: (2, 1), 1: (2, 0), 2: (1, 0)}[axis]


def slice_plan(volume_ras: Volume, *, plane: str = "axial", fov_mm: float = 0.0, centre: Sequence[float] | None = None) -> Plan:
    """Plans the slices of a volume in RAS order (what `formats.volume.to_ras` returns); see `grid_plan`."""
    options = {"plane": plane, "fov_mm": fov_mm, "centre": centre, "name": volume_ras.path or "the volume"}
    return grid_plan(volume_ras.values.shape, volume_ras.affine, **options)


def grid_plan(
    shape: Sequence[int],
    affine: np.ndarray,
    *,
    plane: str = "axial",
    fov_mm: float = 0.0,
    centre: Sequence[float] | None = None,
    name: str = "the volume",
) -> Plan:
    """Plans the slices of an RAS grid.

    Args:
      shape, affine: of the grid; the affine [4, 4] leads to RAS mm.
      plane: one of `PLANES`.
      fov_mm: side of the canvas; 0 takes the larger side of the grid's own slices.
      centre: RAS millimetres of the point in the middle of every canvas and at position 0; None is the grid's centre.
      name: what to call the volume in errors.

    Raises:
      ConfigError: an unknown plane. DataError: a centre outside the volume or a canvas below 8 pixels.
    """
    axis = plane_axis(plane)
    spacing, middle = np.linalg.norm(affine[:3, :3], axis=0), (np.asarray(shape, float) - 1) / 2
    if centre is not None:
        middle = (np.linalg.inv(affine) @ np.append(np.asarray(centre, float), 1.0))[:3]
    if (middle < -0.5).any() or (middle > np.asarray(shape) - 0.5).any():
        raise DataError(f"the centre of the slices of {name} lies outside it")
    down, along = in_plane(axis)
    pixel = float(min(spacing[down], spacing[along]))
    fov = fov_mm or max(shape[a] * spacing[a] for a in (down, along))
    side = round(fov / pixel)
    if side < _LEAST:
        raise DataError(f"slices of {fov:g} mm of {name} are only {side} pixels wide")
    rows, columns = (_coordinates(middle[a], spacing[a], pixel, side) for a in (down, along))
    positions = (np.arange(shape[axis]) - middle[axis]) * spacing[axis]
    return Plan(plane, axis, float(spacing[axis]), pixel, rows, columns, positions, tuple(shape))


def _coordinates(middle: float, spacing: float, pixel: float, side: int) -> np.ndarray:
    """Voxel coordinates of `side` pixels, from the high end down; whole numbers where voxels are as wide as pixels."""
    if spacing <= pixel * (1 + _SAME):
        return np.round(middle + (side - 1) / 2) - np.arange(side)
    return middle + ((side - 1) / 2 - np.arange(side)) * pixel / spacing


def cut(values_ras: np.ndarray, plan: Plan, k: int) -> np.ndarray:
    """Slice number `k` of an RAS array [X, Y, Z] on its canvas, float32 [S, S]; zero outside the volume."""
    return _sample(_sample(np.take(values_ras, k, axis=plan.axis).T, plan.rows).T, plan.columns).T


def stack(values_ras: np.ndarray, plan: Plan, k: int, *, context: int = 0) -> np.ndarray:
    """Slice `k` and its `context` neighbours on either side as channels, [S, S, 2 context + 1]; ends are repeated."""
    last = values_ras.shape[plan.axis] - 1
    chosen = np.clip(np.arange(k - context, k + context + 1), 0, last)
    return np.stack([cut(values_ras, plan, int(i)) for i in chosen], axis=-1)


def paste(out_ras: np.ndarray, canvas: np.ndarray, plan: Plan, k: int) -> None:
    """Writes a canvas [S, S] into slice `k` of an RAS array, in place; voxels outside the canvas stay as they are."""
    down, along = in_plane(plan.axis)
    rows, columns = _back(plan.rows, plan.shape[down]), _back(plan.columns, plan.shape[along])
    inside = [(c > -1e-6) & (c < plan.side - 1 + 1e-6) for c in (rows, columns)]
    piece = _sample(_sample(canvas, rows[inside[0]]).T, columns[inside[1]]).T
    np.moveaxis(out_ras, plan.axis, 0)[k].T[np.ix_(*inside)] = piece


def _back(coordinates: np.ndarray, count: int) -> np.ndarray:
    """Canvas coordinates of voxels 0 .. count - 1."""
    step = coordinates[0] - coordinates[1]
    return (coordinates[0] - np.arange(count)) / step


def _sample(image: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Rows of `image` [n, m] at fractional `coordinates` [s], float32 [s, m]: linear between rows, zero beyond the ends."""
    image, last = np.asarray(image, np.float32), image.shape[0] - 1
    near = np.round(coordinates)
    coordinates = np.where(np.abs(coordinates - near) < 1e-6, near, coordinates)
    low = np.floor(coordinates).astype(int)
    weight = (coordinates - low).astype(np.float32)[:, None]
    out = image[low.clip(0, last)]
    if weight.any():
        out = out * (1 - weight) + image[(low + 1).clip(0, last)] * weight
    # Half a voxel beyond the last centre still belongs to the volume.
    beyond = (coordinates < -0.5) | (coordinates > last + 0.5)
    return np.where(beyond[:, None], np.float32(0), out)


def choose_slices(
    plan: Plan, *, range_mm: Sequence[float] = (), step_mm: float = 0.0, index_range: Sequence[int] = ()
) -> list[int]:
    """Slice numbers in rising order.

    Args:
      plan: of the volume.
      range_mm: (lowest, highest) position from the centre; () takes all.
      step_mm: distance between slices, each position taking the slice nearest to it; 0 takes every slice.
      index_range: (first, last) slice numbers in RAS order, both included, instead of positions.

    Raises:
      ConfigError: a range that does not rise.
    """
    count = len(plan.positions)
    ends = index_range or range_mm
    if ends and (len(ends) != 2 or ends[0] > ends[1]):
        raise ConfigError(f"a range of slices is two rising numbers, not {tuple(ends)}")
    if index_range:
        return [k for k in range(int(index_range[0]), int(index_range[1]) + 1) if 0 <= k < count]
    low, high = range_mm or (plan.positions[0], plan.positions[-1])
    if step_mm <= 0:
        return [k for k in range(count) if low - 1e-6 <= plan.positions[k] <= high + 1e-6]
    # Counted from the centre, so that the range moves no slice.
    wanted = np.arange(np.ceil(low / step_mm - 1e-6), np.floor(high / step_mm + 1e-6) + 1) * step_mm
    nearest = np.abs(plan.positions[None] - wanted[:, None])
    reached = nearest.min(axis=1) <= plan.spacing / 2 + 1e-6
    return sorted({int(k) for k in nearest.argmin(axis=1)[reached]})
