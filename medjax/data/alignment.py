"""Whether two volumes of one head lie on each other, and how one is laid on the grid of the other.

The score is normalised mutual information (Studholme, Hill and Hawkes, Pattern Recognition 1999),
`(H(a) + H(b)) / H(a, b)` over voxels inside both heads: 1 for independent images, 2 for images that determine each
other. A pair is aligned when the score is higher as it lies than with one volume shifted by `SHIFT_MM` to any of six
sides, by at least `MARGIN` of its excess over 1. Shifts of half `SHIFT_MM` and more are so found out; smaller ones show in
`best`, the tested shift (0, 2 or 6 mm) with the highest score. The heads of two people in one template space are alike
enough to pass, at a much lower score than those of one person (1.01 beside 1.04 to 1.10 for infants): who belongs together
is told by the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SHIFT_MM = 6.0
FINE_MM = 2.0
MARGIN = 0.1
_BINS = 32
_VOXELS = 400_000  # enough for 32 x 32 bins; large grids are read at every second or third voxel
_LEAST_OVERLAP = 1 / 3
_SIDES = ("right", "front", "top")


@dataclass(frozen=True)
class Alignment:
    """nmi: the score as the pair lies; shifted: the highest with one volume shifted by about 6 mm; margin: how much of
    the excess over 1 such a shift costs (negative: it helps); best: the best tested shift of the second volume, "0" if none.
    """

    nmi: float
    shifted: float
    margin: float
    best: str

    @property
    def aligned(self) -> bool:
        """Whether the pair may be used as it lies."""
        return self.margin >= MARGIN


def normalised_mutual_information(a: np.ndarray, b: np.ndarray, *, bins: int = _BINS) -> float:
    """Of two integer arrays [n] with values in 0 .. bins - 1; 1 where nothing is known of one from the other."""
    if not a.size:
        return 1.0
    joint = np.bincount(a.astype(np.int64) * bins + b, minlength=bins * bins).reshape(bins, bins) / a.size
    both = _entropy(joint)
    return float((_entropy(joint.sum(0)) + _entropy(joint.sum(1))) / both) if both > 0 else 1.0


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def alignment(
    first: np.ndarray, second: np.ndarray, first_mask: np.ndarray, second_mask: np.ndarray, spacing: Sequence[float]
) -> Alignment:
    """Scores a pair on one grid.

    Args:
      first, second: float [X, Y, Z] in [0, 1].
      first_mask, second_mask: bool [X, Y, Z], the head in each.
      spacing: mm along the three axes.

    Returns:
      The scores; with less than a third of the smaller head inside the other the pair is not aligned, whatever they are.
    """
    grids = [np.minimum(x * _BINS, _BINS - 1).astype(np.uint8) for x in (first, second)]
    stride = max(1, round((first.size / _VOXELS) ** (1 / 3)))

    def score(axis: int, voxels: int) -> float:
        here, there = [slice(None)] * 3, [slice(None)] * 3
        if voxels > 0:
            here[axis], there[axis] = slice(voxels, None), slice(None, -voxels)
        elif voxels < 0:
            here[axis], there[axis] = slice(None, voxels), slice(-voxels, None)
        thin = (slice(None, None, stride),) * 3
        inside = first_mask[tuple(here)][thin] & second_mask[tuple(there)][thin]
        return normalised_mutual_information(grids[0][tuple(here)][thin][inside], grids[1][tuple(there)][thin][inside])

    found = {"0": score(0, 0)}
    far: list[float] = []
    for axis, (side, mm) in enumerate(zip(_SIDES, spacing, strict=True)):
        for reach in (FINE_MM, SHIFT_MM):
            voxels = min(max(1, round(reach / mm)), first.shape[axis] - 1)
            for sign in (1, -1) if voxels else ():
                found[f"{sign * voxels * mm:+.1f} mm to the {side}"] = value = score(axis, sign * voxels)
                far += [value] if reach == SHIFT_MM else []
    nmi, shifted = found["0"], max(far, default=1.0)
    margin = (nmi - shifted) / (nmi - 1) if nmi > 1 else 0.0
    if (first_mask & second_mask).sum() < _LEAST_OVERLAP * min(first_mask.sum(), second_mask.sum()):
        margin = min(margin, 0.0)
    return Alignment(nmi, shifted, float(np.clip(margin, -9, 1)), max(found, key=lambda name: found[name]))


def resample(
    values: np.ndarray,
    affine: np.ndarray,
    shape: Sequence[int],
    onto: np.ndarray,
    *,
    transform: np.ndarray | None = None,
    order: int = 1,
) -> np.ndarray:
    """`values` [X, Y, Z] of a grid with `affine`, on the grid of `shape` and affine `onto`; zero outside.

    transform: [4, 4], RAS mm of the new grid's space to RAS mm of the old one's (what `rigid` returns). order: 0 takes
    the nearest voxel, 1 is linear. The array itself comes back where the grids are the same and nothing is transformed.
    """
    if transform is None and values.shape == tuple(shape) and np.allclose(affine, onto, atol=1e-3):
        return values
    matrix = np.linalg.inv(affine) @ (np.eye(4) if transform is None else transform) @ onto
    kind = np.float32 if values.dtype == bool else values.dtype
    out = ndimage.affine_transform(
        values.astype(kind, copy=False), matrix[:3, :3], matrix[:3, 3], output_shape=tuple(shape), order=order
    )
    return out >= 0.5 if values.dtype == bool else out
