"""Quality while a run trains: every metric and every distance over features at hand, on whole images trained on and others.

The training log holds losses of crops, which no metric of whole images can be read from. A `Curve` is a hook of training:
after every validation it scores a few training and as many validation images, the same ones each time, with the weights that
prediction would use, and appends a row for each split to `curves.jsonl` in the run's workdir.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.scoring import networks_of
from medjax.build import data as build_data
from medjax.build import features as build_features
from medjax.build import networks
from medjax.data.choice import spread
from medjax.metrics import METRICS
from medjax.rng import named
from medjax.state import TrainState
from medjax.types import to_unit
from medjax.writers import truncate

FILE = "curves.jsonl"
SPLITS = ("train", "validation")
SCORES = ("psnr", "ssim", "ms_ssim", "gms")
DISTANCES = ("fd", "kid")


def few(data: build_data.Data, split: str, count: int) -> build_data.Data:
    """The data with `count` images of `split` alone, spread over it."""
    indices = np.asarray(data.splits[split])
    return replace(data, splits={split: indices[spread(len(indices), count)]})


class Curve:
    """The hook, of the run `config` on `data` in `folder`: `count` images of each split; `steps` are those of the run."""

    def __init__(self, config: ConfigDict, data: build_data.Data, folder: Path, *, count: int, steps: int) -> None:
        self.config, self.data, self.folder, self.count, self.steps = config, data, folder, count, steps
        self._score: Any = None

    def __call__(self, step: int, state: TrainState, metrics: Any) -> None:
        """Appends the rows of this step; those of a step that was done before, and is done again, go first."""
        if self._score is None:
            self._begin()
        path = self.folder / FILE
        truncate(path, step - 1)
        rows = [{"step": step, "split": split, **self.scores(state, split)} for split in SPLITS]
        with open(path, "a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(row)}\n" for row in rows))

    def _begin(self) -> None:
        """Everything that is made once, and only if training goes on."""
        objective = networks.objective(self.config, self.steps)
        self.known = build_features.at_hand(self.config, networks_of(self.config))
        chosen = {name: METRICS[name] for name in SCORES} | self.known.metrics
        self.batches = {}
        for split in SPLITS:
            part = few(self.data, split, self.count)
            self.batches[split] = build_data.eval_batches(self.config, part, split, batch_size=2)

        def score(state: TrainState, batch: dict, key: jax.Array) -> tuple:
            output, target = to_unit(objective.predict(state, batch, key)["target"]), to_unit(batch["target"])
            return output, {name: metric(output, target) for name, metric in chosen.items()}

        self._score = jax.jit(score)

    def scores(self, state: TrainState, split: str) -> dict[str, float]:
        """Means over the images of `split`, and the distances of their set to that of the targets."""
        key = named(jax.random.key(self.config.data.split_seed), "curves")
        watcher, values = build_features.Watcher(self.known.networks), {}
        for batch in self.batches[split]:
            keep = np.asarray(batch["mask"])
            output, found = self._score(state, {k: v for k, v in batch.items() if k != "mask"}, key)
            watcher({"model": np.asarray(output)[keep], "target": to_unit(np.asarray(batch["target"]))[keep]})
            for name, value in found.items():
                values.setdefault(name, []).append(np.asarray(value)[keep])
        records = watcher.records().get("model", {})
        distances = {k: r["value"] for k, r in records.items() if k.partition("/")[0] in (*DISTANCES, "fid")}
        means = {name: float(np.mean(np.concatenate(parts), dtype=np.float64)) for name, parts in values.items()}
        return means | {k: v for k, v in distances.items() if v is not None}
