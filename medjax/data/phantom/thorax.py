"""The organs of a chest in space, of the same patients as the radiographs: distances in mm, positive inside.

The radiographs' coordinates (x to the left, y to the feet, z to the front, cm) become RAS+ millimetres about the middle
of the lungs. Lungs, diaphragm, ribs and pulmonary vessels are those of `patient`, `soft`, `bones`, `vessels`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medjax.data.phantom import bones, soft, vessels
from medjax.data.phantom.patient import Patient
from medjax.data.phantom.plane import bezier
from medjax.data.phantom.space import Grid, Points, cut, ellipsoid, join, rod
from medjax.data.phantom.splat import deposit, pieces
from medjax.rng import generator


class Trunk(NamedTuple):
    """Signed distances float32 [I, J, K]."""

    skin: np.ndarray
    muscle: np.ndarray  # what lies within the subcutaneous fat
    chest: np.ndarray  # the cavity of the chest within the ribs
    lungs: np.ndarray
    abdomen: np.ndarray  # below the diaphragm


def to_ras(points: np.ndarray) -> np.ndarray:
    """Radiograph centimetres [..., 3] to RAS+ millimetres."""
    return points[..., (0, 2, 1)] * np.array([-10.0, 10.0, -10.0])


def trunk(points: Points, patient: Patient) -> Trunk:
    """Body wall and lungs. The lungs still contain heart, vessels and spine: those are painted over them."""
    x, y, z = points
    down = z * np.float32(-0.1)  # cm towards the feet
    table = np.linspace(-60, 60, 481)
    wide = np.interp(down, table, _half_width(patient, table)).astype(np.float32)
    thick = np.float32(10 * (patient.depth + 2.2))
    muscle = _superellipse(x, y, wide, thick, 2.5)
    skin = muscle + np.float32(10 * patient.fat)
    if patient.breast > 1.0:
        place = 6.0 * patient.width, thick + 10 * patient.fat - 8, -1.5 * patient.height
        sides = 4.6 * patient.width, 10 * patient.breast, 2.6 * patient.height
        skin = join(skin, ellipsoid((np.abs(x), y, z), place, sides), 12)
    left, right = 10 * patient.outer(table), 10 * patient.inner(table)
    middle = np.interp(down, table, (left + right) / 2).astype(np.float32)
    half = np.interp(down, table, (left - right) / 2 + 1e-2, left=1e-2).astype(np.float32)
    deep = np.interp(down, table, 10 * patient.half_depth(table) + 1e-2, left=1e-2).astype(np.float32)
    side = np.abs(x)
    pleura = _superellipse(side - middle, y, half, deep, 3.0)
    centre = _superellipse(side, y, middle + 3, deep, 2.5)
    distance, *domes = soft.dome_curves(patient)
    right, left = (np.interp(side * np.float32(0.1), distance, d).astype(np.float32) for d in domes)
    # The dome falls off to the front and, further, to the back.
    level = np.where(x > 0, right, left) + np.float32(0.055) * np.square((y - 15) * np.float32(0.1))
    above = (level - down) * np.float32(8)
    cavity = np.maximum(pleura, centre)
    apex = (down - np.float32(patient.apex)) * np.float32(8)
    chest = cut(cavity + 4, apex + 12, 8)
    return Trunk(skin, muscle, chest, cut(cut(pleura, above, 6), apex, 8), cut(chest, -above - 3, 4))


def _half_width(patient: Patient, table: np.ndarray) -> np.ndarray:
    """Half the width (mm) of the trunk within its fat, at the levels `table` (cm)."""
    wide = patient.width + 2.0
    narrow = 0.5 * wide * np.clip((patient.apex + 4 - table) / 9, 0, 1) ** 1.6  # shoulders, arms raised, then the neck
    return 10 * (wide - narrow)


def _superellipse(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray, power: float) -> np.ndarray:
    """Distance (mm, about) to |x / a|^p + |y / b|^p = 1."""
    p = np.float32(power)
    r = (np.abs(x / a) ** p + np.abs(y / b) ** p + np.float32(1e-9)) ** (1 / p)
    return (1 - r) * np.hypot(x, y) / np.maximum(r, np.float32(0.05))


def heart(points: Points, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Heart muscle with its chambers, and the great vessels."""
    r = generator(*patient.key, "heart ct")
    hw, turn = 10 * patient.heart, -10 * patient.rotation
    low = -10 * (patient.base + 0.8)
    centre = (turn - 0.17 * hw, 22.0, low + 0.34 * hw)
    left = ellipsoid(points, centre, (0.50 * hw, 0.34 * hw, 0.36 * hw), turn=0.5 + r.normal(0, 0.06), lean=0.15)
    right = ellipsoid(points, (turn + 0.20 * hw, 18.0, low + 0.40 * hw), (0.24 * hw, 0.27 * hw, 0.36 * hw))
    top, knob = -10 * patient.vertebra(4.4), 10 * (1.35 + 0.008 * (patient.age - 40))
    spine = -10 * patient.depth + 26
    arch = [
        (turn + 2, 24, low + 0.55 * hw), (turn + 14, 26, top - 22), (turn + 6, 14, top - 3), (turn - 12, -8, top),
        (turn - 22, -28, top - 14), (-22, spine, top - 60), (-14, spine, low - 80),
    ]  # fmt: skip
    aorta = rod(points, arch, (1.1 * knob, 1.1 * knob, knob, knob * 0.95, knob * 0.9, knob * 0.85, knob * 0.75))
    fork = top - 46
    trunk_ = [(turn - 16, 38, low + 0.6 * hw), (turn - 20, 26, fork + 8), (turn - 14, 12, fork)]
    pulmonary = rod(points, trunk_, (13, 13.5, 12))
    across = rod(points, [(turn - 14, 12, fork), (turn + 34, 0, fork - 4)], (11, 8))
    other = rod(points, [(turn - 14, 12, fork), (turn - 36, -6, fork + 6)], (11, 8))
    cava = rod(points, [(turn + 20, 8, top + 45), (turn + 22, 10, low + 0.5 * hw)], (9, 10))
    branches = rod(points, [(turn + 6, 12, top), (turn + 16, 4, top + 60)], (6.5, 5))
    carotid = rod(points, [(turn - 10, 0, top), (turn - 16, -4, top + 60)], (5, 4))
    veins = rod(points, [(turn + 42, -8, fork - 30), (turn, -8, fork - 42), (turn - 42, -8, fork - 30)], (6, 16, 6))
    vessels_ = [aorta, pulmonary, across, other, cava, branches, carotid, veins]
    return join(left, right, 8), np.maximum.reduce(vessels_)


def airways(points: Points, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Trachea with main bronchi (their lumen), and the oesophagus."""
    r = generator(*patient.key, "airway ct")
    turn, width = -10 * patient.rotation, 10 * float(r.uniform(0.75, 0.95))
    fork = -10 * patient.vertebra(5.2)
    back = -8.0
    tube = rod(points, [(0.5 * turn, back + 6, fork + 140), (turn, back, fork)], (width, width))
    right = rod(points, [(turn, back, fork), (turn + 32, back - 6, fork - 24)], (0.72 * width, 0.6 * width))
    left = rod(points, [(turn, back, fork), (turn - 38, back - 8, fork - 27)], (0.66 * width, 0.52 * width))
    behind = -10 * patient.depth + 38
    gullet = rod(points, [(turn - 4, back - 16, fork + 140), (turn - 4, behind + 4, fork), (turn - 10, behind, -200)], (7, 7, 8))
    return np.maximum(np.maximum(tube, right), left), gullet


def abdomen(points: Points, patient: Patient) -> list[tuple[str, np.ndarray]]:
    """Organs below the diaphragm, which bounds them: liver, spleen, stomach and the gas in it."""
    r = generator(*patient.key, "abdomen ct")
    low, wide, deep = -10 * patient.base, 10 * patient.width, 10 * patient.depth
    liver = ellipsoid(points, (0.36 * wide, 8, low - 62), (0.78 * wide, 0.92 * deep, 78), turn=-0.12)
    spleen = ellipsoid(points, (-0.66 * wide, -0.42 * deep, low - 62), (30, 48, 50), turn=0.4)
    stomach = ellipsoid(points, (-0.42 * wide, 0.22 * deep, low - 52), (44, 40, 42))
    level = points[1] - np.float32(0.22 * deep + r.uniform(4, 18))  # supine: the gas lies in front
    return [("liver", liver), ("spleen", spleen), ("stomach", stomach), ("air", np.minimum(stomach - 3, level))]


class Spine(NamedTuple):
    """Signed distances float32 [I, J, K], and the share of cortex."""

    body: np.ndarray
    disc: np.ndarray
    arch: np.ndarray
    canal: np.ndarray
    flesh: np.ndarray  # the muscles of the back


def spine(points: Points, patient: Patient) -> Spine:
    """Vertebral bodies between discs, the arch around the canal, and the long muscles beside it."""
    x, y, z = points
    levels = np.array([patient.vertebra(n - 0.5) for n in range(-8, 26)])
    number = np.interp(z * np.float32(-0.1), levels, np.arange(-8, 26)).astype(np.float32)
    u = number - np.floor(number)
    half = np.interp(number, [-6, 0, 3, 12, 20], [11, 13, 13, 18, 22]).astype(np.float32)
    axis = x + 10 * patient.spine_x(z * np.float32(-0.1)).astype(np.float32)
    back = np.float32(-10 * patient.depth + 14)
    waist = 1 - np.float32(0.5) * (np.float32(0.25) - np.square(u - np.float32(0.5)))
    column = _superellipse(axis, y - back, half * waist, np.float32(0.85) * half * waist, 2.2)
    gap = np.abs(u - np.round(u)) * np.float32(10 * patient.spacing) - 2.5  # discs are 5 mm thick
    canal = _superellipse(axis, y - back + np.float32(0.85) * half + 9, np.float32(10.5), np.float32(8.5), 2.0)
    ring = np.minimum(canal + 6, -canal)
    process = np.minimum(4 - np.abs(axis), np.minimum(-canal, y - back + 58))
    process = np.minimum(process, 9 - np.abs(u - np.float32(0.75)) * np.float32(10 * patient.spacing))
    process = np.minimum(process, back - half - y)
    wing = np.minimum(6 - np.abs(u - np.float32(0.4)) * np.float32(10 * patient.spacing), 34 - np.abs(axis))
    wing = np.minimum(np.minimum(wing, 5 - np.abs(y - back + half + 6 + np.float32(0.25) * np.abs(axis))), -canal)
    arch = np.maximum(np.maximum(np.minimum(ring, 8 - np.abs(u - 0.5) * 20), process), wing)
    flesh = ellipsoid((np.abs(axis), y - back + 44, z * 0), (26, 0, 0), (24, 17, 1))
    return Spine(np.minimum(column, gap), np.minimum(column - 1, -gap), arch, canal, flesh)


def skeleton(grid: Grid, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Shares of voxels that are cortical and spongy bone of ribs, breastbone, collar bones and shoulder blades."""
    fine = 0.6 * min(grid.spacing)
    cage = bones.rib_cage(patient, 24 + int(400 / fine))
    curve, normal = to_ras(cage.curve), to_ras(cage.normal) / 10
    form = {"flat": 10 * cage.thickness, "normal": normal}
    whole = [pieces(curve, 10 * cage.height, fine, **form)]
    inner = [pieces(curve, 10 * cage.height, fine, inset=10 * cage.cortex, **form)]
    for line, tall, thick in _flat_bones(patient):
        path = bezier(np.array([line], float), 8 + int(200 / fine))
        sizes = np.full(path.shape[:2], tall), np.full(path.shape[:2], thick)
        front = np.broadcast_to([0.0, 1.0, 0.0], path.shape)
        for found, inset in ((whole, 0.0), (inner, 1.3)):
            found.append(pieces(path, sizes[0], fine, flat=sizes[1], normal=front, inset=inset))
    total, marrow = (deposit(grid, *(np.concatenate(a) for a in zip(*p, strict=True))) for p in (whole, inner))
    total, marrow = np.minimum(total, 1), np.minimum(marrow, 1)
    return np.maximum(total - marrow, 0), np.minimum(marrow, total)


def _flat_bones(patient: Patient) -> list[tuple[list[tuple[float, float, float]], float, float]]:
    """Control points (mm) and half axes across and to the front of breastbone, collar bones and borders of shoulder blades."""
    front, top = 10 * patient.depth + 6, -10 * patient.vertebra(2.6)
    tip, back = 10 * (patient.width + 1.5), -10 * patient.depth - 10
    found = [([(0, front - 16, top), (0, front - 4, top - 80), (0, front, top - 165)], 17.0, 5.5)]
    for side in (-1, 1):
        lines = (
            ((17, front - 20, top + 8), (70, front - 24, top + 26), (tip, front - 70, top + 46), 6.0, 6.0),
            ((0.95 * tip, back + 45, top + 10), (0.93 * tip, back + 30, top - 50), (85, back - 2, top - 130), 7.0, 5.0),
            ((75, back, top + 5), (72, back - 4, top - 60), (85, back - 2, top - 130), 4.0, 3.0),
        )
        found += [([(side * x, y, z) for x, y, z in path], tall, thick) for *path, tall, thick in lines]
    return found


def lung_vessels(grid: Grid, patient: Patient) -> np.ndarray:
    """Share of voxels that are arteries and veins of the lungs, before clipping to them."""
    fine, points, volumes = 0.7 * min(grid.spacing), [], []
    for curve, radius in vessels.branches(patient):
        length = 10 * np.linalg.norm(np.diff(curve, axis=1), axis=-1).sum(-1)
        count = 3 + int(np.quantile(length, 0.9) / fine)
        path = to_ras(bezier(curve, count))
        radii = 10 * (radius[:, :1] + (radius[:, 1:] - radius[:, :1]) * np.linspace(0, 1, count))
        found = pieces(path, radii, fine)
        points.append(found[0])
        volumes.append(found[1])
    return np.minimum(deposit(grid, np.concatenate(points), np.concatenate(volumes)), 1)
