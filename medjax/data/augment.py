"""Geometry: resizing, crops and flips, the same on every image of a dict.

Images are float32 `[H, W, C]` in [0, 1]. Resizing goes through Pillow's 32-bit float mode, so 16-bit depth survives,
and widens its kernel when it shrinks an image (no aliasing). `region`, a mask of 0 and 1, stays one.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

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
    """The square of side `size` at (top, left) of every image."""
    return {name: image[top : top + size, left : left + size] for name, image in images.items()}


def random_crop(
    images: dict[str, np.ndarray], rng: np.random.Generator, *, size: int, align: int = 1, name: str = "image"
) -> dict[str, np.ndarray]:
    """The same random square of side `size` from every image.

    Args:
      images: arrays [H, W, C] of one height and width.
      rng: draws the corner.
      size: side of the square.
      align: the corner's coordinates are multiples of this (8 keeps JPEG's blocks where they were).
      name: what to call the image if it is too small.

    Raises:
      DataError: the image is smaller than the square.
    """
    height, width = next(iter(images.values())).shape[:2]
    if height < size or width < size:
        raise DataError(f"{name} is {height} x {width}, smaller than the crop of {size} x {size}")
    top = align * int(rng.integers((height - size) // align + 1))
    left = align * int(rng.integers((width - size) // align + 1))
    return crop(images, top, left, size)


def random_flip(images: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every image mirrored left to right, or none, with equal chance."""
    if rng.random() < 0.5:
        return images
    return {name: image[:, ::-1] for name, image in images.items()}
