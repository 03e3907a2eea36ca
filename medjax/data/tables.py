"""Datasets described by a CSV table: NIH ChestX-ray14 and the Actualmed COVID chest X-rays."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from medjax import formats
from medjax.data.records import Images, Record, Source, some
from medjax.rng import generator
from medjax.types import ConfigError, DataError

FRONTAL = ("AP", "PA")
NIH_LABELS = (
    "No Finding", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis",
    "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
_NIH_COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")
_DAYS_PER_YEAR = 365.25
_OLDEST = 120  # NIH's first table has ages up to 414: slips of the keyboard, kept as unknown


def nih_cxr14(
    root: str | os.PathLike,
    *,
    labels: Sequence[str] | None = None,
    label_mode: str = "any",
    known: Sequence[str] = (),
    views: Sequence[str] | None = FRONTAL,
    limit: int | None = None,
    seed: int = 0,
    images: str | None = None,
    missing: str = "error",
) -> Source:
    """NIH ChestX-ray14 (Wang et al., CVPR 2017) as distributed, or any folder with a table of the same columns, such as one of
    synthetic images.

    The table is `Data_Entry*.csv` or `labels.csv` in `root`; images are found by name anywhere below. Where
    the same names lie in several folders (two resolutions), the fullest folder is used unless `images` names one.

    Args:
      root: the dataset's folder.
      labels: keep records with these labels; None keeps all.
      label_mode: "any" keeps a record with at least one of `labels`, "single" one whose only label is among them.
      known: labels that the table may have beside those of ChestX-ray14.
      views: keep these view positions, and images of which the view is not known; None keeps all.
      limit: keep this many records, drawn by `seed`, in the table's order.
      images: folder below root, where there are several copies.
      missing: "error" if images that the table names are absent, "skip" to leave them out and say so in `notes`.

    Raises:
      DataError: no table, a missing column, an unknown label, or absent images (their count and the first three).
    """
    _choice("label_mode", label_mode, ("any", "single"))
    root, table = _nih_table(Path(root))
    rows = read_table(table, _NIH_COLUMNS)
    names = (*NIH_LABELS, *(label for label in known if label not in NIH_LABELS))
    records = [_nih_record(row, table, names) for row in rows]
    seen = {label for record in records for label in record.labels}
    names = tuple(label for label in names if label in NIH_LABELS or label in seen)
    if views is not None:  # a synthetic image may be of no view; a line cut short has none either, but no patient
        records = [r for r in records if r.view in views or (not r.view and r.patient)]
    records = _filter(records, labels, label_mode, None, names)
    return finish("nih_cxr14", root, table, records, images, missing, limit, seed, names)


def actualmed(
    root: str | os.PathLike,
    *,
    views: Sequence[str] | None = FRONTAL,
    limit: int | None = None,
    seed: int = 0,
    images: str | None = None,
    missing: str = "error",
) -> Source:
    """The Actualmed COVID-19 chest X-rays: `metadata.csv` and the images it names; arguments as for `nih_cxr14`.

    `extra["unit"]` is the X-ray unit, by which image quality differs.
    """
    root = _folder(Path(root))
    table = root / "metadata.csv"
    rows = read_table(table, ("patientid", "imagename", "finding", "view"))
    records = [
        Record(
            name=row["imagename"], patient=row["patientid"], labels=(row["finding"],) if row["finding"] else (),
            view=row["view"], sex=row.get("sex", ""), age=parse_age(row.get("age", "")),
            extra={"unit": row.get("unit", "")},
        )
        for row in rows
    ]  # fmt: skip
    names = tuple(sorted({label for record in records for label in record.labels}))
    return finish(
        "actualmed", root, table, _filter(records, None, "any", views, names), images, missing, limit, seed, names
    )


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a .csv or .csv.gz with stripped values; DataError if it is absent, empty, no text or lacks one of `columns`."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="", encoding="utf-8-sig") as file:
            rows = [
                {name.strip(): (value or "").strip() for name, value in row.items() if name is not None}
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError as error:
        raise DataError(f"{path} is absent") from error
    except (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a table ({error})") from error
    if not rows:
        raise DataError(f"{path} has no rows")
    absent = [column for column in columns if column not in rows[0]]
    if absent:
        raise DataError(f"{path} has no column {some(map(repr, absent))}; it has {', '.join(k for k in rows[0] if k)}")
    return rows


def parse_age(text: str) -> float | None:
    """Years from '58', '058Y', '007M' or '012D'; None where there is no believable age."""
    text = text.strip().upper()
    unit = {"Y": 1, "M": 1 / 12, "D": 1 / _DAYS_PER_YEAR}.get(text[-1:])
    try:
        years = float(text if unit is None else text[:-1]) * (unit or 1)
    except ValueError:
        return None
    return years if 0 <= years <= _OLDEST else None


def _nih_table(root: Path) -> tuple[Path, Path]:
    root = _folder(root)
    tables = sorted(root.glob("Data_Entry*.csv")) or sorted(root.glob("labels.csv"))
    if not tables:
        raise DataError(f"{root} has no table Data_Entry*.csv or labels.csv")
    return root, tables[-1]


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise DataError(f"the data folder {root} is absent")
    return root


def _nih_record(row: dict[str, str], table: Path, names: Sequence[str]) -> Record:
    labels = tuple(label.strip() for label in row["Finding Labels"].split("|") if label.strip())
    unknown = [label for label in labels if label not in names]
    if unknown:
        raise DataError(
            f"{table}: {row['Image Index']} has the label {unknown[0]!r}, "
            "which is none of ChestX-ray14's and none of config.data.classes"
        )
    sex = row.get("Patient Gender", row.get("Patient Sex", ""))
    return Record(
        name=row["Image Index"], patient=row["Patient ID"], labels=labels, view=row["View Position"], sex=sex,
        age=parse_age(row.get("Patient Age", "")), extra={"follow_up": row.get("Follow-up #", "")},
    )  # fmt: skip


def _filter(records: list[Record], labels, label_mode: str, views, known: Sequence[str]) -> list[Record]:
    for label in labels or ():
        if label not in known:
            raise ConfigError(f"label {label!r} is none of {', '.join(known)}")
    if views is not None:
        records = [r for r in records if r.view in views]
    if label_mode == "single":
        records = [r for r in records if len(r.labels) == 1]
    if labels is not None:
        records = [r for r in records if set(r.labels) & set(labels)]
    return records


def finish(
    kind: str,
    root: Path,
    table: Path,
    records: Sequence[Record],
    images: str | None,
    missing: str,
    limit: int | None,
    seed: int,
    names: Sequence[str],
) -> Source:
    """The source of the `records` of a `table`: finds their files, applies the limit. Raises DataError for absent or empty files,
    names that come twice, and images of no patient.
    """
    _choice("missing", missing, ("error", "skip"))
    if not records:
        raise DataError(f"{table}: no row is left by the chosen views and labels")
    _check_rows(table, records)
    where = find_images(root / images if images else root, {record.name for record in records})
    absent = [record.name for record in records if record.name not in where]
    notes: tuple[str, ...] = ()
    if absent:
        sentence = f"{len(absent)} of the {len(records)} images named by {table} are not below {root}: {some(absent)}"
        if missing == "error" or len(absent) == len(records):
            raise DataError(
                sentence + ("" if len(absent) == len(records) else ' (missing="skip" goes on without them)')
            )
        notes = (sentence + "; they were left out",)
    records = [_at(record, where[record.name]) for record in records if record.name in where]
    if limit is not None and limit < len(records):
        chosen = sorted(generator(seed, "limit").choice(len(records), limit, replace=False))
        records = [records[i] for i in chosen]
    hollow = [record.paths[0] for record in records if os.path.getsize(record.paths[0]) == 0]
    if hollow:
        raise DataError(f"{len(hollow)} images are empty (zero bytes): {some(hollow)}")
    kept = tuple(records)

    def load(i: int) -> Images:
        return {"target": formats.read(kept[i].paths[0])[0]}

    return Source(kind, kept, load, tuple(names), notes=notes)


def _check_rows(table: Path, records: Sequence[Record]) -> None:
    """Every row needs a patient and a name of its own."""
    names = [record.name for record in records]
    twice = sorted({name for name, count in Counter(names).items() if count > 1})
    if twice:
        raise DataError(f"{table} names {len(twice)} images more than once: {some(twice)}")
    nobody = [record.name for record in records if not record.patient]
    if nobody:
        raise DataError(f"{table} gives no patient for {len(nobody)} images: {some(nobody)}")


def _at(record: Record, path: str) -> Record:
    return Record(
        record.name, record.patient, (path,), record.labels, record.view, record.sex, record.age, record.extra
    )


def find_images(root: Path, names: set[str]) -> dict[str, str]:
    """{name: path} below `root`, from the fullest folder down; a folder that repeats a name is left out."""
    folders: dict[str, set[str]] = defaultdict(set)
    for folder, _, files in os.walk(_folder(root), followlinks=True):
        folders[folder] = names.intersection(files)
    where: dict[str, str] = {}
    for folder, found in sorted(folders.items(), key=lambda item: (-len(item[1]), item[0])):
        if found.isdisjoint(where):
            where.update({name: os.path.join(folder, name) for name in found})
    return where


def _choice(field: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{field} must be one of {', '.join(allowed)}, not {value!r}")
