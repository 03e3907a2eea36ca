"""What happens between the steps of a run: validation images scored and shown, states checked and saved."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
from ml_collections import ConfigDict

from medjax import placement, processes
from medjax.build import data as build_data
from medjax.build import pooling
from medjax.build.kinds import kind
from medjax.checkpoint import Checkpoints
from medjax.data.choice import spread
from medjax.data.pools import pooled
from medjax.loop import Log, check_state
from medjax.objective import Metrics, Objective
from medjax.rng import named
from medjax.state import TrainState
from medjax.writers import Writer

SHEET_ROWS = 4


class Validate:
    """Scores validation images, and draws a sheet of a few spread over them: the hooks between logging and saving.

    Each process does so on its first device alone, where `placement.local` gathers the weights; process 0's scores hold in all.
    """

    def __init__(self, objective: Objective, config: ConfigDict, data: build_data.Data, writer: Writer) -> None:
        self.writer, self.scores, self.config, self.kind = writer, {}, config, kind(config)
        size = config.data.image_size
        self.batches = build_data.eval_batches(
            config, data, "validation", limit=config.train.eval_images, batch_size=max(1, min(4, 1024 // size))
        )
        held = data.splits["validation"]
        few = pooling.few(data.source, held, SHEET_ROWS) if pooled(data.source) else held[spread(len(held), SHEET_ROWS)]
        shown = replace(data, splits={"validation": few})
        self.shown = build_data.eval_batches(config, shown, "validation", batch_size=min(len(few), SHEET_ROWS))
        self.key = named(jax.random.key(config.data.split_seed), "validation")
        self._score = jax.jit(lambda state, batch, key: self.kind.score(objective, state, batch, key))
        self._predict = jax.jit(objective.predict)

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """One row of numbers over the validation images."""
        unmasked = lambda batch: {k: v for k, v in batch.items() if k != "mask"}  # noqa: E731
        state = placement.local(state)
        parts = [(self._score(state, unmasked(batch), self.key), batch["mask"]) for batch in self.batches]
        self.scores = {"step": step, **processes.agreed(self.kind.reduce(parts))}
        self.writer.scalars(step, "validation", {k: v for k, v in self.scores.items() if k != "step"})

    def sheet(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """What the kind of method shows of `SHEET_ROWS` images."""
        batch = {k: np.asarray(v) for k, v in next(iter(self.shown)).items()}
        asked = self.kind.asked or (lambda config, batch: {k: batch[k] for k in self.kind.shown if k in batch})
        prediction = self._predict(placement.local(state), asked(self.config, batch), self.key)
        pictures, labels = self.kind.sheet(self.config, jax.device_get(prediction), batch)
        self.writer.images(step, "validation", pictures, labels=labels)


class Save:
    """Writes a checkpoint after everything before it is known to be finite; scored if validated at this step."""

    def __init__(self, checkpoints: Checkpoints, log: Log, validate: Validate) -> None:
        self.checkpoints, self.log, self.validate = checkpoints, log, validate

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        self.log.flush()
        check_state(step, state)
        scores = self.validate.scores
        self.checkpoints.save(state, scores if scores.get("step") == step else None)
