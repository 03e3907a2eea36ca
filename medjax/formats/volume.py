"""Volumes in and out: NIfTI files, folders of DICOM series, multi-frame DICOM files.

`read_volume` returns real-world values in the file's own voxel order with the affine to RAS+ millimetres;
`write_volume` stores a volume as its `stored` says, so that what comes back lies on the same grid.
"""

from __future__ import annotations

import os
from pathlib import Path

from medjax.formats import dicom, nifti, raster, series, tiff
from medjax.formats.derive import Derivation
from medjax.formats.grid import Stored, Volume, from_ras, plain, to_ras, with_values
from medjax.formats.guard import is_dicom, reading, writing
from medjax.formats.slices import slices, stacks, tag_of
from medjax.types import DataError

__all__ = [
    "Stored",
    "Volume",
    "from_ras",
    "is_volume",
    "list_volumes",
    "plain",
    "read_series",
    "read_volume",
    "to_ras",
    "volume_suffix",
    "with_values",
    "write_volume",
]
_KNOWN = f"{', '.join(nifti.SUFFIXES)}, a folder of one DICOM series, a DICOM file of many frames"


def volume_suffix(path: str | os.PathLike) -> str:
    """`.nii.gz` or `.nii`, as the name has it, or ''."""
    name = Path(path).name.lower()
    return next((s for s in sorted(nifti.SUFFIXES, key=len, reverse=True) if name.endswith(s)), "")


def read_volume(path: str | os.PathLike, *, series_tag: str | None = None) -> Volume:
    """Reads a NIfTI file, a folder with one DICOM series, or a DICOM file of many frames.

    Args:
      path: of the file or folder.
      series_tag: where a folder holds several series, the one to read, by the tag that the error lists.

    Raises:
      DataError: a file that is absent, empty, cut short, not what its suffix says; a singular affine, another number of
        axes than three (trailing axes of length 1 are dropped), all zeros, NaN; a folder of several series (listed) or
        of none, slices that are missing, doubled or unevenly spaced (named).
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path, series_tag)
    if volume_suffix(path):
        return nifti.read(path)
    with reading(path):
        if path.name.lower().endswith(dicom.SUFFIXES) or is_dicom(path):
            return _read_frames(path)
        raise DataError(f"{path} is no volume; known are {_KNOWN}")


def read_series(folder: str | os.PathLike) -> dict[str, Volume]:
    """Every DICOM series of a folder: {series instance UID: volume}.

    A series of several orientations (a localizer) gives a volume for each: UID, UID#2, ... by falling number of slices.

    Raises:
      DataError: as for `read_volume`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is {'not a folder' if folder.exists() else 'absent'}, where a DICOM series is expected")
    return {
        f"{uid}#{at + 1}" if at else uid: series.assemble(folder, stack)
        for uid, groups in series.read_folder(folder).items()
        for at, stack in enumerate(groups)
    }


def write_volume(path: str | os.PathLike, volume: Volume, *, derivation: Derivation | None = None) -> None:
    """Writes a volume, whole or not at all.

    Args:
      path: with a suffix `.nii` or `.nii.gz` a NIfTI file, in the volume's own storage type (a DICOM volume in float32);
        else DICOM, derived from the volume's own headers: a folder, or a file where it came from one. A volume that was
        never in a file becomes a series of a phantom patient.
      volume: to store.
      derivation: what DICOM says about how it came about, and whether what identifies the patient is removed.

    Raises:
      DataError: values that are not finite, a grid or look-up table that cannot be stored, a NIfTI volume as DICOM, or a path
        that cannot be written; a folder that exists is replaced only where it holds DICOM files alone.
    """
    path, derivation = Path(path), derivation or Derivation()
    suffix = volume_suffix(path)
    if volume.path and path.is_dir() and path.resolve() == Path(volume.path).resolve():
        raise DataError(f"{path} was not written: the volume was read from there")
    if not suffix and path.is_dir() and any(p.is_dir() or not is_dicom(p) for p in path.iterdir()):
        raise DataError(f"{path} was not written: there is a folder of that name that holds other files")
    suffix = suffix or next((s for s in dicom.SUFFIXES if path.name.lower().endswith(s)), "")
    with writing(path, path.name[len(path.name) - len(suffix) :]) as part:
        if volume_suffix(path):
            nifti.write(part, volume, deidentify=derivation.deidentify)
        else:
            series.write(part, volume, derivation=derivation)


def is_volume(path: str | os.PathLike) -> bool:
    """Whether `read_volume` is the one to ask: by suffix, by the number of frames, or by a series in the folder."""
    path = Path(path)
    if path.is_dir():
        return series.is_series(path)
    if volume_suffix(path):
        return path.is_file()
    return path.is_file() and (path.name.lower().endswith(dicom.SUFFIXES) or is_dicom(path)) and series.frames_of(path) > 1


def list_volumes(folder: str | os.PathLike, *, recursive: bool = False) -> list[Path]:
    """The volumes of a folder, sorted: NIfTI files, multi-frame files, folders with a DICOM series (this one among them).

    DataError where it is absent, is no folder, or has none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is {'not a folder' if folder.exists() else 'absent'}, where volumes are expected")
    found = [folder, *(folder.rglob("*") if recursive else folder.iterdir())]
    paths = sorted(p for p in found if (p == folder or not p.name.startswith(".")) and is_volume(p))
    if not paths:
        raise DataError(f"{folder} has no volume ({_KNOWN})")
    return paths


def list_pictures(folder: str | os.PathLike) -> list[Path]:
    """The PNG, JPEG and TIFF files below a folder, sorted: what a reader of its volumes passes over."""
    endings = (*raster.SUFFIXES, *tiff.SUFFIXES)
    found = (p for p in Path(folder).rglob("*") if p.suffix.lower() in endings and not p.name.startswith("."))
    return sorted(p for p in found if p.is_file())


def _read_folder(folder: Path, series_tag: str | None) -> Volume:
    found = series.read_folder(folder)
    if series_tag is not None:
        uid_tag, _, at = series_tag.partition("#")
        chosen = [groups for uid, groups in found.items() if tag_of(uid) == uid_tag]
        number = int(at) - 1 if at.isdigit() else 0
        if not chosen or not 0 <= number < len(chosen[0]):
            raise DataError(f"{folder} has no series {series_tag}: {series.describe(found)}")
        return series.assemble(folder, chosen[0][number])
    if len(found) > 1 or len(next(iter(found.values()))) > 1:
        raise DataError(f"{folder} holds more than one volume: {series.describe(found)}")
    return series.assemble(folder, next(iter(found.values()))[0])


def _read_frames(path: Path) -> Volume:
    found = stacks(slices(path, dicom.pixels.load(path, pixels=False)))
    if len(found) > 1:
        raise DataError(f"{path} holds frames of {len(found)} orientations, where a volume has one")
    if found[0][0].form.frames == 1:
        raise DataError(f"{path} is a single image; give the folder of its series to read it as a volume")
    return series.assemble(path, found[0])
