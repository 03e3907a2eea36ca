"""Pairs of slices from pairs of MR volumes: T1 to T2, or any two contrasts of the same heads.

Both volumes of a subject are turned to RAS order by their affines, the target is laid on the source's grid, and a pair that
does not fit is refused or registered (see `medjax.data.alignment`). Slices are found by position in mm from the middle of the
source's head, cut as `medjax.data.slices` says, and mapped to [0, 1] by percentiles inside each volume's head
(`medjax.data.intensities`). `load` returns

* `source` float32 [S, S, 2 context + 1] in [0, 1], the slice between its neighbours;
* `target` float32 [S, S, 1] in [0, 1];
* `region` float32 [S, S, 1] of 0 and 1: the source's head, as far as the target's field of view reaches.

S differs with the voxel size; all canvases show `fov_mm`. A record's `extra` holds, as text, the columns of `subjects.csv`
and: contrasts, plane, slice (number in RAS order), position_mm, spacing_mm, context, fov_mm, centre_mm, the four ends
source_low ... target_high, and of the pair's alignment nmi, nmi_shifted, alignment_margin, best_shift, registration, nmi_before.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from medjax.data.alignment import SHIFT_MM
from medjax.data.recent import Recent
from medjax.data.records import Images, Record, Source, some
from medjax.data.slices import Plan, choose_slices, cut, grid_plan, in_plane, plane_axis, stack
from medjax.data.subjects import columns_of, find_pairs
from medjax.data.survey import Survey, read_pair, survey
from medjax.data.tables import parse_age
from medjax.types import ConfigError, DataError

SLICES = ("mm", "index")
_FOV_STEP = 8.0  # mm; the canvas found from the heads is rounded up to it
_ENOUGH, _LOW = 4, 0.5  # pairs from which a usual score is known; the share of its excess over 1 below which one stands out
_FINE = 0.2  # mm; below it names need more digits


def mri_pairs(
    root: str | os.PathLike,
    *,
    direction: Sequence[str] = ("T1", "T2"),
    plane: str = "axial",
    slices: str = "mm",
    range_mm: Sequence[float] = (),
    index_range: Sequence[int] = (),
    step_mm: float = 0.0,
    context: int = 0,
    fov_mm: float = 0.0,
    percentiles: Sequence[float] = (0.0, 99.5),
    mask: str = "auto",
    registration: str = "refuse",
    cache: str | None = None,
    min_foreground: float = 0.02,
    subjects: str = "",
    exclude: str = "",
    missing: str = "error",
    cache_bytes: int = 2 << 30,
    progress: bool = False,
) -> Source:
    """Opens a folder of MR pairs (layouts: `medjax.data.subjects`); every volume is read once unless its survey is cached.

    Args:
      root: the data folder.
      direction: the two contrasts, source and target, as file names have them.
      plane: "axial", "coronal" or "sagittal".
      slices: "mm" picks slices by position, "index" by `index_range`, which shows other anatomy in every subject (a note
        says where).
      range_mm: (lowest, highest) position from the middle of the head, positive to the right, front, top; () takes all.
      index_range: (first, last) slice numbers, both included, for slices="index".
      step_mm: distance between slices; 0 takes every slice.
      context: neighbours on either side that become channels of `source`.
      fov_mm: side of the canvas; 0 is the widest head of all subjects, rounded up to 8 mm.
      percentiles, mask: see `intensities.read_head`.
      registration, cache: see `survey.survey`.
      min_foreground: slices whose region covers less of the canvas are left out.
      subjects, exclude, missing: see `subjects.find_pairs`.
      cache_bytes: memory for volumes that were read.
      progress: show a bar while volumes are measured.

    Raises:
      DataError: no pairs, a file that cannot be used, a pair that is not aligned. ConfigError: options.
    """
    axis = plane_axis(plane)
    if slices not in SLICES or (slices == "index") != bool(len(index_range)):
        raise ConfigError('slices is "mm", or "index" with an index_range (first, last)')
    if context < 0 or not 0 <= min_foreground < 1:
        raise ConfigError(f"context {context} or min_foreground {min_foreground} cannot be used")
    files, notes = find_pairs(root, direction, subjects=subjects, exclude=exclude, missing=missing)
    intensity = {"percentiles": tuple(percentiles), "mask": mask}
    known = {
        name: survey(paths, registration=registration, cache=cache, name=f"{name}_{'-to-'.join(direction)}", **intensity)
        for name, paths in tqdm(files.items(), desc="measuring pairs", unit="pair", disable=not progress, leave=False)
    }
    fov = fov_mm or _widest(known, axis)
    cutting = {"plane": plane, "fov_mm": fov}
    plans = {n: grid_plan(s.shape, np.array(s.affine), centre=s.centre, name=n, **cutting) for n, s in known.items()}
    chosen = {}
    for name, plan in plans.items():
        found = choose_slices(plan, range_mm=range_mm, step_mm=step_mm, index_range=index_range)
        area = min_foreground * (plan.side * plan.pixel_mm) ** 2
        chosen[name] = [k for k in found if known[name].areas[axis][k] > area]
    rows, table = [], columns_of(root)
    for name, numbers in chosen.items():
        shared = dict(table.get(name, {})) | _facts(known[name], plans[name], direction, context, fov)
        rows += [(name, k, _record(name, files[name], plans[name], k, shared)) for k in numbers]
    if not rows:
        raise DataError(f"no slice of the {len(files)} subjects of {root} lies in the chosen range")
    notes += _notes(known, plans, chosen, fov, slices == "index")
    load = _loader(rows, files, known, plans, chosen, context, intensity, cache_bytes)
    return Source("mri_pairs", tuple(record for _, _, record in rows), load, paired=True, notes=tuple(notes))


def _widest(known: Mapping[str, Survey], axis: int) -> float:
    widest = max(s.extent[a] for s in known.values() for a in in_plane(axis))
    return math.ceil(widest / _FOV_STEP) * _FOV_STEP


def _facts(s: Survey, plan: Plan, direction: Sequence[str], context: int, fov: float) -> dict[str, str]:
    """What a record's `extra` says of its pair."""
    (source_low, source_high), (target_low, target_high) = s.windows
    numbers = {
        "spacing_mm": plan.spacing, "fov_mm": fov, "source_low": source_low, "source_high": source_high,
        "target_low": target_low, "target_high": target_high, "nmi": s.after.nmi, "nmi_shifted": s.after.shifted,
        "alignment_margin": s.after.margin, "nmi_before": s.before.nmi,
    }  # fmt: skip
    return {name: f"{value:.6g}" for name, value in numbers.items()} | {
        "contrasts": ">".join(direction), "plane": plan.plane, "context": str(context), "best_shift": s.after.best,
        "centre_mm": " ".join(f"{x:.3f}" for x in s.centre), "masks": ">".join(s.masks),
        "registration": "none" if s.transform is None else "rigid",
    }  # fmt: skip


def _record(name: str, paths: tuple[str, str], plan: Plan, k: int, shared: Mapping[str, str]) -> Record:
    position = plan.positions[k] + 0.0
    digits = 1 if plan.spacing >= _FINE else 4
    extra = {**shared, "slice": str(k), "position_mm": f"{position:.3f}"}
    sex, age = shared.get("sex", ""), parse_age(shared.get("age", ""))
    return Record(f"{name}_{plan.plane}_{position:+.{digits}f}mm", name, paths, sex=sex, age=age, extra=extra)


def _notes(
    known: Mapping[str, Survey], plans: Mapping[str, Plan], chosen: Mapping[str, list[int]], fov: float, by_index: bool
) -> list[str]:
    ends = lambda values: f"{min(values):.3f} to {max(values):.3f}"  # noqa: E731
    scores = [s.after for s in known.values()]
    notes = [
        f"alignment of {len(known)} pairs, normalised mutual information: {ends([a.nmi for a in scores])}, "
        f"shifted by {SHIFT_MM:g} mm {ends([a.shifted for a in scores])}"
    ]
    registered = [f"{n} ({s.before.nmi:.3f} to {s.after.nmi:.3f})" for n, s in known.items() if s.transform is not None]
    if registered:
        notes.append(f"{len(registered)} of {len(known)} pairs were registered (score before and after): {some(registered)}")
    notes += _outlying({name: s.after.nmi - 1 for name, s in known.items()})
    loose = [f"{name} ({s.after.best})" for name, s in known.items() if s.after.best != "0"]
    if loose:
        notes.append(f"{len(loose)} pairs would fit better with the target shifted: {some(loose)}")
    axis = next(iter(plans.values())).axis
    cropped = [n for n, s in known.items() if max(s.extent[a] for a in in_plane(axis)) > fov + plans[n].pixel_mm]
    if cropped:
        notes.append(f"{len(cropped)} heads are wider than the canvas of {fov:g} mm: {some(cropped)}")
    empty = [name for name, numbers in chosen.items() if not numbers]
    if empty:
        notes.append(f"{len(empty)} subjects have no slice in the chosen range: {some(empty)}")
    if by_index:
        first = [(plans[n].positions[numbers[0]], n) for n, numbers in chosen.items() if numbers]
        low, high = min(first), max(first)
        notes.append(
            f"slices are taken by index, not by position, so they show different anatomy: the first lies at {low[0]:+.1f} mm "
            f"in {low[1]} and at {high[0]:+.1f} mm in {high[1]}"
        )
    return notes


def _outlying(excess: Mapping[str, float]) -> list[str]:
    """A note where a pair's score above 1 is far below the others': another person's head in the same place."""
    if len(excess) < _ENOUGH:
        return []
    usual = float(np.median(list(excess.values())))
    low = [f"{name} ({1 + value:.3f})" for name, value in excess.items() if value < _LOW * usual]
    if not low:
        return []
    return [f"{len(low)} pairs score far below the usual {1 + usual:.3f}; look whether both are of one person: {some(low)}"]


def _loader(rows, files, known, plans, chosen, context: int, intensity: Mapping, cache_bytes: int):
    """`load(i)`; of each subject the slab that holds its chosen slices and their neighbours stays in memory."""

    def slab(name: str) -> dict[str, np.ndarray]:
        pair, plan = read_pair(files[name], known[name], **intensity), plans[name]
        if pair.source.volume.values.shape != plan.shape:
            raise DataError(f"{files[name][0]} has changed since it was opened")
        low, high = max(0, chosen[name][0] - context), min(plan.shape[plan.axis], chosen[name][-1] + context + 1)
        piece = (slice(None),) * plan.axis + (slice(low, high),)
        arrays = {"source": pair.source.unit(), "target": pair.target, "region": pair.region}
        return {role: array[piece].copy() for role, array in arrays.items()} | {"first": np.array(low)}

    recent = Recent(slab, max_bytes=cache_bytes)

    def load(i: int) -> Images:
        name, k, _ = rows[i]
        arrays, plan = recent(name), plans[name]
        k -= int(arrays["first"])
        return {
            "source": stack(arrays["source"], plan, k, context=context),
            "target": cut(arrays["target"], plan, k)[..., None],
            "region": (cut(arrays["region"], plan, k)[..., None] >= 0.5).astype(np.float32),
        }

    return load
