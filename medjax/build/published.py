"""Builders of the generators that other repositories train, from a config's section.

`channels` is the net's own number of input and output channels; `value_range` what it takes and gives; see
`medjax.models.adapted` for how grey images in [-1, 1] of one size come to it. With `config.data.scale` above 1 a net that
enlarges gives so many times the pixels it is given; at 1 it undoes a loss of resolution and keeps the size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
from ml_collections import ConfigDict

from medjax.models.adapted import Adapted
from medjax.models.resnet_generator import ResnetGenerator
from medjax.models.rrdb import RRDBNet
from medjax.models.srresnet import SRResNet
from medjax.models.unet import UNet
from medjax.types import ConfigError


def _builder(make: Callable[..., nn.Module], *, enlarges: bool) -> Callable[..., nn.Module]:
    def build(
        config: ConfigDict, *, channels: int = 1, out_channels: int = 1, value_range: str = "signed", **options: object
    ) -> nn.Module:
        factor = config.data.get("scale", 1) if enlarges else 1
        if factor > 1 and options.setdefault("scale", factor) != factor:
            raise ConfigError(f"config.generator.scale is {options['scale']}, config.data.scale {factor}: leave the first out")
        net = make(out_channels=out_channels, **options)
        scale = options.get("scale", 4) if enlarges and factor == 1 else 1
        multiple = math.lcm(scale, 4) if enlarges and factor == 1 else 1  # RRDBNet unshuffles its input at scales below 4
        plain = (channels, out_channels, value_range, multiple) == (1, 1, "signed", 1)
        return net if plain else Adapted(net, channels, value_range, scale, multiple, factor)

    return build


PUBLISHED: dict[str, Callable[..., nn.Module]] = {
    "published_unet": _builder(UNet, enlarges=False),
    "resnet": _builder(ResnetGenerator, enlarges=False),
    "rrdb": _builder(RRDBNet, enlarges=True),
    "srresnet": _builder(SRResNet, enlarges=True),
}
"""For `config.generator.name`, beside the generators trained here."""
NETWORK = {"published_unet": "unet", "unet": "unet", "patchgan": "patchgan"} | {n: n for n in ("resnet", "rrdb", "srresnet")}
"""The name of a config's section -> the architecture in `medjax.weights.TRAINED`."""
BASE = {"srresnet": "bilinear", "rrdb": "none"}
"""The enlargement that a published network corrects."""
