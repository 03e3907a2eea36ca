"""DenseNet-121 (Huang et al. 2017) in torchxrayvision's layout: one channel, chest radiographs, 18 findings.

Input: float32 `[B, H, W, 1]` from 32x32, images in [0, 1] mapped to [-1024, 1024], at 224x224, resized bilinearly
(half-pixel centres) WITHOUT antialiasing, as the package does; RGB becomes grey by its mean. Weights: torchxrayvision
(Cohen et al. 2022), Apache-2.0, file
`nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt` (sha256 not
published). That file is a pickled Python object, which is refused here: where the package is trusted, save
`torchxrayvision.models.DenseNet(weights="densenet121-res224-all").state_dict()` as safetensors. 6,966,034 parameters.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.blocks import BatchNorm
from medjax.models.conv import max_pool
from medjax.models.layers import Conv2d, avg_pool, check_input
from medjax.types import Array

LAYERS = (6, 12, 24, 16)


class DenseLayer(nn.Module):
    """norm, ReLU, 1x1 to 4 * growth, norm, ReLU, 3x3 to `growth` channels, which are appended to the input."""

    growth: int = 32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        h = nn.relu(BatchNorm(name="norm1")(x, train=train))
        h = Conv2d(4 * self.growth, (1, 1), name="conv1")(h)
        h = nn.relu(BatchNorm(name="norm2")(h, train=train))
        return jnp.concatenate([x, Conv2d(self.growth, (3, 3), 1, (1, 1), name="conv2")(h)], -1)


class DenseNet(nn.Module):
    """`{layer: array}`: pool0, denseblock1 ... denseblock4, norm5 (before its ReLU), pool `[B, 1024]`, logits `[B, 18]`."""

    channels: int = 1
    num_classes: int = 18
    growth: int = 32

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        check_input(x, channels=self.channels, least=32, what="DenseNet-121")
        x = Conv2d(2 * self.growth, (7, 7), 2, (3, 3), name="conv0")(x)
        x = nn.relu(BatchNorm(name="norm0")(x, train=train))
        taps = {"pool0": max_pool(x, 3, 2, 1)}
        x = taps["pool0"]
        for block, layers in enumerate(LAYERS, start=1):
            for i in range(1, layers + 1):
                x = DenseLayer(self.growth, name=f"denseblock{block}_{i}")(x, train=train)
            taps[f"denseblock{block}"] = x
            if block < len(LAYERS):
                x = nn.relu(BatchNorm(name=f"transition{block}_norm")(x, train=train))
                x = avg_pool(Conv2d(x.shape[-1] // 2, (1, 1), name=f"transition{block}_conv")(x), 2, 2)
        taps["norm5"] = x = BatchNorm(name="norm5")(x, train=train)
        taps["pool"] = x = nn.relu(x).mean((1, 2))
        taps["logits"] = nn.Dense(self.num_classes, name="classifier")(x)
        return taps


def table(**_: object) -> dict[str, str]:
    """Flax module -> torchxrayvision's name (torchvision's is the same)."""
    names = {name: f"features.{name}" for name in ("conv0", "norm0", "norm5")} | {"classifier": "classifier"}
    for block, layers in enumerate(LAYERS, start=1):
        for i in range(1, layers + 1):
            prefix = f"features.denseblock{block}.denselayer{i}"
            names |= {f"denseblock{block}_{i}/{part}": f"{prefix}.{part}" for part in ("norm1", "conv1", "norm2", "conv2")}
        if block < len(LAYERS):
            names |= {f"transition{block}_{part}": f"features.transition{block}.{part}" for part in ("norm", "conv")}
    return names
