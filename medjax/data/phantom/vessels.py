"""The trees of the lungs: arteries, veins and bronchi that branch from the hila and taper outwards."""

from __future__ import annotations

import numpy as np

from medjax.data.phantom.patient import Patient
from medjax.data.phantom.plane import Plane, bezier, deposit, samples, tubes
from medjax.rng import generator

GENERATIONS = 8


def hilum(patient: Patient, side: int) -> np.ndarray:
    """Position [3] of the hilum of the lung on `side` (-1 is the patient's right, which is the film's left)."""
    y = patient.apex + 0.44 * patient.height
    return np.array([side * 3.3 + patient.rotation, y - (0.9 if side > 0 else 0.0), 0.0])


def trees(plane: Plane, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Path length [H, W] of the blood vessels and of the air in the bronchi, before clipping to the lungs.

    The air is only wanted, and else zero, where pneumonia makes it visible.
    """
    blood, air = [], []
    for generation, (curve, radius) in enumerate(branches(patient)):
        length = np.linalg.norm(np.diff(curve, axis=1), axis=-1).sum(-1)
        # Thin vessels show so faintly that coarse pieces are fine enough.
        step = 0.5 if generation < 3 else 0.8
        count = samples(plane, float(np.quantile(length, 0.9)), step)
        points = bezier(curve, count)
        radii = radius[:, :1] + (radius[:, 1:] - radius[:, :1]) * np.linspace(0, 1, count)
        blood.append(tubes(plane, points, radii, step=step))
        if patient.finding == "Pneumonia" and 0 < generation < 5:  # the airway runs beside the artery, about as wide
            beside = points + np.array([0.0, 1.1, 0.0]) * radii[:, :, None]
            air.append(tubes(plane, beside, 0.75 * radii, step=step))
    return deposit(plane, blood), (deposit(plane, air) if air else np.zeros_like(plane.x))


def branches(patient: Patient) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per generation, Bezier control points [K, 3, 3] and the radii [K, 2] at the ends, in cm."""
    parts = [_lung(patient, side) for side in (-1, 1)]
    return [tuple(np.concatenate(pair) for pair in zip(*level, strict=True)) for level in zip(*parts, strict=False)]


def _lung(patient: Patient, side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    r = generator(*patient.key, "vessels", side + 1)
    roots = 15
    theta = np.linspace(0.10, 3.02, roots) + r.normal(0, 0.10, roots)  # from straight up over lateral to down
    reach = _reach(patient, side, theta)
    heading = np.stack([side * np.sin(theta), -np.cos(theta), r.normal(0, 0.5, roots)], -1)
    heading /= np.linalg.norm(heading, axis=-1, keepdims=True)
    start = hilum(patient, side) + r.normal(0, 1, (roots, 3)) * [0.5, 1.0, 1.2]
    radius = np.where(np.sin(theta) > 0.8, 0.27, 0.33) * r.uniform(0.75, 1.3, roots) * (1 + 0.25 * (theta > 1.8))
    radius *= 1.12 if patient.finding == "COPD" else 1.0
    levels, prune = [], (0.86 if patient.finding == "COPD" else 1.0)
    for _ in range(GENERATIONS):
        length = reach * 0.245 * r.uniform(0.6, 1.35, len(reach))
        bent = heading + r.normal(0, 0.22, heading.shape)
        bent /= np.linalg.norm(bent, axis=-1, keepdims=True)
        end = start + length[:, None] * (heading + bent) / 2
        levels.append(
            (np.stack([start, start + heading * length[:, None] / 2, end], 1), np.stack([radius, radius * 0.93], 1))
        )
        share = r.uniform(0.52, 0.80, len(radius))  # Murray's law: the cubes of the radii add up
        small = (1 - share) ** (1 / 3)
        axis = r.normal(0, 1, heading.shape)
        axis -= (axis * bent).sum(-1, keepdims=True) * bent
        axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
        wide, narrow = r.uniform(0.45, 0.95, len(radius))[:, None], r.uniform(0.1, 0.35, len(radius))[:, None]
        major, minor = bent - np.tan(narrow) * axis, bent + np.tan(wide) * axis
        heading = np.concatenate([major, minor])
        heading /= np.linalg.norm(heading, axis=-1, keepdims=True)
        start, reach = np.concatenate([end, end]), np.concatenate([reach * 0.82, reach * 0.72])
        radius = 0.93 * prune * np.concatenate([radius * share ** (1 / 3), radius * small])
    return levels


def _reach(patient: Patient, side: int, theta: np.ndarray) -> np.ndarray:
    """Distance from the hilum to the edge of the lung in the directions `theta`."""
    origin = hilum(patient, side)
    steps = np.linspace(1, 24, 60)[:, None]
    x, y = abs(origin[0]) + steps * np.sin(theta), origin[1] - steps * np.cos(theta)
    inside = (y > patient.apex + 0.3) & (x < patient.outer(y)) & (y < patient.base + 3)
    return np.maximum(steps.ravel()[np.argmin(inside, axis=0)], 4.0)
