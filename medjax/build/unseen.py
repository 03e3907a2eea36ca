"""No image that a run is scored on may be among those that its weights were trained on, by whatever way they came to them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.build.data import Data
from medjax.data import led_pairs
from medjax.data.records import Record, Source, some
from medjax.types import DataError

HELD_OUT = ("validation", "test")
_SAME = {"phantom_pools": "phantom_cxr"}  # kinds of data that are the images of another


def images_of(config: ConfigDict, root: str) -> dict[str, Any]:
    """Which images a run on `config`, whose data lie in `root` ("": simulated), knows by their names: `{"kind", "root", "seed"}`,
    the same for two runs that mean the same image by the same name. Pairs mean the images that they were made of.
    """
    c = config.data
    if c.source == "led_pairs":
        return led_pairs.read_manifest(root)["made_by"]["images"]
    kind = c.unpaired.low.partition(":")[0] if c.source == "unpaired" and c.unpaired.low == c.unpaired.high else c.source
    return {"kind": _SAME.get(kind, kind), "root": root, "seed": None if root else c.split_seed}


def check_origin(config: ConfigDict, data: Data, origin: str | Path) -> None:
    """DataError where the run in `origin`, whose weights are taken, guide the training or make its images, was trained on a
    patient who is held out of `data`.

    Patients are known by the names of images, so only a run on the same data set in the same place can tell; one that learns
    from the images it is scored on (`config.data.self_supervised`) says so by itself.
    """
    path = Path(origin).expanduser() / "splits.json"
    if config.data.self_supervised or not path.exists():
        return
    resolved = configs.resolved(path.parent)
    theirs = resolved.get("images") or images_of(configs.read(path.parent), resolved.get("data_root", ""))
    if theirs != images_of(config, data.root):
        return
    names, records = set(json.loads(path.read_text())["train"]), data.source.records
    trained = {record.patient for record in records if record.name in names}
    held = {records[int(i)].patient for split in HELD_OUT for i in data.splits.get(split, ())}
    if trained & held:
        raise DataError(
            f"{len(trained & held)} patients of {data.source.kind} that are held out here were trained on in {path.parent}: "
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
