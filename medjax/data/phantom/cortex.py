"""The cerebrum: its outline, its fissures, and a folded ribbon of grey matter.

Sulci are sheets that dive from the surface at right angles. Where they are is read from band-passed noise at the
nearest point of the surface: the lines along which such noise is zero wind like those between gyri, one fold apart.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from medjax.data.phantom.head import Head
from medjax.data.phantom.space import Grid, Points, cover, cut, ellipsoid, join, layer, noise
from medjax.rng import generator

_STEP = 2.5  # mm, lattice of the folds
_SHAPE = (84, 100, 84)


class Cerebrum(NamedTuple):
    """Distances (mm, positive inside) and shares of voxels, float32 [I, J, K]."""

    hull: np.ndarray  # to the outline, sulci and fissures filled
    depth: np.ndarray  # into white matter, from the inner border of the cortex
    brain: np.ndarray  # share of grey and white matter
    white: np.ndarray  # share of white matter


def cerebrum(grid: Grid, points: Points, head: Head) -> Cerebrum:
    """The two hemispheres as if solid: nuclei, ventricles and corpus callosum are painted over them."""
    outline = hull(points)
    sheets = _fissures(grid, points, head, outline)
    surface, brain = outline, cover(outline, grid.voxel)
    for distance, half, edge in sheets:
        surface = cut(surface, distance - half, edge)
        brain *= 1 - layer(distance, half, grid.voxel)
    distance, reach = _sulci(grid, points, head, surface)
    half = np.float32(0.35 + head.atrophy) + np.float32(0.9) * np.exp(np.maximum(surface, 0) * np.float32(-0.4))
    brain *= 1 - layer(distance, half, grid.voxel) * cover(reach, grid.voxel)
    fold = np.hypot(distance, np.maximum(-reach, 0)) - half
    ribbon = np.float32(head.cortex) + np.float32(0.25) * noise(grid, 24.0, *head.key, "ribbon")
    depth = cut(surface, fold, 3.0) - ribbon
    return Cerebrum(outline, depth, brain, np.minimum(cover(depth, grid.voxel), brain))


def hull(points: Points) -> np.ndarray:
    """Distance to the outline of the cerebrum: a dome on a base that steps down from the tentorium to the temporal lobes."""
    x, y, z = points
    side = np.abs(x)
    narrow = 1 + np.clip(y + 20, -60, 80) * np.float32(0.0018)  # the forehead is narrower than the back
    dome = ellipsoid((side * narrow, y, z), (0, -17, 10), (69, 88, 67))
    levels = np.float32([-120, -95, -75, -55, -42, -25, 0, 15, 45, 62, 80])
    base = np.interp(y, levels, np.float32([-22, -21, -14, -3, 1, -8, -15, -21, -19, -10, 2])).astype(np.float32)
    slope = np.interp(y, [-100, -60, -30, 0, 40, 60], [0.1, 0.3, 0.3, 0.1, -0.1, -0.2]).astype(np.float32)
    base -= np.clip(side - 8, 0, 45) * slope
    upper = cut(dome, (z - base) * np.float32(0.9), 12)
    # Half the width of a lobe and where its middle lies: the pole turns inwards.
    lobe = ellipsoid((side, y, z), (45, -15, -24), (19, 37, 19), turn=0.16, lean=-0.1)
    below = ellipsoid((side, y, z), (40, -52, -13), (22, 36, 15), turn=0.1)
    medial = ellipsoid((side, y, z), (21, -17, -17), (10, 27, 12), turn=-0.2)
    return join(join(join(upper, below, 8), medial, 5), lobe, 5)


def callosal(points: Points) -> np.ndarray:
    """Distance (mm, positive inside) in the midsagittal plane to the upper border of the corpus callosum."""
    _, y, z = points
    u, v = (y + 7) / np.float32(40), (z - 2) / np.float32(27)
    near = np.sqrt(u * u + v * v)
    return near * (1 - near) / (np.sqrt(np.square(u / 40) + np.square(v / 27)) + np.float32(1e-5))


def _fissures(grid: Grid, points: Points, head: Head, outline: np.ndarray) -> list[tuple[np.ndarray, float, float]]:
    """Distance to a sheet, half its width, and the rounding of its edge: between the hemispheres, Sylvian, insular."""
    x, y, z = points
    wave = x + np.float32(0.8) * noise(grid, 40.0, *head.key, "falx") + np.float32(0.7) * noise(grid, 15.0, *head.key, "falx")
    middle = np.hypot(wave, np.maximum(callosal(points), 0))
    side = np.abs(x)
    bend = noise(grid, 22.0, *head.key, "insula") + np.float32(0.5) * noise(grid, 12.0, *head.key, "insula")
    rise = z + np.float32(0.45) * y - np.float32(1.0) + np.float32(0.2) * (side - 37) + np.float32(2.5) * bend
    beyond = np.maximum(np.maximum(y - 17, -40 - y), 0)
    sylvian = np.hypot(rise * np.float32(0.91), np.maximum(np.maximum(37 - side, beyond), 0))
    tall = np.maximum(np.abs(rise - 1) - 12, np.maximum(y - 17, -26 - y))
    bulge = 38 - np.float32(0.05) * y - np.float32(0.008) * (np.square(y + 4) + np.square(rise)) - np.float32(1.8) * bend
    insular = np.hypot(side - bulge, np.maximum(tall, 0))
    wide = head.atrophy
    return [(middle, 0.35 + 0.5 * wide, 5.0), (sylvian, 0.7 + 1.5 * wide, 3.0), (insular, 0.5 + wide, 2.0)]


def _sulci(grid: Grid, points: Points, head: Head, surface: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest sheet of a sulcus, and how far (mm) above its lower edge a voxel lies."""
    # Smoothed, so that the nearest point of the surface does not jump where two walls are equally near.
    smooth = gaussian_filter(surface, [2.5 / s for s in grid.spacing], truncate=2.5)
    inward = np.gradient(smooth, *grid.spacing)
    length = np.sqrt(sum(np.square(g) for g in inward)) + np.float32(1e-3)
    below = np.clip(surface, -4, 30) / length
    sign = np.sign(points[0])
    # 14 mm apart in the noise, the two walls of the fissure between the hemispheres fold differently.
    feet = [p - below * g for p, g in zip(points, inward, strict=True)]
    feet[0] += np.float32(14) * sign
    lattice = _folds(head)
    where = [f * np.float32(1 / _STEP) + np.float32(n / 2) for f, n in zip(feet, lattice.shape, strict=True)]
    value = np.full(surface.shape, 9.0, np.float32)
    near = (surface > -5) & (surface < 31)
    value[near] = map_coordinates(lattice, [w[near] for w in where], order=1, mode="wrap")
    slope = np.sqrt(sum(np.square(g) for g in np.gradient(value, *grid.spacing)))
    phase = np.pi * grid.voxel / head.fold
    slope *= np.float32(phase / np.sin(phase))  # what central differences of a wave of this length miss
    # The jump of `sign` at the midline is no sulcus: there the fissure itself lies.
    distance = np.abs(value) / np.maximum(slope, np.float32(0.02))
    distance += 14 * np.maximum(np.float32(0.72) - length, 0)  # nor is the one half way between two walls
    reach = np.float32(15.5) + np.float32(4.5) * noise(grid, 15.0, *head.key, "sulci")
    return distance, np.clip(reach, 6, 26) - surface


@lru_cache(maxsize=2)
def _folds(head: Head) -> np.ndarray:
    """White noise [lattice] with a ring of wavelengths about twice the fold, unit variance."""
    white = generator(*head.key, "folds").standard_normal(_SHAPE, dtype=np.float32)
    axes = [np.fft.fftfreq(n, _STEP) for n in _SHAPE[:2]] + [np.fft.rfftfreq(_SHAPE[2], _STEP)]
    radius = np.sqrt(sum(np.square(a) for a in np.ix_(*axes))) * (2 * head.fold)
    ring = np.exp(-np.square((radius - 1) / 0.22)).astype(np.float32)
    field = np.fft.irfftn(np.fft.rfftn(white) * ring, _SHAPE, axes=(0, 1, 2))
    return (field / field.std()).astype(np.float32)
