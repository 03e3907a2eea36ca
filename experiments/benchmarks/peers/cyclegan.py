"""CycleGAN as published: ResNet generators, PatchGANs with instance norm, least squares, a pool of earlier images."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks.peers.common import Peer, descend
from experiments.benchmarks.peers.pix2pix import PatchGAN, initialise


class Block(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), mirrored at the edges."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv_0, self.conv_1 = (nn.Conv2d(features, features, 3, padding=1, padding_mode="reflect") for _ in range(2))
        self.norm = nn.InstanceNorm2d(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.conv_1(F.relu(self.norm(self.conv_0(x)))))


class ResnetGenerator(nn.Module):
    """7x7, two stride-2 convolutions, `blocks` residual blocks, two transposed convolutions, 7x7, tanh."""

    def __init__(self, *, features: int = 64, blocks: int = 9, channels: int = 1) -> None:
        super().__init__()
        mirrored = {"padding": 3, "padding_mode": "reflect"}
        self.first = nn.Conv2d(channels, features, 7, **mirrored)
        self.down_1 = nn.Conv2d(features, 2 * features, 3, 2, 1)
        self.down_2 = nn.Conv2d(2 * features, 4 * features, 3, 2, 1)
        self.nets = nn.ModuleDict({f"block_{i}": Block(4 * features) for i in range(blocks)})
        self.up_1 = nn.ConvTranspose2d(4 * features, 2 * features, 3, 2, 1, 1)
        self.up_0 = nn.ConvTranspose2d(2 * features, features, 3, 2, 1, 1)
        self.last = nn.Conv2d(features, channels, 7, **mirrored)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = lambda h: F.relu(F.instance_norm(h))
        h = normed(self.first(x))
        h = normed(self.down_2(normed(self.down_1(h))))
        for block in self.nets.values():
            h = block(h)
        h = normed(self.up_0(normed(self.up_1(h))))
        return torch.tanh(self.last(h).float())


class Pool:
    """The last `size` images, one of which is shown in half of the cases (Shrivastava et al. 2017)."""

    def __init__(self, size: int) -> None:
        self.size, self.images = size, []

    def exchange(self, images: torch.Tensor) -> torch.Tensor:
        shown = []
        for image in images.detach().split(1):
            if len(self.images) < self.size:
                self.images.append(image)
            elif random.random() < 0.5:
                i = random.randrange(self.size)
                image, self.images[i] = self.images[i], image
            shown.append(image)
        return torch.cat(shown)


def make(options: Mapping[str, Any]) -> Peer:
    """CycleGAN; options: `generator`, `discriminator`, `learning_rate`, `cycle_weight`, `pool`."""
    g_ab, g_ba = (ResnetGenerator(**options["generator"]) for _ in range(2))
    d_a, d_b = (PatchGAN(channels=1, norm="instance", **options["discriminator"]) for _ in range(2))
    both = lambda *nets: torch.optim.Adam(
        itertools.chain(*(net.parameters() for net in nets)), lr=options["learning_rate"], betas=(0.5, 0.999)
    )
    g_adam, d_adam = both(g_ab, g_ba), both(d_a, d_b)
    pools = {"a": Pool(options["pool"]), "b": Pool(options["pool"])}
    real = lambda logits: F.mse_loss(logits, torch.ones_like(logits))
    false = lambda logits: logits.square().mean()

    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The generators as a team, then the discriminators on pooled images."""
        a, b = batch["a"], batch["b"]
        for d in (d_a, d_b):
            d.requires_grad_(False)
        fake_b, fake_a = g_ab(a), g_ba(b)
        cycle = F.l1_loss(g_ba(fake_b), a) + F.l1_loss(g_ab(fake_a), b)
        g_loss = real(d_b(fake_b)) + real(d_a(fake_a)) + options["cycle_weight"] * cycle
        descend(g_loss, g_adam)

        for d in (d_a, d_b):
            d.requires_grad_(True)
        shown_a, shown_b = pools["a"].exchange(fake_a), pools["b"].exchange(fake_b)
        d_loss = 0.5 * (real(d_a(a)) + false(d_a(shown_a)) + real(d_b(b)) + false(d_b(shown_b)))
        descend(d_loss, d_adam)
        return {"g_loss": g_loss.detach(), "d_loss": d_loss.detach()}

    return Peer({"g_ab": g_ab, "g_ba": g_ba, "d_a": d_a, "d_b": d_b}, step, lambda batch: g_ab(batch["source"]))
