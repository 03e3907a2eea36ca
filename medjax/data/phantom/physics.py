"""X-rays: attenuation by Beer-Lambert, scatter, quantum noise and the detector's blur."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from medjax.types import ConfigError

ENERGIES = (40.0, 50.0, 60.0, 80.0)  # keV
# Mass attenuation coefficients (cm^2/g) at ENERGIES: NIST, Hubbell and Seltzer 1996, tables 3 and 4 (ICRU-44 tissues).
MASS_ATTENUATION = {
    "air": (0.2485, 0.2080, 0.1875, 0.1662),
    "lung": (0.2699, 0.2270, 0.2053, 0.1826),
    "fat": (0.2396, 0.2123, 0.1974, 0.1800),
    "soft": (0.2688, 0.2264, 0.2048, 0.1823),
    "water": (0.2683, 0.2269, 0.2059, 0.1837),
    "bone": (0.6655, 0.4242, 0.3148, 0.2229),
    "lead": (14.36, 8.041, 5.021, 2.419),
}
DENSITY = {"air": 0.0012, "lung": 0.26, "fat": 0.95, "soft": 1.06, "water": 1.0, "bone": 1.92, "lead": 11.35}  # g/cm^3
PHOTONS = 1.0e6  # detected photons per cm^2 behind the average lung at dose 1
BLUR = 0.012  # cm, standard deviation of the detector's point spread


def attenuation(tissue: str, energy: float) -> float:
    """Linear attenuation coefficient (1/cm) of `tissue` at `energy` keV, log-log interpolated in the NIST table.

    Raises:
      ConfigError: unknown tissue, or an energy outside the table.
    """
    if tissue not in MASS_ATTENUATION:
        raise ConfigError(f"unknown tissue {tissue!r}; known are {', '.join(MASS_ATTENUATION)}")
    if not ENERGIES[0] <= energy <= ENERGIES[-1]:
        raise ConfigError(f"energy {energy} keV lies outside {ENERGIES[0]} to {ENERGIES[-1]} keV")
    table = np.interp(np.log(energy), np.log(ENERGIES), np.log(MASS_ATTENUATION[tissue]))
    return float(np.exp(table)) * DENSITY[tissue]


def transmission(paths: Mapping[str, np.ndarray], energy: float) -> np.ndarray:
    """Share of primary photons that pass, exp(-sum mu t), of path lengths in cm [H, W] per tissue."""
    integral = sum(np.float32(attenuation(t, energy)) * np.maximum(path, 0) for t, path in paths.items())
    return np.exp(-integral)


def add_scatter(primary: np.ndarray, pixel: float, fraction: float) -> np.ndarray:
    """Add the veil of scattered photons: the primary spread over 5 cm, `fraction` of the local primary on average.

    A fraction of 0 is a perfect grid. `pixel` is in cm; `primary` is float32 [H, W].
    """
    if fraction == 0:
        return primary
    step = max(1, primary.shape[0] // 64)
    rows = primary.shape[0] // step * step
    small = primary[:rows, :rows].reshape(rows // step, step, rows // step, step).mean((1, 3))
    # Open air scatters nothing of its own: what is brighter than a body ever is does not spread.
    spread = gaussian_filter(np.minimum(small, np.quantile(small, 0.6)), 5.0 / (pixel * step), mode="nearest")
    wide = zoom(spread, primary.shape[0] / spread.shape[0], order=1, mode="nearest", grid_mode=True)
    return primary + np.float32(fraction) * wide.astype(np.float32)


def focus(fluence: np.ndarray, pixel: float, width: float) -> np.ndarray:
    """The shadow's edge: focal spot and motion spread the fluence by a Gaussian of `width` cm."""
    return fluence if width < 0.15 * pixel else gaussian_filter(fluence, width / pixel, mode="nearest", truncate=3)


def detect(
    fluence: np.ndarray, pixel: float, *, photons: float, dose: float = 1.0, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Detector signal in the units of `fluence` [H, W]: Poisson counts, then the light's spread (a small Gaussian).

    Args:
      photons: detected photons per cm^2 where the fluence is 1, at dose 1.
      rng: None gives the expected, noise-free signal.
    """
    signal = fluence
    if rng is not None:
        scale = photons * dose * pixel**2
        signal = (rng.poisson(fluence.astype(np.float64) * scale) / scale).astype(np.float32)
    sigma = BLUR / pixel
    return signal if sigma < 0.1 else gaussian_filter(signal, sigma, mode="nearest")
