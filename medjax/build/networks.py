"""From a config to players and objectives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from medjax import losses, objectives
from medjax.build import cgan, cyclegan, diffusion, superres
from medjax.build.perceptual import perceptual_loss
from medjax.build.published import PUBLISHED
from medjax.models.adapted import Adapted
from medjax.models.discriminators import MultiScale, PatchGAN
from medjax.models.resnet import Classifier
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


def _resnet(config: ConfigDict, **options: object) -> nn.Module:
    return Classifier(classes=num_classes(config), **options)


GENERATORS = {"unet": _unet, "restorer": _restorer, **PUBLISHED, **cgan.GENERATORS}
DISCRIMINATORS = {"patchgan": _patchgan, **superres.DISCRIMINATORS, **cgan.DISCRIMINATORS}
CLASSIFIERS = {"resnet_classifier": _resnet}


def module(config: ConfigDict, section: str, table: dict[str, Callable]) -> nn.Module:
    """The linen module that `config[section]` describes, under `config.train`'s precision and rematerialisation."""
    options = dict(config[section])
    make = lookup(table, options.pop("name"), section)
    dtype = lookup({k: k for k in PRECISIONS}, config.train.precision, "precision")
    try:
        made = make(config, dtype=PRECISIONS[dtype], **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config.{section}: {error}") from error
    return rematerialised(made, f"the {section} {config[section].name!r}") if config.train.remat else made


def rematerialised(made: nn.Module, what: str) -> nn.Module:
    """The same module with its blocks computed again in the backward pass; ConfigError where it has no such option."""
    if isinstance(made, Adapted):
        return made.clone(net=rematerialised(made.net, what))
    if not hasattr(made, "remat"):
        raise ConfigError(f"config.train.remat: {what} has no blocks that can be computed again in the backward pass")
    return made.clone(remat=True)


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
    if c.weight_decay:
        adam = optax.adamw(rate, b1=c.b1, b2=c.b2, weight_decay=c.weight_decay)
    return optax.chain(optax.clip_by_global_norm(c.clip), adam) if c.clip else adam


def players(config: ConfigDict, num_steps: int) -> tuple[Player, Player]:
    """Generator and discriminator with their optimisers."""
    share = config.optimizer.discriminator_share
    return (
        Player(module(config, "generator", GENERATORS), optimizer(config, num_steps)),
        Player(module(config, "discriminator", DISCRIMINATORS), optimizer(config, num_steps, share=share)),
    )


def _pix2pix(config: ConfigDict, num_steps: int) -> Objective:
    m = config.method
    return objectives.pix2pix(
        *players(config, num_steps),
        adversary=losses.adversary(m.adversary),
        reconstruction=losses.regression(m.reconstruction),
        reconstruction_weight=m.reconstruction_weight,
        feature_matching_weight=m.feature_matching_weight,
        perceptual=perceptual_loss(m.perceptual),
        perceptual_weight=m.perceptual.weight,
        microbatch=config.train.microbatch,
    )


def _supervised(config: ConfigDict, num_steps: int) -> Objective:
    player = Player(module(config, "generator", GENERATORS), optimizer(config, num_steps))
    loss = losses.regression(config.method.reconstruction)
    return objectives.supervised(player, loss=loss, microbatch=config.train.microbatch)


def _classification(config: ConfigDict, num_steps: int) -> Objective:
    m, several = config.method, config.data.labels == "multi"
    if not several and num_classes(config) < 2:
        raise ConfigError(
            f"config.data.classes names {config.data.classes[0]!r} alone, and a classifier by softmax tells two classes or more "
            "apart; config.data.labels=multi asks for each label by itself"
        )
    if len(m.class_weights) not in (0, num_classes(config)):
        raise ConfigError(f"config.method.class_weights has {len(m.class_weights)} weights for {num_classes(config)} classes")
    damaged = "source" if config.data.degradation.steps else "target"
    return objectives.classification(
        Player(module(config, "classifier", CLASSIFIERS), optimizer(config, num_steps)),
        loss="sigmoid" if several else "softmax",
        label_smoothing=m.label_smoothing,
        class_weights=tuple(m.class_weights),
        inputs=lambda batch: (batch[damaged],),
        microbatch=config.train.microbatch,
    )


def _diffusion(config: ConfigDict, num_steps: int) -> Objective:
    player = Player(module(config, "denoiser", diffusion.DENOISERS), optimizer(config, num_steps))
    return diffusion.diffusion(config, player)


class Method(NamedTuple):
    """How a method's objective is made from (config, steps), what it is judged by (`build.kinds`), and which of its nets
    an EMA averages.
    """

    make: Callable[[ConfigDict, int], Objective]
    kind: str = "image"
    averaged: tuple[str, ...] = ("generator",)


METHODS = {
    "pix2pix": Method(_pix2pix),
    "supervised": Method(_supervised),
    "srgan": Method(lambda config, steps: superres.srgan(config, *players(config, steps))),
    "esrgan": Method(lambda config, steps: superres.esrgan(config, *players(config, steps))),
    "cgan": Method(lambda config, steps: cgan.cgan(config, *players(config, steps)), "generation"),
    "cyclegan": Method(lambda config, steps: cyclegan.cyclegan(config, *players(config, steps)), "unpaired", cyclegan.NETS),
    "classification": Method(_classification, "classification", ("classifier",)),
    "diffusion": Method(_diffusion, averaged=("denoiser",)),
}


def method(config: ConfigDict) -> Method:
    """The method that `config` names."""
    return lookup(METHODS, config.method.name, "method")


def num_classes(config: ConfigDict) -> int:
    """How many classes the networks tell apart; ConfigError where `config.data.classes` does not name them."""
    if config.data.labels == "none" or not config.data.classes:
        raise ConfigError(
            f"the method {config.method.name} learns from labels: set config.data.labels to single or multi, and name the "
            "classes in config.data.classes"
        )
    return len(config.data.classes)


def objective(config: ConfigDict, num_steps: int) -> Objective:
    """The method of `config`, with its EMA."""
    if not 0 <= config.train.ema < 1:
        raise ConfigError(f"config.train.ema is the decay of an average, from 0 (none) to below 1, not {config.train.ema}")
    size, part = config.data.batch_size, config.train.microbatch
    if part < 0 or (part and size % part):
        raise ConfigError(f"config.data.batch_size, {size}, is no multiple of config.train.microbatch, {part}")
    made = method(config).make(config, num_steps)
    return with_ema(made, config.train.ema, method(config).averaged) if config.train.ema else made
