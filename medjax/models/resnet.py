"""ResNet-18, 34 and 50 (He et al. 2016) in torchvision's layout (v1.5: the stride is in the 3x3 convolution), and 10 like them.

`ResNet` reads published weights and, narrower or with another stem, is trained here as `Classifier`.

Input of the published ones: float32 `[B, H, W, 3]`, RGB, from 32x32. For torchvision's weights: `(x - mean) / std` of
images in [0, 1] with mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225), at 224x224, resized bilinearly WITH
antialiasing (its preset: 256, then the middle 224x224). Weights: torchvision, `resnet18-f37072fd.pth` and
`resnet50-0676ba61.pth` (the names carry the first digits of the sha256; a second training of the latter is
`resnet50-11ad3fa6.pth`), code BSD-3-Clause, trained on ImageNet, whose terms apply. 11,689,512 and 25,557,032 parameters.

RadImageNet (Mei et al. 2022, 1.35 million CT, MR and ultrasound images) publishes the same ResNet-50 without its head as
`RadImageNet_pytorch/ResNet50.pt` (sha256 not published; repository under MIT, RSNA's model card says CC BY 4.0). Its
input is images in [0, 1] mapped to [-1, 1], at 224x224, bilinear WITHOUT antialiasing (OpenCV), channels BGR: the same
for a grey image.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from medjax.models.blocks import Dropout, at_least_float32, make_norm
from medjax.models.conv import max_pool
from medjax.models.layers import Conv2d, check_input
from medjax.types import Array, ConfigError

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
STEMS = {"published": (7, 2, True), "half": (3, 2, False), "full": (3, 1, False)}
"""Name: (kernel, stride, whether a max pooling of stride 2 follows); the smaller ones are for images of 64 to 128 pixels."""
NORMS = ("batch", "group")


class Residual(nn.Module):
    """A basic block (two 3x3) or, with `bottleneck`, 1x1, 3x3, 1x1 to four times the width; a projection if the shape changes."""

    width: int
    stride: int = 1
    bottleneck: bool = False
    norm: str = "batch"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        norm = lambda name, h: make_norm(self.norm, module_name=name)(h, train=train)  # noqa: E731
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

    depth: 10 (one block at each level), 18, 34 or 50. channels: of the input (3 as published). width: channels of the first
    level (64 as published), doubled at each of the other three. norm: batch (as published) or group. stem: one of `STEMS`.
    """

    depth: int = 18
    classifier: bool = True
    num_classes: int = 1000
    channels: int = 3
    width: int = 64
    norm: str = "batch"
    stem: str = "published"

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        self._check()
        check_input(x, channels=self.channels, least=32, what=f"ResNet-{self.depth}")
        kernel, stride, pool = STEMS[self.stem]
        x = Conv2d(self.width, (kernel, kernel), stride, (kernel // 2,) * 2, name="conv1")(x)
        taps = {"relu": nn.relu(make_norm(self.norm, module_name="bn1")(x, train=train))}
        x = max_pool(taps["relu"], 3, 2, 1) if pool else taps["relu"]
        for level, count in enumerate(BLOCKS[self.depth], start=1):
            for i in range(count):
                stride, width = 2 if level > 1 and i == 0 else 1, self.width * 2 ** (level - 1)
                x = Residual(width, stride, self.depth == 50, self.norm, name=f"layer{level}_{i}")(x, train=train)
            taps[f"layer{level}"] = x
        taps["pool"] = x = x.mean((1, 2))
        if self.classifier:
            taps["logits"] = nn.Dense(self.num_classes, name="fc")(x)
        return taps

    def _check(self) -> None:
        if self.depth not in BLOCKS:
            raise ConfigError(f"ResNet has depth {', '.join(map(str, BLOCKS))}, not {self.depth}")
        if self.stem not in STEMS or self.norm not in NORMS:
            told = f"{self.stem!r} and {self.norm!r}"
            raise ConfigError(f"ResNet has a stem of {', '.join(STEMS)} and a norm of {', '.join(NORMS)}, not {told}")


class Classifier(nn.Module):
    """A ResNet over images `[B, H, W, channels]` in [-1, 1] to logits `[B, classes]`, float32.

    `taps` gives what `ResNet` does without its head, for features. contrast: above 0, the image's `local_contrast` over so many
    pixels comes in as a second channel, in which a faint finding is as large as a bright rib. pool: what the head sees of the
    last maps, their `mean` over positions (as published) or their `max`, which a finding in a corner of the image moves more.
    dropout: of that vector. dtype: the compute type; parameters and norms stay float32.
    """

    classes: int
    depth: int = 18
    width: int = 64
    norm: str = "batch"
    stem: str = "published"
    channels: int = 1
    contrast: float = 0.0
    pool: str = "mean"
    dropout: float = 0.0
    dtype: jnp.dtype | None = None

    def setup(self) -> None:
        """The trunk and the head."""
        channels = self.channels * (2 if self.contrast else 1)
        options = dict(depth=self.depth, width=self.width, norm=self.norm, stem=self.stem, channels=channels)
        if self.pool not in ("mean", "max"):
            raise ConfigError(f"a classifier's pool is mean or max, not {self.pool!r}")
        self.backbone = ResNet(classifier=False, **options)
        self.drop = Dropout(self.dropout)
        self.fc = nn.Dense(self.classes)

    def taps(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        """`{layer: array}`: relu, layer1 ... layer4, and `pool` `[B, D]`, what the head sees."""
        x = jnp.concatenate([x, local_contrast(x, self.contrast)], -1) if self.contrast else x
        found = self.backbone(x if self.dtype is None else x.astype(self.dtype), train=train)
        return found if self.pool == "mean" else {**found, "pool": found["layer4"].max((1, 2))}

    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Logits."""
        return self.fc(self.drop(at_least_float32(self.taps(x, train=train)["pool"])))


def local_contrast(x: Array, sigma: float, *, floor: float = 0.02) -> Array:
    """(x - mean) / sqrt(variance + floor^2) of each channel of `[B, H, W, C]`, both over a Gaussian window of `sigma` pixels, the
    image continued by its edge pixels (local contrast normalisation, Jarrett et al. 2009, sec. 2.1).
    """
    reach = max(1, round(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps = jnp.asarray(taps / taps.sum(), x.dtype)

    def smooth(image: Array) -> Array:
        image = jnp.pad(image, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
        rows = sum(tap * image[:, i : i + x.shape[1]] for i, tap in enumerate(taps))
        return sum(tap * rows[:, :, i : i + x.shape[2]] for i, tap in enumerate(taps))

    above = x - smooth(x)
    return above * jax.lax.rsqrt(smooth(jnp.square(above)) + floor**2)


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
