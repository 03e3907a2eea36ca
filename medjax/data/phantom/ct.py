"""A thorax in Hounsfield units: `ct_volume(seed, index)`, a pure function, of the patients of the phantom radiographs.

Every tissue has the HU of ORGANS; a voxel's value is the mean over what it holds, then blur and noise are added. The lung
is by its patient's density, denser towards the back as in one who lies. Anatomy and nodules depend on (seed, index) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medjax.data.phantom import thorax
from medjax.data.phantom.patient import Patient, sample_patient
from medjax.data.phantom.space import Grid, block, cover, ellipsoid, make_grid, noise, part
from medjax.rng import generator
from medjax.types import ConfigError

# HU at 120 kV without contrast medium; Hofer, CT Teaching Manual, and usual reference ranges. The lung varies by patient.
ORGANS = {
    "air": -1000.0, "lung": -850.0, "fat": -100.0, "muscle": 55.0, "heart": 42.0, "blood": 42.0, "oesophagus": 35.0,
    "liver": 58.0, "spleen": 48.0, "stomach": 20.0, "marrow": 170.0, "disc": 85.0, "cord": 30.0, "cortex": 1000.0,
    "nodule": 40.0, "ground glass": -550.0, "table": -150.0,
}  # fmt: skip
NAMES = tuple(ORGANS)
ENHANCED = {"blood": 260.0, "heart": 170.0, "liver": 95.0, "spleen": 115.0}  # with contrast medium
CHEST_SHAPE, CHEST_SPACING = (168, 132, 108), (2.5, 2.5, 3.0)
LOWEST, HIGHEST = -1024, 3071


@dataclass(frozen=True)
class Nodule:
    """`centre` and `radius` in mm (RAS+ of the volume); `kind` is "nodule" (solid) or "ground glass"."""

    centre: tuple[float, float, float]
    radius: float
    kind: str
    number: int


@dataclass(frozen=True, eq=False)
class CtPhantom:
    """A thorax as scanned; arrays are [I, J, K] in RAS+ order on `affine`.

    `hu` int16 with blur and noise; `clean` float32 without noise. `labels` uint8: the most abundant tissue, a number in
    `tissues`. `nodules` int16: 0, or the number of one of `nodule_list`.
    """

    hu: np.ndarray
    clean: np.ndarray
    labels: np.ndarray
    nodules: np.ndarray
    nodule_list: tuple[Nodule, ...]
    affine: np.ndarray
    patient: Patient
    tissues: tuple[str, ...] = NAMES


def ct_volume(
    seed: int,
    index: int,
    *,
    shape: Sequence[int] = CHEST_SHAPE,
    spacing: float | Sequence[float] = CHEST_SPACING,
    nodules: bool | int = True,
    contrast: bool = False,
    sigma: float = 18.0,
    blur: float = 0.45,
) -> CtPhantom:
    """Scan chest `index` of the series `seed`.

    Args:
      shape: voxels to the right, front, top.
      spacing: mm, one or three.
      nodules: True draws 1 to 5; a number asks for that many; False or 0 for none.
      contrast: with contrast medium in the blood.
      sigma: standard deviation of the noise in HU, correlated over neighbouring voxels in plane.
      blur: standard deviation in voxels of the point spread in plane.

    Raises:
      ConfigError: an option, seed or index out of range.
    """
    if seed < 0 or index < 0:
        raise ConfigError(f"phantom seed {seed} and index {index} must not be negative")
    if not (sigma >= 0 and blur >= 0 and int(nodules) >= 0):
        raise ConfigError(f"sigma {sigma}, blur {blur} and nodules {nodules} must not be negative")
    grid, patient = make_grid(shape, spacing), sample_patient(seed, index, "No Finding")
    drawing = _Drawing(grid, patient, ORGANS | (ENHANCED if contrast else {}))
    lungs = _paint(drawing, patient)
    drawn = sample_nodules(patient, count=None if nodules is True else int(nodules))
    numbers = _paint_nodules(drawing, lungs, drawn)
    clean = gaussian_filter(drawing.hu, (blur, blur, 0), truncate=3) if blur else drawing.hu
    noisy = clean + _noise(grid, sigma, *patient.key)
    hu = np.clip(np.round(noisy), LOWEST, HIGHEST).astype(np.int16)
    return CtPhantom(hu, clean, drawing.labels, numbers, drawn, grid.affine, patient)


class _Drawing:
    """HU and the most abundant tissue of a volume being painted."""

    def __init__(self, grid: Grid, patient: Patient, organs: dict[str, float]) -> None:
        self.grid, self.organs = grid, organs
        self.hu = np.full(grid.shape, organs["air"], np.float32)
        self.labels = np.zeros(grid.shape, np.uint8)
        self.varied = np.float32(3.0) * noise(grid, 14.0, *patient.key, "tissue")

    def paint(self, tissue: str, share: np.ndarray, *, value: np.ndarray | None = None, where: Sequence[slice] = (...,)) -> None:
        """Blend in a tissue by its share [I, J, K] of a voxel; `value` replaces its HU."""
        where = tuple(where)
        target = self.organs[tissue] + self.varied[where] if value is None else value
        self.hu[where] += share * (target - self.hu[where])
        self.labels[where][share > 0.5] = NAMES.index(tissue)


def _paint(drawing: _Drawing, patient: Patient) -> np.ndarray:
    """Paints the chest from the outside inwards; gives the share of voxels that is lung (parenchyma)."""
    grid, p = drawing.grid, drawing.grid.points
    voxel = grid.voxel
    body = thorax.trunk(p, patient)
    heart, blood = thorax.heart(p, patient)
    tube, gullet = thorax.airways(p, patient)
    column = thorax.spine(p, patient)
    drawing.paint("table", cover(2.5 - np.abs(_table(grid, patient)), voxel))
    drawing.paint("fat", cover(body.skin, voxel))
    drawing.paint("muscle", cover(body.skin, voxel) * cover(1.5 - body.skin, voxel))
    drawing.paint("muscle", cover(body.muscle, voxel))
    planes = np.clip(1.2 * noise(grid, 13.0, *patient.key, "planes") - 0.75, 0, 0.9)
    drawing.paint("fat", planes * cover(body.muscle - 4, voxel))
    drawing.paint("fat", cover(body.chest, voxel))
    for tissue, distance in thorax.abdomen(p, patient):
        drawing.paint(tissue, cover(np.minimum(distance, body.abdomen - 2), voxel))
    drawing.paint("muscle", cover(column.flesh, voxel) * cover(body.muscle, voxel))
    centre = np.maximum.reduce([heart + 3, blood + 2, tube + 3, gullet + 2, column.body + 4, column.disc + 4, column.canal + 12])
    lung = np.minimum(cover(body.lungs, voxel), cover(-centre, voxel))
    density = 620 * patient.lung_density - 1000 - np.float32(0.28) * p[1] + 5 * drawing.varied
    drawing.paint("lung", lung, value=density)
    drawing.paint("heart", cover(heart, voxel) * (cover(body.lungs + 60, voxel)))
    drawing.paint("blood", cover(blood, voxel))
    drawing.paint("oesophagus", cover(gullet, voxel))
    drawing.paint("muscle", cover(tube + 1.5, voxel))
    drawing.paint("air", cover(tube, voxel))
    drawing.paint("blood", thorax.lung_vessels(grid, patient) * lung)
    _paint_bones(drawing, patient, column, body.skin)
    return lung


def _paint_bones(drawing: _Drawing, patient: Patient, column: thorax.Spine, skin: np.ndarray) -> None:
    voxel = drawing.grid.voxel
    drawing.paint("disc", cover(column.disc, voxel))
    for distance, wall in ((column.body, 1.0), (np.minimum(column.arch, skin - 8), 1.6)):
        drawing.paint("cortex", cover(distance, voxel))
        drawing.paint("marrow", cover(distance - wall, voxel))
    drawing.paint("cord", cover(column.canal, voxel))
    cortex, marrow = thorax.skeleton(drawing.grid, patient)
    inside = cover(skin - 2, voxel)
    both = np.maximum(cortex + marrow, 1e-6)
    value = (cortex * drawing.organs["cortex"] + marrow * drawing.organs["marrow"]) / both
    share = np.minimum(both, 1) * inside
    labels = drawing.labels.copy()
    drawing.paint("cortex", share, value=value)
    drawing.labels[:] = np.where(share > 0.5, np.where(cortex > marrow, NAMES.index("cortex"), NAMES.index("marrow")), labels)


def _table(grid: Grid, patient: Patient) -> np.ndarray:
    """Distance to the couch's surface, a shallow trough behind the back."""
    x, y, _ = grid.points
    low = -10 * (patient.depth + 2.2 + patient.fat) - 5
    return np.where(np.abs(x) < 215, y - np.float32(low) - np.square(x) * np.float32(6e-4), np.float32(99)) + 0 * grid.points[2]


def sample_nodules(patient: Patient, *, count: int | None = None) -> tuple[Nodule, ...]:
    """Draw nodules in the lungs, apart from each other; `count` None draws 1 to 5."""
    r = generator(*patient.key, "nodules")
    drawn = int(r.integers(1, 6))
    drawn = drawn if count is None else count
    grid = make_grid((64, 44, 56), 6.0)
    p = grid.points
    heart, blood = thorax.heart(p, patient)
    inside = (thorax.trunk(p, patient).lungs > 0) & (heart < -5) & (blood < -5)
    depth = distance_transform_edt(inside, sampling=grid.spacing).ravel()
    places = np.stack([a.ravel() for a in np.broadcast_arrays(*p)], -1)
    found: list[Nodule] = []
    for _ in range(drawn):
        radius = float(np.clip(np.exp(r.normal(np.log(5.5), 0.45)), 2.5, 16))
        kind = "nodule" if r.random() < 0.75 else "ground glass"
        order = r.random(len(places))
        zone = depth > radius + 3
        for other in found:
            zone &= np.linalg.norm(places - other.centre, axis=1) > other.radius + radius + 6
        if zone.any():
            centre = tuple(map(float, places[np.argmax(np.where(zone, order, -1))]))
            found.append(Nodule(centre, radius, kind, len(found) + 1))
    return tuple(found)


def _paint_nodules(drawing: _Drawing, lungs: np.ndarray, nodules: tuple[Nodule, ...]) -> np.ndarray:
    grid, numbers = drawing.grid, np.zeros(drawing.grid.shape, np.int16)
    for nodule in nodules:
        reach = 1.5 * nodule.radius + grid.voxel
        where = block(grid, [c - reach for c in nodule.centre], [c + reach for c in nodule.centre])
        here = part(grid, where)
        if 0 in here.shape:
            continue
        key = int(1e3 * nodule.radius), nodule.number
        lobed = 0.13 * nodule.radius * noise(here, max(4.0, nodule.radius), *key, "nodule")
        share = cover(ellipsoid(here.points, nodule.centre, (nodule.radius,) * 3) + lobed, grid.voxel) * (lungs[where] > 0)
        drawing.paint(nodule.kind, share, where=where)
        numbers[where][share > 0.5] = nodule.number
    return numbers


def _noise(grid: Grid, sigma: float, *key: int) -> np.ndarray:
    if sigma == 0:
        return np.zeros(grid.shape, np.float32)
    white = generator(*key, "noise", *grid.shape).standard_normal(grid.shape, dtype=np.float32)
    grain = gaussian_filter(white, (0.6, 0.6, 0), mode="wrap")
    return np.float32(sigma / grain.std()) * grain
