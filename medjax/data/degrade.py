"""Degradation of good images: pure functions of an image, a numpy generator and parameters, chained by name.

Images are float32 `[H, W, 1]` in [0, 1]; noise levels are in units of 255, as papers state them, and lengths are pixels
of the grid on which the degradation is applied. Each step's result is clipped to [0, 1], as a stored image would be.
`downsample` leaves fewer pixels: what stands before it in the chain acts on the fine grid, what follows on the coarse one.
"""

from __future__ import annotations

import difflib
import inspect
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from medjax.data.augment import resize
from medjax.types import ConfigError, DataError

PAPER_STEPS = ("gaussian_noise", "binomial_blur", "jpeg")
_FACTOR = 4
PREFILTERS = {"median": "median of 3 x 3 pixels", "gaussian": "Gaussian of sigma 1 pixel"}


def gaussian_noise(image: np.ndarray, rng: np.random.Generator, *, sigma: float = 15.0) -> np.ndarray:
    """Adds white Gaussian noise of standard deviation `sigma` / 255."""
    return image + np.float32(sigma / 255) * rng.standard_normal(image.shape, dtype=np.float32)


def poisson_noise(image: np.ndarray, rng: np.random.Generator, *, dose: float = 200.0) -> np.ndarray:
    """Quantum noise: `dose` photons on average where the image is 1; the variance is image / dose."""
    return (rng.poisson(image * dose) / dose).astype(np.float32)


def low_dose(image: np.ndarray, rng: np.random.Generator, *, photons: float = 500.0, latitude: float = 3.0) -> np.ndarray:
    """A radiograph taken with few photons (Beer-Lambert): `photons` are counted on average where the film is black,
    exp(-latitude) of them where it is white; the film is the logarithm of the counts, so noise grows where the body is dense.
    """
    counts = rng.poisson(photons * np.exp(-latitude * image.astype(np.float64)))
    return (np.log(photons / np.maximum(counts, 0.5)) / latitude).astype(np.float32)


def gaussian_blur(image: np.ndarray, rng: np.random.Generator, *, sigma: float = 1.0) -> np.ndarray:
    """Gaussian blur of `sigma` pixels, borders mirrored."""
    return ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="reflect")


def binomial_blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The 3x3 blur with kernel [1 2 1]/4 in each direction, borders mirrored."""
    p = np.pad(image, ((1, 1), (0, 0), (0, 0)), mode="symmetric")
    rows = (p[:-2] + 2 * p[1:-1] + p[2:]) / 4
    p = np.pad(rows, ((0, 0), (1, 1), (0, 0)), mode="symmetric")
    return (p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]) / 4


def box_blur(image: np.ndarray, rng: np.random.Generator, *, size: int = 3) -> np.ndarray:
    """Mean over `size` x `size` pixels, borders mirrored."""
    return ndimage.uniform_filter(image, (int(size), int(size), 1), mode="reflect")


def motion_blur(
    image: np.ndarray, rng: np.random.Generator, *, length: float = 9.0, angle: float | None = None
) -> np.ndarray:
    """Mean along a line of `length` pixels at `angle` degrees from the rows (None: drawn from 0 to 180)."""
    theta = np.deg2rad(rng.uniform(0, 180) if angle is None else angle)
    kernel = _line(length, theta)
    return ndimage.convolve(image[..., 0], kernel, mode="reflect")[..., None]


def _line(length: float, theta: float) -> np.ndarray:
    """A kernel of unit sum along a line, drawn with bilinear weights."""
    reach = int(np.ceil(length / 2))
    offsets = (
        np.linspace(-(length - 1) / 2, (length - 1) / 2, max(4 * int(np.ceil(length)), 1))
        if length > 1
        else np.zeros(1)
    )
    rows, columns = reach - offsets * np.sin(theta), reach + offsets * np.cos(theta)
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2), np.float32)
    r, c = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for dr, dc in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (1 - abs(rows - r - dr)) * (1 - abs(columns - c - dc))
        np.add.at(kernel, (r + dr, c + dc), weight)
    return (kernel / kernel.sum())[:-1, :-1]


def jpeg(image: np.ndarray, rng: np.random.Generator, *, quality: float = 50) -> np.ndarray:
    """Through a real JPEG encoder (libjpeg, 8 bits) at `quality`, from 1 to 95."""
    buffer = io.BytesIO()
    plane = np.rint(np.clip(image[..., 0], 0, 1) * 255).astype(np.uint8)
    Image.fromarray(plane).save(buffer, format="JPEG", quality=round(quality))
    return (np.asarray(Image.open(buffer), np.float32) / 255)[..., None]


def contrast(image: np.ndarray, rng: np.random.Generator, *, gain: float = 0.6) -> np.ndarray:
    """Scales distances from mid-grey: 0.5 + gain (image - 0.5)."""
    return 0.5 + np.float32(gain) * (image - 0.5)


def down_up(
    image: np.ndarray, rng: np.random.Generator, *, factor: float = 2.0, resampler: str = "bicubic"
) -> np.ndarray:
    """Resolution lost: shrunk by `factor` and brought back to its size."""
    height, width = image.shape[:2]
    small = max(1, round(height / factor)), max(1, round(width / factor))
    return resize(resize(image, small, resampler=resampler), (height, width), resampler=resampler)


def downsample(image: np.ndarray, rng: np.random.Generator, *, factor: int = _FACTOR, resampler: str = "bicubic") -> np.ndarray:
    """`[H, W, 1]` to `[H / factor, W / factor, 1]`: Pillow's `resampler` in float32, its kernel widened so that nothing aliases.

    Raises DataError where `factor` does not divide the image.
    """
    height, width = image.shape[:2]
    if height % factor or width % factor:
        raise DataError(f"an image of {height} x {width} pixels cannot be reduced by {factor}, which does not divide it")
    return resize(image, (height // factor, width // factor), resampler=resampler)


def prefiltered(image: np.ndarray, kind: str) -> np.ndarray:
    """An input `[H, W, C]` after one of `PREFILTERS`, channels apart, borders mirrored; "" leaves it as it is."""
    if kind == "median":
        return ndimage.median_filter(image, size=(3, 3, 1), mode="reflect")
    if kind == "gaussian":
        return ndimage.gaussian_filter(image, (1, 1, 0), mode="reflect")
    if kind:
        raise ConfigError(f"prefilter {kind!r} is none of {', '.join(PREFILTERS)}, nor empty")
    return image


Operation = Callable[..., np.ndarray]
OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        gaussian_noise, poisson_noise, low_dose, gaussian_blur, binomial_blur, box_blur, motion_blur, jpeg, contrast, down_up,
        downsample,
    )
}  # fmt: skip
_CHANCE = ("gaussian_noise", "poisson_noise", "low_dose", "motion_blur")


def degrade(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    steps: Sequence[str] = PAPER_STEPS,
    params: Mapping[str, Mapping[str, Any]] | None = None,
) -> np.ndarray:
    """Applies `steps` in order, clipping to [0, 1] after each.

    Args:
      image: float32 [H, W, 1] in [0, 1].
      rng: the only source of chance.
      steps: names of `OPERATIONS`.
      params: {step: {parameter: value}}; a pair of numbers is a range from which a value is drawn uniformly.

    Returns:
      float32 [H, W, 1] in [0, 1]; fewer pixels where `downsample` is among the steps.

    Raises:
      ConfigError: a step or parameter that does not exist. DataError: an image that `downsample` cannot divide.
    """
    params = params or {}
    check(steps, params)
    for step in steps:
        values = {name: _draw(value, rng) for name, value in params.get(step, {}).items()}
        image = np.clip(OPERATIONS[step](image, rng, **values), 0, 1).astype(np.float32, copy=False)
    return image


@dataclass(frozen=True)
class Degradation:
    """A degradation and the resolution at which it applies.

    size: the side to which the whole image is brought before it is degraded; None degrades what the model sees, after
    resizing and cropping, so that pixels mean the same in training and in testing. With a `scale` above 1 the whole image
    is degraded and crops are taken afterwards, so that no crop's edge is the edge of what was reduced.
    """

    steps: Sequence[str] = PAPER_STEPS
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    size: int | None = None

    def __post_init__(self) -> None:
        check(self.steps, self.params)
        if self.scale > 1 and self.size is not None:
            raise ConfigError("a degradation with downsample has no size of its own: it reduces the image as it is loaded")

    def __call__(self, image: np.ndarray, rng: np.random.Generator, *, start: int = 0, stop: int | None = None) -> np.ndarray:
        """`degrade` with these parameters and the steps from `start` to before `stop`; by default all of them."""
        return degrade(image, rng, steps=self.steps[start:stop], params=self.params)

    @property
    def scale(self) -> int:
        """How many times fewer pixels a side of the result has: the product of the factors of `downsample`."""
        factor = self.params.get("downsample", {}).get("factor", _FACTOR)
        if not isinstance(factor, (int, np.integer)) or factor < 1:
            raise ConfigError(f"downsample takes one whole factor from 1 on, not {factor}")
        return int(factor) ** list(self.steps).count("downsample")

    @property
    def fixed(self) -> int:
        """How many steps at the start draw nothing: their result is the same in every epoch and can be kept."""
        drawn = [
            step in _CHANCE or any(isinstance(v, (tuple, list)) for v in self.params.get(step, {}).values())
            for step in self.steps
        ]
        return drawn.index(True) if True in drawn else len(drawn)


def check(steps: Sequence[str], params: Mapping[str, Mapping[str, Any]]) -> None:
    """ConfigError for a step or a parameter that does not exist, or parameters of a step that is not taken."""
    for step in steps:
        _known(step, tuple(OPERATIONS), "degradation step")
    for step, values in params.items():
        _known(step, tuple(OPERATIONS), "degradation step")
        allowed = tuple(inspect.signature(OPERATIONS[step]).parameters)[2:]
        for name in values:
            _known(name, allowed, f"parameter of {step}")


def _known(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names) or 'none'}"
        raise ConfigError(f"{what} {name!r} is not known; {hint}")


def _draw(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, (tuple, list)):
        low, high = value
        return float(rng.uniform(low, high))
    return value
