"""PadChest (Bustos et al. 2020) as distributed: `PADCHEST_chest_x_ray_images_labels_*.csv` or `.csv.gz`, 16-bit PNG.

As two pools, by `RelativeXRayExposure_DICOM`, a vendor's index of the exposure relative to what the machine expects, which says
what reached the detector and only by that something of an image's quality: low quality is what lies well below zero, high what
lies near it. Without pools it is a labelled data set as any other.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from medjax.data.pools import HIGH, LOW, marked
from medjax.data.records import Images, Record, Source, some
from medjax.data.tables import FRONTAL, finish, read_table
from medjax.formats import ValueRange, read
from medjax.rng import generator
from medjax.types import ConfigError, DataError

TABLE = "PADCHEST_chest_x_ray_images_labels_*.csv"
EXPOSURE = "RelativeXRayExposure_DICOM"
COLUMNS = ("ImageID", "PatientID", "Projection", "Labels", EXPOSURE)
NORMAL, COPD = "normal", "COPD signs"
_ABSENT = ("", "none", "nan")
_TEXT = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(,|$)""")
_SHARED, _PICKS = ("error", "low", "high"), ("extreme", "drawn")


def padchest(
    root: str | os.PathLike,
    *,
    pooled: bool = True,
    low_exposure: Sequence[float] = (-1000.0, -1.0),
    high_exposure: Sequence[float] = (-0.1, 0.1),
    low_limit: int = 0,
    high_limit: int = 0,
    class_limit: int = 0,
    pick: str = "extreme",
    shared: str = "error",
    views: Sequence[str] | None = FRONTAL,
    value_range: ValueRange = None,
    inverted: str = "keep",
    seed: int = 0,
    missing: str = "error",
) -> Source:
    """PadChest's table and the images it names, found by name anywhere below `root`.

    Args:
      root: the dataset's folder.
      pooled: two pools by exposure; False takes every image of the views, whatever its exposure.
      low_exposure, high_exposure: lowest and highest exposure of the images of each pool; nobody has published such bounds.
      low_limit, high_limit: images of each pool at most; 0: all.
      class_limit: without pools, images with and without signs of COPD at most (labels `COPD` and `NORMAL`), drawn by `seed`;
        what is labelled neither or both is left out then. 0: all.
      pick: which, where there are more: "extreme" the lowest exposures, and those nearest to zero; "drawn" by `seed`.
      shared: what is done about patients who have images in both pools: "error", or the pool that keeps them.
      views: values of `Projection` that are kept; None keeps all.
      value_range: stored values at black and white; by default 0 and 65535.
      inverted: images that the table calls MONOCHROME1: "keep" them as stored, or "skip" them.
      missing: "error" if images that the table names are absent, "skip" to leave them out and say so in `notes`.

    `extra["exposure"]` is the exposure; ages are the year of the study less that of birth. Raises DataError for no table, a
    missing column, a cell of labels that is no list, a pool that is empty (with bounds and the column's range), patients in
    both pools (named), absent images; ConfigError for options out of range.
    """
    _check(low_exposure, high_exposure, pick, shared, inverted)
    root, table = _table(Path(root))
    rows = read_table(table, COLUMNS)
    if inverted == "skip":
        rows = [row for row in rows if row.get("PhotometricInterpretation_DICOM", "") != "MONOCHROME1"]
    records = [_record(row, table) for row in rows if views is None or row["Projection"] in views]
    notes = _notes(rows, inverted)
    of: dict[str, str] = {}
    if pooled:
        low = _pick(records, low_exposure, low_limit, pick, seed, table)
        kept = {r.patient for r in low} if shared == "low" else set()
        high = _pick([r for r in records if r.patient not in kept], high_exposure, high_limit, pick, seed, table)
        if shared == "high":
            kept = {r.patient for r in high}
            low = _pick([r for r in records if r.patient not in kept], low_exposure, low_limit, pick, seed, table)
        of = {r.name: LOW for r in low} | {r.name: HIGH for r in high}
        records = [r for r in records if r.name in of]
        notes += (_counted(low, high, low_exposure, high_exposure),)
    elif class_limit:
        records = _of_classes(records, class_limit, seed)
    names = tuple(dict.fromkeys((NORMAL, COPD, *sorted({label for r in records for label in r.labels}))))
    source = finish("padchest", root, table, records, None, missing, None, seed, names)

    def load(i: int) -> Images:
        return {"target": read(source.records[i].paths[0], value_range=value_range)[0]}

    found = Source("padchest", source.records, load, source.label_names, notes=(*source.notes, *notes))
    return marked(found, [of[r.name] for r in found.records]) if pooled else found


def parse_labels(text: str) -> tuple[str, ...]:
    """The labels in a cell such as `['normal']` or `['COPD signs', "Chilaiditi's sign"]`, which is never evaluated; () for an
    empty one. Raises ValueError where it is no list of quoted words.
    """
    text = text.strip()
    if text.lower() in _ABSENT:
        return ()
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError(text)
    inside, found, place = text[1:-1].strip(), [], 0
    while place < len(inside):
        word = _TEXT.match(inside, place)
        if word is None or (word[3] == "," and not inside[word.end() :].strip()):
            raise ValueError(text)
        found.append(re.sub(r"\\(.)", r"\1", word[1] if word[1] is not None else word[2]).strip())
        place = word.end()
    return tuple(dict.fromkeys(label for label in found if label))


def _check(low: Sequence[float], high: Sequence[float], pick: str, shared: str, inverted: str) -> None:
    for name, bounds in (("low_exposure", low), ("high_exposure", high)):
        if len(bounds) != 2 or not bounds[0] <= bounds[1]:
            raise ConfigError(f"{name} is a lowest and a highest exposure, not {tuple(bounds)}")
    if max(low[0], high[0]) <= min(low[1], high[1]):
        raise ConfigError(f"low_exposure {tuple(low)} and high_exposure {tuple(high)} overlap, so the pools would share images")
    for name, value, known in (("pick", pick, _PICKS), ("shared", shared, _SHARED), ("inverted", inverted, ("keep", "skip"))):
        if value not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}")


def _table(root: Path) -> tuple[Path, Path]:
    if not root.is_dir():
        raise DataError(f"the data folder {root} is absent")
    tables = sorted(root.glob(TABLE)) or sorted(root.glob(f"{TABLE}.gz"))
    if not tables:
        raise DataError(f"{root} has no table {TABLE} or {TABLE}.gz")
    return root, tables[-1]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _record(row: dict[str, str], table: Path) -> Record:
    try:
        labels = parse_labels(row["Labels"])
    except ValueError as error:
        raise DataError(f"{table}: the Labels of {row['ImageID']} are no list of quoted words: {row['Labels']!r}") from error
    exposure, born = _number(row[EXPOSURE]), _number(row.get("PatientBirth", ""))
    year = _number(row.get("StudyDate_DICOM", "")[:4])
    age = year - born if year and born and 0 <= year - born <= 120 else None
    extra = {} if exposure is None else {"exposure": f"{exposure:g}"}
    patient = "" if row["PatientID"].lower() in _ABSENT else row["PatientID"]
    return Record(row["ImageID"], patient, (), labels, row["Projection"], row.get("PatientSex_DICOM", ""), age, extra)


def _pick(records: Sequence[Record], bounds: Sequence[float], limit: int, pick: str, seed: int, table: Path) -> list[Record]:
    """The records of one pool, in the table's order."""
    known = [(r, float(r.extra["exposure"])) for r in records if "exposure" in r.extra]
    inside = [(r, value) for r, value in known if bounds[0] <= value <= bounds[1]]
    if not inside:
        values = [value for _, value in known]
        seen = f"from {min(values):g} to {max(values):g} in {len(values)} images" if values else "given of no image"
        raise DataError(f"{table}: no image has {EXPOSURE} from {bounds[0]:g} to {bounds[1]:g}; it is {seen} of the chosen views")
    if not 0 < limit < len(inside):
        return [r for r, _ in inside]
    if pick == "drawn":
        chosen = generator(seed, "padchest", repr(tuple(bounds))).permutation(len(inside))[:limit]
    else:  # well below zero: the lowest first; around zero: the nearest to it
        rank = abs if bounds[0] <= 0 <= bounds[1] else float
        chosen = sorted(range(len(inside)), key=lambda i: (rank(inside[i][1]), inside[i][0].name))[:limit]
    return [inside[i][0] for i in sorted(int(i) for i in chosen)]


def _of_classes(records: Sequence[Record], limit: int, seed: int) -> list[Record]:
    """As many records of either `NORMAL` or `COPD` at most, in the table's order."""
    kept: set[int] = set()
    for label in (COPD, NORMAL):
        own = [i for i, r in enumerate(records) if {COPD, NORMAL}.intersection(r.labels) == {label}]
        kept |= {own[k] for k in generator(seed, "padchest", label).permutation(len(own))[:limit]}
    return [records[i] for i in sorted(kept)]


def _counted(low: Sequence[Record], high: Sequence[Record], *bounds: Sequence[float]) -> str:
    told = []
    for name, pool, (least, most) in (("low", low, bounds[0]), ("high", high, bounds[1])):
        values, patients = [float(r.extra["exposure"]) for r in pool], len({r.patient for r in pool})
        told.append(
            f"{name} {len(pool)} images of {patients} patients, {min(values):g} to {max(values):g} (bounds {least:g} to {most:g})"
        )
    return f"pools by {EXPOSURE}: {'; '.join(told)}"


def _notes(rows: Sequence[dict[str, str]], inverted: str) -> tuple[str, ...]:
    turned = [row["ImageID"] for row in rows if row.get("PhotometricInterpretation_DICOM", "") == "MONOCHROME1"]
    if not turned or inverted == "skip":
        return ()
    return (f"the table calls {len(turned)} images MONOCHROME1, which may be stored with white for air: {some(turned)}",)
