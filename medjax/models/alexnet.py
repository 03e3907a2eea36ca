"""AlexNet in torchvision's layout (Krizhevsky 2014, "One weird trick"), every layer by name; the trunk of LPIPS alex.

Input: float32 `[B, H, W, 3]`, RGB, `(x - mean) / std` of images in [0, 1] with mean (0.485, 0.456, 0.406) and std
(0.229, 0.224, 0.225). Any size from 63x63: LPIPS resizes nothing. torchvision's classification preset is 256 bilinear
with antialiasing, then the middle 224x224. Weights: torchvision, `alexnet-owt-7be5be79.pth` (the name carries the first
digits of the sha256), code BSD-3-Clause, trained on ImageNet, whose terms apply. 61,100,840 parameters.
"""

from __future__ import annotations

import flax.linen as nn

from medjax.models.blocks import Dropout
from medjax.models.conv import max_pool
from medjax.models.layers import Conv2d, adaptive_avg_pool, check_input
from medjax.types import Array

# (features, kernel, stride, padding, index in torchvision's `features`, a pool follows)
CONVS = ((64, 11, 4, 2, 0, True), (192, 5, 1, 2, 3, True), (384, 3, 1, 1, 6, False), (256, 3, 1, 1, 8, False),
         (256, 3, 1, 1, 10, True))  # fmt: skip


class AlexNet(nn.Module):
    """`{layer: array}`: conv1 (before its ReLU), relu1, pool1, ..., pool5, and with the classifier relu6, relu7, logits."""

    classifier: bool = True
    num_classes: int = 1000

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        del train
        check_input(x, channels=3, least=63, what="AlexNet")
        taps: dict[str, Array] = {}
        for i, (features, size, stride, padding, _, pool) in enumerate(CONVS, start=1):
            layer = Conv2d(features, (size, size), stride, (padding, padding), use_bias=True, name=f"conv{i}")
            taps[f"conv{i}"] = x = layer(x)
            taps[f"relu{i}"] = x = nn.relu(x)
            if pool:
                taps[f"pool{i}"] = x = max_pool(x, 3, 2)
        if not self.classifier:
            return taps
        # PyTorch flattens channels first
        x = adaptive_avg_pool(x, 6).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        for name in ("6", "7"):
            taps[f"relu{name}"] = x = nn.relu(nn.Dense(4096, name=f"fc{name}")(Dropout(0.5)(x)))
        taps["logits"] = nn.Dense(self.num_classes, name="fc8")(x)
        return taps


def table(*, classifier: bool = True, **_: object) -> dict[str, str]:
    """Flax module -> torchvision's name."""
    names = {f"conv{i}": f"features.{conv[4]}" for i, conv in enumerate(CONVS, start=1)}
    heads = {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
    return names | heads if classifier else names
