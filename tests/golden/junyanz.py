"""The networks of pytorch-CycleGAN-and-pix2pix in torch.nn, named and nested as in its models/networks.py."""

from __future__ import annotations

import torch
from torch import nn


def _norm(kind: str, features: int) -> nn.Module:
    norms = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d, "none": lambda n: nn.Identity()}
    return norms[kind](features)


class Whole(nn.Module):
    """A network whose layers lie under `model`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class Skip(Whole):
    """What went in, beside what the block made of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.model(x)], 1)


class Residual(nn.Module):
    """x + conv_block(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


def unet(inputs: int, outputs: int, downs: int, ngf: int, norm: str) -> nn.Module:
    """UnetGenerator; `downs` 8 is unet_256."""
    bias = norm == "instance"
    widths = [ngf * min(2**i, 8) for i in range(downs)]
    block = None
    for i in reversed(range(1, downs)):
        outer, inner = widths[i - 1], widths[i]
        down = [nn.LeakyReLU(0.2, True), nn.Conv2d(outer, inner, 4, 2, 1, bias=bias)]
        up_in = inner if block is None else 2 * inner
        up = [nn.ReLU(True), nn.ConvTranspose2d(up_in, outer, 4, 2, 1, bias=bias), _norm(norm, outer)]
        inside = [] if block is None else [_norm(norm, inner), block]
        block = Skip(nn.Sequential(*down, *inside, *up))
    first = nn.Conv2d(inputs, ngf, 4, 2, 1, bias=bias)
    return Whole(Whole(nn.Sequential(first, block, nn.ReLU(True), nn.ConvTranspose2d(2 * ngf, outputs, 4, 2, 1), nn.Tanh())))


def resnet(inputs: int, outputs: int, ngf: int, blocks: int, norm: str, dropout: bool = False) -> nn.Module:
    """ResnetGenerator with reflection padding; 9 blocks are resnet_9blocks."""
    bias, width = norm == "instance", 4 * ngf
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(inputs, ngf, 7, bias=bias), _norm(norm, ngf), nn.ReLU(True)]
    for i in (1, 2):
        layers += [nn.Conv2d(ngf * i, ngf * 2 * i, 3, 2, 1, bias=bias), _norm(norm, ngf * 2 * i), nn.ReLU(True)]
    for _ in range(blocks):
        half = lambda: [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), _norm(norm, width)]  # noqa: E731, B023
        layers.append(Residual(*half(), nn.ReLU(True), *([nn.Dropout(0.5)] if dropout else []), *half()))
    for i in (2, 1):
        up = nn.ConvTranspose2d(ngf * 2 * i, ngf * i, 3, 2, 1, output_padding=1, bias=bias)
        layers += [up, _norm(norm, ngf * i), nn.ReLU(True)]
    return Whole(nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(ngf, outputs, 7), nn.Tanh()))


def patchgan(inputs: int, ndf: int, layers: int, norm: str) -> nn.Module:
    """NLayerDiscriminator; 3 layers are the 70x70 one."""
    bias = norm == "instance"
    parts = [nn.Conv2d(inputs, ndf, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for n in range(1, layers + 1):
        before, after = ndf * min(2 ** (n - 1), 8), ndf * min(2**n, 8)
        parts += [nn.Conv2d(before, after, 4, 2 if n < layers else 1, 1, bias=bias), _norm(norm, after), nn.LeakyReLU(0.2, True)]
    return Whole(nn.Sequential(*parts, nn.Conv2d(ndf * min(2**layers, 8), 1, 4, 1, 1)))
