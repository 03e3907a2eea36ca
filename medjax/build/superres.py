"""Super-resolution from a config: discriminators, methods, and what a run of them needs before it may start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from medjax import losses, objectives
from medjax.build import config as configs
from medjax.build.perceptual import perceptual_loss
from medjax.build.published import BASE
from medjax.models.sr_discriminator import SRDiscriminator
from medjax.objective import Objective, Player
from medjax.types import ConfigError

ENLARGING = ("rrdb", "srresnet")
"""Generators that give `config.data.scale` times the pixels they are given along a side."""


def _discriminator(config: ConfigDict, **options: object) -> nn.Module:
    return SRDiscriminator(**options)


DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {"srgan": _discriminator}
METHODS = ("srgan", "esrgan")  # second phases


def srgan(config: ConfigDict, generator: Player, discriminator: Player) -> Objective:
    """SRGAN with the weights of `config.method`."""
    return objectives.srgan(generator, discriminator, **_options(config))


def esrgan(config: ConfigDict, generator: Player, discriminator: Player) -> Objective:
    """ESRGAN with the weights of `config.method`."""
    return objectives.esrgan(generator, discriminator, **_options(config))


def _options(config: ConfigDict) -> dict[str, Any]:
    m = config.method
    return {
        "perceptual": perceptual_loss(m.perceptual),
        "perceptual_weight": m.perceptual.weight,
        "adversary": losses.adversary(m.adversary),
        "adversarial_weight": m.adversarial_weight,
        "reconstruction": losses.regression(m.reconstruction),
        "reconstruction_weight": m.reconstruction_weight,
        "gradient_penalty": losses.r1(m.r1) if m.r1 else None,
        "microbatch": config.train.microbatch,
    }


def check_start(config: ConfigDict) -> None:
    """Raises ConfigError where a run may not start: a second phase without a first, another enlargement than that of the
    first, and a generator that does not enlarge where inputs have fewer pixels than targets.
    """
    name, scale = config.generator.name if "generator" in config else "", config.data.scale
    if scale > 1 and name not in ENLARGING:
        raise ConfigError(
            f"the generator {name!r} keeps the size of its input: at config.data.scale={scale} take {' or '.join(ENLARGING)}"
        )
    if config.train.needs_init and not config.init_from:
        raise ConfigError(
            f"{config.name}:{config.variant} is a second phase: set --config.init_from=WORKDIR of its first, "
            "or --config.train.needs_init=False to begin with an untrained generator"
        )
    origin = Path(config.init_from).expanduser() if config.init_from else None
    if scale == 1 or origin is None:
        return
    theirs = configs.read(origin)
    fields = ("data.scale", "generator.base", "generator.value_range")
    for field, here, there in zip(fields, enlargement(config), enlargement(theirs), strict=True):
        if here != there:
            raise ConfigError(f"config.{field} is {here!r} here and {there!r} in {origin}, from which this run was to start")


def enlargement(config: ConfigDict) -> tuple[int, str | None, str]:
    """By how much a run's generator enlarges, what it corrects, and the range of the images it computes with: two nets with the
    same parameters may differ in these.
    """
    section = config.get("generator", {})
    base = section.get("base", BASE.get(section.get("name")))
    return section.get("scale", config.data.scale), base, section.get("value_range", "signed")
