"""White-matter lesions: where they lie, what shape they have, and which of them a T1-weighted image shows.

They are drawn from (seed, index) on a coarse grid of their own, so the same lesions are painted on any grid. A lesion
replaces white matter only: it never reaches into cortex, nuclei or liquor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from medjax.data.phantom.brain import COARSE, TissueMap, tissue_map
from medjax.data.phantom.head import Head
from medjax.data.phantom.space import Grid, block, cover, make_grid, noise, part
from medjax.data.phantom.spin_echo import NAMES
from medjax.rng import generator

KINDS = ("periventricular", "subcortical")


@dataclass(frozen=True)
class Lesion:
    """Bright in T2. `centre` and half `axes` in mm (RAS+ of the volume); `visible`: its T1 differs from white matter's."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    kind: str
    visible: bool
    number: int


def sample_lesions(head: Head, *, count: int | None = None, veiled: float = 0.25) -> tuple[Lesion, ...]:
    """Draw lesions; `count` None draws 3 to 10. A share `veiled` of them has white matter's T1 (decided one by one)."""
    r = generator(*head.key, "lesions")
    drawn = int(r.integers(3, 11))
    drawn = drawn if count is None else count
    if drawn == 0:
        return ()
    grid = make_grid((50, 60, 46), COARSE)
    coarse = tissue_map(grid, head, around=False)
    places = np.stack([p.ravel() for p in np.broadcast_arrays(*grid.points)], -1)
    white = (coarse.fractions[NAMES.index("white")] > 0.9).ravel()
    depth, lateral = coarse.depth.ravel(), coarse.lateral.ravel()
    near = white & (depth > 4) & (lateral > -11) & (lateral < -3)
    under = white & (depth > 2.5) & (depth < 10) & (lateral < -12) & (places[:, 2] > -10)
    found: list[Lesion] = []
    for _ in range(drawn):
        kind = KINDS[int(r.random() > 0.6)]
        size = float(np.exp(r.normal(np.log(4.4), 0.32))) * (1.0 if kind == KINDS[0] else 0.85)
        axes = tuple(float(np.clip(size * a, 2.4, 9)) for a in np.exp(r.normal(0, 0.22, 3)))
        visible = bool(r.random() >= veiled)
        order = r.random(len(places))
        zone = near if kind == KINDS[0] else under
        for other in found:  # lesions do not run into each other, or they could not be counted
            gap = max(other.axes) + max(axes) + 4.0
            zone = zone & (np.linalg.norm(places - other.centre, axis=1) > gap)
        if zone.any():
            centre = places[np.argmax(np.where(zone, order, -1))]
            found.append(Lesion(tuple(map(float, centre)), axes, kind, visible, len(found) + 1))
    return tuple(found)


def paint_lesions(tissues: TissueMap, grid: Grid, head: Head, lesions: tuple[Lesion, ...]) -> np.ndarray:
    """Turns white matter into lesions in place; gives int16 [I, J, K], a lesion's number where it is most of the white matter."""
    numbers = np.zeros(grid.shape, np.int16)
    white = tissues.fractions[NAMES.index("white")]
    for lesion in lesions:
        reach = 1.6 * max(lesion.axes) + grid.voxel
        where = block(grid, [c - reach for c in lesion.centre], [c + reach for c in lesion.centre])
        here = part(grid, where)
        if 0 in here.shape:
            continue
        offset = [(p - np.float32(c)) / np.float32(a) for p, c, a in zip(here.points, lesion.centre, lesion.axes, strict=True)]
        near = np.sqrt(sum(np.square(o) for o in offset))
        ragged = 0.16 * noise(here, 6.0, *head.key, "lesion", lesion.number)
        edge = cover(np.float32(min(lesion.axes)) * (1 + ragged - near), max(grid.voxel, 1.2))
        taken = edge * white[where]
        tissues.fractions[NAMES.index("lesion" if lesion.visible else "veiled")][where] += taken
        numbers[where][(edge > 0.5) & (white[where] > 0.5)] = lesion.number
        white[where] -= taken
    return numbers


def contrast_kept(
    image: np.ndarray, truth: np.ndarray, numbers: np.ndarray, *, white: np.ndarray | None = None, reach: int = 3
) -> dict[int, float]:
    """How much of each lesion's contrast `image` shows, relative to `truth`: 1 as in truth, 0 a lesion that is lost.

    Contrast is the mean inside the lesion less the median of what surrounds it: up to `reach` voxels away, no other lesion.

    Args:
      image, truth: arrays of one shape, 2-D or 3-D, of one contrast and scale.
      numbers: of the same shape, 0 or a lesion's number.
      white: bool, where surroundings are taken from; None takes all.

    Returns:
      {number: share}; lesions without surroundings or without contrast in `truth` are left out.
    """
    shares = {}
    for number in np.unique(numbers[numbers > 0]):
        inside = numbers == number
        ring = binary_dilation(inside, iterations=reach) & (numbers == 0)
        ring = ring if white is None else ring & white
        if ring.any():
            shown, there = (float(a[inside].mean() - np.median(a[ring])) for a in (image, truth))
            if there > 0:
                shares[int(number)] = shown / there
    return shares
