"""Below the tentorium: a foliated cerebellum, the brainstem with the spinal cord, the fourth ventricle."""

from __future__ import annotations

import numpy as np

from medjax.data.phantom.head import Head
from medjax.data.phantom.space import Grid, Points, cover, cut, ellipsoid, join, layer, noise, rod
from medjax.data.phantom.spin_echo import compose

LOW, HIGH = (
    (-90.0, -126.0, -160.0),
    (90.0, 22.0, 34.0),
)  # the box that holds all this and the scalp beside it, anatomical mm


def bodies(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Distance (mm, positive inside) to the outline of the cerebellum and to the brainstem."""
    x, y, z = points
    p = (np.abs(x), y, z)
    halves = ellipsoid(p, (26, -65, -37), (29, 28, 23), turn=-0.25, lean=0.2)
    cerebellum = join(halves, ellipsoid(p, (0, -65, -30), (13, 24, 23)), 9)
    middle = rod(p, [(5, -19, -6), (5, -25, -20)], (8.5, 9))
    pons = ellipsoid(p, (0, -25, -29), (17, 12.5, 14))
    lower = rod(p, [(0, -31, -38), (0, -37, -54), (0, -42, -76), (0, -48, -140)], (9.5, 8, 6, 5.5), (0.85, 1, 1))
    tectum = ellipsoid(p, (5, -34, -9), (6, 4.5, 7))
    return cerebellum, join(join(join(middle, pons, 5), lower, 5), tectum, 3)


def paint_hindbrain(
    fractions: np.ndarray, where: tuple[slice, ...], grid: Grid, points: Points, head: Head, above: np.ndarray
) -> np.ndarray:
    """Paints both into the block `where`, whose own grid is `grid`; `above` is the distance to the cerebrum there.

    Gives the distance to the two as one body (mm, positive inside).
    """
    voxel = grid.voxel
    x, y, z = points
    p = (np.abs(x), y, z)
    outline, stem = bodies(points)
    tent = cut(outline, -np.float32(1.6) - above, 3)  # a gap of liquor and dura below the cerebrum
    grey, white = _folia(grid, points, head, tent)
    compose(fractions, grey, "grey", where)
    compose(fractions, white, "white", where)
    dentate = ellipsoid(p, (14, -58, -36), (6, 8, 4), turn=-0.3)
    compose(fractions, 0.5 * (cover(dentate, voxel) - cover(dentate - 2, voxel)), "grey", where)
    peduncle = rod(p, [(11, -30, -31), (20, -50, -36)], (7.5, 6.5))
    body = join(stem, peduncle, 4)
    compose(fractions, cover(body, voxel), "white", where)
    # Nuclei and crossing fibres make the stem a little greyer than white matter.
    compose(fractions, 0.25 * cover(stem - 1, voxel), "grey", where)
    aqueduct = rod(points, [(0, -30, -3), (0, -34, -18), (0, -40, -26)], (0.8, 1.0, 2.0))
    fourth = rod(p, [(2, -40, -26), (5, -44, -34), (0, -43, -46)], (2.2, 3.4, 1.5), (0.7, 1, 1))
    compose(fractions, cover(join(aqueduct, fourth, 3), voxel), "csf", where)
    return np.maximum(tent, body)


def _folia(grid: Grid, points: Points, head: Head, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of voxels that are grey and white: fissures fan out from the roof of the fourth ventricle, folia from them."""
    x, y, z = points
    dy, dz = y + 46 + np.float32(0.006) * x * x, z + 36
    radius = np.sqrt(dy * dy + dz * dz + np.float32(0.12) * x * x)
    angle = np.arctan2(dz, -dy) + np.float32(0.2) * noise(grid, 15.0, *head.key, "lobules")
    fan = np.sqrt(dy * dy + dz * dz)
    grey, brain, depth = None, cover(outline, grid.voxel), outline
    for period, reach, half in ((0.46, 14.0, 0.2), (0.19, 4.5, 0.08)):
        turn = angle / np.float32(period)
        away = np.abs(turn - np.round(turn)) * np.float32(period) * fan
        brain = brain * (1 - layer(away, half, grid.voxel) * cover(reach - outline, grid.voxel))
        depth = np.minimum(depth, np.hypot(away, np.maximum(outline - np.float32(reach), 0)) - np.float32(half))
    core = np.maximum(depth - np.float32(1.7), np.float32(13) - radius)  # white matter: a trunk with branches
    white = np.minimum(cover(core, grid.voxel), brain)
    grey = brain - white
    return np.where(brain > 0, grey / np.maximum(1 - white, np.float32(1e-3)), 0), white
