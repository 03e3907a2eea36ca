"""Handwritten digits for a warm-up: MNIST's published IDX files, or digits drawn at run time, as pairs.

The IDX format (LeCun's page on MNIST): two zero bytes, a type code, the number of axes, each axis as a big-endian 32-bit
number, then the values. `digits` pairs a digit, 28 x 28 brought to 32 x 32 by a black border, with a damaged or an inverted
copy: `source` and `target` float32 `[32, 32, 1]` in [0, 1].
"""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medjax.data.degrade import degrade
from medjax.data.records import Images, Record, Source
from medjax.rng import generator
from medjax.types import ConfigError, DataError

PAIRS = ("degraded", "inverted")
SIDE, BORDER = 28, 2
_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MOST = 1 << 30  # bytes of values
_SETS = {"train": "train", "t10k": "test"}
_NAMES = tuple(str(digit) for digit in range(10))
_DAMAGE = {"gaussian_noise": {"sigma": 60.0}, "gaussian_blur": {"sigma": 1.0}}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array of an IDX file, `.gz` or not, in the machine's byte order.

    Raises:
      DataError: no such file, a header that is no IDX, an absurd size, fewer or more values than the header says.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return _parsed(path, file)
    except FileNotFoundError as error:
        raise DataError(f"{path} is absent") from error
    except (OSError, EOFError, gzip.zlib.error) as error:
        raise DataError(f"{path} is cut short or damaged ({error})") from error


def _parsed(path: Path, file) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= 4:
        raise DataError(f"{path} is not an IDX file: it starts with {head.hex() or 'nothing'}")
    axes = file.read(4 * head[3])
    if len(axes) < 4 * head[3]:
        raise DataError(f"{path} is cut short in its header")
    shape, dtype = struct.unpack(f">{head[3]}I", axes), np.dtype(_TYPES[head[2]])
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if not 0 < size <= _MOST:
        raise DataError(f"{path} claims {' x '.join(map(str, shape))} values, which is not believable")
    values = file.read(size)
    if len(values) < size or file.read(1):
        told = f"{len(values)} bytes of values" if len(values) < size else "more values"
        raise DataError(f"{path} holds {told}, where its header says {size} bytes")
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def digits(root: str | os.PathLike = "", *, pair: str = "degraded", count: int = 1000, seed: int = 0) -> Source:
    """Pairs of digits; kind "mnist" from files, "phantom_digits" where they are drawn.

    Args:
      root: a folder with `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, `t10k-...` or both sets, `.gz` or not;
        "" draws digits.
      pair: "degraded", from a blurred and noisy copy to the digit, or "inverted", from its negative.
      count: digits drawn; files are taken whole.
      seed: of the drawn digits and of the noise.

    Raises:
      DataError: no files, files that cannot be read, images and labels that differ in number. ConfigError: options.
    """
    if pair not in PAIRS:
        raise ConfigError(f"pair must be one of {', '.join(PAIRS)}, not {pair!r}")
    if root:
        return _source("mnist", *_stored(Path(root)), pair, seed)
    if count < 1:
        raise ConfigError(f"count must be at least 1, not {count}")
    records = [Record(f"digit_{seed}_{i:06d}", f"digit_{seed}_{i:06d}", (), (str(i % 10),)) for i in range(count)]
    return _source("phantom_digits", records, lambda i: draw_digit(i % 10, seed=seed, index=i), pair, seed)


def _source(kind: str, records: list[Record], image, pair: str, seed: int) -> Source:
    def load(i: int) -> Images:
        target = np.pad(image(i).astype(np.float32) / 255, BORDER)[..., None]
        if pair == "inverted":
            return {"source": 1 - target, "target": target}
        rng = generator(seed, "digit", records[i].name)
        return {"source": degrade(target, rng, steps=("gaussian_blur", "gaussian_noise"), params=_DAMAGE), "target": target}

    return Source(kind, tuple(records), load, _NAMES, paired=True)


def _stored(root: Path):
    """Records and a function number -> uint8 [28, 28] of the sets in a folder."""
    if not root.is_dir():
        raise DataError(f"the data folder {root} is absent")
    images, records = [], []
    for prefix, name in _SETS.items():
        path = _find(root, f"{prefix}-images", "idx3-ubyte")
        if path is None:
            continue
        labels_path = _find(root, f"{prefix}-labels", "idx1-ubyte")
        if labels_path is None:
            raise DataError(f"{path} has no labels beside it ({prefix}-labels-idx1-ubyte)")
        stored, labels = read_idx(path), read_idx(labels_path)
        if stored.ndim != 3 or stored.shape[1:] != (SIDE, SIDE) or stored.dtype != np.uint8:
            raise DataError(f"{path} holds {stored.dtype.name} {list(stored.shape)}, where uint8 [n, 28, 28] is expected")
        if labels.shape != stored.shape[:1] or not np.isin(labels, range(10)).all():
            raise DataError(f"{labels_path} does not hold one digit from 0 to 9 for each of the {len(stored)} images of {path}")
        images.append(stored)
        records += [
            Record(f"{name}_{i:05d}", f"{name}_{i:05d}", (str(path),), (str(label),), extra={"set": name})
            for i, label in enumerate(labels.tolist())
        ]
    if not images:
        raise DataError(f"{root} has no train-images-idx3-ubyte or t10k-images-idx3-ubyte, with or without .gz")
    stacked = np.concatenate(images)
    return records, lambda i: stacked[i]


def _find(root: Path, stem: str, kind: str) -> Path | None:
    names = (f"{stem}{dot}{kind}{suffix}" for dot in "-." for suffix in ("", ".gz"))
    return next((root / name for name in names if (root / name).is_file()), None)


def draw_digit(digit: int, *, seed: int, index: int) -> np.ndarray:
    """A digit with a slant, size, thickness and place of its own, uint8 [28, 28], white on black; pure in its arguments.

    As in MNIST the ink fits a box of 20 pixels whose centre of mass is in the middle.
    """
    rng = generator(seed, "digits", index)
    side, big = SIDE, 4 * SIDE
    canvas = Image.new("L", (big, big))
    ink = {"fill": 255, "anchor": "mm", "stroke_width": int(rng.integers(0, 5)), "stroke_fill": 255}
    ImageDraw.Draw(canvas).text((big / 2, big / 2), str(digit), font=ImageFont.load_default(80), **ink)
    angle, shear = np.deg2rad(rng.uniform(-15, 15)), rng.uniform(-0.25, 0.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [[1, shear], [0, 1]]
    turn = turn @ np.diag(rng.uniform(0.85, 1.15, 2))
    shift = big / 2 - turn @ [big / 2, big / 2]
    data = (*turn[0], shift[0], *turn[1], shift[1])
    canvas = canvas.transform((big, big), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    box = canvas.getbbox()
    scale = 20 / max(box[2] - box[0], box[3] - box[1])
    size = [max(1, round(n * scale)) for n in (box[2] - box[0], box[3] - box[1])]
    small = np.asarray(canvas.crop(box).resize(size, Image.Resampling.BOX), np.float64)
    y, x = (float((small.sum(1 - a) * np.arange(small.shape[a])).sum() / small.sum()) for a in (0, 1))
    top, left = (int(np.clip(round((side - 1) / 2 - c), 0, side - n)) for c, n in zip((y, x), small.shape, strict=True))
    out = np.zeros((side, side), np.uint8)
    out[top : top + small.shape[0], left : left + small.shape[1]] = np.rint(small)
    return out
