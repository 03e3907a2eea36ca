"""Slices of whatever volumes a folder holds (NIfTI, DICOM series), as good images for every road that starts from one.

`load` returns `{"target": float32 [S, S, 1] in [0, 1]}`, cut as `medjax.data.slices` says: canvases around the middle of each
volume's grid, all of one `fov_mm`. The window that became 0 and 1 is recorded in `extra` (`low`, `high`), with plane, slice
(number in RAS order), position_mm (from the middle of the grid), ras_mm (the patient coordinate across the slices), spacing_mm,
fov_mm, modality (CT or MR, by the values) and padding (the share of voxels below -1024 HU, which scanners write outside their
field of view; they become -1024).

Single DICOM slices that belong to no series are images, not volumes: `sources.folder(root, value_range=(-1000, 400))` reads
them, in HU as well, with padding clipped by the range.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medjax.data.intensities import head_mask, looks_like_ct, percentile_window, to_unit_range
from medjax.data.recent import Recent
from medjax.data.records import Images, Record, Source, patient_note, patient_of, some
from medjax.data.slices import Plan, choose_slices, cut, grid_plan, in_plane, plane_axis
from medjax.data.subjects import columns_of
from medjax.data.tables import parse_age
from medjax.formats.volume import Volume, list_volumes, read_series, read_volume, to_ras, volume_suffix
from medjax.types import ConfigError, DataError

PERCENTILES = "percentiles"
PADDING_HU = -1024.0


@dataclass(frozen=True)
class _Found:
    """A volume's place (path, number among the series of its folder), and what is remembered of it."""

    name: str
    path: str
    number: int
    shape: tuple[int, int, int]
    affine: np.ndarray
    low: float
    high: float
    padding: float
    modality: str


def volumes(
    root: str | os.PathLike,
    *,
    plane: str = "axial",
    window: Sequence[float] | str = (-1000.0, 400.0),
    percentiles: Sequence[float] = (0.0, 99.5),
    range_mm: Sequence[float] = (),
    step_mm: float = 0.0,
    fov_mm: float = 0.0,
    min_spread: float = 0.01,
    names: str = "",
    patient_pattern: str | None = None,
    bad: str = "error",
    cache_bytes: int = 2 << 30,
) -> Source:
    """Opens every volume in `root` and below; each is read once now and again when its slices are.

    Args:
      root: the data folder.
      plane: "axial", "coronal" or "sagittal".
      window: (low, high) in the volume's units, HU for CT; or "percentiles", for MR, of the values inside the body.
      percentiles: for window="percentiles"; a lower one of 0 is the value 0.
      range_mm: (lowest, highest) position from the middle of the grid, positive to the right, front, top; () takes all.
      step_mm: distance between slices; 0 takes every slice.
      fov_mm: side of the canvas; 0 is the widest grid.
      min_spread: slices whose standard deviation in [0, 1] is below are left out when the volume is opened.
      names: a regular expression; only volumes in whose name (the path below `root`, without suffix) it is found are opened.
      patient_pattern: a regular expression whose first group, found in the volume's name, is the patient.
      bad: "error" if a volume cannot be used, "skip" to go on without it and say so in `notes`.
      cache_bytes: memory for volumes that were read.

    Raises:
      DataError: no volume, one that cannot be used, a window in HU for what is no CT. ConfigError: options.
    """
    axis, root = plane_axis(plane), Path(root)
    if bad not in ("error", "skip"):
        raise ConfigError(f"bad must be error or skip, not {bad!r}")
    if window != PERCENTILES and (isinstance(window, str) or len(window) != 2 or not window[0] < window[1]):
        raise ConfigError(f'window is two rising numbers or "{PERCENTILES}", not {window!r}')
    recent, found, spreads, wrong = Recent(_read, max_bytes=cache_bytes), [], [], []
    for path in _chosen(root, names):
        try:
            for name, number, arrays in _members(root, path, recent):
                item = _measured(name, path, number, arrays, window, percentiles)
                found.append(item)
                spreads.append(_spread(item, arrays["values"], axis))
        except DataError as error:
            wrong.append(str(error))
    if wrong and (bad == "error" or not found):
        raise DataError(wrong[0] if len(wrong) == 1 else f"{len(wrong)} volumes cannot be used: {'; '.join(wrong[:3])}")
    fov = fov_mm or max(f.shape[a] * np.linalg.norm(f.affine[:3, a]) for f in found for a in in_plane(axis))
    rows = []
    for item, spread in zip(found, spreads, strict=True):
        plan = grid_plan(item.shape, item.affine, plane=plane, fov_mm=fov, name=item.name)
        patient = patient_of(item.name, patient_pattern)
        chosen = choose_slices(plan, range_mm=range_mm, step_mm=step_mm)
        rows += [(item, plan, k, _record(item, patient, plan, k, fov)) for k in chosen if spread[k] >= min_spread]
    if not rows:
        raise DataError(f"no slice of the {len(found)} volumes of {root} lies in the chosen range and shows anything")

    def load(i: int) -> Images:
        item, plan, k, _ = rows[i]
        values = np.take(recent((item.path, item.number))["values"], [k], axis=axis)
        return {"target": cut(_unit(values, item), plan, 0)[..., None]}

    notes = _notes(found, wrong) + list(patient_note(patient_pattern, what="volume"))
    return Source("volumes", tuple(row[-1] for row in rows), load, notes=tuple(notes))


def mri_slices(root: str | os.PathLike, *, contrast: str = "T1", **options: object) -> Source:
    """Slices of one contrast of MR volumes, as good images: files or folders called NAME-CONTRAST or NAME_CONTRAST.

    NAME is the patient; `subjects.csv` adds its columns, as for `medjax.data.mri`. Each volume is mapped to [0, 1] by
    `percentiles` inside the head; other options as for `volumes`. Raises as `volumes` does.
    """
    ending = rf"[-_]{re.escape(contrast)}$"
    found = volumes(root, window=PERCENTILES, names=ending, patient_pattern=rf"([^/]+){ending}", **options)
    table, records = columns_of(root), []
    for record in found.records:
        row = table.get(record.patient, {})
        extra = {**row, **record.extra, "contrast": contrast}
        records.append(replace(record, extra=extra, sex=row.get("sex", ""), age=parse_age(row.get("age", ""))))
    return replace(found, kind="mri_slices", records=tuple(records))


def _chosen(root: Path, names: str) -> list[Path]:
    """The volumes below `root` that `names` finds."""
    try:
        pattern = re.compile(names)
    except re.error as error:
        raise ConfigError(f"names {names!r} is no regular expression ({error})") from error
    paths = list_volumes(root, recursive=True)
    kept = [path for path in paths if pattern.search(_name(root, path))]
    if not kept:
        raise DataError(
            f"{root} has {len(paths)} volumes, and none whose name matches {names!r}: {some(_name(root, p) for p in paths)}"
        )
    return kept


def _name(root: Path, path: Path) -> str:
    name = path.relative_to(root).as_posix() if path != root else root.name
    return name[: len(name) - len(volume_suffix(path))]


def _read(key: tuple[str, int]) -> dict[str, np.ndarray]:
    path, number = key
    volume = to_ras(list(read_series(path).values())[number] if os.path.isdir(path) else read_volume(path))
    return {"values": volume.values, "affine": volume.affine}


def _members(root: Path, path: Path, recent: Recent):
    """(name, number, arrays) of the volumes at `path`: one, or every series of a folder."""
    name = _name(root, path)
    if not path.is_dir():
        yield name, 0, recent((str(path), 0))
        return
    several = read_series(path)
    for number, volume in enumerate(several.values()):
        ras: Volume = to_ras(volume)
        yield name if len(several) == 1 else f"{name}#{number + 1}", number, {"values": ras.values, "affine": ras.affine}


def _measured(name: str, path: Path, number: int, arrays, window, percentiles: Sequence[float]) -> _Found:
    values, affine = arrays["values"], arrays["affine"]
    padding = float((values < PADDING_HU).mean())
    if window == PERCENTILES:
        mask, _ = head_mask(values, np.linalg.norm(affine[:3, :3], axis=0), name=str(path))
        low, high = percentile_window(values, mask, percentiles, name=str(path))
        padding = 0.0
    else:
        low, high = map(float, window)
        if low < 0 and not looks_like_ct(values):
            raise DataError(
                f"{path} has hardly a value far below 0, so it is no CT and has no window of {low:g} to {high:g} HU; "
                f"window={PERCENTILES} suits MR"
            )
    modality = "CT" if looks_like_ct(values) else "MR"
    return _Found(name, str(path), number, values.shape, affine, low, high, padding, modality)


def _unit(values: np.ndarray, item: _Found) -> np.ndarray:
    """[0, 1] inside the window; outside the volume `cut` puts 0, which is the window's low end."""
    return to_unit_range(np.maximum(values, PADDING_HU) if item.padding else values, item.low, item.high)


def _spread(item: _Found, values: np.ndarray, axis: int) -> np.ndarray:
    """The standard deviation of every slice in [0, 1]."""
    slices = np.moveaxis(values, axis, 0)
    return np.array([float(_unit(piece, item).std()) for piece in slices])


def _record(item: _Found, patient: str, plan: Plan, k: int, fov: float) -> Record:
    index = (np.array(plan.shape) - 1) / 2
    index[plan.axis] = k
    numbers = {
        "position_mm": plan.positions[k] + 0.0, "ras_mm": (item.affine @ np.append(index, 1))[plan.axis],
        "spacing_mm": plan.spacing, "fov_mm": fov, "low": item.low, "high": item.high, "padding": item.padding,
    }  # fmt: skip
    extra = {"modality": item.modality, "plane": plan.plane, "slice": str(k)} | {
        name: f"{value:.6g}" for name, value in numbers.items()
    }
    return Record(f"{item.name}_{plan.plane}_{k:04d}", patient, (item.path,), extra=extra)


def _notes(found: Sequence[_Found], wrong: Sequence[str]) -> list[str]:
    notes = [f"{len(wrong)} volumes were left out: {'; '.join(wrong[:3])}"] if wrong else []
    padded = [item.name for item in found if item.padding]
    if padded:
        notes.append(f"{len(padded)} volumes have padding below {PADDING_HU:g}, taken as {PADDING_HU:g}: {some(padded)}")
    return notes
