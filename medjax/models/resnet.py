"""ResNet-18 and ResNet-50 (He et al. 2016) in torchvision's layout (v1.5: the stride is in the 3x3 convolution).

Input: float32 `[B, H, W, 3]`, RGB, from 32x32. For torchvision's weights: `(x - mean) / std` of images in [0, 1] with
mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225), at 224x224, resized bilinearly WITH antialiasing (its preset:
256, then the middle 224x224). Weights: torchvision, `resnet18-f37072fd.pth` and `resnet50-0676ba61.pth` (the names
carry the first digits of the sha256; a second training of the latter is `resnet50-11ad3fa6.pth`), code BSD-3-Clause,
trained on ImageNet, whose terms apply. 11,689,512 and 25,557,032 parameters.

RadImageNet (Mei et al. 2022, 1.35 million CT, MR and ultrasound images) publishes the same ResNet-50 without its head as
`RadImageNet_pytorch/ResNet50.pt` (sha256 not published; repository under MIT, RSNA's model card says CC BY 4.0). Its
input is images in [0, 1] mapped to [-1, 1], at 224x224, bilinear WITHOUT antialiasing (OpenCV), channels BGR: the same
for a grey image.
"""

from __future__ import annotations

import flax.linen as nn

from medjax.models.blocks import BatchNorm
from medjax.models.layers import Conv2d, check_input, max_pool
from medjax.types import Array, ConfigError

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class Residual(nn.Module):
    """A basic block (two 3x3) or, with `bottleneck`, 1x1, 3x3, 1x1 to four times the width; a projection if the shape changes."""

    width: int
    stride: int = 1
    bottleneck: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        norm = lambda name, h: BatchNorm(name=name)(h, train=train)  # noqa: E731
        out = 4 * self.width if self.bottleneck else self.width
        plan = ((1, 1), (3, self.stride), (1, 1)) if self.bottleneck else ((3, self.stride), (3, 1))
        h = x
        for i, (size, stride) in enumerate(plan, start=1):
            last = i == len(plan)
            layer = Conv2d(out if last else self.width, (size, size), stride, (size // 2,) * 2, name=f"conv{i}")
            h = norm(f"bn{i}", layer(h))
            h = h if last else nn.relu(h)
        if self.stride != 1 or x.shape[-1] != out:
            x = norm("downsample_1", Conv2d(out, (1, 1), self.stride, name="downsample_0")(x))
        return nn.relu(x + h)


class ResNet(nn.Module):
    """`{layer: array}`: relu (the stem), layer1 ... layer4, pool `[B, 512 or 2048]`, and with the classifier logits.

    depth: 18 or 50. channels: of the input (3 as published).
    """

    depth: int = 18
    classifier: bool = True
    num_classes: int = 1000
    channels: int = 3

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        if self.depth not in BLOCKS:
            raise ConfigError(f"ResNet has depth 18 or 50, not {self.depth}")
        check_input(x, channels=self.channels, least=32, what=f"ResNet-{self.depth}")
        x = Conv2d(64, (7, 7), 2, (3, 3), name="conv1")(x)
        taps = {"relu": nn.relu(BatchNorm(name="bn1")(x, train=train))}
        x = max_pool(taps["relu"], 3, 2, 1)
        for level, count in enumerate(BLOCKS[self.depth], start=1):
            for i in range(count):
                stride = 2 if level > 1 and i == 0 else 1
                x = Residual(64 * 2 ** (level - 1), stride, self.depth == 50, name=f"layer{level}_{i}")(x, train=train)
            taps[f"layer{level}"] = x
        taps["pool"] = x = x.mean((1, 2))
        if self.classifier:
            taps["logits"] = nn.Dense(self.num_classes, name="fc")(x)
        return taps


def table(depth: int = 18, *, classifier: bool = True, **_: object) -> dict[str, str]:
    """Flax module -> torchvision's name."""
    names = {"conv1": "conv1", "bn1": "bn1"} | ({"fc": "fc"} if classifier else {})
    for level, count in enumerate(BLOCKS[depth], start=1):
        for i in range(count):
            parts = {f"{kind}{n}": f"{kind}{n}" for n in range(1, 4 if depth == 50 else 3) for kind in ("conv", "bn")}
            if i == 0 and (level > 1 or depth == 50):
                parts |= {"downsample_0": "downsample.0", "downsample_1": "downsample.1"}
            names |= {f"layer{level}_{i}/{ours}": f"layer{level}.{i}.{theirs}" for ours, theirs in parts.items()}
    return names


def radimagenet_table(depth: int = 50, **_: object) -> dict[str, str]:
    """Flax module -> RadImageNet's name: torchvision's children numbered in one sequence, without a head."""
    order = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    split = {ours: name.partition(".") for ours, name in table(depth, classifier=False).items()}
    return {ours: f"backbone.{order[head]}{dot}{rest}" for ours, (head, dot, rest) in split.items()}
