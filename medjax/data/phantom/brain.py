"""A head of tissue: what share of every voxel is grey matter, white matter, liquor, fat, ... on any grid.

`tissue_map(grid, head)` paints from the outside inwards: face and skull, liquor, hindbrain, cerebrum, nuclei and
ventricles. A surface of zero thickness cuts a voxel by the distance of the voxel's centre, so partial volume is
exact for what is flat over a voxel. Voxels wider than COARSE mm along an axis are drawn in parts and averaged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medjax.data.phantom import cortex, deep, hindbrain, skull
from medjax.data.phantom.head import Head, anatomical
from medjax.data.phantom.space import Grid, binned, box_of, finer, part
from medjax.data.phantom.spin_echo import NAMES, compose

COARSE = 3.5  # mm


class TissueMap(NamedTuple):
    """Shares of voxels and distances, float32, on the grid asked for."""

    fractions: np.ndarray  # [T, I, J, K], in the order of spin_echo.NAMES; they sum to 1
    inside: np.ndarray  # [I, J, K] mm into the brain's outline (its sulci and ventricles belong to it)
    depth: np.ndarray  # [I, J, K] mm from the cortex into white matter
    lateral: np.ndarray  # [I, J, K] mm into the lateral ventricles; far from them -99


def tissue_map(grid: Grid, head: Head, *, around: bool = True) -> TissueMap:
    """The healthy head on `grid`; lesions are painted later. Without `around`, liquor stands for skull, scalp and face."""
    fine, parts = finer(grid, COARSE)
    drawn = _draw(fine, head, around)
    return drawn if max(parts) == 1 else TissueMap(*(binned(a, parts) for a in drawn))


def _draw(grid: Grid, head: Head, around: bool) -> TissueMap:
    points = anatomical(grid, head)
    mass = cortex.cerebrum(grid, points, head)
    fractions = np.zeros((len(NAMES), *grid.shape), np.float32)
    fractions[0] = 1
    rear, box = box_of(points, hindbrain.LOW, hindbrain.HIGH)
    below = np.full(grid.shape, -99, np.float32)
    below[rear] = np.maximum(*hindbrain.bodies(box))
    if around:
        skull.paint_around(fractions, grid, points, head, mass.hull, below)
    else:
        compose(fractions, np.float32(1), "csf")
    below[rear] = hindbrain.paint_hindbrain(fractions, rear, part(grid, rear), box, head, mass.hull[rear])
    compose(fractions, mass.brain, "grey")
    compose(fractions, mass.white, "white")
    middle, box = box_of(points, deep.LOW, deep.HIGH)
    lateral = np.full(grid.shape, -99, np.float32)
    lateral[middle] = deep.paint_deep(fractions, middle, box, head, grid.voxel)
    return TissueMap(fractions, np.maximum(mass.hull, below), mass.depth, lateral)
