"""Inception-v3 as the Frechet inception distance uses it: TensorFlow's graph of 2015-12-05, in pytorch-fid's layout.

It differs from torchvision's network (Szegedy et al. 2016) in its pooling: average pools leave the padding out of the
mean, and the last block pools by the maximum, which the paper does not; 1008 classes; no auxiliary head.

Input: float32 `[B, H, W, 3]`, RGB, images in [0, 1] mapped to [-1, 1], resized to 299x299 bilinearly (half-pixel
centres, edges clamped) WITHOUT antialiasing, as pytorch-fid's `F.interpolate` does; larger images alias, which is part
of the published number. Weights: pytorch-fid, `pt_inception-2015-12-05-6726825d.pth` (the name carries the first digits
of the sha256), Apache-2.0. 21,785,568 parameters, and 2,065,392 of the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from medjax.models.conv import max_pool
from medjax.models.layers import ConvNormRelu, avg_pool, check_input
from medjax.types import Array

# A branch is a chain of (name, features, kernel, stride, padding); a list inside it is a fork whose ends are joined.
Spec = tuple[str, int, tuple[int, int], int, tuple[int, int]]


def _c(name: str, features: int, *kernel: int, stride: int = 1, same: bool = True) -> Spec:
    size = (kernel[0], kernel[-1])
    return name, features, size, stride, tuple((k - 1) // 2 if same else 0 for k in size)


class Mixed(nn.Module):
    """One Inception block: branches side by side, then the pooled branch, joined along the channels.

    pool: applied before `branch_pool`, or, where `pool_features` is 0, a branch of its own.
    """

    branches: tuple
    pool: Callable[[Array], Array]
    pool_features: int = 0

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        layer = lambda spec, h: ConvNormRelu(*spec[1:], name=spec[0])(h, train=train)  # noqa: E731
        outputs = []
        for branch in self.branches:
            h = x
            for spec in branch:
                fork = isinstance(spec[0], tuple)
                h = jnp.concatenate([layer(s, h) for s in spec], -1) if fork else layer(spec, h)
            outputs.append(h)
        pooled = self.pool(x)
        outputs.append(layer(_c("branch_pool", self.pool_features, 1), pooled) if self.pool_features else pooled)
        return jnp.concatenate(outputs, -1)


_MEAN = partial(avg_pool, size=3, stride=1, padding=1)
_MAX = partial(max_pool, size=3, stride=1, padding=1)
_HALVE = partial(max_pool, size=3, stride=2)


def _a(pool_features: int) -> tuple:
    double = (_c("branch3x3dbl_1", 64, 1), _c("branch3x3dbl_2", 96, 3), _c("branch3x3dbl_3", 96, 3))
    return ((_c("branch1x1", 64, 1),), (_c("branch5x5_1", 48, 1), _c("branch5x5_2", 64, 5)), double), _MEAN, pool_features


def _b() -> tuple:
    double = (_c("branch3x3dbl_1", 64, 1), _c("branch3x3dbl_2", 96, 3), _c("branch3x3dbl_3", 96, 3, stride=2, same=False))
    return ((_c("branch3x3", 384, 3, stride=2, same=False),), double), _HALVE, 0


def _seven(c: int) -> tuple:
    single = (_c("branch7x7_1", c, 1), _c("branch7x7_2", c, 1, 7), _c("branch7x7_3", 192, 7, 1))
    double = (
        _c("branch7x7dbl_1", c, 1), _c("branch7x7dbl_2", c, 7, 1), _c("branch7x7dbl_3", c, 1, 7),
        _c("branch7x7dbl_4", c, 7, 1), _c("branch7x7dbl_5", 192, 1, 7),
    )  # fmt: skip
    return ((_c("branch1x1", 192, 1),), single, double), _MEAN, 192


def _d() -> tuple:
    long = (
        _c("branch7x7x3_1", 192, 1), _c("branch7x7x3_2", 192, 1, 7), _c("branch7x7x3_3", 192, 7, 1),
        _c("branch7x7x3_4", 192, 3, stride=2, same=False),
    )  # fmt: skip
    return ((_c("branch3x3_1", 192, 1), _c("branch3x3_2", 320, 3, stride=2, same=False)), long), _HALVE, 0


def _e(pool: Callable) -> tuple:
    single = (_c("branch3x3_1", 384, 1), (_c("branch3x3_2a", 384, 1, 3), _c("branch3x3_2b", 384, 3, 1)))
    double = (
        _c("branch3x3dbl_1", 448, 1), _c("branch3x3dbl_2", 384, 3),
        (_c("branch3x3dbl_3a", 384, 1, 3), _c("branch3x3dbl_3b", 384, 3, 1)),
    )  # fmt: skip
    return ((_c("branch1x1", 320, 1),), single, double), pool, 192


BLOCKS = {
    "Mixed_5b": _a(32), "Mixed_5c": _a(64), "Mixed_5d": _a(64), "Mixed_6a": _b(),
    "Mixed_6b": _seven(128), "Mixed_6c": _seven(160), "Mixed_6d": _seven(160), "Mixed_6e": _seven(192),
    "Mixed_7a": _d(), "Mixed_7b": _e(_MEAN), "Mixed_7c": _e(_MAX),
}  # fmt: skip
_STEM = (
    _c("Conv2d_1a_3x3", 32, 3, stride=2, same=False), _c("Conv2d_2a_3x3", 32, 3, same=False), _c("Conv2d_2b_3x3", 64, 3),
    "pool1", _c("Conv2d_3b_1x1", 80, 1), _c("Conv2d_4a_3x3", 192, 3, same=False), "pool2",
)  # fmt: skip


class InceptionV3(nn.Module):
    """`{layer: array}`: pool1 (64 channels), pool2 (192), Mixed_5b ... Mixed_7c, pool3 `[B, 2048]`, logits `[B, 1008]`.

    pytorch-fid's four blocks are pool1, pool2, Mixed_6e (768) and pool3; FID is over pool3.
    """

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> dict[str, Array]:
        check_input(x, channels=3, least=75, what="Inception-v3")
        taps: dict[str, Array] = {}
        for spec in _STEM:
            if isinstance(spec, str):
                taps[spec] = x = max_pool(x, 3, 2)
            else:
                x = ConvNormRelu(*spec[1:], name=spec[0])(x, train=train)
        for name, block in BLOCKS.items():
            taps[name] = x = Mixed(*block, name=name)(x, train=train)
        taps["pool3"] = x = x.mean((1, 2))
        taps["logits"] = nn.Dense(1008, name="fc")(x)
        return taps


def table(**_: object) -> dict[str, str]:
    """Flax module -> pytorch-fid's name: the same, with dots."""
    convs = [spec[0] for spec in _STEM if not isinstance(spec, str)]
    for name, (branches, _pool, pool_features) in BLOCKS.items():
        specs = [s for branch in branches for spec in branch for s in (spec if isinstance(spec[0], tuple) else (spec,))]
        convs += [f"{name}/{spec[0]}" for spec in specs] + ([f"{name}/branch_pool"] if pool_features else [])
    names = [f"{conv}/{part}" for conv in convs for part in ("conv", "bn")]
    return {name: name.replace("/", ".") for name in [*names, "fc"]}
