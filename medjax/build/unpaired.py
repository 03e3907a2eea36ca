"""A translator between two pools judged: against the truth where it is known, and by what can be said without."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from medjax import results
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import pooling
from medjax.build.protocol import of_run
from medjax.build.trained import Task
from medjax.data import pool_balance, pools
from medjax.files import replace as replace_file
from medjax.metrics.sliced import sliced_wasserstein
from medjax.metrics.statistics import RESAMPLES, summary
from medjax.metrics.tables import summarise
from medjax.rng import named
from medjax.types import ConfigError, DataError, NonFiniteError, to_unit

BATCH = 8
MOST = 500  # images of each pool for the distances between sets


def score(task: Task, score_images: Callable[[Task], dict[str, Any]]) -> dict[str, Any]:
    """Judge a run of CycleGAN; writes the result files and returns what `evaluation.json` holds.

    Where the truth of the low-quality images is known, `score_images` judges the enhanced ones as those of any method, beside
    input and baselines. In both cases `unpaired` holds what needs no truth: the sliced Wasserstein distances between the pools
    before and after, and of each image how much was changed and how well it comes back.

    Raises ConfigError where draws or a table by a column were asked for without a truth.
    """
    made = _translated(task)
    if pools.pooled(task.data.source) and not pools.truth_known(task.data.source):
        if task.by is not None or task.num_samples:
            raise ConfigError("without a known truth there is nothing to split by a column or to compare draws with")
        return _without_truth(task, made)
    data, own = (pooling.paired(d) if pools.pooled(d.source) else d for d in (task.data, task.own))
    found = {**score_images(replace(task, data=data, own=own)), **_told(task, made)}
    found["protocol"]["degradation"] = pooling.described(task.config)
    replace_file(task.output / "evaluation.json", json.dumps(found, indent=2, allow_nan=False) + "\n")
    return found


def _translated(task: Task) -> dict[str, dict[str, np.ndarray]]:
    """`{"low", "high": {"given", "made", "back" [n, H, W, C] in [0, 1], "index" [n]}}` of the split, `MOST` of each at most."""
    if not pools.pooled(task.data.source):
        raise DataError(f"{task.data.source.kind} has no pools of low and of high quality, which this run is judged between")
    batches = build_data.eval_batches(task.config, task.data, task.split, limit=MOST, batch_size=BATCH)
    predict, key = task.model.predict(), named(jax.random.key(task.config.data.split_seed), "evaluation")
    found: dict[str, dict[str, list]] = {pool: {} for pool in (pools.LOW, pools.HIGH)}
    for batch in tqdm(batches, desc="translating", unit="batch", disable=not task.progress, leave=False):
        out = predict({side: batch[side] for side in ("a", "b")}, key)
        for pool, side, other, mask in ((pools.LOW, "a", "b", "mask"), (pools.HIGH, "b", "a", "high")):
            images = {"given": batch[side], "made": out[other], "back": out[f"cycle_{side}"]}
            keep = np.asarray(batch[mask])
            for name, value in images.items():
                found[pool].setdefault(name, []).append(np.asarray(to_unit(np.asarray(value)))[keep])
            found[pool].setdefault("index", []).append(np.asarray(batch["index"])[keep if side == "a" else slice(0)])
    whole = {pool: {name: np.concatenate(parts) for name, parts in each.items()} for pool, each in found.items()}
    for each in whole.values():
        if not all(np.isfinite(each[name]).all() for name in ("made", "back")):
            raise NonFiniteError(f"the model gives an image of the {task.split} split that is not finite")
    return whole


def _values(each: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    apart = lambda other: np.abs(each[other].astype(np.float64) - each["given"]).mean((1, 2, 3))  # noqa: E731
    return {"cycle": apart("back"), "change": apart("made")}


def _told(task: Task, made: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """`{"unpaired": ...}` for the result file."""
    low, high = made[pools.LOW], made[pools.HIGH]
    sets = {
        "input": (low["given"], high["given"]),
        "model": (low["made"], high["given"]),
        "degraded": (high["made"], low["given"]),
    }
    facts = configs.resolved(task.workdir).get("pools", {}) if task.workdir else {}
    found = {
        "n": {pool: len(each["given"]) for pool, each in made.items()},
        "swd": {row: sliced_wasserstein(*pair) for row, pair in sets.items()},
        "model": {name: summary(value) for name, value in _values(low).items()},
        "degraded": {name: summary(value) for name, value in _values(high).items()},
        "balance": pool_balance.told(facts["balance"]) if "balance" in facts else None,
    }
    return json.loads(json.dumps({"unpaired": found}))


def _without_truth(task: Task, made: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """The result file of images whose truth nobody knows: its only row is the model's."""
    index = made[pools.LOW]["index"]
    columns = {name: [column[int(i)] for i in index] for name, column in task.columns.items()}
    evaluation = results.Evaluation([task.data.source.names[int(i)] for i in index], {"model": _values(made[pools.LOW])}, columns)
    few = slice(0, 4)
    evaluation.examples = {f"{pool}_{name}": each[name][few] for pool, each in made.items() for name in ("given", "made", "back")}
    c = task.config
    stated = {
        "resolution": c.data.image_size,
        "resampler": "lanczos (Pillow), to a square",
        "truth": "unknown: the low-quality images have no counterpart",
        "interval": f"percentile bootstrap over images, 95%, {RESAMPLES} resamples, seed 0",
        **of_run(c, task.model.step),
    }
    found = summarise(evaluation, protocol=stated, dataset=task.data.source.kind, split=task.split)
    found = {"kind": "unpaired", **found, **_told(task, made), "versions": configs.versions()}
    results.write(evaluation, task.output, summary=found)
    return found
