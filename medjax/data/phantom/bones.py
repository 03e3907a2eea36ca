"""The skeleton of the chest, as path lengths in cm of compact bone, projected from curves in space."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from medjax.data.phantom.patient import Patient
from medjax.data.phantom.plane import Cloud, Plane, bezier, deposit, samples, smoothstep, tubes
from medjax.rng import generator

SPONGY = 0.16  # compact bone in spongy bone, by volume, beyond what marrow's soft tissue amounts to


def skeleton(plane: Plane, patient: Patient) -> np.ndarray:
    """All bones: path length of compact bone [H, W] in cm."""
    plates, rods = girdle(plane, patient)
    return deposit(plane, [ribs(plane, patient), *rods]) + plates + spine(plane, patient)


def ribs(plane: Plane, patient: Patient) -> Cloud:
    """Twelve pairs, projected."""
    cage = rib_cage(patient, samples(plane, 27))
    flat = {"thickness": cage.thickness, "normal": cage.normal}
    return tubes(plane, cage.curve, cage.height, cortex=cage.cortex, core=SPONGY, **flat)


class Cage(NamedTuple):
    """Ribs in cm: `curve` and `normal` [24, N, 3], half axes of the section `height` and `thickness` [24, N], `cortex`."""

    curve: np.ndarray
    normal: np.ndarray
    height: np.ndarray
    thickness: np.ndarray
    cortex: float


def rib_cage(patient: Patient, count: int) -> Cage:
    """Twelve pairs: rings in oblique planes on the wall of the chest, so the back slopes gently, the front steeply."""
    r = generator(*patient.key, "ribs")
    tilt = r.normal(0, 0.03)
    cortex = float(np.clip(r.normal(0.085, 0.012) - 0.0006 * max(patient.age - 50, 0), 0.045, 0.12))
    size = r.uniform(0.9, 1.08)
    ends = np.array([0.72, 0.78, 0.80, 0.80, 0.80, 0.80, 0.79, 0.76, 0.70, 0.64, 0.42, 0.27]) * np.pi
    slope = np.array([0.66, 0.60, 0.54, 0.50, 0.52, 0.54, 0.56, 0.58, 0.60, 0.62, 0.60, 0.62]) + tilt
    curves, normals, heights, thicknesses = [], [], [], []
    for side in (-1, 1):
        for i in range(12):
            jitter = r.normal(0, [0.10, 0.012, 0.04])
            phi = np.linspace(0.02, ends[i] + jitter[2], count)
            root = patient.vertebra(i + 1) - 0.25 + jitter[0]
            deep = float(patient.half_depth(np.array(root + 0.45 * patient.spacing * 2))) + 0.5
            bend = 0.25 * patient.spacing * np.sin(np.clip(phi * 2, 0, np.pi))  # the neck rises before it falls
            y = root + (slope[i] + jitter[1]) * deep * (1 - np.cos(phi)) - bend * 0.6
            wall = patient.outer(y) if i else patient.outer(y) * 0.8  # the first runs over the apex
            wall = np.maximum(wall + 0.35, patient.width * min(0.40 + 0.12 * i, 0.64))
            x = 1.9 + (wall - 1.9) * np.sin(phi) ** 0.86
            z = -deep * np.cos(phi) * (1 - 0.06 * np.sin(phi))
            curves.append(np.stack([side * x, y, z], -1))
            normals.append(np.stack([side * np.sin(phi), 0 * phi, -np.cos(phi)], -1))
            flare = 1 + 0.22 * np.clip(phi / ends[i] - 0.8, 0, 1) / 0.2
            neck = np.clip(0.55 + phi * 0.9, 0, 1)
            scale = size * (0.75 if i > 9 else 0.92 if i == 0 else 1.0)
            heights.append(0.66 * scale * flare * neck)
            thicknesses.append(0.36 * scale * neck * np.ones_like(phi))
    curve, normal = np.stack(curves), np.stack(normals)
    along = np.gradient(curve, axis=1)
    along /= np.linalg.norm(along, axis=-1, keepdims=True) + 1e-9
    normal -= (normal * along).sum(-1, keepdims=True) * along
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return Cage(curve, normal, np.stack(heights), np.stack(thicknesses), cortex)


def girdle(plane: Plane, patient: Patient) -> tuple[np.ndarray, list[Cloud]]:
    """Clavicles, shoulder blades and upper arms: the plates [H, W] and the rods."""
    r = generator(*patient.key, "girdle")
    _apex, tip = patient.apex, patient.width + 2.4
    inner, rise = patient.vertebra(3.4) + r.normal(0, 0.4), r.uniform(0.3, 3.4)
    out = r.uniform(0.6, 2.6) if patient.view == "PA" else r.uniform(-1.2, 0.8)  # the blades clear of the lungs
    plates, rods = np.zeros(plane.x.shape, np.float32), []
    for side in (-1, 1):
        lift, lean = r.normal(0, 0.3), r.normal(0, 0.3)
        end = inner - rise + lift
        points = [[1.7, inner + 0.2], [6.0, inner + 1.0], [9.0, end - 1.6], [tip - 1.0, end - 0.2]]
        rod = bezier(np.array([[[side * x + patient.rotation, y, 6.0] for x, y in points]]), samples(plane, 18))
        width = np.interp(np.linspace(0, 1, rod.shape[1]), [0, 0.12, 0.5, 0.85, 1], [1.0, 0.68, 0.56, 0.66, 0.6])
        blade, borders = _blade(plane, side, tip + out, end + 0.6, r)
        plates += blade
        rods += [tubes(plane, rod, width[None], cortex=0.15, core=SPONGY), borders]
        rods.append(_humerus(plane, side, tip + 0.9 + 0.3 * out, end + 0.6 + lean))
    return plates, rods


def _humerus(plane: Plane, side: int, x: float, top: float) -> Cloud:
    """Upper arm: a round head under thin cortex, then the shaft with a thick one."""
    shaft = [[[side * x, top, 0], [side * (x + 0.2), top + 12, 0], [side * (x + 3.5), top + 34, 0]]]
    rod = bezier(np.array(shaft), samples(plane, 42))
    down = rod[0, :, 1] - top
    head = np.sqrt(np.maximum(2.35**2 - (down - 2.35) ** 2, 0))
    shank = np.interp(down, [2.5, 5.0, 9.0, 34.0], [2.0, 1.5, 1.2, 1.15])
    radius = np.where(down < 2.8, head, np.maximum(head, shank))
    cortex = np.interp(down, [0, 5, 9], [0.09, 0.16, 0.3])
    return tubes(plane, rod, np.maximum(radius, 0.03)[None], cortex=cortex, core=SPONGY)


def _blade(plane: Plane, side: int, joint: float, top: float, r: np.random.Generator) -> tuple[np.ndarray, Cloud]:
    """A shoulder blade: thin plate, thick lateral border and neck, spine, acromion and coracoid."""
    glenoid = np.array([side * (joint - 1.4), top + 2.4])
    lower = np.array([side * (joint - 4.0 + r.normal(0, 0.4)), top + 14.5 + r.normal(0, 0.7)])
    upper = np.array([side * (joint - 7.4 + r.normal(0, 0.4)), top + 0.8])
    corners = [glenoid, lower, upper]
    inside = np.full(plane.x.shape, 9.0, np.float32)
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        edge, third = corners[b] - corners[a], corners[c] - corners[a]
        normal = np.array([-edge[1], edge[0]]) / np.hypot(*edge)
        normal = normal * np.sign(normal @ third)
        offset = float(normal @ corners[a])
        inside = np.minimum(
            inside, np.float32(normal[0]) * plane.x + np.float32(normal[1]) * plane.y - np.float32(offset)
        )
    count = samples(plane, 16)
    paths = [
        (glenoid, (glenoid + lower) / 2 - [side * 0.5, 0], lower),
        (lower, (lower + upper) / 2 + [side * -0.7, 0], upper),
    ]
    paths.append(
        (upper + [side * 0.5, 1.6], (upper + glenoid) / 2 + [0, -0.6], np.array([side * (joint + 1.0), top - 0.6]))
    )
    paths.append((glenoid + [side * -1.2, -1.0], glenoid + [side * -1.6, -2.6], glenoid + [side * 0.3, -1.9]))
    rods = np.concatenate([bezier(np.array([[[*p, -6.0] for p in path]]), count) for path in paths])
    radius = np.array([np.linspace(*ends, count) for ends in ((0.50, 0.22), (0.18, 0.12), (0.25, 0.60), (0.62, 0.5))])
    return 0.13 * smoothstep(inside / 0.35), tubes(plane, rods, radius, cortex=0.09, core=SPONGY)


def spine(plane: Plane, patient: Patient) -> np.ndarray:
    """Vertebral bodies with end plates, pedicles, spinous and transverse processes; and the breastbone's edge."""
    r = generator(*patient.key, "spine")
    levels = np.array([patient.vertebra(n - 0.5) for n in range(-6, 24)])
    number = np.interp(plane.y, levels, np.arange(-6, 24)).astype(np.float32)
    u = number - np.floor(number)
    half = np.interp(number, [-6, 0, 3, 12, 20], [1.15, 1.35, 1.35, 1.9, 2.3]).astype(np.float32)
    x = np.abs(plane.x - patient.spine_x(plane.y.astype(np.float32)).astype(np.float32))
    strength = float(np.clip(r.normal(1.0, 0.12) - 0.005 * max(patient.age - 50, 0), 0.6, 1.2))
    body = smoothstep((u - 0.05) / 0.09) * smoothstep((0.95 - u) / 0.09)
    side = np.square(x / (half * (0.94 + 0.24 * np.square(u - 0.5))))
    chord = np.float32(2.6) * np.sqrt(np.maximum(1 - side * side, 0)) * body
    wall = np.exp(-np.square((np.sqrt(side) - 0.96) / 0.05)) * body
    plates = (np.exp(-np.square((u - 0.11) / 0.035)) + np.exp(-np.square((u - 0.89) / 0.035))) * (side < 1)
    ring = np.hypot((x / half - 0.66) / 0.24, (u - 0.33) / 0.20)
    pedicle = np.exp(-np.square((ring - 1) / 0.3)) * 0.30 + 0.15 * (ring < 1)
    spinous = np.exp(-(np.square(np.hypot(x / 0.38, (u - 0.82) / 0.22)) ** 2)) * 0.55
    process = smoothstep((half + 1.5 - x) / 0.4) * (x > 0.8 * half) * np.exp(-np.square((u - 0.36) / 0.13)) * 0.22
    process *= (number > 0) & (number < 12.6)
    return np.float32(0.62 * strength) * (
        SPONGY * chord + 0.13 * wall + 0.16 * plates + 0.8 * pedicle + spinous + process
    )
