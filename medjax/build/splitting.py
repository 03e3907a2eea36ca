"""From a config to who is trained on and who is tested on, and the file that keeps it beside a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax.build import mixing, pooling
from medjax.data import led_pairs, pools, splits
from medjax.data.records import Source
from medjax.files import replace
from medjax.types import ConfigError, DataError


def split(config: ConfigDict, source: Source, root: str) -> dict[str, np.ndarray]:
    """Patient-disjoint splits: a split file, the splits that pairs were made in, folds, the data set's official lists where the
    config asks for them, or seeded shares.
    """
    c = config.data
    if c.folds and (c.split_file or c.source == "led_pairs"):
        kept = f"the splits of {c.split_file}" if c.split_file else "the splits that its pairs were made in"
        raise ConfigError(f"{source.kind} keeps {kept}, so it cannot be dealt into {c.folds} folds")
    if c.source == "led_pairs":
        return _of_pairs(config, source)
    if c.split_file:
        return splits.by_file(source.records, Path(c.split_file).expanduser())
    if c.folds:
        return splits.by_fold(source.records, c.fold, folds=c.folds, seed=c.split_seed)
    if c.source == "mixed":
        return mixing.split(config, source)
    if pools.pooled(source):
        return pooling.split(config, source)
    if not c.official_split:
        shares = "counts" if sum(c.split) > 1.5 else "fractions"
        return splits.by_patient(source.records, seed=c.split_seed, **{shares: tuple(c.split)})
    lists = [Path(root) / name for name in ("train_val_list.txt", "test_list.txt")]
    train_val, test = (splits.read_names(path) for path in lists)
    return splits.official(source.records, train_val, test, seed=c.split_seed)


def _of_pairs(config: ConfigDict, source: Source) -> dict[str, np.ndarray]:
    """Pairs keep their splits; a split file may only agree with what the run that made them was trained on."""
    if not config.data.split_file:
        return led_pairs.split(source)
    found = splits.by_file(source.records, Path(config.data.split_file).expanduser())
    led_pairs.check_split(source, found)
    return found


def read_splits(path: Path) -> dict[str, list[str]]:
    """What `write_splits` wrote; DataError where it cannot be read."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} cannot be read ({error})") from error


def write_splits(data: Any, workdir: Path) -> None:
    """`workdir/splits.json`: the names in each split of `data` (`build.data.Data`)."""
    replace(workdir / "splits.json", json.dumps(splits.to_names(data.source.records, data.splits), indent=1) + "\n")
