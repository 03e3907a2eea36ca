"""Magnetic resonance signal: tissue constants, the spin-echo equation, the coil's bias field and Rician noise.

Signals are in scanner units in which a proton density of 1, fully relaxed and not yet decayed, gives SCALE.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medjax.data.phantom.space import Grid, noise
from medjax.types import ConfigError

SCALE = 4000.0  # brain then fills 12 bits, as scanners store it
# T1 (ms), T2 (ms), proton density relative to water.
# 1.5 T: the table of the BrainWeb simulator (Kwan, Evans and Pike 1999, IEEE TMI 18:1085), whose multiple sclerosis
# lesion is `lesion`. Ours, between the rows above: `pallidum` (iron), `vitreous`, and `veiled`, a lesion with the T1 of
# white matter and as much less density as makes up for its longer T2 at TE 10: a T1-weighted image cannot show it.
# 3 T: grey and white matter of Wansapura et al. 1999 (JMRI 9:531), fat and muscle of Stanisz et al. 2005
# (MRM 54:507) and Gold et al. 2004 (AJR 183:343); lesions scaled from 1.5 T as grey matter is.
TISSUES = {
    1.5: {
        "air": (1.0, 1.0, 0.0),
        "csf": (2569.0, 329.0, 1.0),
        "grey": (833.0, 83.0, 0.86),
        "white": (500.0, 70.0, 0.77),
        "pallidum": (620.0, 62.0, 0.80),
        "lesion": (752.0, 237.0, 0.76),
        "veiled": (500.0, 180.0, 0.7056),
        "fat": (350.0, 70.0, 1.0),
        "muscle": (900.0, 47.0, 1.0),
        "bone": (500.0, 1.0, 0.10),
        "vitreous": (2569.0, 250.0, 1.0),
    },
    3.0: {
        "air": (1.0, 1.0, 0.0),
        "csf": (4160.0, 500.0, 1.0),
        "grey": (1331.0, 110.0, 0.86),
        "white": (832.0, 79.6, 0.77),
        "pallidum": (1000.0, 62.0, 0.80),
        "lesion": (1200.0, 230.0, 0.76),
        "veiled": (832.0, 190.0, 0.7158),
        "fat": (382.0, 68.0, 1.0),
        "muscle": (1412.0, 50.0, 1.0),
        "bone": (600.0, 1.0, 0.10),
        "vitreous": (4160.0, 300.0, 1.0),
    },
}
NAMES = tuple(TISSUES[1.5])
FIELDS = tuple(TISSUES)


def constants(field: float) -> np.ndarray:
    """T1, T2 (ms) and proton density [len(NAMES), 3] at `field` tesla. ConfigError where no table is known."""
    if field not in TISSUES:
        raise ConfigError(f"relaxation times are known at {' and '.join(map(str, FIELDS))} T, not at {field} T")
    return np.array([TISSUES[field][name] for name in NAMES])


def spin_echo(t1: np.ndarray, t2: np.ndarray, density: np.ndarray, *, tr: float, te: float) -> np.ndarray:
    """S = density (1 - exp(-TR / T1)) exp(-TE / T2), all times in ms; 90-degree pulses, TE much shorter than TR.

    Raises:
      ConfigError: a TR that is not above 0, or a TE below 0 or not below TR.
    """
    if not (tr > 0 and 0 <= te < tr):
        raise ConfigError(f"spin echo needs 0 <= TE < TR, not TE {te} and TR {tr} ms")
    return density * (1 - np.exp(-tr / np.asarray(t1))) * np.exp(-te / np.asarray(t2))


def weighted(fractions: np.ndarray, table: np.ndarray, *, tr: float, te: float) -> np.ndarray:
    """Noise-free image float32 [I, J, K] of tissue `fractions` [T, I, J, K]: signals add up in a voxel.

    `table` [T, 3] holds T1, T2 and density, as `constants` gives them.
    """
    signal = SCALE * spin_echo(table[:, 0], table[:, 1], table[:, 2], tr=tr, te=te)
    image = np.zeros(fractions.shape[1:], np.float32)
    for fraction, value in zip(fractions, signal, strict=True):
        if value > 0:
            image += np.float32(value) * fraction
    return image


def bias_field(grid: Grid, amplitude: float, *key: int | str) -> np.ndarray:
    """Sensitivity of the coil float32 [I, J, K]: smooth over 9 cm and more, its logarithm within +-`amplitude`."""
    if not 0 <= amplitude < 1:
        raise ConfigError(f"the bias field's amplitude must lie in 0 to 1, not {amplitude}")
    if amplitude == 0:
        return np.ones(grid.shape, np.float32)
    shape = 0.75 * noise(grid, 130.0, *key, "coil") + 0.35 * noise(grid, 90.0, *key, "coil")
    return np.exp(np.float32(amplitude) * np.tanh(shape))


def rician(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of `image` plus complex Gaussian noise of `sigma` per channel: Rayleigh in air, Gaussian when bright."""
    if not sigma >= 0:
        raise ConfigError(f"the noise's sigma must not be negative, and {sigma} is")
    if sigma == 0:
        return image.copy()
    real, imaginary = (rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
    return np.hypot(image + np.float32(sigma) * real, np.float32(sigma) * imaginary)


def compose(fractions: np.ndarray, cover: np.ndarray, tissue: str, where: Sequence[slice] = (...,)) -> None:
    """Paint `tissue` over `fractions` [T, I, J, K] in place with opacity `cover`, in the block `where`."""
    block = fractions[(slice(None), *where)]
    block *= 1 - cover
    block[NAMES.index(tissue)] += cover
