"""Image files in and out: one table from suffix to codec, one pair of functions.

`read` returns float32 `[H, W, 1]` in [0, 1] and the `Encoding` with which `write` puts an image back in the same
format, depth, range and number of channels. A codec is a module with SUFFIXES, FORMATS, read, write and size; another
format is one more row in `_MODULES`. Whatever a file holds, the outcome is an image or a DataError that names the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from medjax.formats import raster, tiff
from medjax.formats.encoding import Encoding, ValueRange, encoding
from medjax.types import DataError

__all__ = [
    "CODECS",
    "SUFFIXES",
    "Encoding",
    "ValueRange",
    "encoding",
    "image_size",
    "list_images",
    "name_stem",
    "read",
    "write",
]

_MODULES = (raster, tiff)
CODECS = {suffix: module for module in _MODULES for suffix in module.SUFFIXES}
SUFFIXES = tuple(CODECS)
_SIGNATURES = {
    b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
    b"GIF8": "GIF", b"BM": "BMP", b"\x1f\x8b": "gzip", b"<": "HTML or XML", b"%PDF": "PDF",
}  # fmt: skip


def read(path: str | os.PathLike, *, value_range: ValueRange = None) -> tuple[np.ndarray, Encoding]:
    """Reads an image file.

    Args:
      path: a file with a suffix of `SUFFIXES`.
      value_range: the stored values that mean 0 and 1; by default the ends of the stored type. Values
        beyond are clipped.

    Returns:
      float32 [H, W, 1] in [0, 1], and its Encoding.

    Raises:
      DataError: a file that is absent, empty, cut short, not what its suffix says, in colour, not finite, or of a type
        whose range nobody stated.
    """
    path = Path(path)
    with _reading(path):
        return _codec(path).read(path, value_range=value_range)


def write(path: str | os.PathLike, image: np.ndarray, encoding: Encoding) -> None:
    """Writes `image`, float [H, W, 1] in [0, 1] (clipped), as `encoding` says; whole or not at all.

    Raises:
      DataError: a suffix of another format, an image that is not finite, or a file that cannot be written.
    """
    path = Path(path)
    codec = _codec(path)
    if encoding.format not in codec.FORMATS or (
        codec is raster and raster._PILLOW[path.suffix.lower()].lower() != encoding.format
    ):
        raise DataError(f"{path} was not written: its suffix does not belong to the format {encoding.format}")
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        codec.write(part, image, encoding)
        os.replace(part, path)
    except DataError as error:
        raise DataError(str(error).replace(str(part), str(path))) from error
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) from the header, without decoding. DataError as for `read`."""
    path = Path(path)
    with _reading(path):
        return _codec(path).size(path)


def list_images(folder: str | os.PathLike, *, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted; hidden files and other suffixes are left out.

    Raises:
      DataError: the folder is absent, is no folder, or has no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder} is {'not a folder' if folder.exists() else 'absent'}, where a folder of images is expected"
        )
    found = folder.rglob("*") if recursive else folder.iterdir()
    paths = sorted(p for p in found if suffix(p) and not p.name.startswith(".") and p.is_file())
    if not paths:
        raise DataError(f"{folder} has no image ({', '.join(SUFFIXES)})")
    return paths


def suffix(path: Path) -> str:
    """The suffix by which the file's codec is found (the longest, so `.nii.gz` is one), or ''."""
    name = path.name.lower()
    return max((s for s in CODECS if name.endswith(s)), key=len, default="")


def name_stem(path: Path) -> str:
    """The file's name without its codec's suffix: what pairs are matched by."""
    return path.name[: len(path.name) - len(suffix(path))]


def _codec(path: Path):
    found = suffix(path)
    if not found:
        raise DataError(f"{path} has a suffix that is not known; known are {', '.join(SUFFIXES)}")
    return CODECS[found]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever a decoder raises into one sentence with the file's name."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (zero bytes)")
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} is absent") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read (permission denied)") from error
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is") from error
    except Exception as error:  # decoders raise nearly anything on broken files
        raise DataError(_diagnosis(path, error)) from error


def _diagnosis(path: Path, error: Exception) -> str:
    if path.is_dir():
        return f"{path} is a folder, where an image file is expected"
    with open(path, "rb") as file:
        head = file.read(8)
    kind = next((name for mark, name in _SIGNATURES.items() if head.startswith(mark)), "")
    expected = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG"}.get(suffix(path), "")
    if expected and kind != expected:
        return f"{path} is not a {expected} file" + (f" but {kind}, whatever its suffix says" if kind else "")
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"{path} is cut short or damaged ({reason[:120]})"
