"""Where the head is in a volume, and which stored values mean 0 and 1.

MR values have no unit, so each volume is mapped by its own percentiles inside the head: the recorded `low` and `high`
are the values of 0 and 1, what lies beyond is clipped, and `value = low + (high - low) * unit` maps back. A lower
percentile of 0 stands for the stored value 0 (no signal, and the background of a skull-stripped volume).

The head's mask is, for a skull-stripped volume (a third of the voxels or more exactly zero), its support; else Otsu's
threshold on a smoothed copy of about 2 mm, closed by 6 mm. Either way the largest piece, with holes filled.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medjax.formats.volume import Volume, read_volume, to_ras
from medjax.types import ConfigError, DataError

MASKS = ("auto", "support", "otsu")
HEAD_MM = 160.0  # from the top of the head down: below lies the neck, whose length belongs to the field of view
AIR_HU = -200.0
_STRIPPED = 1 / 3
_COARSE_MM = 2.0
_CLOSING_MM = 6.0


@dataclass(frozen=True, eq=False)
class Head:
    """A volume in RAS order with its mask and intensity map.

    volume: values float32 [X, Y, Z] as stored; mask: bool [X, Y, Z]; method: how the mask was made; centre: RAS mm of
    the middle of the mask's box; extent: mm, three; low, high: the stored values of 0 and 1.
    """

    volume: Volume
    mask: np.ndarray
    method: str
    centre: tuple[float, float, float]
    extent: tuple[float, float, float]
    low: float
    high: float

    def unit(self) -> np.ndarray:
        """Values float32 [X, Y, Z] in [0, 1], clipped."""
        return to_unit_range(self.volume.values, self.low, self.high)


def read_head(
    volume: Volume | str | os.PathLike, *, percentiles: Sequence[float] = (0.0, 99.5), mask: str = "auto"
) -> Head:
    """Reads (if a path), turns to RAS order and measures a volume.

    Args:
      volume: a volume or its file.
      percentiles: of the values inside the mask that become 0 and 1; see the module's words on a lower one of 0.
      mask: "support", "otsu", or "auto" to choose between them.

    Raises:
      DataError: a file that cannot be used, a volume without a head or without contrast. ConfigError: options.
    """
    ras = to_ras(volume if isinstance(volume, Volume) else read_volume(volume))
    found, method = head_mask(ras.values, ras.spacing, method=mask, name=ras.path)
    centre, extent = head_box(found, ras.affine)
    low, high = percentile_window(ras.values, found, percentiles, name=ras.path)
    return Head(ras, found, method, centre, extent, low, high)


def head_mask(
    values: np.ndarray, spacing: Sequence[float], *, method: str = "auto", name: str = "the volume"
) -> tuple[np.ndarray, str]:
    """The head in `values` [X, Y, Z]: bool [X, Y, Z], and the method taken ("support" or "otsu")."""
    if method not in MASKS:
        raise ConfigError(f"mask must be one of {', '.join(MASKS)}, not {method!r}")
    if method == "auto":
        method = "support" if np.mean(values == 0) >= _STRIPPED else "otsu"
    mask = _filled(_largest(values != 0)) if method == "support" else _thresholded(values, spacing)
    if not mask.any():
        raise DataError(f"{name} shows no head: no voxel is brighter than its background")
    return mask, method


def _thresholded(values: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    from skimage.filters import threshold_otsu

    steps = [max(1, round(_COARSE_MM / mm)) for mm in spacing]
    coarse = ndimage.uniform_filter(values, steps)[:: steps[0], :: steps[1], :: steps[2]]
    coarse = coarse.clip(*np.percentile(coarse, (0.5, 99)))
    if coarse.max() == coarse.min():
        return np.zeros(values.shape, bool)
    mm = np.multiply(spacing, steps)
    # Half of Otsu's threshold: it falls between bright and dark tissue, and air is far below both.
    found = _largest(coarse > coarse.min() + (threshold_otsu(coarse) - coarse.min()) / 2)
    reach = [max(1, round(_CLOSING_MM / m)) for m in mm]
    padded = np.pad(found, [(r, r) for r in reach])
    ball = sum((g * m) ** 2 for g, m in zip(np.ogrid[tuple(slice(-r, r + 1) for r in reach)], mm, strict=True))
    closed = ndimage.binary_closing(padded, ball <= (_CLOSING_MM + 0.5 * mm.min()) ** 2)
    mask = _filled(closed[tuple(slice(r, -r) for r in reach)])
    index = [np.minimum(np.arange(n) // s, c - 1) for n, s, c in zip(values.shape, steps, mask.shape, strict=True)]
    return mask[np.ix_(*index)]


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    return (ndimage.find_objects(mask.astype(np.int8)) or [None])[0] or (slice(0, 0),) * mask.ndim


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece."""
    out, box = np.zeros(mask.shape, bool), _box(mask)
    labels, count = ndimage.label(mask[box])
    if count:
        sizes = np.bincount(labels.ravel())
        out[box] = labels == 1 + int(np.argmax(sizes[1:]))
    return out


def _filled(mask: np.ndarray) -> np.ndarray:
    """Holes filled: background that does not reach the outside."""
    out, box = np.zeros(mask.shape, bool), _box(mask)
    background, count = ndimage.label(~np.pad(mask[box], 1))
    outside = background[0, 0, 0] if count else 0
    out[box] = (background != outside)[1:-1, 1:-1, 1:-1]
    return out


def head_box(mask: np.ndarray, affine: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(centre in RAS mm, extent in mm) of the box around a mask in RAS order, cut `HEAD_MM` below its top."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    box = _box(mask)
    top = box[2].stop
    bottom = max(box[2].start, top - round(HEAD_MM / spacing[2]))
    if bottom > box[2].start:
        head = _box(mask[:, :, bottom:top])  # shoulders and chin widen the box below
        box = (head[0], head[1], slice(bottom, top))
    low = np.array([s.start for s in box], float)
    high = np.array([s.stop for s in box], float) - 1
    centre = affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3]
    return tuple(map(float, centre)), tuple(map(float, (high - low + 1) * spacing))


def percentile_window(
    values: np.ndarray, mask: np.ndarray, percentiles: Sequence[float], *, name: str = "the volume"
) -> tuple[float, float]:
    """The values of 0 and 1: percentiles of `values` inside `mask`; a lower percentile of 0 is the value 0."""
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ConfigError(f"percentiles are two rising numbers from 0 to 100, not {tuple(percentiles)}")
    low, high = np.percentile(values[mask], percentiles)
    low = 0.0 if percentiles[0] == 0 else float(low)
    if not high > low:
        raise DataError(f"{name} has no contrast inside the head: its percentiles are {low:g} and {high:g}")
    return low, float(high)


def looks_like_ct(values: np.ndarray) -> bool:
    """Whether a real share of the values lies where only air in HU does; MR has none there but for interpolation."""
    return bool(np.mean(values < AIR_HU) > 0.02)


def to_unit_range(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`(values - low) / (high - low)`, clipped to [0, 1], float32."""
    out = np.subtract(values, np.float32(low), dtype=np.float32)
    out /= np.float32(high - low)
    return np.clip(out, 0, 1, out=out)


def from_unit_range(unit: np.ndarray, low: float, high: float) -> np.ndarray:
    """The stored values of an image in [0, 1], float32."""
    return np.asarray(unit, np.float32) * np.float32(high - low) + np.float32(low)
