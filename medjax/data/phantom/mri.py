"""Brain phantoms: paired T1-, T2- and density-weighted volumes of one head with everything known of it.

`brain_pair(seed, index, ...)` is a pure function. The anatomy and the lesions depend on (seed, index) alone; the grid,
sequence, coil and noise change how they are seen. All contrasts of a phantom lie on one grid, exactly aligned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from medjax.data.phantom.brain import TissueMap, tissue_map
from medjax.data.phantom.head import Head, sample_head
from medjax.data.phantom.lesions import Lesion, paint_lesions, sample_lesions
from medjax.data.phantom.space import Grid, make_grid, noise
from medjax.data.phantom.spin_echo import NAMES, bias_field, constants, rician, weighted
from medjax.rng import generator
from medjax.types import ConfigError

SEQUENCES = {"T1": (450.0, 10.0), "T2": (4500.0, 100.0), "PD": (3000.0, 15.0)}  # TR, TE in ms
HEAD_SHAPE, HEAD_SPACING = (112, 136, 112), 1.6  # mm; holds any head down to the foramen magnum
BRAIN = ("csf", "grey", "white", "pallidum", "lesion", "veiled")  # what may lie inside the skull
PSF = 0.4  # voxels: standard deviation of the point spread of a Fourier-encoded, filtered image


@dataclass(frozen=True, eq=False)
class BrainPhantom:
    """A head as scanned. Arrays are [I, J, K] in RAS+ order on `affine`.

    `images`: contrast name to float32 in scanner units. `labels` uint8: the most abundant tissue, a number in `tissues`.
    `fractions` float32 [T, I, J, K]. `brain` bool: brain with its sulci and ventricles. `lesions` int16: 0, or the
    number of one of `lesion_list`, of which some may lie beyond the grid.
    """

    images: dict[str, np.ndarray]
    labels: np.ndarray
    fractions: np.ndarray
    brain: np.ndarray
    lesions: np.ndarray
    lesion_list: tuple[Lesion, ...]
    affine: np.ndarray
    head: Head
    tissues: tuple[str, ...] = NAMES

    @property
    def t1w(self) -> np.ndarray:
        """The T1-weighted volume."""
        return self.images["T1"]

    @property
    def t2w(self) -> np.ndarray:
        """The T2-weighted volume."""
        return self.images["T2"]

    @property
    def pd(self) -> np.ndarray | None:
        """The density-weighted volume, where one was asked for."""
        return self.images.get("PD")


def brain_pair(
    seed: int,
    index: int,
    *,
    shape: Sequence[int] = HEAD_SHAPE,
    spacing: float | Sequence[float] = HEAD_SPACING,
    field: float = 1.5,
    sequences: dict[str, tuple[float, float]] | None = None,
    contrasts: Sequence[str] = ("T1", "T2"),
    lesions: bool | int = True,
    veiled: float = 0.25,
    bias: float = 0.2,
    snr: float | None = 40.0,
    stripped: bool = False,
) -> BrainPhantom:
    """Scan head `index` of the series `seed`.

    Args:
      shape: voxels along right, anterior, superior.
      spacing: mm, one or three.
      field: tesla, 1.5 or 3.0, chooses the relaxation times.
      sequences: contrast name to (TR, TE) in ms, over SEQUENCES.
      contrasts: which of them to scan.
      lesions: True draws 3 to 10; a number asks for that many (fewer where there is no room); False or 0 for none.
      veiled: share of lesions that have the T1 of white matter, so that no T1-weighted image shows them.
      bias: amplitude of the coil's field (its logarithm), of its own for each contrast; 0 for none.
      snr: signal of white matter over the noise's sigma, in each contrast; None for no noise.
      stripped: set everything outside `brain` to 0.

    Raises:
      ConfigError: an option, seed or index out of range.
    """
    if seed < 0 or index < 0:
        raise ConfigError(f"phantom seed {seed} and index {index} must not be negative")
    if snr is not None and not snr > 0:
        raise ConfigError(f"snr must be above 0 (or None for no noise), not {snr}")
    if int(lesions) < 0 or not 0 <= veiled <= 1:
        raise ConfigError(f"lesions {lesions} must not be negative, and veiled {veiled} must lie in 0 to 1")
    known = SEQUENCES | (sequences or {})
    unknown = [c for c in contrasts if c not in known]
    if unknown or not contrasts:
        raise ConfigError(f"contrasts are some of {', '.join(known)}, not {', '.join(contrasts) or 'none'}")
    grid, table = make_grid(shape, spacing), constants(field)
    head = sample_head(seed, index)
    tissues = tissue_map(grid, head)
    drawn = sample_lesions(head, count=None if lesions is True else int(lesions), veiled=veiled)
    numbers = paint_lesions(tissues, grid, head, drawn)
    brain = _brain(tissues)
    table = _individual(table, head)
    texture = _texture(grid, head)
    images = {}
    for name in contrasts:
        clean = _scan(tissues, table, texture, known[name]) * bias_field(grid, bias, *head.key, "bias", name)
        rng = generator(*head.key, "noise", name, *grid.shape)
        noisy = rician(clean, 0.0 if snr is None else _white(table, known[name]) / snr, rng)
        images[name] = np.where(brain, noisy, np.float32(0)) if stripped else noisy
    labels = tissues.fractions.argmax(0).astype(np.uint8)
    return BrainPhantom(images, labels, tissues.fractions, brain, numbers, drawn, grid.affine, head)


def _brain(tissues: TissueMap) -> np.ndarray:
    """What a skull-stripped image keeps: the outline of the brain, closed over its sulci and ventricles."""
    soft = sum(tissues.fractions[NAMES.index(name)] for name in BRAIN)
    return (tissues.inside > -0.5) & (soft > 0.5)


def _individual(table: np.ndarray, head: Head) -> np.ndarray:
    """Relaxation times differ a little between people; of all tissues together, so that contrast keeps its order."""
    r = generator(*head.key, "relaxation")
    table = table.copy()
    table[:, :2] *= np.exp(r.normal(0, 0.03, 2))
    return table


def _texture(grid: Grid, head: Head) -> np.ndarray:
    """Proton density varies within a tissue by about 2 per cent, float32 [I, J, K], mean 1."""
    return 1 + np.float32(0.014) * (noise(grid, 6.5, *head.key, "texture") + noise(grid, 20.0, *head.key, "texture"))


def _scan(tissues: TissueMap, table: np.ndarray, texture: np.ndarray, sequence: tuple[float, float]) -> np.ndarray:
    image = weighted(tissues.fractions, table, tr=sequence[0], te=sequence[1])
    return gaussian_filter(image * texture, PSF, truncate=3)


def _white(table: np.ndarray, sequence: tuple[float, float]) -> float:
    only = np.zeros((len(NAMES), 1, 1, 1), np.float32)
    only[NAMES.index("white")] = 1
    return float(weighted(only, table, tr=sequence[0], te=sequence[1])[0, 0, 0])
