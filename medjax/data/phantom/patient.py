"""Who stands before the detector: a patient's measures in cm, a pure function of (seed, index, finding)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medjax.rng import generator

FINDINGS = ("No Finding", "Mass", "Pneumonia", "COPD")


@dataclass(frozen=True)
class Patient:
    """Measures in cm; y = 0 lies half way between the apex of the lungs and the top of the right diaphragm."""

    key: tuple[int, int]
    finding: str
    sex: str
    age: float
    view: str
    height: float  # apex to right dome
    width: float  # half width of the pleural cavity
    depth: float  # half depth of the pleural cavity
    fat: float
    heart: float  # width
    lung_density: float  # g/cm^3
    dome: tuple[float, float]  # height of the right and left diaphragm domes above the costophrenic angles
    left_lower: float  # how much lower the left dome is
    breast: float  # thickness, 0 in most men
    rotation: float  # of the trunk, shifts what is in front against the spine
    curve: tuple[float, float]  # scoliosis: amplitude, phase

    @property
    def apex(self) -> float:
        """y of the lung apices."""
        return -self.height / 2

    @property
    def base(self) -> float:
        """y of the top of the right diaphragm dome."""
        return self.height / 2

    def outer(self, y: np.ndarray) -> np.ndarray:
        """Distance of the lung's outer border from the midline at the level `y`."""
        t = np.clip((y - self.apex) / self.height, 0, 1)
        return 4.0 + (self.width - 4.0) * (1 - (1 - t) ** 2.3) ** 0.6 - 0.6 * np.clip(t - 0.9, 0, None)

    def inner(self, y: np.ndarray) -> np.ndarray:
        """Distance of the lung's inner border from the midline at the level `y`, behind and before the mediastinum."""
        t = np.clip((y - self.apex) / self.height, 0, None)
        return 0.9 + 3.1 * np.clip(1 - t / 0.3, 0, 1) ** 2.2

    def half_depth(self, y: np.ndarray) -> np.ndarray:
        """Half depth of the pleural cavity at the level `y`."""
        t = np.clip((y - self.apex) / self.height, 0, 1)
        return self.depth * (1 - (1 - t) ** 2.6) ** 0.5

    def spine_x(self, y: np.ndarray) -> np.ndarray:
        """x of the spine's axis at the level `y`."""
        return self.curve[0] * np.sin(y / 9 + self.curve[1])

    @property
    def spacing(self) -> float:
        """Distance between thoracic vertebrae: T1 lies at the apex, T10 at the right dome."""
        return self.height / 9.2

    def vertebra(self, number: float) -> float:
        """y of the middle of thoracic vertebra `number` (0 is C7, 13 is L1)."""
        return self.apex - 0.2 + (number - 1) * self.spacing


def sample_patient(seed: int, index: int, finding: str | None = None) -> Patient:
    """Draw a patient; the finding alters what it alters (COPD the thorax) and leaves every other draw as it was."""
    drawn = FINDINGS[int(generator(seed, index, "finding").integers(len(FINDINGS)))]
    finding = drawn if finding is None else finding
    r = generator(seed, index, "patient")
    sex, view = ("M", "F")[int(r.random() < 0.45)], ("PA", "AP")[int(r.random() < 0.38)]
    age = float(np.clip(r.normal(48, 16), 18, 90).round())
    body, slim, deep = np.exp(r.normal(0, [0.05, 0.05, 0.07]))
    body *= 1.0 if sex == "M" else 0.91
    breath = r.uniform(0.9, 1.06) * (0.9 if view == "AP" else 1.0)
    fat = float(np.clip(np.exp(r.normal(0.25, 0.45)), 0.5, 3.6))
    ratio = r.normal(0.42, 0.03) + (0.03 if view == "AP" else 0) + 0.0006 * (age - 48) + (1 - breath) * 0.10
    heights = r.uniform(3.2, 5.0, 2)
    copd = finding == "COPD"
    width = 13.5 * body * slim * (1.03 if copd else 1.0)
    return Patient(
        key=(seed, index),
        finding=finding,
        sex=sex,
        age=age,
        view=view,
        height=22.3 * body * breath * (1.15 if copd else 1.0),
        width=width,
        depth=8.0 * body * deep * (1.12 if copd else 1.0),
        fat=fat,
        heart=2 * width * float(ratio) * (0.80 if copd else 1.0),
        lung_density=float(r.uniform(0.24, 0.31)) * (1.12 if view == "AP" else 1.0) * (0.68 if copd else 1.0),
        dome=(float(heights[0]) * (0.42 if copd else 1.0), float(heights[1]) * (0.42 if copd else 1.0)),
        left_lower=float(r.uniform(0.2, 2.0)),
        breast=float(r.uniform(1.5, 4.5) + 0.5 * fat) if sex == "F" else float(r.uniform(0, 0.8)),
        rotation=float(r.normal(0, 0.35)),
        curve=(float(r.normal(0, 0.25)), float(r.uniform(0, 6.3))),
    )
