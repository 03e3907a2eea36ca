"""What disease puts into the lungs: changes of path lengths, with the mask of where they are."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from medjax.data.phantom.patient import Patient
from medjax.data.phantom.plane import Plane, make_plane, smoothstep
from medjax.data.phantom.soft import lungs
from medjax.data.phantom.texture import fractal
from medjax.rng import generator


def mass(plane: Plane, patient: Patient, chord: np.ndarray, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A round tumour of soft tissue: the lung it displaces (cm) [H, W] and its mask (bool) [H, W]."""
    r = generator(*patient.key, "mass")
    radius = float(r.uniform(1.1, 2.7))
    x, y = _place(patient, radius + 0.6, r)
    dx, dy = plane.x - np.float32(x), plane.y - np.float32(y)
    angle = np.arctan2(dy, dx)
    edge = np.float32(radius) * np.ones_like(dx)
    for lobes in (2, 3, 5, 8):
        edge += np.float32(radius * r.normal(0, 0.11) / lobes) * np.cos(lobes * angle + np.float32(r.uniform(0, 6.3)))
    section = 1 - (dx * dx + dy * dy) / (edge * edge)
    depth = 2 * np.float32(radius * r.uniform(0.85, 1.1)) * np.sqrt(np.maximum(section, 0))
    return np.minimum(depth, chord), (section > 0.05) & field


def pneumonia(
    plane: Plane, patient: Patient, chord: np.ndarray, field: np.ndarray, air: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Patchy consolidation of a part of a lobe: the air replaced (cm of lung) [H, W] and its mask (bool) [H, W].

    Bronchi (`air`, cm) stay open in it: the air bronchogram.
    """
    r = generator(*patient.key, "pneumonia")
    x, y = _place(patient, 2.6, r, lower=True)
    angle, axes, strength = r.uniform(-0.6, 0.6), r.uniform((3.2, 2.4), (5.8, 4.2)), r.uniform(0.40, 0.75)
    dx, dy = plane.x - np.float32(x), plane.y - np.float32(y)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    distance = np.hypot((cos * dx + sin * dy) / np.float32(axes[0]), (cos * dy - sin * dx) / np.float32(axes[1]))
    patches = fractal(plane, (2.2, 1.1, 0.55, 0.28, 0.14), 0.95, *patient.key, "pneumonia")
    share = smoothstep((1.05 - distance + 0.27 * patches) / 1.05)
    side = np.sign(np.float32(x)) * plane.x > 0
    share = np.where(side, share, np.float32(0))
    filled = np.float32(strength) * share * (0.85 + 0.15 * np.tanh(patches)) * 0.62 * chord
    mask = (share > 0.3) & field
    return np.maximum(filled - 0.8 * np.minimum(air, 1.0) * share, 0), mask


def _place(patient: Patient, margin: float, r: np.random.Generator, lower: bool = False) -> tuple[float, float]:
    """A position (x, y) in cm at least `margin` inside a lung field, found on a plane that knows no image size."""
    plane = make_plane(96, 42.0, (0.0, 0.0), 0.0)
    _, field = lungs(plane, patient)
    distance = distance_transform_edt(np.pad(field, 1))[1:-1, 1:-1] * plane.pixel
    zone = distance * (plane.y > patient.apex + 0.40 * patient.height) if lower else distance
    inside = np.flatnonzero(zone > min(margin, 0.9 * float(zone.max())))
    chosen = inside[int(r.integers(len(inside)))]
    return float(plane.x.flat[chosen]), float(plane.y.flat[chosen])
