"""From a config to players and objectives."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from medjax import losses, objectives
from medjax.build.perceptual import perceptual_loss
from medjax.build.published import PUBLISHED
from medjax.models.discriminators import MultiScale, PatchGAN
from medjax.models.restorer import Restorer
from medjax.models.unet import UNet
from medjax.objective import Objective, Player, with_ema
from medjax.types import ConfigError

PRECISIONS = {"float32": None, "bfloat16": jnp.bfloat16}


def lookup(table: dict[str, Callable], name: str, what: str) -> Callable:
    """`table[name]`, or a ConfigError that lists what there is."""
    if name not in table:
        raise ConfigError(f"unknown {what} {name!r}; known: {', '.join(table)}")
    return table[name]


def _unet(config: ConfigDict, **options: object) -> nn.Module:
    return UNet(image_size=config.data.crop_size, **options)


def _restorer(config: ConfigDict, **options: object) -> nn.Module:
    return Restorer(**options)


def _patchgan(config: ConfigDict, *, scales: int = 1, **options: object) -> nn.Module:
    return PatchGAN(**options) if scales == 1 else MultiScale(scales=scales, **options)


GENERATORS = {"unet": _unet, "restorer": _restorer, **PUBLISHED}
DISCRIMINATORS = {"patchgan": _patchgan}


def module(config: ConfigDict, section: str, table: dict[str, Callable]) -> nn.Module:
    """The linen module that `config[section]` describes."""
    options = dict(config[section])
    make = lookup(table, options.pop("name"), section)
    dtype = lookup({k: k for k in PRECISIONS}, config.train.precision, "precision")
    try:
        return make(config, dtype=PRECISIONS[dtype], **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.{section}: {error}") from error


def optimizer(config: ConfigDict, num_steps: int, *, share: float = 1.0) -> optax.GradientTransformation:
    """Adam under the schedule of `config.optimizer` over `num_steps`, at `share` of its learning rate."""
    c = config.optimizer
    peak = share * c.learning_rate
    after = max(num_steps - c.warmup, 1)  # optax counts each schedule from its own beginning
    held = int(c.constant_share * after)
    schedule = {
        "linear": lambda rate: optax.linear_schedule(rate, 0.0, max(after - held, 1), held),
        "cosine": lambda rate: optax.cosine_decay_schedule(rate, after),
        "constant": optax.constant_schedule,
    }
    rate = lookup(schedule, c.schedule, "schedule")(peak)
    if c.warmup:
        rate = optax.join_schedules([optax.linear_schedule(0.0, peak, c.warmup), rate], [c.warmup])
    adam = optax.adam(rate, b1=c.b1, b2=c.b2)
    return optax.chain(optax.clip_by_global_norm(c.clip), adam) if c.clip else adam


def _pix2pix(config: ConfigDict, num_steps: int) -> Objective:
    m = config.method
    return objectives.pix2pix(
        Player(module(config, "generator", GENERATORS), optimizer(config, num_steps)),
        Player(
            module(config, "discriminator", DISCRIMINATORS),
            optimizer(config, num_steps, share=config.optimizer.discriminator_share),
        ),
        adversary=losses.adversary(m.adversary),
        reconstruction=losses.regression(m.reconstruction),
        reconstruction_weight=m.reconstruction_weight,
        feature_matching_weight=m.feature_matching_weight,
        perceptual=perceptual_loss(m.perceptual),
        perceptual_weight=m.perceptual.weight,
    )


def _supervised(config: ConfigDict, num_steps: int) -> Objective:
    player = Player(module(config, "generator", GENERATORS), optimizer(config, num_steps))
    return objectives.supervised(player, loss=losses.regression(config.method.reconstruction))


METHODS = {"pix2pix": _pix2pix, "supervised": _supervised}


def objective(config: ConfigDict, num_steps: int) -> Objective:
    """The method of `config`, with its EMA."""
    if not 0 <= config.train.ema < 1:
        raise ConfigError(f"config.train.ema is the decay of an average, from 0 (none) to below 1, not {config.train.ema}")
    made = lookup(METHODS, config.method.name, "method")(config, num_steps)
    return with_ema(made, config.train.ema) if config.train.ema else made
