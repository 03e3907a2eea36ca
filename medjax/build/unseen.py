"""No image that a run is scored on may be among those that its weights were trained on, by whatever way they came to them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.build.data import Data
from medjax.data.records import Record, Source, some
from medjax.types import DataError

HELD_OUT = ("validation", "test")


def check_origin(config: ConfigDict, data: Data, origin: str | Path) -> None:
    """DataError where the run in `origin`, whose weights are taken or guide the training, was trained on a patient who is held
    out of `data`.

    Patients are known by the names of images, so only a run on the same data set in the same place can tell; one that learns
    from the images it is scored on (`config.data.self_supervised`) says so by itself.
    """
    path = Path(origin).expanduser() / "splits.json"
    if config.data.self_supervised or not path.exists():
        return
    theirs, root = configs.read(path.parent).data, configs.resolved(path.parent).get("data_root", "")
    kind = data.source.kind
    if theirs.source != kind or root != data.root or (not root and theirs.split_seed != config.data.split_seed):
        return
    names, records = set(json.loads(path.read_text())["train"]), data.source.records
    trained = {record.patient for record in records if record.name in names}
    held = {records[int(i)].patient for split in HELD_OUT for i in data.splits.get(split, ())}
    if trained & held:
        raise DataError(
            f"{len(trained & held)} patients of {kind} that are held out here were trained on in {path.parent}: "
            f"{some(sorted(trained & held))}; give both runs one split, split_seed, limit and fold of config.data"
        )


def check_elsewhere(own: Data, other: Source) -> None:
    """DataError where a file of the data set `other` is one that the run on `own` was trained or chosen by."""
    chosen = [own.source.records[int(i)] for split in ("train", "validation") for i in own.splits[split]]
    known = set(_files(chosen))
    seen = [record.name for record in other.records if known.intersection(_files([record]))]
    if seen:
        raise DataError(
            f"{len(seen)} of the {len(other)} images of {other.kind} were trained or validated on, so they cannot be its test: "
            f"{some(seen)}"
        )


def _files(records: Iterable[Record]) -> list[str]:
    return [os.path.realpath(path) for record in records for path in record.paths]
