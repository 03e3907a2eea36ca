"""What is in a folder of images or volumes, before training: sizes, depths, ranges, duplicates, leaks, a contact sheet.

Nothing here stops at the first bad file: each is listed with its reason.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medjax import formats
from medjax.data.augment import resize
from medjax.data.inspect_volumes import format_volumes, holds_volumes, inspect_volumes
from medjax.data.records import Source, label_counts, some
from medjax.data.sources import actualmed, folder, nih_cxr14, pairs
from medjax.data.splits import read_names, shared_patients
from medjax.types import DataError

_EMPTY_STD = 2 / 255
_TILE = 128
_COLUMNS = 8
_SHOWN = 8


def find_source(root: str | os.PathLike, *, value_range: formats.ValueRange = None) -> Source:
    """Recognises the layout of `root`: NIH's table, Actualmed's, `source/` and `target/`, or a folder of images."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is {'a file, where a data folder is expected' if root.exists() else 'absent'}")
    if _is_nih(root):
        return nih_cxr14(root, missing="skip", views=None)
    if _mentions(root / "metadata.csv", "imagename"):
        return actualmed(root, missing="skip", views=None)
    if (root / "source").is_dir() or (root / "target").is_dir():
        return pairs(root, value_range=value_range, check=False)
    return folder(root, value_range=value_range, recursive=True, check=False)


def _is_nih(root: Path) -> bool:
    return bool(list(root.glob("Data_Entry*.csv"))) or _mentions(root / "labels.csv", "Image Index")


def _is_images(root: Path) -> bool:
    """Whether a table says that the folder holds images; spares a look into each of a hundred thousand files."""
    return _is_nih(root) or _mentions(root / "metadata.csv", "imagename")


def _mentions(table: Path, column: str) -> bool:
    """Whether the table is there and its first line has the column."""
    if not table.is_file():
        return False
    with open(table, encoding="utf-8-sig", errors="replace") as file:
        return column in file.readline()


def inspect(
    root: str | os.PathLike,
    *,
    output: str | os.PathLike | None = None,
    splits: Mapping[str, Sequence[str]] | None = None,
    value_range: formats.ValueRange = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Reads every image of `root` and reports.

    Args:
      root: a data folder of any known layout.
      output: PNG file for the contact sheet; None draws none.
      splits: {split: names}, as in `splits.json`; by default the official lists, where the folder has them.
      value_range: see `formats.read`.
      limit: read only this many records (of volumes: places), evenly spread.

    Returns:
      A dict that `json` can write: kind, records, patients, images, sizes, depths, range, level, bad, duplicates,
      nearly_empty, labels, views, shared_patients, duplicates_across_splits, notes. For a folder of NIfTI files or DICOM
      series what `inspect_volumes` returns.

    Raises:
      DataError: the folder or its table cannot be used at all.
    """
    if not _is_images(Path(root)) and holds_volumes(root):
        report, middles = inspect_volumes(root, limit=limit)
        return _with_sheet(report, [_tile(image) for image in middles], output)
    source = find_source(root, value_range=value_range)
    chosen = np.arange(len(source))
    if limit is not None and limit < len(chosen):
        chosen = np.unique(np.linspace(0, len(source) - 1, limit).astype(int))
    report, tiles = _scan(source, chosen, value_range)
    report |= {
        "root": str(root), "kind": source.kind, "records": len(source), "read": len(chosen),
        "patients": len({record.patient for record in source.records}), "labels": label_counts(source.records),
        "views": dict(Counter(record.view for record in source.records if record.view).most_common()),
        "notes": list(source.notes),
    }  # fmt: skip
    report |= _leaks(source, splits if splits is not None else _official(Path(root)), report.pop("groups"))
    return _with_sheet(report, tiles, output)


def _with_sheet(report: dict[str, Any], tiles: Sequence[np.ndarray], output: str | os.PathLike | None) -> dict[str, Any]:
    if output is not None and tiles:
        contact_sheet(tiles, output)
        report["contact_sheet"] = str(output)
    return report


@dataclass(frozen=True)
class _Facts:
    """What is kept of one image after it is read."""

    number: int
    path: str
    size: str
    depth: str
    extremes: tuple[float, float]
    level: float
    spread: float
    digest: bytes


def _scan(
    source: Source, chosen: np.ndarray, value_range: formats.ValueRange
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Decodes each file once; the report's part about files, and the tiles of the contact sheet."""
    facts: list[_Facts] = []
    bad, tiles = [], []
    shown = set(np.unique(np.linspace(0, len(chosen) - 1, 3 * _COLUMNS).astype(int)).tolist())
    for place, number in enumerate(chosen):
        record, first = source.records[int(number)], len(facts)
        for path in record.paths:
            try:
                image, encoding = formats.read(path, value_range=value_range)
            except DataError as error:
                bad.append(str(error))
                continue
            facts.append(_facts(int(number), path, image, encoding))
            if place in shown:
                tiles.append(_tile(image))
        if len({fact.size for fact in facts[first:]}) > 1:
            bad.append(f"the images of the pair {record.name} differ in size")
    return _summary(facts) | {"bad": bad}, tiles


def _facts(number: int, path: str, image: np.ndarray, encoding: formats.Encoding) -> _Facts:
    stored = [encoding.low + float(x) * (encoding.high - encoding.low) for x in (image.min(), image.max())]
    low, high = (float(round(x)) for x in stored) if "int" in encoding.dtype else stored
    size = f"{image.shape[0]} x {image.shape[1]}"
    depth = f"{encoding.format} {encoding.dtype}" + f" x {encoding.channels}" * (encoding.channels > 1)
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, key=size.encode()).digest()
    return _Facts(number, path, size, depth, (low, high), float(image.mean()), float(image.std()), digest)


def _summary(facts: Sequence[_Facts]) -> dict[str, Any]:
    groups: dict[bytes, list[_Facts]] = defaultdict(list)
    for fact in facts:
        groups[fact.digest].append(fact)
    same = [group for group in groups.values() if len(group) > 1]
    levels = [fact.level for fact in facts]
    return {
        "images": len(facts),
        "sizes": dict(Counter(fact.size for fact in facts).most_common()),
        "depths": dict(Counter(fact.depth for fact in facts).most_common()),
        "range": [min(f.extremes[0] for f in facts), max(f.extremes[1] for f in facts)] if facts else None,
        "level": [float(np.mean(levels)), float(np.std(levels))] if facts else None,
        "nearly_empty": [fact.path for fact in facts if fact.spread < _EMPTY_STD],
        "duplicates": [[fact.path for fact in group] for group in same],
        "groups": [[fact.number for fact in group] for group in same],
    }


def _official(root: Path) -> dict[str, list[str]]:
    lists = {"train_val": root / "train_val_list.txt", "test": root / "test_list.txt"}
    return {split: read_names(path) for split, path in lists.items() if path.exists()}


def _leaks(source: Source, splits: Mapping[str, Sequence[str]], groups: list[list[int]]) -> dict[str, Any]:
    """Patients, and identical images, that are in more than one split."""
    number = {record.name: i for i, record in enumerate(source.records)}
    inside = {split: [number[name] for name in names if name in number] for split, names in splits.items()}
    where = {i: split for split, members in inside.items() for i in members}
    across = [g for g in groups if len({where[i] for i in g if i in where}) > 1]
    return {
        "splits": {split: len(members) for split, members in inside.items()},
        "shared_patients": shared_patients(source.records, inside),
        "duplicates_across_splits": [[source.records[i].name for i in g] for g in across],
    }


def format_report(report: Mapping[str, Any]) -> str:
    """The report as text that fits a screen."""
    if report["kind"] == "volumes":
        return format_volumes(report)
    lines = [f"{report['root']}: {report['kind']}, {report['records']} records, {report['patients']} patients"]
    lines.append(f"  read          {report['images']} images of {report['read']} records, {len(report['bad'])} bad")
    for name in ("sizes", "depths", "labels", "views", "splits"):
        if report[name]:
            items = list(report[name].items())
            told = ", ".join(f"{k}: {v}" for k, v in items[:_SHOWN]) + ", ..." * (len(items) > _SHOWN)
            lines.append(f"  {name:13} {told}")
    if report["range"]:
        lines.append("  stored values {:g} to {:g}".format(*report["range"]))
        lines.append("  mean level    {:.3f} +- {:.3f} of full scale".format(*report["level"]))
        lines += _range_hint(report)
    lines.append(f"  duplicates    {len(report['duplicates'])} groups" + _first(report["duplicates"]))
    lines.append(f"  nearly empty  {len(report['nearly_empty'])}" + _first(report["nearly_empty"]))
    if report["splits"]:
        lines.append(f"  leaks         {len(report['shared_patients'])} patients and "
                     f"{len(report['duplicates_across_splits'])} images in more than one split")  # fmt: skip
    lines += [f"  BAD           {reason}" for reason in report["bad"][:5]]
    lines += [f"  note          {note}" for note in report["notes"]]
    if "contact_sheet" in report:
        lines.append(f"  contact sheet {report['contact_sheet']}")
    return "\n".join(lines)


def _range_hint(report: Mapping[str, Any]) -> list[str]:
    """12-bit values in 16-bit files would be nearly black, HU in theirs nearly flat grey."""
    low, high = report["range"]
    if any("uint16" in depth for depth in report["depths"]) and high < 65535 / 4:
        top = 2 ** int(np.ceil(np.log2(high + 1))) - 1
        return [f"  HINT          16-bit files whose values end at {high:g}: state value_range=(0, {top})"]
    if any("int16" in depth for depth in report["depths"]) and low < 0 and high - low < 65535 / 4:
        return [f"  HINT          signed files with values from {low:g} to {high:g}: state value_range, for CT (-1000, 400)"]
    return []


def _first(items: Sequence[Any]) -> str:
    return ": " + some(" = ".join(item) if isinstance(item, list) else item for item in items) if items else ""


def _tile(image: np.ndarray) -> np.ndarray:
    height, width = (max(1, round(side * _TILE / max(image.shape[:2]))) for side in image.shape[:2])
    tile = np.zeros((_TILE, _TILE), np.uint8)
    top, left = (_TILE - height) // 2, (_TILE - width) // 2
    tile[top : top + height, left : left + width] = np.rint(resize(image, (height, width))[..., 0] * 255)
    return tile


def contact_sheet(tiles: Sequence[np.ndarray], path: str | os.PathLike) -> None:
    """Writes equal square uint8 tiles as one PNG, eight to a row."""
    rows = []
    for start in range(0, len(tiles), _COLUMNS):
        row = [*tiles[start : start + _COLUMNS]]
        rows.append(np.concatenate(row + [np.zeros_like(tiles[0])] * (_COLUMNS - len(row)), axis=1))
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.concatenate(rows)).save(path, format="PNG")
    except OSError as error:
        raise DataError(f"the contact sheet {path} cannot be written: {error.strerror or error}") from error
