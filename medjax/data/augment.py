"""Geometry: resizing, crops, flips and deformations, the same on every image of a dict.

Images are float32 `[H, W, C]` in [0, 1]. Resizing goes through Pillow's 32-bit float mode, so 16-bit depth survives,
and widens its kernel when it shrinks an image (no aliasing). `region`, a mask of 0 and 1, stays one. In a dict one image
may be a whole number of times smaller than another (the input of super-resolution): they show the same field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from medjax.types import ConfigError, DataError

RESAMPLERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
REGION = "region"


def resize(image: np.ndarray, size: int | tuple[int, int], *, resampler: str = "lanczos") -> np.ndarray:
    """Resizes `image` [H, W, C] in [0, 1] to `size` (a side, or (height, width)), clipped to [0, 1].

    Args:
      image: float32 [H, W, C]; channels do not mix.
      size: a number gives a square, whatever the aspect was.
      resampler: one of `RESAMPLERS`.

    Returns:
      float32 [height, width, C]; the image itself where the size is already right.
    """
    if resampler not in RESAMPLERS:
        raise ConfigError(f"resampler {resampler!r} is not known; choose one of {', '.join(RESAMPLERS)}")
    height, width = (size, size) if isinstance(size, (int, np.integer)) else size
    if image.shape[:2] == (height, width):
        return image
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c], np.float32)) for c in range(image.shape[-1])]
    resized = [np.asarray(plane.resize((int(width), int(height)), RESAMPLERS[resampler])) for plane in planes]
    return np.clip(resized[0][..., None] if len(resized) == 1 else np.stack(resized, axis=-1), 0, 1)


def resize_all(images: dict[str, np.ndarray], size: int | tuple[int, int]) -> dict[str, np.ndarray]:
    """Every image of an example at one size; a pixel is in `region` if at least half of what it covers was."""
    return {name: _resize_mask(x, size) if name == REGION else resize(x, size) for name, x in images.items()}


def _resize_mask(mask: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    return (resize(mask, size, resampler="box") >= 0.5).astype(np.float32)


def crop(images: dict[str, np.ndarray], top: int, left: int, size: int) -> dict[str, np.ndarray]:
    """The square of side `size` at (top, left) of every image, in pixels of the largest; of one that is k times smaller
    the square of side size / k at (top / k, left / k).
    """
    height = max(image.shape[0] for image in images.values())
    return {name: _cut(image, top, left, size, height // image.shape[0]) for name, image in images.items()}


def _cut(image: np.ndarray, top: int, left: int, size: int, k: int) -> np.ndarray:
    return image[top // k : (top + size) // k, left // k : (left + size) // k]


def random_crop(
    images: dict[str, np.ndarray], rng: np.random.Generator, *, size: int, align: int = 1, name: str = "image"
) -> dict[str, np.ndarray]:
    """The same random square of side `size` from every image.

    Args:
      images: arrays [H, W, C] of one height and width, or smaller by a whole factor.
      rng: draws the corner.
      size: side of the square, in pixels of the largest image; a multiple of every such factor.
      align: the corner's coordinates are multiples of this (8 keeps JPEG's blocks where they were), and of every factor.
      name: what to call the image if it is too small.

    Raises:
      DataError: the image is smaller than the square.
    """
    height, width = max(image.shape[:2] for image in images.values())
    if height < size or width < size:
        raise DataError(f"{name} is {height} x {width}, smaller than the crop of {size} x {size}")
    align = math.lcm(align, *(height // image.shape[0] for image in images.values()))
    top = align * int(rng.integers((height - size) // align + 1))
    left = align * int(rng.integers((width - size) // align + 1))
    return crop(images, top, left, size)


def random_flip(images: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every image mirrored left to right, or none, with equal chance."""
    if rng.random() < 0.5:
        return images
    return {name: image[:, ::-1] for name, image in images.items()}


@dataclass(frozen=True)
class Warp:
    """Deformations of training images, drawn anew for each.

    rotate: the largest angle in degrees, either way, about the middle. zoom: the largest change of size, either way, as a
    share (0.1: from 0.9 to 1.1). alpha: the root mean square along an axis, in pixels, of an elastic displacement: white noise
    smoothed by a Gaussian of `sigma` pixels (Simard et al. 2003, section 2, whose alpha multiplies the smoothed noise itself).
    """

    rotate: float = 0.0
    zoom: float = 0.0
    alpha: float = 0.0
    sigma: float = 16.0

    def __post_init__(self) -> None:
        if self.rotate < 0 or self.alpha < 0 or not 0 <= self.zoom < 1 or self.sigma <= 0:
            raise ConfigError(
                "rotate and elastic.alpha may not be negative, zoom is a share from 0 to below 1, elastic.sigma is above 0; "
                f"they are {self.rotate}, {self.alpha}, {self.zoom} and {self.sigma}"
            )

    def __bool__(self) -> bool:
        """Whether it deforms anything."""
        return any((self.rotate, self.zoom, self.alpha))


def random_warp(images: dict[str, np.ndarray], rng: np.random.Generator, warp: Warp) -> dict[str, np.ndarray]:
    """Every image under one drawn deformation; images of one height and width.

    Cubic splines, clipped to [0, 1]; a region's pixels keep the value of their nearest. What comes from beyond the edge is
    the image mirrored about its edge pixels.
    """
    shape = next(iter(images.values())).shape[:2]
    if any(image.shape[:2] != shape for image in images.values()):
        raise DataError(f"images of {sorted({i.shape[:2] for i in images.values()})} cannot be deformed alike")
    field = displaced(shape, rng, warp)
    return {name: _at(image, field, order=0 if name == REGION else 3) for name, image in images.items()}


def displaced(shape: tuple[int, int], rng: np.random.Generator, warp: Warp) -> np.ndarray:
    """Where each pixel of a deformed image comes from: float64 [2, H, W], rows and columns."""
    angle = math.radians(rng.uniform(-warp.rotate, warp.rotate)) if warp.rotate else 0.0
    size = rng.uniform(1 - warp.zoom, 1 + warp.zoom) if warp.zoom else 1.0
    middle = (np.array(shape, float) - 1) / 2
    y, x = (grid - centre for grid, centre in zip(np.mgrid[: shape[0], : shape[1]], middle, strict=True))
    cos, sin = math.cos(angle) / size, math.sin(angle) / size
    field = np.stack([cos * y - sin * x + middle[0], sin * y + cos * x + middle[1]])
    if warp.alpha:
        noise = _smooth_noise(shape, rng, warp.sigma)
        field += warp.alpha * noise / np.sqrt(np.mean(np.square(noise)))
    return field


def _smooth_noise(shape: tuple[int, int], rng: np.random.Generator, sigma: float) -> np.ndarray:
    """White noise after a Gaussian of `sigma` pixels, [2, H, W]; made on a grid of sigma / 4 and interpolated, ten times
    faster than on the pixels.
    """
    step = max(1, int(sigma // 4))
    coarse = rng.standard_normal((2, *(-(-n // step) for n in shape)), dtype=np.float32)
    coarse = ndimage.gaussian_filter(coarse, (0, sigma / step, sigma / step), mode="reflect")
    return np.stack([np.asarray(Image.fromarray(plane).resize(shape[::-1], RESAMPLERS["bicubic"])) for plane in coarse])


def _at(image: np.ndarray, field: np.ndarray, *, order: int) -> np.ndarray:
    planes = [ndimage.map_coordinates(image[..., c], field, order=order, mode="mirror") for c in range(image.shape[-1])]
    return np.clip(np.stack(planes, axis=-1), 0, 1).astype(np.float32, copy=False)
