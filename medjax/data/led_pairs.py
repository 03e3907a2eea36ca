"""Pairs that were made of good images by a learnt degradation: folders `source` and `target` of 16-bit PNG and `manifest.json`.

The manifest names every pair, its patient, its split, and the SHA-256 of both files; pairs are matched by it alone. A file that
changed since is an error that names it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medjax import formats
from medjax.data.records import Images, Record, Source, some
from medjax.data.splits import NAMES
from medjax.files import replace, sha256
from medjax.types import DataError

MANIFEST = "manifest.json"
SIDES = ("source", "target")
SPLIT, IMAGE = "split", "image"  # of each pair: the split it was made in, and the name of the image that it was made of
MADE_BY = "medjax degrade --workdir=CYCLEGAN --output={root}"


def write_pair(root: Path, name: str, source: np.ndarray, target: np.ndarray) -> dict[str, Any]:
    """Write both images, float [H, W, 1] in [0, 1], as 16-bit PNG called `name`; returns their entry `{side: {path, sha256}}`."""
    entry = {}
    for side, image in zip(SIDES, (source, target), strict=True):
        path = root / side / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        formats.write(path, image, formats.Encoding("png", "uint16", 0.0, 65535.0))
        entry[side] = {"path": path.relative_to(root).as_posix(), "sha256": sha256(path)}
    return entry


def write_manifest(root: Path, pairs: Sequence[Mapping[str, Any]], made_by: Mapping[str, Any]) -> None:
    """`manifest.json`: `made_by`, what the images were made with, and an entry for each of `pairs`."""
    replace(root / MANIFEST, json.dumps({"made_by": dict(made_by), "pairs": list(pairs)}, indent=1) + "\n")


def read_manifest(root: str | os.PathLike) -> dict[str, Any]:
    """What `write_manifest` wrote. Raises DataError where it is absent (with the command that makes it) or cannot be read."""
    path = Path(root) / MANIFEST
    if not path.is_file():
        raise DataError(f"{root} holds no pairs (it has no {MANIFEST}); make them with {MADE_BY.format(root=root)}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = [p["name"] and p["patient"] and p[IMAGE] and p[SPLIT] in NAMES for p in found["pairs"]]
        known += [p[side]["path"] and p[side]["sha256"] for p in found["pairs"] for side in SIDES]
        known += [found["made_by"]["images"]]
        if not known or not all(known):
            raise ValueError("an entry is not complete")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a manifest of pairs ({error})") from error
    return found


def led_pairs(root: str | os.PathLike, *, check: bool = True) -> Source:
    """The pairs of a manifest, each called as the image that it was made of; `extra["split"]` is its split in the run which made
    it.

    check: compare every file with its hash now. Raises DataError for an absent or unreadable manifest, files that are absent
    or have changed (count, first three names), and names that come twice.
    """
    root = Path(root)
    pairs = read_manifest(root)["pairs"]
    names = [pair[IMAGE] for pair in pairs]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{root / MANIFEST} names {len(twice)} pairs more than once: {some(twice)}")
    _check_files(root, pairs, hashes=check)
    records = tuple(
        Record(
            p[IMAGE],
            p["patient"],
            tuple(str(root / p[side]["path"]) for side in SIDES),
            tuple(p.get("labels", ())),
            p.get("view", ""),
            p.get("sex", ""),
            p.get("age"),
            {SPLIT: p[SPLIT]},
        )
        for p in pairs
    )

    def load(i: int) -> Images:
        return {side: formats.read(path)[0] for side, path in zip(SIDES, records[i].paths, strict=True)}

    labels = tuple(sorted({label for record in records for label in record.labels}))
    return Source("led_pairs", records, load, labels, paired=True)


def _check_files(root: Path, pairs: Sequence[Mapping[str, Any]], *, hashes: bool) -> None:
    entries = [pair[side] for pair in pairs for side in SIDES]
    absent = [entry["path"] for entry in entries if not (root / entry["path"]).is_file()]
    if absent:
        raise DataError(f"{len(absent)} files that {root / MANIFEST} names are absent: {some(absent)}")
    changed = [str(root / e["path"]) for e in entries if hashes and sha256(root / e["path"]) != e["sha256"]]
    if changed:
        raise DataError(
            f"{len(changed)} files have changed since {root / MANIFEST} was written: {some(changed)}; "
            f"make the pairs again with {MADE_BY.format(root=root)}"
        )


def split(source: Source) -> dict[str, np.ndarray]:
    """The splits in which the pairs were made."""
    sides = source.column(SPLIT)
    return {name: np.array([i for i, side in enumerate(sides) if side == name], np.int64) for name in NAMES}


def check_split(source: Source, splits: Mapping[str, Sequence[int]]) -> None:
    """DataError where a pair that `splits` hold out is of a patient whose images trained the run that made the pairs."""
    trained = {record.patient for record in source.records if record.extra[SPLIT] == "train"}
    held = {source.records[int(i)].patient for name in NAMES if name != "train" for i in splits[name]}
    if shared := sorted(trained & held):
        raise DataError(
            f"{len(shared)} patients are held out of {source.kind} whose images trained the run that made the pairs: "
            f"{some(shared)}; train that run with the same split file"
        )
