"""NIfTI-1 and NIfTI-2 volumes in single files, `.nii` and `.nii.gz`, through nibabel's headers.

Written back as read: dtype, scale factors, units, sform and qform with their codes, extensions. The header is judged
before anything is decoded, and no more is decompressed than it claims.
"""

from __future__ import annotations

import gzip
import logging
import warnings
from pathlib import Path

import nibabel
import numpy as np

from medjax.formats.grid import Stored, Volume, check_affine, check_shape, check_values
from medjax.formats.guard import kind_of, reading
from medjax.types import DataError

nibabel.imageglobals.logger.setLevel(logging.CRITICAL)  # it prints what it then raises
SUFFIXES = (".nii", ".nii.gz")
_CLASSES = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
_DEFLATE = 1032  # to 1 is the most that deflate compresses
_MAX_OFFSET = 2**24  # bytes of header and extensions
_MILLIMETRES = {"meter": 1e3, "mm": 1.0, "micron": 1e-3, "unknown": 1.0}
_TEXTS = ("descrip", "aux_file", "intent_name", "db_name", "data_type")


def read(path: Path) -> Volume:
    """See `medjax.formats.read_volume`."""
    with reading(path):
        return _read(path)


def _read(path: Path) -> Volume:
    image = _image_class(path).from_filename(path)
    header, proxy = image.header, image.dataobj
    shape, dtype = check_shape(path, image.shape), header.get_data_dtype()
    if dtype.names or dtype.kind not in "iuf":
        raise DataError(f"{path} holds {'colours' if dtype.names else dtype.name}, where one real number per voxel is expected")
    _check_length(path, int(proxy.offset), int(np.prod(shape, dtype=object)) * dtype.itemsize)
    affine = check_affine(path, _affine(path, image))
    stored = np.asarray(proxy.get_unscaled()).reshape(shape, order="F")
    values = np.empty(shape, np.float32)
    slope, intercept = float(proxy.slope), float(proxy.inter)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused below
        for k in range(shape[2]):  # in double precision, a slice at a time
            values[..., k] = stored[..., k].astype(np.float64) * slope + intercept
    kept = Stored("nifti", dtype.name, slope, intercept, affine, shape, _window(header), header.copy())
    return Volume(check_values(path, values), affine, kept, str(path))


def write(path: Path, volume: Volume, *, deidentify: bool = False) -> None:
    """See `medjax.formats.write_volume`; `deidentify` empties the header's free texts and drops its extensions."""
    kept, values = volume.stored, volume.values
    if kept.format != "nifti":  # a DICOM volume as NIfTI: its own storage type, real-world values
        kept = Stored(dtype="float32")
    numbers = _to_stored(path, values, kept)
    if kept.header is None:
        image = nibabel.Nifti1Image(numbers, volume.affine)
        image.header.set_xyzt_units("mm")
        image.set_sform(volume.affine, code=1)
        image.set_qform(volume.affine, code=1)
    else:
        image = _like(volume, numbers)
    if deidentify:
        image.header.extensions.clear()
        for name in set(_TEXTS) & set(image.header.keys()):
            image.header[name] = b""
    image.header.set_data_dtype(numbers.dtype)
    image.header["scl_slope"], image.header["scl_inter"] = kept.slope, kept.intercept
    nibabel.save(image, path)


def _image_class(path: Path) -> type:
    """By the header's own length: the suffix does not tell the version, and nibabel's guess may be another format."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    if opened is gzip.open and kind_of(path) != "gzip":
        raise ValueError("not compressed")
    with opened(path, "rb") as file:
        length = file.read(4)
    found = [_CLASSES[n] for order in ("little", "big") if (n := int.from_bytes(length, order)) in _CLASSES]
    if not found:
        kind = kind_of(path)
        raise DataError(f"{path} is not a NIfTI file" + (f" but {kind}" if kind not in ("", "NIfTI") and opened is open else ""))
    return found[0]


def _check_length(path: Path, offset: int, size: int) -> None:
    """Refuses what cannot hold the voxels it claims, before memory is asked for them."""
    there = path.stat().st_size * (_DEFLATE if path.name.lower().endswith(".gz") else 1)
    if not 0 <= offset <= _MAX_OFFSET:
        raise DataError(f"{path} is damaged: its header puts the voxels at byte {offset}")
    if offset + size > there:
        raise DataError(f"{path} is cut short: its header claims {size} bytes of voxels")


def _affine(path: Path, image: nibabel.Nifti1Image) -> np.ndarray:
    """The sform, else the qform, else the voxel sizes alone (with a warning), in mm."""
    header = image.header
    if not int(header["sform_code"]) and not int(header["qform_code"]):
        warnings.warn(f"{path} does not state how it lies in the patient; its axes are taken as LAS", stacklevel=2)
    return np.diag([_unit(header)] * 3 + [1.0]) @ image.affine


def _unit(header: nibabel.Nifti1Header) -> float:
    return _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)


def _window(header: nibabel.Nifti1Header) -> tuple[float, float] | None:
    low, high = float(header["cal_min"]), float(header["cal_max"])
    return ((low + high) / 2, high - low) if np.isfinite(low + high) and high > low else None


def _to_stored(path: Path, values: np.ndarray, kept: Stored) -> np.ndarray:
    """Real-world values -> stored ones, rounded and clipped to the stored type; DataError where not finite."""
    if not np.isfinite(values).all():
        raise DataError(f"{path} was not written: the volume holds NaN or infinite values")
    dtype = np.dtype(kept.dtype)
    out = np.empty(values.shape, dtype)
    for k in range(values.shape[2]):
        numbers = (values[..., k].astype(np.float64) - kept.intercept) / kept.slope
        if dtype.kind in "iu":
            ends = np.iinfo(dtype)
            top = float(ends.max) if dtype.itemsize < 8 else np.nextafter(float(ends.max), 0)  # 2**63 - 1 is no double
            numbers = np.clip(np.rint(numbers), float(ends.min), top)
        out[..., k] = numbers
    return out


def _like(volume: Volume, numbers: np.ndarray) -> nibabel.Nifti1Image:
    """An image with the kept header: units and codes as they were, the forms moved only if the grid was."""
    kept = volume.stored
    header = kept.header.copy()
    header["cal_min"] = header["cal_max"] = 0  # the window of the values that were there before
    scaled = np.diag([1 / _unit(header)] * 3 + [1.0]) @ volume.affine
    kind = nibabel.Nifti2Image if int(header["sizeof_hdr"]) == 540 else nibabel.Nifti1Image
    moved = volume.values.shape != kept.shape or not np.allclose(volume.affine, kept.affine, rtol=0, atol=1e-6)
    if not moved:
        return kind(numbers, None, header)
    image = kind(numbers, scaled, header)
    image.set_sform(scaled, code=int(header["sform_code"]) or 1)
    image.set_qform(scaled, code=int(header["qform_code"]))
    return image
