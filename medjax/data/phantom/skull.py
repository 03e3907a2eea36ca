"""Around the brain: liquor, skull with its marrow, scalp, and a plain face and neck."""

from __future__ import annotations

import numpy as np

from medjax.data.phantom.head import Head
from medjax.data.phantom.space import Grid, Points, box_of, cover, ellipsoid, join, noise, part, rod
from medjax.data.phantom.spin_echo import compose


def cavity(points: Points, head: Head, cerebrum: np.ndarray, hindbrain: np.ndarray) -> np.ndarray:
    """Distance (mm, positive inside) to the inner table of the skull: a smooth bag around the brain, and the canal below."""
    bag = join(cerebrum, hindbrain, 12) + np.float32(1.8 + 2.0 * head.atrophy)
    canal = rod(points, [(0, -34, -46), (0, -42, -76), (0, -48, -140)], (13, 10, 9))
    cistern = np.maximum(ellipsoid(points, (0, -6, -19), (11, 10, 7)), ellipsoid(points, (0, -44, -6), (17, 17, 14)))
    return join(join(bag, canal, 8), cistern, 5)


def paint_around(
    fractions: np.ndarray, grid: Grid, points: Points, head: Head, cerebrum: np.ndarray, hindbrain: np.ndarray
) -> None:
    """Paints face, scalp, skull, and the cavity full of liquor, given the distances (mm, positive inside) to the brain."""
    x, y, z = points
    p = (np.abs(x), y, z)
    inner = cavity(points, head, cerebrum, hindbrain)
    voxel = grid.voxel
    bone = np.float32(head.skull) + np.float32(0.7) * noise(grid, 34.0, *head.key, "skull")
    padding = np.float32(head.scalp) + np.float32(0.8) * noise(grid, 45.0, *head.key, "scalp")
    padding = np.maximum(padding, np.float32(3.2))
    skin = inner + bone + padding
    low, below = box_of(p, (-1, -200, -400), (200, 200, 24))
    face = join(ellipsoid(below, (0, 32, -62), (60, 57, 66)), ellipsoid(below, (0, 88, -46), (13, 15, 20)), 14)
    neck = rod(below, [(0, -36, -62), (0, -42, -200)], (60, 56), (1, 1.08, 1))
    skin[low] = join(skin[low], join(face, neck, 25), 14)
    compose(fractions, cover(skin, voxel), "fat")
    _paint_soft(fractions, grid, p, head, skin, -inner - bone)
    outer = cover(inner + bone, voxel)
    compose(fractions, outer, "bone")
    # Marrow between the tables of the vault, thin at the temples, none at the base.
    middle = inner + bone * np.float32(0.5)
    half = np.clip(bone * np.float32(0.5) - np.float32(1.6) - np.clip(p[0] - 50, 0, 12) * np.float32(0.12), 0, 6)
    marrow = cover(half - np.abs(middle), voxel) * np.clip((z + 12) / 12, 0, 1)
    compose(fractions, np.float32(0.55) * marrow, "fat")
    compose(fractions, cover(inner, voxel), "csf")


def _paint_soft(fractions: np.ndarray, grid: Grid, p: Points, head: Head, skin: np.ndarray, above: np.ndarray) -> None:
    """Muscle, eyes and airways; `skin` is the depth below it, `above` the height over the outer table."""
    voxel = grid.voxel
    compose(fractions, cover(skin, voxel) * cover(1.8 - skin, voxel), "muscle")
    where, p = box_of(p, (-1, -200, -400), (200, 200, 34))
    grid, skin, above, z = part(grid, where), skin[where], above[where], p[2]
    if 0 in grid.shape:
        return
    temple = ellipsoid(p, (66, 16, -6), (14, 34, 36))
    streaks = noise(grid, 9.0, *head.key, "muscle") + 0.6 * noise(grid, 5.0, *head.key, "muscle")
    share = np.clip(0.72 + 0.35 * streaks, 0, 1)
    deep = cover(skin - 5.5, voxel) * cover(above + 1, voxel)
    low = np.clip((-22 - z) / 8, 0, 1)
    compose(fractions, np.maximum(deep * low * share, deep * cover(temple, voxel) * 0.9), "muscle", where)
    inner, p = box_of(p, (-1, -45, -400), (200, 200, 2))
    where = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(where, inner, strict=True))
    if any(s.start >= s.stop for s in where):
        return
    for tissue, strength, distance in _face(p):
        compose(fractions, np.float32(strength) * cover(np.minimum(distance, skin[inner] - 3), voxel), tissue, where)


def _face(p: Points) -> list[tuple[str, float, np.ndarray]]:
    """Tissue, share and distance of what lies in the face, in the order of painting."""
    orbit = ellipsoid(p, (30, 52, -27), (18, 27, 17), turn=0.3)
    globe = ellipsoid(p, (32, 63, -27), (12, 12, 12))
    lens = ellipsoid(p, (32, 72, -27), (4.5, 2, 4.5))
    rectus = join(rod(p, [(41, 62, -27), (27, 30, -24)], (1.8, 2)), rod(p, [(21, 60, -27), (22, 30, -24)], (1.8, 2)), 1)
    nerve = rod(p, [(32, 52, -27), (22, 30, -24), (12, 14, -20)], (2, 2, 2))
    nasal = ellipsoid(p, (0, 54, -48), (10, 24, 19))
    septum = np.float32(1.2) - p[0]
    concha = ellipsoid(p, (6, 50, -52), (3.5, 22, 7))
    maxillary = ellipsoid(p, (27, 50, -60), (13, 16, 15))
    sphenoid = ellipsoid(p, (7, 18, -34), (9, 11, 8))
    frontal = ellipsoid(p, (9, 76, -8), (9, 4, 8))
    mastoid = ellipsoid(p, (54, -30, -38), (8, 11, 15))
    throat = rod(p, [(0, 20, -58), (0, 8, -90), (0, 2, -180)], (9, 9, 9), (0.6, 1, 1))
    return [
        ("fat", 1.0, orbit), ("vitreous", 1.0, globe), ("muscle", 1.0, lens), ("muscle", 0.9, rectus), ("white", 0.8, nerve),
        ("bone", 0.8, maxillary + 1.5), ("air", 1.0, nasal), ("bone", 0.8, np.minimum(septum, nasal)), ("muscle", 0.9, concha),
        ("air", 1.0, maxillary), ("bone", 0.8, sphenoid + 1.5), ("air", 1.0, sphenoid), ("air", 1.0, frontal),
        ("bone", 0.85, mastoid), ("air", 1.0, throat),
    ]  # fmt: skip
