"""What every reader and writer shares: decoders' errors become one sentence, files are written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medjax.types import DataError

_SIGNATURES = {
    b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
    b"GIF8": "GIF", b"BM": "BMP", b"\x1f\x8b": "gzip", b"<": "HTML or XML", b"%PDF": "PDF", b"PK\3\4": "zip",
    b"\x5c\1\0\0": "NIfTI", b"\0\0\1\x5c": "NIfTI", b"\x1c\2\0\0": "NIfTI", b"\0\0\2\x1c": "NIfTI",
}  # fmt: skip
_EXPECTED = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".nii": "NIfTI", ".gz": "gzip",
    ".dcm": "DICOM", ".dicom": "DICOM", ".ima": "DICOM",
}  # fmt: skip
_SHOWN = 120  # characters of a decoder's own words


def kind_of(path: Path) -> str:
    """The format that a file's first bytes show, or ''."""
    with open(path, "rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return "DICOM"
    return next((name for mark, name in _SIGNATURES.items() if head.startswith(mark)), "")


def is_dicom(path: Path) -> bool:
    """Whether a file's bytes are those of a DICOM image, whatever its name; the index of a disc is none."""
    try:
        return path.name.upper() != "DICOMDIR" and kind_of(path) == "DICOM"
    except OSError:
        return False


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a decoder raises into one DataError with the file's name and the cause."""
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
    kind, expected = kind_of(path), _EXPECTED.get(path.suffix.lower(), "")
    if expected and kind != expected:
        return f"{path} is not a {expected} file" + (f" but {kind}, whatever its suffix says" if kind else "")
    reason = " ".join(str(error).split())
    if kind == "DICOM" or not reason:  # a decoder's words may quote the header, and the header a patient's name
        reason = type(error).__name__
    return f"{path} is cut short or damaged ({reason[:_SHOWN]})"


@contextmanager
def writing(path: Path, suffix: str) -> Iterator[Path]:
    """A name beside `path` to write to, file or folder; it replaces `path` at the end, and is removed on any error."""
    part = path.with_name(f".{path.name.removesuffix(suffix)}.{os.getpid()}.part{suffix}")
    try:
        yield part
        if path.is_dir() and part.is_dir():  # a folder that is not empty cannot be replaced at one stroke
            os.replace(path, before := part.with_name(f"{part.name}.before"))
            os.replace(part, path)
            shutil.rmtree(before, ignore_errors=True)
        else:
            os.replace(part, path)
    except DataError as error:
        raise DataError(str(error).replace(str(part), str(path))) from error
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
