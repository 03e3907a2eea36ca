"""Image files in and out: one table from suffix to codec, one pair of functions; volumes have a pair of their own.

`read` returns float32 `[H, W, 1]` in [0, 1] and the `Encoding` with which `write` puts an image back in the same
format, depth, range and number of channels. A codec is a module with SUFFIXES, FORMATS, read, write, size and bits; another
format is one more row in `_MODULES`. `read_volume` and `write_volume` do the same for NIfTI and DICOM series, in
real-world values. Whatever a file holds, the outcome is an image or a DataError that names the file.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from medjax.formats import dicom, raster, tiff
from medjax.formats.derive import Derivation
from medjax.formats.encoding import Encoding, ValueRange, encoding
from medjax.formats.finer import finer
from medjax.formats.guard import is_dicom, reading, writing
from medjax.formats.volume import (
    Stored,
    Volume,
    from_ras,
    is_volume,
    list_volumes,
    plain,
    read_series,
    read_volume,
    to_ras,
    volume_suffix,
    with_values,
    write_volume,
)
from medjax.types import DataError

__all__ = [
    "CODECS",
    "SUFFIXES",
    "Derivation",
    "Encoding",
    "Stored",
    "ValueRange",
    "Volume",
    "encoding",
    "finer",
    "from_ras",
    "image_size",
    "is_volume",
    "list_images",
    "list_volumes",
    "name_stem",
    "plain",
    "read",
    "read_series",
    "read_volume",
    "stored_bits",
    "to_ras",
    "with_values",
    "write",
    "write_volume",
]

_MODULES = (raster, tiff, dicom)
CODECS = {suffix: module for module in _MODULES for suffix in module.SUFFIXES}
SUFFIXES = tuple(CODECS)


def read(path: str | os.PathLike, *, value_range: ValueRange = None) -> tuple[np.ndarray, Encoding]:
    """Reads an image file.

    Args:
      path: a file with a suffix of `SUFFIXES`, or a DICOM file of any name.
      value_range: the stored values that mean 0 and 1; by default the ends of the stored type. For DICOM in modality
        units (HU), by default the ends of the stored bits, and "window" for the file's own VOI LUT or first window.
        Values beyond are clipped.

    Returns:
      float32 [H, W, 1] in [0, 1], and its Encoding.

    Raises:
      DataError: a file that is absent, empty, cut short, not what its suffix says, in colour, not finite, of a type
        whose range nobody stated, a volume, or compressed in a way that no decoder here reads (named).
    """
    path = Path(path)
    with reading(path):
        return _codec(path).read(path, value_range=value_range)


def write(path: str | os.PathLike, image: np.ndarray, encoding: Encoding, *, derivation: Derivation | None = None) -> None:
    """Writes `image`, float [H, W, 1] in [0, 1] (clipped), as `encoding` says; whole or not at all.

    derivation: what a DICOM file says about how it came about, and whether it and the texts in a PNG or JPEG lose what
    identifies the patient. DICOM is written as a derived image of the one that was read.

    Raises:
      DataError: a suffix of another format, an image that is not finite, a range that cannot be inverted, or a file
        that cannot be written.
    """
    path, derivation = Path(path), derivation or Derivation()
    codec = dicom if encoding.format == "dicom" and not suffix(path) and not volume_suffix(path) else _codec(path)
    if encoding.format not in codec.FORMATS or (
        codec is raster and raster._PILLOW[path.suffix.lower()].lower() != encoding.format
    ):
        raise DataError(f"{path} was not written: its suffix does not belong to the format {encoding.format}")
    if derivation.deidentify and codec is not dicom:
        kept = {k: v for k, v in encoding.options.items() if k != "exif"}
        encoding = replace(encoding, options=kept)
    with writing(path, path.suffix) as part:
        options = {"derivation": derivation} if codec is dicom else {}
        codec.write(part, image, encoding, **options)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) from the header, without decoding. DataError as for `read`."""
    path = Path(path)
    with reading(path):
        return _codec(path).size(path)


def stored_bits(path: str | os.PathLike) -> int:
    """How many bits a sample has, from the header, without decoding. DataError as for `read`."""
    path = Path(path)
    with reading(path):
        return _codec(path).bits(path)


def list_images(folder: str | os.PathLike, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted; hidden files, volumes and what is no image are left out.

    DICOM files are found whatever their names; other formats by their suffixes.

    Raises:
      DataError: the folder is absent, is no folder, or has no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is {'not a folder' if folder.exists() else 'absent'}, where a folder of images is expected")
    found = folder.rglob("*") if recursive else folder.iterdir()
    paths = sorted(p for p in found if not p.name.startswith(".") and p.is_file() and (suffix(p) or is_dicom(p)))
    if not paths:
        raise DataError(f"{folder} has no image ({', '.join(SUFFIXES)})" + _only_volumes(folder))
    return paths


def suffix(path: Path) -> str:
    """The suffix by which the file's codec is found (the longest, so `.nii.gz` is one), or ''."""
    name = path.name.lower()
    return max((s for s in CODECS if name.endswith(s)), key=len, default="")


def name_stem(path: Path) -> str:
    """The file's name without its codec's suffix: what pairs are matched by."""
    return path.name[: len(path.name) - len(suffix(path) or volume_suffix(path))]


def _codec(path: Path):
    found = suffix(path)
    if found:
        return CODECS[found]
    if volume_suffix(path):
        raise DataError(f"{path} is a volume, where a single image is expected")
    if path.is_dir():
        raise DataError(f"{path} is a folder, where an image file is expected")
    if is_dicom(path):
        return dicom
    raise DataError(f"{path} has a suffix that is not known; known are {', '.join(SUFFIXES)}")


def _only_volumes(folder: Path) -> str:
    return ", only volumes" if any(volume_suffix(p) for p in folder.iterdir()) else ""
