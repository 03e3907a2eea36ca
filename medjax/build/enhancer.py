"""A trained CycleGAN as a function of images, LED's f(x): what start images and conditions of a diffusion run are made by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import diffusion, networks
from medjax.checkpoint import Checkpoints
from medjax.files import sha256
from medjax.types import Array, CheckpointError, ConfigError

TRAIN = "medjax train --config=led_cyclegan --workdir={workdir}"
JUDGES = ("d_a", "d_b")


def run_of(workdir: str | Path, what: str) -> ConfigDict:
    """The config of the run of CycleGAN in `workdir`, whose `what`, degradation or enhancement, is wanted.

    Raises CheckpointError where there is no run yet (with the command to run), ConfigError for a run of another method.
    """
    workdir = Path(workdir).expanduser()
    if not (workdir / "config.json").exists():
        raise CheckpointError(f"{workdir} holds no run whose {what} could be used; train it with {TRAIN.format(workdir=workdir)}")
    config = configs.read(workdir)
    if networks.method(config).kind != "unpaired":
        raise ConfigError(f"{workdir} holds a run of {config.method.name}, which learns no {what}; cyclegan does")
    return config


def enhancer(config: ConfigDict) -> Callable[[Array], Array]:
    """`[B, H, W, 1]` in [-1, 1] to the same: g_ab of the run in `config.method.enhancer`, its weights (their average, where it
    kept one) fixed.

    Raises as `run_of` does, and ConfigError where none is named, or it was trained on images of another size or of one channel
    where there are several.
    """
    from medjax.build.trained import load  # which needs all of `build`

    workdir = _workdir(config)
    theirs = run_of(workdir, "enhancement")
    here, there = config.data.image_size, theirs.data.image_size
    if here != there:
        raise ConfigError(f"the enhancer {workdir} is of images of {there} pixels, and config.data.image_size is {here}")
    if (channels := build_data.channels(config)) != 1:
        raise ConfigError(f"the enhancer {workdir} is of images of one channel, and sources here have {channels}")
    run, key = load(workdir, optional=JUDGES), jax.random.key(0)  # nothing is drawn
    return lambda source: run.objective.predict(run.state, {"source": source}, key)["target"]


def _workdir(config: ConfigDict) -> Path:
    if not config.method.enhancer:
        raise ConfigError(
            "the condition 'enhanced' needs an enhancer: set --config.method.enhancer=WORKDIR (of medjax enhance: --enhancer) of "
            f"a run of CycleGAN, which {TRAIN.format(workdir='WORKDIR')} trains"
        )
    return Path(config.method.enhancer).expanduser()


def identity(config: ConfigDict) -> dict[str, Any]:
    """Which run the enhancer of `config` is, wherever it lies: `{"run", "checkpoint_step", "config_sha256"}`. Raises as
    `run_of` does.
    """
    workdir = _workdir(config)
    theirs = run_of(workdir, "enhancement")
    with Checkpoints(workdir, best=theirs.train.best, read_only=True) as checkpoints:
        step = checkpoints.best_step()
    return {"run": f"{theirs.name}:{theirs.variant}", "checkpoint_step": step, "config_sha256": sha256(workdir / "config.json")}


def facts(config: ConfigDict) -> dict[str, Any]:
    """What a run's config.json keeps of the enhancer that it needs, `{}` where it needs none. Raises as `run_of` does."""
    return {"enhancer": identity(config)} if diffusion.needs_enhancer(config) else {}


def check_same(config: ConfigDict, workdir: str | Path) -> None:
    """Raises ConfigError where the run in `workdir` was begun with another enhancer than that of `config`, or with none."""
    ours, theirs = facts(config).get("enhancer"), configs.resolved(workdir).get("enhancer")
    if ours != theirs:
        told = [f"step {each['checkpoint_step']} of {each['run']}" if each else "none" for each in (theirs, ours)]
        raise ConfigError(f"{workdir} was begun with another enhancer ({told[0]} there, {told[1]} now): name that one again")
