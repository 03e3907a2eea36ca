"""Phantoms as files, in the layouts that the data sources read.

`brain`: T1/NAME-T1.nii.gz and T2/NAME-T2.nii.gz (or, as DICOM, folders NAME-T1 and NAME-T2), with subjects.csv and, for
what is known of them, truth/NAME-labels.nii.gz, truth/NAME-brain.nii.gz, truth/NAME-lesions.nii.gz and lesions.csv.
`ct`: NAME.nii.gz (or a folder NAME) in HU, with truth/NAME-labels.nii.gz, truth/NAME-nodules.nii.gz and nodules.csv.
The truth is NIfTI whatever the format of the images. NAME is PHANTOM and six digits; no person stands behind one.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.phantom.ct import CtPhantom, ct_volume
from medjax.data.phantom.mri import BrainPhantom, brain_pair
from medjax.formats.volume import plain, write_volume
from medjax.types import ConfigError, DataError

KINDS = ("brain", "ct")
FORMATS = ("nifti", "dicom")


def write_phantoms(
    folder: str | os.PathLike, *, kind: str = "brain", count: int = 1, seed: int = 0, format: str = "nifti", **options: Any
) -> list[Path]:
    """Writes `count` phantoms and what is known of them.

    Args:
      folder: is made if absent; files of the same names are replaced.
      kind: "brain" or "ct".
      count: of phantoms 0, 1, ... of the series `seed`.
      format: "nifti" or "dicom".
      options: further arguments of `mri.brain_pair` or `ct.ct_volume`.

    Returns:
      The images' paths (not the truth's), phantom by phantom.

    Raises:
      ConfigError: an unknown kind or format, an option out of range. DataError: a folder that cannot be written.
    """
    if kind not in KINDS or format not in FORMATS or count < 1:
        told = f"phantoms are {' or '.join(KINDS)} in {' or '.join(FORMATS)}, at least one"
        raise ConfigError(f"{told}, not {count} {kind} in {format}")
    folder, paths, rows, known = Path(folder), [], [], []
    try:
        (folder / "truth").mkdir(parents=True, exist_ok=True)
        for index in range(count):
            name = f"PHANTOM{seed:03d}{index:03d}"
            phantom = (brain_pair if kind == "brain" else ct_volume)(seed, index, **options)
            paths += (_write_brain if kind == "brain" else _write_ct)(folder, name, phantom, format)
            rows.append(_person(name, phantom))
            known += _known(name, phantom)
        _write_table(folder / "subjects.csv", rows)
        _write_table(folder / ("lesions.csv" if kind == "brain" else "nodules.csv"), known)
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    return paths


def _write_brain(folder: Path, name: str, phantom: BrainPhantom, format: str) -> list[Path]:
    paths = []
    for contrast, image in phantom.images.items():
        (folder / contrast).mkdir(exist_ok=True)
        paths.append(folder / contrast / f"{name}-{contrast}{'.nii.gz' if format == 'nifti' else ''}")
        write_volume(paths[-1], plain(image, phantom.affine, modality="MR"))
    truth = {"labels": phantom.labels, "brain": phantom.brain, "lesions": phantom.lesions}
    _write_truth(folder, name, truth, phantom.affine)
    return paths


def _write_ct(folder: Path, name: str, phantom: CtPhantom, format: str) -> list[Path]:
    path = folder / f"{name}{'.nii.gz' if format == 'nifti' else ''}"
    write_volume(path, plain(phantom.hu.astype(np.float32), phantom.affine, dtype="int16", modality="CT"))
    _write_truth(folder, name, {"labels": phantom.labels, "nodules": phantom.nodules}, phantom.affine)
    return [path]


def _write_truth(folder: Path, name: str, maps: Mapping[str, np.ndarray], affine: np.ndarray) -> None:
    for what, values in maps.items():
        volume = plain(values.astype(np.float32), affine, dtype="int16")
        write_volume(folder / "truth" / f"{name}-{what}.nii.gz", volume)


def _person(name: str, phantom: BrainPhantom | CtPhantom) -> dict[str, str]:
    who = phantom.head if isinstance(phantom, BrainPhantom) else phantom.patient
    return {"name": name, "sex": who.sex, "age": f"{who.age:g}"}


def _known(name: str, phantom: BrainPhantom | CtPhantom) -> list[dict[str, str]]:
    """A row per lesion or nodule; `voxels` is how many of the grid it takes."""
    if isinstance(phantom, BrainPhantom):
        found, numbers = phantom.lesion_list, phantom.lesions
        more = [{"kind": one.kind, "visible_in_t1": str(int(one.visible))} for one in found]
    else:
        found, numbers = phantom.nodule_list, phantom.nodules
        more = [{"kind": one.kind, "radius_mm": f"{one.radius:.2f}"} for one in found]
    sizes = np.bincount(numbers.ravel(), minlength=len(found) + 1)
    return [
        {"name": name, "number": str(one.number), "centre_mm": " ".join(f"{c:.1f}" for c in one.centre)}
        | extra
        | {"voxels": str(int(sizes[one.number]))}
        for one, extra in zip(found, more, strict=True)
    ]


def _write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        if rows:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
