"""Pairs by a learnt degradation: every high-quality image of a CycleGAN run beside what the run makes of it.

The second stage of LED (Cheng et al. 2023): folders `source` and `target` of 16-bit PNG at the run's size and `manifest.json`,
which `medjax.data.led_pairs` reads. Pairs keep the split of their image in the run, so that no later stage trains on an image
that an earlier one held out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import unseen
from medjax.build.enhancer import JUDGES, run_of
from medjax.build.trained import Model, load
from medjax.data import led_pairs, pools
from medjax.data.records import Source, some
from medjax.files import check_free, sha256, whole
from medjax.types import Array, DataError, NonFiniteError, to_unit

BATCH = 8
Degrade = Callable[[Array], Array]  # [B, H, W, 1] in [-1, 1] -> the same


def write_pairs(
    workdir: str | Path, output: str | Path, *, which: str = "best", overwrite: bool = False, progress: bool = True
) -> dict[str, int]:
    """Degrade every high-quality image of the run in `workdir` by its g_ba and write the pairs to the folder `output`, whole or
    not at all; returns how many there are of each split.

    The target is the image as the run sees it, at `config.data.image_size`. The manifest has of each pair name, patient, split,
    labels, view, sex, age and the SHA-256 of both files, and says of which run, checkpoint and config (SHA-256) they are.

    Raises CheckpointError where there is no such run yet (with the command to run), ConfigError for a run of another method and
    for an output in the way, DataError for images whose names cannot be told apart, NonFiniteError naming an image.
    """
    workdir, output = Path(workdir), Path(output)
    config = run_of(workdir, "degradation")
    check_free(output, marker=led_pairs.MANIFEST, what="pairs", overwrite=overwrite)
    model, data = load(workdir, which=which, optional=JUDGES), build_data.open_data(config, workdir)
    names, degrade = _names(data.source), _degrade(model)
    with whole(output) as part:
        entries = []
        for split, indices in data.splits.items():
            high = replace(
                data, source=pools.view(data.source, pools.HIGH), splits={split: pools.in_pool(data.source, indices, "high")}
            )
            batches = build_data.eval_batches(config, high, split, batch_size=BATCH)
            entries += _pairs(
                degrade, tqdm(batches, desc=f"degrading {split}", disable=not progress, leave=False), high, names, part
            )
        led_pairs.write_manifest(part, entries, _made_by(workdir, model, data))
    return dict(Counter(entry["split"] for entry in entries))


def _names(source: Source) -> list[str]:
    """Of every record a name that a file can have."""
    names = [re.sub(r"[^A-Za-z0-9._+-]+", "_", re.sub(r"\.(png|jpe?g|tiff?|dcm)$", "", n, flags=re.I)) for n in source.names]
    high = [name for name, pool in zip(names, source.column(pools.POOL), strict=True) if pool == pools.HIGH]
    twice = sorted(name for name, count in Counter(high).items() if count > 1)
    if twice:
        raise DataError(f"{len(twice)} images of {source.kind} would have the same file name: {some(twice)}")
    return names


def _degrade(model: Model) -> Degrade:
    """g_ba alone: of a prediction what is not asked for is not computed."""
    key = jax.random.key(0)  # nothing is drawn
    jitted = jax.jit(lambda state, b: model.objective.predict(state, {"b": b}, key)["a"])
    return lambda b: jitted(model.state, b)


def _pairs(
    degrade: Degrade, batches: Iterable[dict[str, np.ndarray]], data: build_data.Data, names: list[str], root: Path
) -> list[dict[str, Any]]:
    """The entries of one split, the only one of `data`, whose files are written below `root`."""
    entries, (split,) = [], data.splits
    for batch in batches:
        low, high = (np.asarray(to_unit(np.asarray(x, np.float32))) for x in (degrade(batch["target"]), batch["target"]))
        for i in np.flatnonzero(batch["mask"]):
            number = int(batch["index"][i])
            record = data.source.records[number]
            if not np.isfinite(low[i]).all():
                raise NonFiniteError(f"what the run makes of {record.name} is not finite")
            entry = {"name": names[number], led_pairs.IMAGE: record.name, "patient": record.patient, led_pairs.SPLIT: split}
            entry |= {"labels": list(record.labels), "view": record.view, "sex": record.sex, "age": record.age}
            entries.append({**entry, **led_pairs.write_pair(root, names[number], low[i], high[i])})
    return entries


def _made_by(workdir: Path, model: Model, data: build_data.Data) -> dict[str, Any]:
    c = model.config
    return {
        "run": f"{c.name}:{c.variant}",
        "checkpoint_step": model.step,
        "config_sha256": sha256(workdir / "config.json"),
        "dataset": data.source.kind,
        "images": unseen.images_of(c, data.root),
        "split_seed": c.data.split_seed,
        "pixels": c.data.image_size,
        "counts": {name: len(pools.in_pool(data.source, own, pools.HIGH)) for name, own in data.splits.items()},
        "versions": configs.versions(),
    }
