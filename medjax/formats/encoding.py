"""How an image lies in its file, and the map between stored values and [0, 1].

`low` and `high` are the stored values that mean 0 and 1: the ends of the stored type (255, 65535) or a range the user
states (12-bit values in a 16-bit file: `value_range=(0, 4095)`), never the extremes of one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medjax.types import DataError

MAX_PIXELS = 2**26  # 8192 x 8192; a header that claims more is refused before anything is decoded
_ENDS = {
    "uint8": (0.0, 255.0),
    "uint16": (0.0, 65535.0),
    "float16": (0.0, 1.0),
    "float32": (0.0, 1.0),
    "float64": (0.0, 1.0),
}

ValueRange = tuple[float, float] | str | None  # a pair, or for DICOM "window": the file's own


@dataclass(frozen=True)
class Encoding:
    """What is needed to write an image as it was read.

    format: the codec, "png", "jpeg", "tiff" or "dicom"; dtype: the stored type; low, high: the stored values of 0 and 1
    (DICOM: after its rescale or modality LUT);
    channels: in the file (2 and 4 include an opaque alpha); options: what else the codec keeps
    (resolution, JPEG tables, ...).
    """

    format: str = "png"
    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    channels: int = 1
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def encoding(format: str = "png", dtype: str = "uint8") -> Encoding:
    """The plain grey encoding of a codec at one depth, for images that come from no file."""
    if dtype not in _ENDS:
        raise DataError(f"no stored range is known for type {dtype}; use one of {', '.join(_ENDS)}")
    low, high = _ENDS[dtype]
    return Encoding(format=format, dtype=dtype, low=low, high=high)


def stored_range(path: Path, values: np.ndarray, value_range: ValueRange) -> tuple[float, float]:
    """The stored values of 0 and 1 for `values`; a DataError where the type does not say and the user did not."""
    if isinstance(value_range, str):
        raise DataError(f"{path} has no window of its own; state the range as a pair of stored values")
    if value_range is not None:
        low, high = map(float, value_range)
        if not high > low:
            raise DataError(f"{path}: value_range must rise, got {value_range}")
        return low, high
    low, high = _ENDS.get(values.dtype.name, (0.0, 0.0))
    is_float = np.issubdtype(values.dtype, np.floating)
    if high == low or (is_float and values.size and (values.min() < low or values.max() > high)):
        raise DataError(
            f"{path} holds {values.dtype.name} values from {values.min():g} to {values.max():g}; "
            "state which stored values mean black and white (value_range)"
        )
    return low, high


_BAND = 256  # rows


def to_unit(path: Path, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Stored values [H, W] -> float32 [H, W, 1] in [0, 1]; NaN and infinity are a DataError."""
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise DataError(f"{path} holds {int((~np.isfinite(values)).sum())} values that are NaN or infinite")
    wide = np.float64 if values.dtype.itemsize > 4 or values.dtype.name in ("int32", "uint32") else np.float32
    image = values.astype(wide)
    image -= wide(low)
    image /= wide(high - low)
    if (low, high) != _ENDS.get(values.dtype.name):
        np.clip(image, 0, 1, out=image)
    return image.astype(np.float32, copy=False)[..., None]


def from_unit(path: Path, image: np.ndarray, encoding: Encoding) -> np.ndarray:
    """float [H, W, 1] in [0, 1] -> stored values [H, W] of `encoding.dtype`, clipped and rounded."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 1:
        raise DataError(f"{path}: an image to write must have shape [H, W, 1], not {list(image.shape)}")
    if not np.isfinite(image).all():
        raise DataError(f"{path} was not written: the image holds NaN or infinite values")
    dtype = np.dtype(encoding.dtype)
    values = np.empty(image.shape[:2], dtype)
    for top in range(0, len(image), _BAND):  # float64 for exact rounding, a band at a time for memory
        band = np.clip(image[top : top + _BAND, :, 0].astype(np.float64), 0, 1)
        band = band * (encoding.high - encoding.low) + encoding.low
        values[top : top + _BAND] = np.rint(band) if np.issubdtype(dtype, np.integer) else band
    return values


def grey(path: Path, values: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, channels] -> [H, W]: colour channels must agree everywhere and alpha must be opaque."""
    if values.ndim == 2:
        return values
    colours, alpha = (values[..., :-1], values[..., -1]) if values.shape[-1] in (2, 4) else (values, None)
    top = 1 if np.issubdtype(values.dtype, np.floating) else np.iinfo(values.dtype).max
    if alpha is not None and (alpha != top).any():
        raise DataError(f"{path} is partly transparent; save it as an opaque grey image")
    if (colours != colours[..., :1]).any():
        raise DataError(f"{path} is a colour image (its channels disagree), where grey is expected")
    return colours[..., 0]


def expand(values: np.ndarray, channels: int) -> np.ndarray:
    """[H, W] -> [H, W] or [H, W, channels] with an opaque alpha where `channels` is 2 or 4."""
    if channels == 1:
        return values
    out = np.repeat(values[..., None], channels, axis=-1)
    if channels in (2, 4):
        out[..., -1] = 1 if np.issubdtype(values.dtype, np.floating) else np.iinfo(values.dtype).max
    return out


def check_pixels(path: Path, height: int, width: int) -> None:
    """Refuses a header that claims an absurd size."""
    if height * width > MAX_PIXELS:
        raise DataError(f"{path} claims {height} x {width} pixels, more than the {MAX_PIXELS} that are read")
    if height * width == 0:
        raise DataError(f"{path} has no pixels")
