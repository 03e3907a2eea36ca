"""DICOM volumes: folders of slices, by series, and files of many frames.

Values are in modality units (HU for CT), padding untouched. A volume's axes are columns, rows, slices, the slices along the
normal of the image plane. Written back: a derived image for every slice, in one new series.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from medjax.formats import dicom, fresh, pixels, transform
from medjax.formats.derive import Derivation, Header, save
from medjax.formats.grid import Stored, Volume, as_stored, check_shape, check_values
from medjax.formats.guard import is_dicom, reading
from medjax.formats.slices import Placeless, Slice, slices, stack_affine, stacks, tag_of
from medjax.types import DataError

_LOOKED_AT = 64  # files by which a folder is judged


def files(folder: Path) -> Iterator[Path]:
    """The DICOM files of a folder, sorted by name; hidden files and the index of a disc are left out."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and path.is_file() and (path.name.lower().endswith(dicom.SUFFIXES) or is_dicom(path)):
            yield path


def is_series(folder: Path) -> bool:
    """Whether two DICOM files of one series with positions in a patient are among the first of a folder."""
    seen = set()
    for _, path in zip(range(_LOOKED_AT), files(folder), strict=False):
        try:
            dataset = pixels.load(path, pixels=False, tags=["SeriesInstanceUID", "ImagePositionPatient"])
            series = str(dataset.get("SeriesInstanceUID", ""))
            if not dataset.get("ImagePositionPatient"):
                continue
        except Exception:  # a broken file among good ones is `read_series`'s to name
            continue
        if series in seen:
            return True
        seen.add(series)
    return False


def frames_of(path: Path) -> int:
    """The number of frames a DICOM file claims, or 0 where it is none."""
    try:
        dataset = pixels.load(path, pixels=False, tags=["NumberOfFrames"])
        return int(dataset.get("NumberOfFrames") or 1)
    except Exception:
        return 0


def read_folder(folder: Path) -> dict[str, list[list[Slice]]]:
    """Series instance UID -> stacks of slices, largest first. Files that are no part of a volume are warned of.

    A localizer (by its ImageType) is no part of a volume where the folder holds anything else.
    """
    found, ignored = _sorted_out(folder)
    scouts = [uid for uid, items in found.items() if all("LOCALIZER" in (s.dataset.get("ImageType") or ()) for s in items)]
    if len(scouts) < len(found):
        for uid in scouts:
            ignored.setdefault("localizers", []).extend(sorted({s.path.name for s in found.pop(uid)}))
    if not found:
        why = "; ".join(f"{len(names)} {kind}" for kind, names in ignored.items())
        raise DataError(f"{folder} has no DICOM slices" + (f" ({why})" if why else ""))
    for kind, names in ignored.items():
        more = " ..." if len(names) > 4 else ""
        warnings.warn(f"{folder}: {len(names)} {kind} left out ({', '.join(names[:4])}{more})", stacklevel=3)
    return {uid: stacks(items) for uid, items in found.items()}


def _sorted_out(folder: Path) -> tuple[dict[str, list[Slice]], dict[str, list[str]]]:
    """The slices of each series, and the names of what is none by the reason."""
    found: dict[str, list[Slice]] = {}
    ignored: dict[str, list[str]] = {}
    for path in files(folder):
        with reading(path):
            dataset = pixels.load(path, pixels=False)
            why = _unfit(dataset)
            try:
                placed = [] if why else slices(path, dataset)
            except Placeless:
                why = "images without a place in the patient"
            if why:
                ignored.setdefault(why, []).append(path.name)
            else:
                found.setdefault(str(dataset.get("SeriesInstanceUID", "")), []).extend(placed)
    return found, ignored


def assemble(name: Path, stack: Sequence[Slice]) -> Volume:
    """Decodes an ordered stack to a volume [columns, rows, slices]."""
    first = stack[0]
    affine = stack_affine(name, stack)
    shape = check_shape(name, (first.form.columns, first.form.rows, len(stack)))
    values = np.empty(shape, np.float32)
    forms, headers = [], []
    for k, (pixel, item, form, header) in enumerate(_decoded(stack)):
        table = transform.modality(item.path, item.dataset, form, item.frame)
        values[..., k] = table[pixel.astype(np.int32) - form.ends[0]].T
        forms.append(form)
        headers.append(header)
    linear = not first.dataset.get("ModalityLUTSequence")
    slope, intercept = transform.rescale(first.path, first.dataset, first.frame) if linear else (1.0, 0.0)
    options = {"forms": forms, "frames": [s.frame for s in stack], "names": [s.path.name for s in stack]}
    stored = Stored(
        "dicom", forms[0].dtype.name, slope, intercept, affine, shape, transform.window(first.dataset, first.frame),
        datasets=tuple(headers), options=options,
    )  # fmt: skip
    return Volume(check_values(name, values), affine, stored, str(name))


def _decoded(stack: Sequence[Slice]) -> Iterator[tuple[np.ndarray, Slice, pixels.Layout, Header]]:
    """Each slice's pixels [H, W] in the order of the stack; a file of many frames is decoded once."""
    many: dict[Path, tuple[list[np.ndarray], Header]] = {}
    for item in stack:
        with reading(item.path):
            if item.path not in many:
                dataset = pixels.load(item.path)
                decoded = list(pixels.frames(item.path, dataset, item.form))
                many = {item.path: (decoded, Header(dataset))}
            decoded, header = many[item.path]
            if item.form.samples != 1 or item.form.photometric == "PALETTE COLOR":
                raise DataError(f"{item.path} is in colour, where a slice of a volume is grey")
            yield decoded[item.frame], item, item.form, header


def write(path: Path, volume: Volume, *, derivation: Derivation) -> None:
    """Writes a folder with a file for every slice, or the one file of a volume that was read from one; see `write_volume`."""
    kept = volume.stored
    if kept.format != "dicom":
        _write_fresh(path, volume, derivation)
        return
    values = as_stored(volume)
    if not np.isfinite(values).all():
        raise DataError(f"{path} was not written: the volume holds NaN or infinite values")
    forms, frames = kept.options["forms"], kept.options["frames"]
    images = [
        _to_stored(path, values[..., k].T, header, form, frame)
        for k, (header, form, frame) in enumerate(zip(kept.datasets, forms, frames, strict=True))
    ]
    if forms[0].frames > 1:
        place = np.argsort(frames)
        _write_file(path, kept.datasets[0], np.stack([images[i] for i in place]), forms[0], derivation)
        return
    path.mkdir()
    for k, (image, header, form, name) in enumerate(zip(images, kept.datasets, forms, kept.options["names"], strict=True)):
        name = f"{k + 1:04d}.dcm" if derivation.deidentify else name
        save(path / name, header, image, form, derivation)


def _write_file(path: Path, *given: Any) -> None:
    if not path.name.lower().endswith(dicom.SUFFIXES):
        path.mkdir()
        path = path / "0001.dcm"
    save(path, *given)


def _to_stored(path: Path, image: np.ndarray, header: Header, form: pixels.Layout, frame: int) -> np.ndarray:
    table = transform.modality(path, header.dataset, form, frame)
    return transform.invert(path, table, image.astype(np.float64), form)


def _write_fresh(path: Path, volume: Volume, derivation: Derivation) -> None:
    """A volume that never was DICOM: real-world values rounded to int16, in a new study of a phantom patient."""
    if volume.stored.header is not None:
        raise DataError(f"{path} was not written: {volume.path} is NIfTI and has no DICOM header to derive from")
    if np.dtype(volume.stored.dtype).kind in "iu" and np.dtype(volume.stored.dtype).itemsize > 2:
        raise DataError(f"{path} was not written: DICOM images hold 16 bits, not {volume.stored.dtype}")
    modality = volume.stored.options.get("modality", "OT")
    if not np.isfinite(volume.values).all():
        raise DataError(f"{path} was not written: the volume holds NaN or infinite values")
    path.mkdir()
    step = volume.affine[:, 2] / np.linalg.norm(volume.affine[:3, 2])
    across = np.cross(volume.affine[:3, 0], volume.affine[:3, 1])
    if np.abs(across @ step[:3] / np.linalg.norm(across)) < 1 - 1e-4:
        raise DataError(f"{path} was not written: the axes of the volume are not perpendicular")
    form = fresh.layout((volume.values.shape[1], volume.values.shape[0]), np.dtype(np.int16))
    for k in range(volume.values.shape[2]):
        dataset = fresh.header(derivation.key, modality=modality, number=k + 1)
        affine = volume.affine.copy()
        affine[:3, 3] += k * volume.affine[:3, 2]
        fresh.place(dataset, affine, key=derivation.key, slices=volume.values.shape[2])
        dataset.RescaleSlope, dataset.RescaleIntercept = "1", "0"
        if modality == "CT":
            dataset.RescaleType = "HU"
        image = np.clip(np.rint(volume.values[..., k].T.astype(np.float64)), *form.ends).astype(form.dtype)
        save(path / f"{k + 1:04d}.dcm", Header(dataset), image, form, replace(derivation, deidentify=False))


def _unfit(dataset: pydicom.Dataset) -> str:
    """Why a file is no slice, or ''."""
    if dataset.file_meta.get("MediaStorageSOPClassUID") == pydicom.uid.MediaStorageDirectoryStorage:
        return "disc indexes"
    if dataset.get("Rows") in (None, "", 0):
        return "files without pixel data"
    return ""


def describe(found: dict[str, list[list[Slice]]]) -> str:
    """The series of a folder in words that say nothing about a patient: number, count, and a tag to choose one by."""
    told = []
    for uid, groups in found.items():
        for at, stack in enumerate(groups):
            number = stack[0].dataset.get("SeriesNumber")
            name = f"series {int(number)}" if isinstance(number, int) else "a series without number"
            told.append(f"{name} with {len(stack)} slice{'s' * (len(stack) > 1)} ({tag_of(uid)}{f'#{at + 1}' if at else ''})")
    return "; ".join(told)
