"""The soft tissues: body outline with its fat, breasts, mediastinum, diaphragm and lungs, as path lengths in cm."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from medjax.data.phantom.patient import Patient
from medjax.data.phantom.plane import Plane, capsule, ellipsoid, smoothstep, union
from medjax.rng import generator


def body(plane: Plane, patient: Patient, inset: float) -> np.ndarray:
    """Chord of trunk, neck, shoulders and arms [H, W]; `inset` cm below the skin (the fat's thickness: its inside)."""
    r = generator(*patient.key, "body")
    grow = patient.fat - inset
    arm, drop, spread = r.uniform(4.0, 4.8), r.uniform(-0.5, 2.0), r.uniform(3.5, 13.0)
    apex, wide = patient.apex, patient.width + 1.9
    table = np.linspace(-40, 40, 161)
    half = wide + grow - 0.13 * wide * np.clip((apex + 9 - table) / 9, 0, 1) ** 1.5
    half = half + 0.05 * wide * np.clip((table - 2) / 18, 0, 1) * min(patient.fat - 1.2, 1.2)
    u = plane.x / np.interp(plane.y, table, half).astype(np.float32)
    thick = patient.depth + 1.6 + grow
    rise = np.sqrt(np.clip((plane.y - np.float32(apex - 2.5)) / 9, 0, 1))
    trunk = np.float32(2 * thick) * np.sqrt(np.sqrt(np.maximum(1 - np.square(u * u), 0))) * rise
    parts = [trunk, capsule(plane, (0, apex - 30), (0, apex + 3), (5.0 + grow, 5.6 + grow))]
    tip = patient.width + 2.4
    for side in (-1, 1):
        slope = (side * 3.5, apex - 0.5), (side * tip, apex + 3.4 + drop)
        parts.append(capsule(plane, *slope, (4.6 + grow, 4.6 + grow), 0.95))
        parts.append(
            capsule(plane, slope[1], (side * (tip + spread), apex + 32 + drop), (arm + 0.6 + grow, arm - 0.6 + grow))
        )
    return union(*parts)


def breasts(plane: Plane, patient: Patient) -> np.ndarray:
    """Thickness of the breasts [H, W]: full below, fading upwards, mostly fat."""
    r = generator(*patient.key, "breasts")
    total = np.zeros(plane.x.shape, np.float32)
    for side in (-1, 1):
        x, y = side * patient.width * r.uniform(0.54, 0.64), patient.height * r.uniform(0.12, 0.26)
        axes = patient.width * r.uniform(0.40, 0.47), patient.height * r.uniform(0.23, 0.28), patient.breast / 2
        whole = ellipsoid(plane, (x, y), axes, side * r.uniform(-0.1, 0.25))
        total += whole * smoothstep((plane.y - np.float32(y - axes[1])) / np.float32(1.7 * axes[1]))
    return total


def mediastinum(plane: Plane, patient: Patient) -> np.ndarray:
    """Chord of heart, great vessels, spine and what lies before it [H, W]; it fills the chest in the midline."""
    r = generator(*patient.key, "mediastinum")
    hw, turn, depth = patient.heart, patient.rotation, patient.depth
    low = patient.base + 1.0 + 0.3 * patient.left_lower
    left, angle = 0.66 * hw + turn, r.uniform(0.65, 0.95)
    major, minor = hw * r.uniform(0.50, 0.55), hw * r.uniform(0.37, 0.41)
    reach = np.hypot(major * np.cos(angle), minor * np.sin(angle))
    ventricle = ellipsoid(plane, (left - reach, low - 0.36 * hw), (major, minor, 0.44 * hw), angle)
    atrium = ellipsoid(plane, (turn - 0.34 * hw + 0.24 * hw, low - 0.40 * hw), (0.24 * hw, 0.36 * hw, 0.36 * hw), 0.1)
    knob, top = 1.45 + 0.012 * (patient.age - 40) + r.uniform(0, 0.3), patient.vertebra(4.6) + r.uniform(-0.4, 0.4)
    arch = ellipsoid(plane, (2.45 + turn, top), (knob, knob * 1.1, 2.6))
    trunk_y = top + knob + r.uniform(1.3, 1.9)
    pulmonary = ellipsoid(plane, (1.9 + turn, trunk_y), (1.5 + 0.02 * hw, 1.9, 2.5), 0.2)
    below = patient.base + 12
    descending = capsule(plane, (2.0 + 0.3 * knob, top), (0.9, below), (1.25, 1.1))
    ascending = capsule(plane, (-1.0 + turn, top), (-0.2 + turn, low - 0.5 * hw), (1.5, 2.1), 1.1)
    cava = capsule(plane, (-1.7 + turn, patient.vertebra(2.5)), (-1.9 + turn, low - 0.4 * hw), (1.15, 1.4))
    neck = capsule(plane, (turn, patient.apex - 6), (turn, patient.vertebra(4)), (3.0, 2.2), 1.7)
    carotid = capsule(plane, (1.1 + turn, patient.apex - 3), (1.4 + turn, top), (1.4, 1.2), 1.3)
    waist = capsule(plane, (0.9 + turn, top + 1), (left - reach, low - 0.36 * hw), (2.3, 0.33 * hw))
    # What lies between the lungs from spine to breastbone thins out to its sides, so its border is soft.
    levels = patient.apex + patient.height * np.array([-0.05, 0.08, 0.2, 0.35, 0.6, 0.85, 1.1, 1.5])
    border = np.array([3.9, 3.3, 2.7, 2.7, 2.8, 3.1, 3.4, 3.4]) + r.normal(0, 0.2, 8)
    lean = np.interp(plane.y, levels, r.normal(0, 0.2, 8)).astype(np.float32)
    fine = np.linspace(levels[0], levels[-1], 200)
    width = np.interp(plane.y, fine, CubicSpline(levels, border)(fine)).astype(np.float32)
    spine = np.float32(2.1 * depth) * np.maximum(1 - np.square((plane.x - lean) / width), 0)
    parts = (ventricle, atrium, arch, pulmonary, descending, ascending, cava, carotid, waist, neck, spine)
    return union(*parts)


def dome(plane: Plane, patient: Patient) -> np.ndarray:
    """Height y of the diaphragm's silhouette above every pixel [H, W] (float32), right and left."""
    x, *curves = dome_curves(patient)
    distance = np.abs(plane.x)
    right, left = (np.interp(distance, x, c).astype(np.float32) for c in curves)
    return np.where(plane.x < 0, right, left)


def dome_curves(patient: Patient) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance from the midline and the diaphragm's height y there, right and left: three arrays [301] in cm."""
    x = np.linspace(0, 30, 301)
    r = generator(*patient.key, "diaphragm")
    curves = []
    for top, height in ((patient.base, patient.dome[0]), (patient.base + patient.left_lower, patient.dome[1])):
        peak = patient.width * r.uniform(0.42, 0.56)
        lateral = np.clip((x - peak) / (patient.width - peak), 0, None)
        medial = np.clip((peak - x) / peak, 0, None)
        steep = r.uniform(2.3, 3.0)
        ripple = 0.25 * np.sin(x / r.uniform(1.6, 2.6) + r.uniform(0, 6.3)) * np.clip(1 - lateral, 0, 1)
        curves.append(top + height * lateral**steep + r.uniform(0.6, 1.6) * medial**2.2 + ripple)
    return x, curves[0], curves[1]


def lungs(plane: Plane, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Chord of lung [H, W] in cm after diaphragm and mediastinum are taken out, and the lung field (bool [H, W]).

    The field is what a reader would outline: inside the ribs, above the domes, beside heart and mediastinum.
    """
    table = np.linspace(patient.apex, patient.apex + 1.6 * patient.height, 400)
    outer, inner = patient.outer(table), patient.inner(table)
    middle = np.interp(plane.y, table, (outer + inner) / 2).astype(np.float32)
    half = np.interp(plane.y, table, (outer - inner) / 2 + 1e-3, left=1e-3).astype(np.float32)
    depth = np.interp(plane.y, table, patient.half_depth(table), left=0).astype(np.float32)
    u = np.abs(np.abs(plane.x) - middle) / half
    section = depth * np.cbrt(np.maximum(1 - u * u * u, 0))  # half chord of the pleural cavity
    # The dome falls off to the front and the back: what is left of the ray beside it is lung in the recesses.
    line = dome(plane, patient)
    below = np.maximum(plane.y - line, 0)
    gone = np.sqrt(below / np.float32(0.085)) + 0.9 * below
    front = np.clip(section - 1.5 - gone, 0, None)
    back = np.clip(section + 1.5 - gone, 0, None)
    whole = np.where(gone > 0, np.minimum(front + back, 2 * section), 2 * section)
    centre = mediastinum(plane, patient)
    # Heart and abdomen lie one behind the other only in part: the larger of the two hides the other.
    chord = np.maximum(np.minimum(whole, 2 * section - 1.2 * centre), 0)
    return chord, (plane.y < line) & (section > 0.35 * depth) & (centre < 0.7) & (chord > 0.5)


def gas(plane: Plane, patient: Patient) -> np.ndarray:
    """Chord of gas in stomach and bowel below the left dome [H, W]."""
    r = generator(*patient.key, "gas")
    top = patient.base + patient.left_lower
    total = np.zeros(plane.x.shape, np.float32)
    if r.random() < 0.75:  # the gastric bubble, its lower side a fluid level in the upright patient
        x, wide, tall = r.uniform(4.5, 7.5), r.uniform(1.8, 3.4), r.uniform(1.1, 1.9)
        y = top + tall + r.uniform(0.7, 1.4)
        level = smoothstep((np.float32(y + r.uniform(0.3, 1.0) * tall) - plane.y) / 0.4 + 0.5)
        total += ellipsoid(plane, (x, y), (wide, tall, r.uniform(0.8, 2.4)), r.uniform(-0.1, 0.2)) * level
    for _ in range(int(r.integers(0, 6)) if r.random() < 0.5 else 0):  # loops of the colon
        place = r.uniform(5, 11), top + r.uniform(3.5, 9)
        total = np.maximum(total, ellipsoid(plane, place, tuple(r.uniform(0.5, 1.7, 3)), r.uniform(0, 3)))
    return total


def airway(plane: Plane, patient: Patient) -> np.ndarray:
    """Chord of air in trachea and main bronchi [H, W]."""
    r = generator(*patient.key, "airway")
    width, shift = r.uniform(0.8, 1.05), r.normal(0, 0.25) - 0.2
    fork = (shift, patient.vertebra(5.2))
    trachea = capsule(plane, (patient.rotation * 0.5, patient.apex - 14), fork, (width, width * 0.95))
    right = capsule(plane, fork, (-3.2, fork[1] + 2.6), (0.72 * width, 0.6 * width))
    left = capsule(plane, fork, (3.9, fork[1] + 2.9), (0.68 * width, 0.55 * width))
    return union(trachea, 0.8 * right, 0.8 * left)
