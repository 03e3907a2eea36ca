"""The linear heads of LPIPS (Zhang et al. 2018, eq. 1), version 0.1: which channels of a trunk's maps count for how much.

The heads take the maps of VGG16 (relu1_2, relu2_2, relu3_3, relu4_3, relu5_3) or AlexNet (relu1 ... relu5), whose input
is as stated there and whose images are not resized; the distance itself is `medjax.metrics.lpips`. Weights: the `lpips`
package 0.1.4, BSD-2-Clause, `v0.1/vgg.pth` (sha256 a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868)
and `v0.1/alex.pth` (sha256 df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0); the trunk's are
torchvision's. 1,472 and 1,152 parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn

from medjax.metrics.lpips import per_layer
from medjax.types import Array, ConfigError, PyTree

LAYERS = {
    "vgg": {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512},
    "alex": {"relu1": 64, "relu2": 192, "relu3": 384, "relu4": 256, "relu5": 256},
}


class Head(nn.Module):
    """The kernel `[1, 1, C, 1]` of a 1x1 convolution to one channel, as the vector `[C]`."""

    channels: int

    @nn.compact
    def __call__(self) -> Array:
        return self.param("kernel", nn.initializers.ones, (1, 1, self.channels, 1)).reshape(-1)


class LPIPSHeads(nn.Module):
    """`(maps of one image, maps of the other) -> {layer: [B], "lpips": [B]}`, the last the sum over the layers.

    trunk: vgg or alex. The maps are dicts `{layer: [B, h, w, C]}` that hold at least LAYERS[trunk].
    """

    trunk: str = "vgg"

    @nn.compact
    def __call__(self, a: Mapping[str, Array], b: Mapping[str, Array]) -> dict[str, Array]:
        if self.trunk not in LAYERS:
            raise ConfigError(f"LPIPS has the trunks {' and '.join(LAYERS)}, not {self.trunk!r}")
        weights = {layer: Head(n, name=f"lin{i}")() for i, (layer, n) in enumerate(LAYERS[self.trunk].items())}
        distances = per_layer(a, b, weights)
        return {**distances, "lpips": sum(distances.values())}


def channel_weights(variables: PyTree, trunk: str = "vgg") -> dict[str, Array]:
    """`{layer: [C]}` of the heads' variables: what `medjax.metrics.lpips` takes."""
    return {layer: variables["params"][f"lin{i}"]["kernel"].reshape(-1) for i, layer in enumerate(LAYERS[trunk])}


def table(trunk: str = "vgg", **_: object) -> dict[str, str]:
    """Flax module -> the package's name."""
    return {f"lin{i}": f"lin{i}.model.1" for i in range(len(LAYERS[trunk]))}
