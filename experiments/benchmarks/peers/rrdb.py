"""ESRGAN's generator, RRDBNet, in its first phase: L1 and Adam. Laid out as BasicSR has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks.peers.common import Peer, adam, descend


def _leaky(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


class DenseBlock(nn.Module):
    """Five densely connected convolutions; x + 0.2 times the last."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for i in range(1, 6):
            setattr(self, f"conv{i}", nn.Conv2d(features + (i - 1) * growth, growth if i < 5 else features, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [x]
        for i in range(1, 5):
            maps.append(_leaky(getattr(self, f"conv{i}")(torch.cat(maps, 1))))
        return x + 0.2 * self.conv5(torch.cat(maps, 1))


class RRDB(nn.Module):
    """Three dense blocks in a residual block."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(features, growth) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """`blocks` RRDBs, two nearest-neighbour enlargements by 2 with convolutions, two more."""

    def __init__(self, *, features: int = 64, blocks: int = 23, growth: int = 32, channels: int = 1) -> None:
        super().__init__()
        make = lambda inputs=features, outputs=features: nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_first, self.conv_body = make(channels), make()
        self.nets = nn.ModuleDict({f"body_{i}": RRDB(features, growth) for i in range(blocks)})
        self.conv_up1, self.conv_up2, self.conv_hr, self.conv_last = make(), make(), make(), make(outputs=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = h = self.conv_first(x)
        for block in self.nets.values():
            h = block(h)
        h = first + self.conv_body(h)
        for up in (self.conv_up1, self.conv_up2):
            h = _leaky(up(F.interpolate(h, scale_factor=2, mode="nearest")))
        return self.conv_last(_leaky(self.conv_hr(h))).float()


def make(options: Mapping[str, Any]) -> Peer:
    """The L1 phase; options: `generator` and `learning_rate`."""
    net = RRDBNet(**options["generator"])
    optimizer = adam(net, options["learning_rate"], 0.9)

    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        loss = F.l1_loss(net(batch["source"]), batch["target"])
        descend(loss, optimizer)
        return {"g_loss": loss.detach()}

    return Peer({"generator": net}, step, lambda batch: net(batch["source"]))
