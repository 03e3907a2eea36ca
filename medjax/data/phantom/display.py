"""From detector signal to film: logarithm, edge enhancement, window and curve, collimator and marker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medjax.data.phantom.patient import Patient
from medjax.data.phantom.plane import Plane, bezier, capsule, deposit, ellipsoid, samples, smoothstep, tubes
from medjax.rng import generator


@dataclass(frozen=True)
class Film:
    """How one machine shows its images; `low` and `high` are line integrals shown black and white."""

    low: float
    high: float
    toe: float
    shoulder: float
    enhance: float
    grain: float  # cm: scale of the enhancement


def choose_film(integral: np.ndarray, lungs: np.ndarray, patient: Patient) -> Film:
    """The window that an automatic exposure would choose from the noise-free line `integral` [H, W]."""
    r = generator(*patient.key, "film")
    dark, bright = np.quantile(integral[lungs], 0.05), np.quantile(integral[integral < 6.5], 0.90)
    dark_level, bright_level = r.uniform(0.20, 0.42), r.uniform(0.84, 0.94)
    if patient.view == "AP":
        dark_level, bright_level = dark_level + 0.05, bright_level - 0.04
    step = (bright - dark) / (bright_level - dark_level)
    enhance = r.uniform(0.0, 0.7) if patient.view == "PA" else r.uniform(0.0, 0.3)
    return Film(
        dark - dark_level * step,
        dark + (1 - dark_level) * step,
        r.uniform(0.02, 0.08),
        r.uniform(0.03, 0.09),
        enhance,
        r.uniform(0.2, 0.5),
    )


def develop(signal: np.ndarray, pixel: float, film: Film, window: np.ndarray | None = None) -> np.ndarray:
    """uint16 [H, W]: bone bright, air dark, from the detector `signal` (1 = no patient).

    Where `window` (the collimator's share) is given, what it covers is blackened.
    """
    integral = -np.log(np.maximum(signal, 1e-4))
    if window is not None:
        integral += np.log(np.maximum(window, 1e-4))
    if film.enhance and film.grain > 0.3 * pixel:
        integral = integral + np.float32(film.enhance) * (integral - gaussian_filter(integral, film.grain / pixel))
    v = (integral - np.float32(film.low)) / np.float32(film.high - film.low)
    # A toe and a shoulder as film has them: softplus at both ends keeps the slope 1 between.
    toe, knee = np.float32(film.toe), np.float32(film.shoulder)
    v = toe * np.logaddexp(0, v / toe) - knee * np.logaddexp(0, (v - (1 - 0.8 * knee)) / knee)
    if window is not None:
        v = v * smoothstep(2 * window - 1)
    return np.round(np.clip(v, 0, 1) * 65535).astype(np.uint16)


def collimator(plane: Plane, patient: Patient) -> tuple[np.ndarray, bool]:
    """Share of photons the collimator lets through [H, W]: 1, but for a border on some sides of some films.

    Also whether the machine blackens that border, as most do; else it stays white.
    """
    r = generator(*patient.key, "collimator")
    half = plane.pixel * plane.size / 2
    sides = []
    for chance in (0.28, 0.20, 0.13, 0.13):
        cut = r.uniform(0.3, 2.0)
        sides.append(half - cut if r.random() < chance else half + 9)
    edge = np.float32(r.uniform(0.3, 0.9))
    u = plane.u.astype(np.float32)
    rows = smoothstep((u + sides[0]) / edge + 0.5) * smoothstep((sides[1] - u) / edge + 0.5)
    cols = smoothstep((u + sides[2]) / edge + 0.5) * smoothstep((sides[3] - u) / edge + 0.5)
    return rows[:, None] * cols[None, :], bool(r.random() < 0.95)


def marker(plane: Plane, patient: Patient) -> np.ndarray:
    """Path length of a lead letter L beside the patient's left shoulder [H, W], on most films."""
    r = generator(*patient.key, "marker")
    half, size = plane.pixel * plane.size / 2, r.uniform(0.8, 1.3)
    x, y = half - r.uniform(2.5, 4.5) - plane.shift[0], r.uniform(2.5, 5.0) - half - plane.shift[1]
    if r.random() < 0.25:
        return np.zeros(plane.x.shape, np.float32)
    stroke = size * 0.10
    stem = capsule(plane, (x, y), (x, y + size), (stroke, stroke))
    foot = capsule(plane, (x, y + size), (x + 0.55 * size, y + size), (stroke, stroke))
    return np.maximum(stem, foot) / (2 * stroke) * np.float32(0.12)


def leads(plane: Plane, patient: Patient) -> np.ndarray:
    """Path length (cm of lead, equivalent) of monitor electrodes and their wires [H, W], on some bedside films."""
    r = generator(*patient.key, "leads")
    count = int(r.integers(2, 5))
    if patient.view == "PA" or r.random() > 0.45:
        return np.zeros(plane.x.shape, np.float32)
    w, h = patient.width, patient.height
    start = r.uniform((-0.9 * w, -0.5 * h), (0.9 * w, 0.45 * h), (count, 2))
    end = np.stack([np.full(count, r.choice([-1.3, 1.3]) * w), r.uniform(0.1 * h, 0.9 * h, count)], -1)
    knots = [start, start + r.normal(0, 5, (count, 2)), end + r.normal(0, 4, (count, 2)), end]
    wires = bezier(np.stack([np.pad(k, ((0, 0), (0, 1))) for k in knots], 1), samples(plane, 45, 0.8))
    total = 0.12 * deposit(plane, [tubes(plane, wires, np.full(wires.shape[:2], 0.06), step=0.8)])
    for x, y in start:
        total += 0.012 * (ellipsoid(plane, (x, y), (0.55, 0.55, 0.5)) > 0) + 0.03 * ellipsoid(
            plane, (x, y), (0.25, 0.25, 0.5)
        )
    return total
