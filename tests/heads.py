"""A head whose anatomy is a formula of the place in millimetres, so that it can be sampled on any grid."""

from __future__ import annotations

import numpy as np

from medjax.data import mri, survey
from medjax.formats import volume as volumes

RADII = np.array([30.0, 40.0, 35.0])
COARSE = {"side": 96.0, "spacing": 3.0}


def places(shape, affine):
    """RAS mm of every voxel, [X, Y, Z, 3]."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def tissue(points, seed=0):
    """(inside the head bool, tissue in [0, 1]) at `points` [..., 3]; no mirror plane, different for every seed."""
    rng = np.random.default_rng(seed)
    field = np.zeros(points.shape[:-1])
    for _ in range(24):
        centre, width = rng.uniform(-0.8, 0.8, 3) * RADII, rng.uniform(5, 11)
        field += rng.choice([-1, 1]) * np.exp(-((points - centre) ** 2).sum(-1) / (2 * width**2))
    return ((points / RADII) ** 2).sum(-1) < 1, 1 / (1 + np.exp(-4 * field))


def contrasts(points, seed=0):
    """{"T1", "T2"}: skull-stripped images of one head; T2 is no monotone function of T1."""
    inside, t = tissue(points, seed)
    return {"T1": inside * (300 + 600 * t), "T2": inside * (100 + 900 * (t - 0.45) ** 2 * 4)}


def grid(spacing=2.0, side=96.0, codes="RAS", offset=(0.0, 0.0, 0.0)):
    """Shape and affine of a cube of `side` mm around `offset`, with axes as `codes` names them."""
    count = tuple(round(side / s) for s in np.broadcast_to(spacing, 3))
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, code in enumerate(codes):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[row, column] = np.broadcast_to(spacing, 3)[column] * (1 if code in "RAS" else -1)
    affine[:3, 3] = np.asarray(offset) - affine[:3, :3] @ ((np.array(count) - 1) / 2)
    return count, affine


def save(path, contrast, *, seed=0, where=None, moved=None, **options):
    """Writes one contrast on a grid; `moved` [4, 4] carries the head elsewhere in space."""
    shape, affine = where or grid(**options)
    points = places(shape, affine)
    if moved is not None:
        back = np.linalg.inv(moved)
        points = points @ back[:3, :3].T + back[:3, 3]
    path.parent.mkdir(parents=True, exist_ok=True)
    volumes.write_volume(path, volumes.plain(contrasts(points, seed)[contrast], affine, dtype="int16"))


def turned(degrees, axis, shift):
    """A rotation about one axis and a shift in mm, [4, 4]."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    matrix[:3, 3] = shift
    return matrix


def save_pair(root, name, *, flat=True, seed=0, t1=None, t2=None, moved=None):
    """A subject's two files, by default on one grid."""
    for contrast, options in (("T1", t1 or COARSE), ("T2", t2 or t1 or COARSE)):
        path = root / f"{name}-{contrast}.nii.gz" if flat else root / contrast / f"{name}-{contrast}.nii.gz"
        save(path, contrast, seed=seed, moved=moved if contrast == "T2" else None, **options)


def opened(root, **options):
    """The pairs of a folder, measured without a cache."""
    return mri.mri_pairs(root, **({"cache": survey.OFF} | options))
