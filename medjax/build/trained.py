"""A trained run read back, a batch in its shapes, and what is asked when it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import diffusion, named, networks
from medjax.build.training import set_up_jax
from medjax.checkpoint import Checkpoints, load_into
from medjax.data.degrade import prefiltered
from medjax.objective import Objective
from medjax.state import TrainState
from medjax.types import Array, CheckpointError, Key


@dataclass(frozen=True)
class Model:
    """A trained objective with the weights that prediction reads."""

    config: ConfigDict
    objective: Objective
    state: TrainState
    step: int

    def predict(self) -> Callable[[dict, Key], dict[str, Array]]:
        """The jitted point estimate, `(batch, key) -> {"target"}`."""
        jitted = jax.jit(self.objective.predict)
        return lambda batch, key: jitted(self.state, batch, key)

    def seen(self, sources: Array) -> np.ndarray:
        """Sources `[B, H, W, K]` as the run is given them: under its filter of inputs."""
        return np.stack([prefiltered(np.asarray(image, np.float32), self.config.data.prefilter) for image in sources])

    def enhance(self) -> Callable[[Array], Array]:
        """The jitted point estimate of sources `[B, H, W, K]` in [-1, 1] of which nothing else is known."""
        predict, key = self.predict(), jax.random.key(0)
        return lambda x: predict({"source": self.seen(x), "index": np.zeros(len(x), np.int32)}, key)["target"]

    def sample(self) -> Callable[[dict, Key], dict[str, Array]]:
        """The jitted draw, `(batch, key) -> {"target"}`."""
        jitted = jax.jit(self.objective.sample)
        return lambda batch, key: jitted(self.state, batch, key)


def load(
    workdir: str | Path, *, which: str = "best", optional: Sequence[str] = (), sampling: Mapping[str, Any] | None = None
) -> Model:
    """The `best` or `latest` checkpoint of a run; nets named in `optional` are left out where it has none of them.

    workdir: of a run, or a file of the weights that one exported, which holds the net that predicts and no other.
    sampling: of a run of diffusion fields of `config.method` that say how images are drawn, instead of the run's own.
    Raises CheckpointError where there is none that can be read, and none of an enhancer that images are drawn with.
    """
    workdir = Path(workdir)
    if not workdir.exists():
        raise CheckpointError(f"the workdir {workdir} is absent: medjax train --config=NAME --workdir={workdir} makes it")
    config = diffusion.resampled(build_data.fixed_canvas(configs.read(workdir), workdir), sampling or {})
    if workdir.is_file():
        step, weights = named.weights_of(workdir)
    else:
        with Checkpoints(workdir, best=config.train.best, read_only=(workdir / "checkpoints").is_dir()) as checkpoints:
            step, weights = checkpoints.weights(which)
    plain = config.copy_and_resolve_references()
    plain.train.ema = 0.0  # the weights read are the average already
    if "perceptual" in plain.method:
        plain.method.perceptual.weight = 0.0  # a prediction needs no loss, and no file of a published network
    if "guide" in plain.method:
        plain.method.guide.weight = 0.0  # nor the classifier that guided the training
    if diffusion.is_diffusion(plain):
        plain = diffusion.for_drawing(plain)
    objective = networks.objective(plain, num_steps=1)
    set_up_jax(config)  # after what the objective may load
    state = jax.eval_shape(objective.init, jax.random.key(0), blank(config))
    left_out = state.nets if workdir.is_file() else optional
    state = state._replace(nets={n: net for n, net in state.nets.items() if n in weights or n not in left_out})
    return Model(config, objective, load_into(state, weights, origin=str(workdir)), step)


def blank(config: ConfigDict, *, batch_size: int = 1) -> dict[str, np.ndarray]:
    """A batch of zeros in the shapes of training, with everything that a batch of `config` may carry but a region."""
    c, n = config.data, batch_size
    side, small = c.crop_size, c.crop_size // c.scale
    batch = {"source": np.zeros((n, small, small, build_data.channels(config)), np.float32)}
    batch |= {"target": np.zeros((n, side, side, 1), np.float32), "index": np.zeros(n, np.int32)}
    if networks.method(config).kind == "unpaired":
        batch |= {side: np.zeros((n, c.crop_size, c.crop_size, 1), np.float32) for side in "ab"}
    if c.labels == "single":
        batch["label"] = np.zeros(n, np.int32)
    if c.labels == "multi":
        batch["label"] = np.zeros((n, networks.num_classes(config)), np.float32)
    return batch | {name: np.zeros(n, np.float32 if name == "age" else np.int32) for name in c.columns}


@dataclass(frozen=True)
class Task:
    """What a scorer is asked: judge `model` on the `split` of `data` (`own` is the data it was trained on), with what is known
    of each record in `columns`, split by the column `by`; `output`: the folder of the result files; `num_samples`: draws;
    `interpolation`: another run's workdir and this one's share in a mixture of the two; `classifier`: the workdir of one that
    judges generated images; `feature_networks`: instead of `config.evaluation.features`; `workdir`: the run's own.
    """

    model: Model
    config: ConfigDict
    own: build_data.Data
    data: build_data.Data
    split: str
    columns: dict[str, list[Any]]
    by: str | None
    output: Path
    num_samples: int = 0
    progress: bool = True
    interpolation: tuple[str | Path, float] | None = None
    classifier: str | Path | None = None
    feature_networks: Sequence[str] | None = None
    workdir: Path | None = None
