"""What is in a folder of volumes, before training: shapes, spacings, orientations, values, contrasts, a contact sheet.

Nothing here stops at the first bad volume: each is listed with its reason. Volumes are named by their files; nothing that a
header says about a patient is looked at.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medjax.data.records import some
from medjax.data.slices import PLANES, cut, slice_plan
from medjax.data.subjects import contrasts_of
from medjax.formats.volume import Volume, list_pictures, list_volumes, read_series, read_volume, to_ras
from medjax.types import DataError

_SHOWN = 8  # volumes on the contact sheet, all three planes of each
_ENDS = (0.5, 99.5)  # percentiles that are black and white on the contact sheet


def holds_volumes(root: str | os.PathLike) -> bool:
    """Whether the folder, or one below it, holds a NIfTI file or a DICOM series."""
    try:
        return bool(list_volumes(root, recursive=True))
    except DataError:
        return False


def inspect_volumes(root: str | os.PathLike, *, limit: int | None = None) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Reads every volume below `root`.

    Args:
      root: the data folder.
      limit: read only this many places, evenly spread.

    Returns:
      A dict that `json` can write (root, kind, records, volumes, shapes, spacings, orientations, values, zeros, contrasts,
      duplicates, bad, notes), and images float32 [S, S, 1] in [0, 1]: the middle slices of some volumes, in all planes.
    """
    root = Path(root)
    paths = list_volumes(root, recursive=True)
    chosen = paths
    if limit is not None and limit < len(paths):
        chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, limit).astype(int))]
    shown = {chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, _SHOWN).astype(int))}
    facts, bad, notes, tiles = [], [], [], []
    for path in chosen:
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", UserWarning)
                found = list(read_series(path).values()) if path.is_dir() else [read_volume(path)]
        except DataError as error:
            bad.append(str(error))
            continue
        notes += [str(warning.message) for warning in told]
        facts += [_facts(volume, path.relative_to(root).as_posix()) for volume in found]
        tiles += _middles(found[0]) if path in shown else []
    beside = list_pictures(root)
    if beside:
        notes.append(f"{len(beside)} pictures lie beside the volumes and were not looked at: {some(p.name for p in beside)}")
    return _report(root, len(paths), len(chosen), facts, bad, notes), tiles


def _facts(volume: Volume, name: str) -> dict[str, Any]:
    values = volume.values
    return {
        "name": name,
        "digest": hashlib.blake2b(np.ascontiguousarray(values).tobytes(), digest_size=16).hexdigest(),
        "shape": " x ".join(map(str, values.shape)),
        "spacing": " x ".join(f"{mm:.3g}" for mm in volume.spacing),
        "axcodes": volume.axcodes,
        "storage": f"{volume.stored.format} {volume.stored.dtype}",
        "extremes": (float(values.min()), float(values.max())),
        "zeros": float((values == 0).mean()),
    }


def _report(root: Path, places: int, read: int, facts: list[dict], bad: list[str], notes: list[str]) -> dict[str, Any]:
    counts = {key: dict(Counter(fact[key] for fact in facts).most_common()) for key in ("shape", "spacing", "axcodes", "storage")}
    extremes, same = [fact["extremes"] for fact in facts], defaultdict(list)
    for fact in facts:
        same[fact["shape"], fact["digest"]].append(fact["name"])
    return {
        "root": str(root), "kind": "volumes", "records": places, "read": read, "volumes": len(facts),
        "shapes": counts["shape"], "spacings": counts["spacing"], "orientations": counts["axcodes"],
        "storage": counts["storage"], "contrasts": contrasts_of(root), "bad": bad, "notes": notes,
        "range": [min(low for low, _ in extremes), max(high for _, high in extremes)] if facts else None,
        "highest": [min(high for _, high in extremes), max(high for _, high in extremes)] if facts else None,
        "duplicates": [names for names in same.values() if len(names) > 1],
        "stripped": sum(fact["zeros"] >= 1 / 3 for fact in facts),
    }  # fmt: skip


def _middles(volume: Volume) -> list[np.ndarray]:
    """The middle slice in each plane, as radiologists see it."""
    ras = to_ras(volume)
    low, high = np.percentile(ras.values, _ENDS)
    images = []
    for plane in PLANES:
        try:
            plan = slice_plan(ras, plane=plane)
        except DataError:  # a slab of a few slices has no picture from the side
            continue
        image = cut(ras.values, plan, len(plan.positions) // 2)
        images.append(((image - low) / max(high - low, 1e-9)).clip(0, 1).astype(np.float32)[..., None])
    return images


def format_volumes(report: Mapping[str, Any]) -> str:
    """The report as text that fits a screen."""
    lines = [f"{report['root']}: {report['volumes']} volumes in {report['read']} of {report['records']} places"]
    named = (("shapes", "shapes"), ("spacings", "spacings mm"), ("orientations", "orientation"), ("storage", "storage"))
    for key, title in (*named, ("contrasts", "contrasts")):
        if report[key]:
            items = list(report[key].items())
            told = ", ".join(f"{k}: {v}" for k, v in items[:_SHOWN]) + ", ..." * (len(items) > _SHOWN)
            lines.append(f"  {title:13} {told}")
    if report["range"]:
        lines.append("  values        {:g} to {:g}".format(*report["range"]))
        lines.append("  highest value {:g} to {:g} of a volume".format(*report["highest"]))
        lines.append(f"  stripped      {report['stripped']} volumes are zero in a third or more of their voxels")
    if report["duplicates"]:
        shown = "; ".join(" = ".join(names) for names in report["duplicates"][:3])
        lines.append(f"  DUPLICATES    {len(report['duplicates'])} groups of volumes with equal values: {shown}")
    lines += [f"  BAD           {reason}" for reason in report["bad"][:5]]
    lines += [f"  note          {note}" for note in report["notes"]]
    if "contact_sheet" in report:
        lines.append(f"  contact sheet {report['contact_sheet']}")
    return "\n".join(lines)
