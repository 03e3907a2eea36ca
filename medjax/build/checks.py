"""What a run is refused for before its first step, beside what its data and its networks refuse by themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from medjax.build import networks, unseen
from medjax.build.data import Data
from medjax.build.kinds import kind
from medjax.checkpoint import parse_best
from medjax.data.pools import pooled
from medjax.loop import Hook, check_periods
from medjax.objective import Objective
from medjax.types import ConfigError

SMALLEST = 32  # pixels; the checkerboard measures compare that many frequencies


def origins(config: ConfigDict, data: Data) -> None:
    """Raises DataError where a run that this one takes weights from, or is guided or given images by, was trained on a patient
    who is held out here.
    """
    guide, method = config.method.get("guide", {}), config.method
    others = (config.init_from, guide.get("weight") and guide.get("classifier"), method.get("enhancer"))
    for origin in filter(None, others):
        unseen.check_origin(config, data, origin)


def periods(config: ConfigDict, hooks: Sequence[tuple[int, Hook]] = ()) -> None:
    """Raises ConfigError where something is due between the steps of one call."""
    names = ("log_every", "eval_every", "save_every", "sample_every")
    named = [(f"config.train.{name}", config.train[name]) for name in names]
    hooked = [("the period of a hook", period) for period, _ in hooks if period > 1]
    check_periods([*named, *hooked], config.train.steps_per_call, "config.train.steps_per_call")


def deterministic(config: ConfigDict) -> None:
    """Raises ConfigError where a GPU is to give the same bits each time and XLA was not told so."""
    flagged = "--xla_gpu_deterministic_ops" in os.environ.get("XLA_FLAGS", "")
    if config.train.deterministic and not flagged and jax.default_backend() == "gpu":
        raise ConfigError("train.deterministic needs XLA_FLAGS=--xla_gpu_deterministic_ops=true set before the start")


def pools(config: ConfigDict, data: Data) -> None:
    """Raises ConfigError where a method that learns from two pools has none, or another has them."""
    wanted = networks.method(config).kind == "unpaired"
    if wanted != pooled(data.source):
        has = "two pools of images that are not paired" if pooled(data.source) else "no pools of low and of high quality"
        other = ": take cyclegan" if not wanted else ": take padchest, pools, phantom_pools or unpaired"
        raise ConfigError(f"{data.source.kind} holds {has}, and {config.method.name} cannot learn from that{other}")


def sizes(config: ConfigDict, objective: Objective, example: dict) -> None:
    """Raises ConfigError where the networks cannot take the images trained on, or those scored, or nothing is called
    what `train.best` names.
    """
    key, side = jax.random.key(0), config.data.image_size
    if side < SMALLEST:
        raise ConfigError(f"config.data.image_size is {side}; the metrics need {SMALLEST} pixels or more")
    state = jax.eval_shape(objective.init, key, example)
    whole = example["target" if "target" in example else "a"]
    of = lambda v: side * v.shape[1] // whole.shape[1]  # a source of fewer pixels keeps its proportion  # noqa: E731
    whole = {k: jax.ShapeDtypeStruct((1, of(v), of(v), v.shape[-1]), v.dtype) for k, v in example.items() if v.ndim == 4}
    beside = {k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in example.items() if v.ndim != 4}
    scores = jax.eval_shape(lambda *a: kind(config).score(objective, *a), state, {**whole, **beside}, key)
    given = {*(name for name, value in scores.items() if value.shape == (1,)), *kind(config).also, "step"} - {"label"}
    if parse_best(config.train.best)[0] not in given:
        raise ConfigError(f"config.train.best is {config.train.best!r}; a validation gives {', '.join(sorted(given))}")
