"""The middle of the brain: corpus callosum, deep grey nuclei, and the ventricles. Distances in mm, positive inside.

Shapes are drawn once for both sides, by the distance from the midline; the head's own deformation makes them differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medjax.data.phantom.cortex import callosal
from medjax.data.phantom.head import Head
from medjax.data.phantom.space import Points, cover, cut, ellipsoid, join, layer, rod
from medjax.data.phantom.spin_echo import compose

LOW, HIGH = (-52.0, -92.0, -34.0), (52.0, 50.0, 44.0)  # the box that holds all this, anatomical mm


def ventricles(points: Points, head: Head) -> np.ndarray:
    """Distance to the lateral ventricles: horns, body, atrium."""
    side = np.abs(points[0])
    wide = head.ventricles * (1 + head.uneven * np.sign(points[0]))
    p = (side, *points[1:])

    def strand(path: Sequence[Sequence[float]], radii: Sequence[float], squash: Sequence[float] = (1, 1, 1)) -> np.ndarray:
        return rod(p, path, radii, squash) + (wide - 1) * np.float32(np.mean(radii))

    lower = strand([(4.5, 2, 12), (6, 18, 6), (10, 32, 2)], (2.6, 4.0, 2.2))
    upper = strand([(10, -4, 20), (14, 16, 14), (17, 34, 6)], (3.2, 3.9, 2.0))
    between = strand([(7, 0, 16), (9.5, 17, 10.5), (13.5, 33, 4)], (2.8, 3.6, 2.0))
    body = strand([(8, 4, 17), (10, -12, 21), (14, -27, 22), (21, -39, 17)], (4.2, 4.8, 5.0, 6.2), (0.75, 1, 1.15))
    horn = strand([(21, -39, 17), (26, -45, 8), (25, -58, 6), (22, -72, 5)], (6.2, 6.6, 4.4, 1.6), (1.2, 1, 1))
    temporal = strand([(27, -44, 6), (32, -31, -9), (32, -14, -17)], (4.6, 2.0, 1.7))
    return join(join(join(join(lower, between, 4), upper, 4), body, 4), join(horn, temporal, 3), 4)


def paint_deep(fractions: np.ndarray, where: tuple[slice, ...], points: Points, head: Head, voxel: float) -> np.ndarray:
    """Paints callosum, nuclei and ventricles into the block `where`; gives the distance to the lateral ventricles there."""
    x, y, z = points
    side = np.abs(x)
    p = (side, y, z)
    arch = callosal(points)
    thick = np.float32(5.5) + 4 * np.exp(-np.square((y - 26) / 10)) + 5 * np.exp(-np.square((y + 40) / 9))
    low = np.where(y > -8, z + 5, z - 5)  # rostrum and splenium
    callosum = cut(cut(arch, thick - arch, 2), cut(low, 20 - side, 3), 2)
    core = cut(cut(arch - thick, 8 - side, 2), z - 3, 2)  # septum and fornix, between the ventricles
    compose(fractions, np.maximum(cover(callosum, voxel), cover(core, voxel)), "white", where)
    for tissue, strength, distance in _nuclei(p):
        compose(fractions, np.float32(strength) * cover(distance, voxel), tissue, where)
    lateral = ventricles(points, head)
    compose(fractions, cover(lateral, voxel), "csf", where)
    third = ellipsoid((x * 0, y, z), (0, -11, 1), (1, 15, 11))
    slit = np.float32(0.4 + 0.9 * head.ventricles**1.5)
    compose(fractions, layer(side, slit, voxel) * cover(third, voxel), "csf", where)
    plexus = rod(p, [(9, -14, 20), (17, -34, 19), (25, -45, 8)], (1.0, 1.4, 1.8))
    compose(fractions, 0.5 * cover(plexus, voxel) * cover(lateral - 0.5, voxel), "grey", where)
    return lateral


def _nuclei(p: Points) -> list[tuple[str, float, np.ndarray]]:
    """Tissue, its share beside the white matter that runs through, and distance to the nucleus."""
    caudate = rod(p, [(10, 23, -3), (13.5, 13, 9), (17, 0, 19), (19, -16, 22), (25, -32, 17)], (6.2, 6.4, 4.4, 2.8, 1.4))
    putamen = ellipsoid(p, (26.5, 1.5, 1), (5.6, 17, 10.5), turn=0.26)
    pallidum = ellipsoid(p, (20.5, -4, 0), (4.2, 9, 6.5), turn=0.38)
    thalamus = ellipsoid(p, (10.5, -18, 7), (8.5, 15, 9), turn=0.32)
    hippocampus = rod(p, [(23, -9, -20), (28, -24, -15), (27, -37, -5)], (6.0, 5.0, 3.0))
    amygdala = ellipsoid(p, (22, -2, -20), (7, 7, 7))
    claustrum = ellipsoid(p, (33.3, 1, 1), (0.8, 15, 9), turn=0.1)
    accumbens = ellipsoid(p, (13, 12, -7), (6, 6, 4))
    substance = ellipsoid(p, (9, -18, -12), (5.5, 4, 2.2))
    return [
        ("grey", 0.95, caudate), ("grey", 0.9, putamen), ("grey", 0.9, accumbens), ("grey", 0.65, thalamus),
        ("pallidum", 1.0, pallidum), ("grey", 0.9, hippocampus), ("grey", 0.95, amygdala), ("grey", 0.6, claustrum),
        ("pallidum", 0.9, substance),
    ]  # fmt: skip
