"""Phantom chest radiographs: a thorax drawn by physics, projected by the law of Beer and Lambert.

`radiograph(seed, index)` is a pure function. The patient is made of shapes in centimetres (`patient`, `soft`, `bones`,
`vessels`, `findings`), their path lengths become photons (`physics`), and photons a film (`display`): uint16 [H, W],
bone bright and air dark (MONOCHROME2), 0 to 65535 the stored range. The anatomy depends on (seed, index, finding)
alone: not on the dose, and not on the image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medjax.data.phantom import bones, display, findings, physics, soft, vessels
from medjax.data.phantom.patient import FINDINGS, Patient, sample_patient
from medjax.data.phantom.plane import Plane, make_plane
from medjax.data.phantom.texture import fractal
from medjax.rng import generator
from medjax.types import ConfigError

__all__ = ["FINDINGS", "Phantom", "radiograph", "sample_patient", "tissues"]

FINEST = 160  # pixels: smaller images are drawn at least this fine and binned, as larger detector pixels would


@dataclass(frozen=True)
class Phantom:
    """A phantom radiograph with what is known of it.

    `image` and the noise-free `clean` are uint16 [H, W]; `mask` (the finding; for
    COPD the lungs) and `lungs` bool [H, W].
    """

    image: np.ndarray
    clean: np.ndarray
    finding: str
    mask: np.ndarray
    lungs: np.ndarray
    dose: float
    sex: str
    age: float
    view: str


def radiograph(
    seed: int,
    index: int,
    *,
    size: int = 256,
    dose: float = 1.0,
    finding: str | None = None,
    scatter: float | None = None,
) -> Phantom:
    """Draw phantom `index` of the series `seed`.

    Args:
      size: height and width in pixels, 32 to 4096.
      dose: exposure relative to a normal one; quantum noise has variance in proportion to 1 / dose.
      finding: one of FINDINGS; None draws it from (seed, index).
      scatter: scattered over primary photons behind the patient; None is 0.25 (with a grid) for PA, 0.6 for AP views.

    Raises:
      ConfigError: a size, dose, scatter, seed, index or finding out of range.
    """
    if finding is not None and finding not in FINDINGS:
        raise ConfigError(f"unknown finding {finding!r}; phantoms have {', '.join(FINDINGS)}")
    if not 32 <= size <= 4096:
        raise ConfigError(f"phantom size {size} lies outside 32 to 4096")
    if not (dose > 0 and (scatter is None or scatter >= 0)):
        raise ConfigError(f"dose {dose} must be above 0 and scatter {scatter} not below")
    if seed < 0 or index < 0:
        raise ConfigError(f"phantom seed {seed} and index {index} must not be negative")
    patient = sample_patient(seed, index, finding)
    factor = -(-FINEST // size)
    plane = _position(patient, size * factor)
    paths, mask, field = tissues(plane, patient)
    fluence = physics.transmission(paths, 75.0 if patient.view == "PA" else 60.0)
    share = (0.25 if patient.view == "PA" else 0.6) if scatter is None else scatter
    fluence = physics.focus(fluence, plane.pixel, 0.03 if patient.view == "PA" else 0.05)
    window, black = display.collimator(plane, patient)
    fluence = physics.add_scatter(fluence, plane.pixel, share) * window
    fluence, mask, field, window = (_bin(a, factor) for a in (fluence, mask, field, window))
    pixel, field, mask = plane.pixel * factor, field > 0.5, mask > 0.5
    behind = float(np.median(fluence[field]))
    photons = physics.PHOTONS / behind  # automatic exposure: what reaches the detector behind the lungs is given
    clean = physics.detect(fluence, pixel, photons=photons)
    noisy = physics.detect(fluence, pixel, photons=photons, dose=dose, rng=generator(seed, index, "quanta", size))
    film = display.choose_film(-np.log(np.maximum(clean, 1e-6)), field, patient)
    image, truth = (display.develop(signal, pixel, film, window if black else None) for signal in (noisy, clean))
    return Phantom(image, truth, patient.finding, mask, field, dose, patient.sex, patient.age, patient.view)


def tissues(plane: Plane, patient: Patient) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Path lengths (cm, float32 [H, W]) per tissue, the finding's mask and the lung field (bool [H, W])."""
    outside, inside = soft.body(plane, patient, 0.0), soft.body(plane, patient, patient.fat)
    chord, field = soft.lungs(plane, patient)
    blood, bronchi = vessels.trees(plane, patient)
    present = np.clip(chord / 2.5, 0, 1)
    blood = np.minimum(blood * present, 0.8 * chord)
    grain = fractal(plane, (4.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.06), 0.8, *patient.key, "parenchyma")
    muscle = fractal(plane, (5.0, 2.5, 1.2, 0.6, 0.3, 0.15), 1.0, *patient.key, "muscle")
    mask, extra = np.zeros(field.shape, bool), np.float32(0)
    if patient.finding == "Mass":
        extra, mask = findings.mass(plane, patient, chord, field)
    elif patient.finding == "Pneumonia":
        extra, mask = findings.pneumonia(plane, patient, chord, field, bronchi * present)
    elif patient.finding == "COPD":
        mask = field.copy()
    lung = np.maximum(chord - blood - extra, 0)
    bone = bones.skeleton(plane, patient)
    gas = np.minimum(soft.airway(plane, patient) + soft.gas(plane, patient), 0.5 * inside) * (chord < 3)
    tissue = np.maximum(inside - lung - gas - 0.5 * bone, 0)
    breast = soft.breasts(plane, patient)
    paths = {
        "lung": lung * (1 + 0.05 * grain) * np.float32(patient.lung_density / physics.DENSITY["lung"]),
        "soft": tissue * (1 + 0.006 * muscle) + 0.25 * breast,
        "fat": np.maximum(outside - inside, 0) + 0.75 * breast,
        "bone": bone * (outside > 0),
        "lead": display.marker(plane, patient) + display.leads(plane, patient),
    }
    return paths, mask, field


def _position(patient: Patient, size: int) -> Plane:
    """The detector as the radiographer sets it: the lungs whole, with some margin, a little off centre and askew."""
    r = generator(*patient.key, "position")
    need = max(2 * (patient.width + 2.2), patient.height + 9.5)
    field = need * r.uniform(1.02, 1.22)
    shift = r.normal(0, 0.6), -1.2 + r.normal(0, 0.8)
    return make_plane(size, field, (float(shift[0]), float(shift[1])), float(r.normal(0, 0.022)))


def _bin(a: np.ndarray, factor: int) -> np.ndarray:
    """Mean over squares of `factor` pixels."""
    if factor == 1:
        return a
    n = a.shape[0] // factor
    return a.reshape(n, factor, n, factor).mean((1, 3), dtype=np.float32)
