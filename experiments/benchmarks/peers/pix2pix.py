"""pix2pix as published: U-Net and PatchGAN, non-saturating GAN and 100 times L1, Adam; what `medjax.objectives.pix2pix` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks.peers.common import Peer, adam, descend


def _conv(inputs: int, outputs: int, stride: int, *, bias: bool = False) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 4, stride, 1, bias=bias)


class UNet(nn.Module):
    """pix2pix's generator of `levels` levels; dropout 0.5 in the first three decoder blocks."""

    def __init__(self, *, image_size: int = 256, features: int = 64, channels: int = 1, dropout: float = 0.5) -> None:
        super().__init__()
        levels = min(8, (image_size & -image_size).bit_length() - 1)
        widths = [features * min(2**i, 8) for i in range(levels)]
        self.levels, self.rate, nets = levels, dropout, {}
        for i, width in enumerate(widths):
            nets[f"encoder_{i}"] = _conv(widths[i - 1] if i else channels, width, 2)
            if 0 < i < levels - 1:
                nets[f"encoder_norm_{i}"] = nn.BatchNorm2d(width)
        for j, i in enumerate(range(levels - 1, 0, -1)):
            inputs = widths[i] * (1 if j == 0 else 2)
            nets[f"decoder_{j}"] = nn.ConvTranspose2d(inputs, widths[i - 1], 4, 2, 1, bias=False)
            nets[f"decoder_norm_{j}"] = nn.BatchNorm2d(widths[i - 1])
        nets["output"] = nn.ConvTranspose2d(2 * widths[0], channels, 4, 2, 1)
        self.nets = nn.ModuleDict(nets)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nets, skips, h = self.nets, [], x
        for i in range(self.levels):
            h = nets[f"encoder_{i}"](h if i == 0 else F.leaky_relu(h, 0.2))
            if 0 < i < self.levels - 1:
                h = nets[f"encoder_norm_{i}"](h)
            skips.append(h)
        for j, i in enumerate(range(self.levels - 1, 0, -1)):
            h = F.relu(h if j == 0 else torch.cat([skips[i], h], 1))
            h = nets[f"decoder_norm_{j}"](nets[f"decoder_{j}"](h))
            h = F.dropout(h, self.rate, self.training) if j < 3 else h
        return torch.tanh(nets["output"](F.relu(torch.cat([skips[0], h], 1))).float())


class PatchGAN(nn.Module):
    """pix2pix's discriminator on source and image side by side; logits `[B, 1, h, w]`. norm: batch, or CycleGAN's instance."""

    def __init__(self, *, features: int = 64, layers: int = 3, channels: int = 2, norm: str = "batch") -> None:
        super().__init__()
        widths, nets = [features * min(2**i, 8) for i in range(layers + 1)], {}
        for i, width in enumerate(widths):
            bias = i == 0 or norm == "instance"
            nets[f"conv_{i}"] = _conv(widths[i - 1] if i else channels, width, 2 if i < layers else 1, bias=bias)
            if i:
                nets[f"norm_{i}"] = nn.BatchNorm2d(width) if norm == "batch" else nn.InstanceNorm2d(width)
        nets["logits"] = _conv(widths[-1], 1, 1, bias=True)
        self.layers, self.nets = layers, nn.ModuleDict(nets)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for i in range(self.layers + 1):
            h = self.nets[f"conv_{i}"](h)
            h = F.leaky_relu(self.nets[f"norm_{i}"](h) if i else h, 0.2)
        return self.nets["logits"](h).float()


def initialise(module: nn.Module) -> None:
    """Normal(0, 0.02) kernels, Normal(1, 0.02) norm scales, zero biases."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Pix2Pix:
    """Generator, discriminator and their Adams; `step` is one step of each, as `medjax.objectives.pix2pix` defines it."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, *, learning_rate: float = 2e-4) -> None:
        self.g, self.d = generator.train(), discriminator.train()
        self.g_adam, self.d_adam = adam(self.g, learning_rate), adam(self.d, learning_rate)

    def step(self, source: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Descend D on real and fake, then G against the new D with 100 * L1; returns the terms."""
        fake = self.g(source)
        self.d.requires_grad_(True)
        real_logits = self.d(torch.cat([source, target], 1))
        fake_logits = self.d(torch.cat([source, fake.detach()], 1))
        d_loss = 0.5 * (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())
        descend(d_loss, self.d_adam)

        self.d.requires_grad_(False)
        g_gan = F.softplus(-self.d(torch.cat([source, fake], 1))).mean()
        g_reconstruction = 100 * F.l1_loss(fake, target)
        descend(g_gan + g_reconstruction, self.g_adam)
        return {"d_loss": d_loss.detach(), "g_gan": g_gan.detach(), "g_reconstruction": g_reconstruction.detach()}


def make(options: Mapping[str, Any]) -> Peer:
    """pix2pix; options: `size`, `learning_rate`, and those of `UNet` and `PatchGAN` as `generator` and `discriminator`."""
    g = UNet(image_size=options["size"], **options["generator"])
    model = Pix2Pix(g, PatchGAN(**options["discriminator"]), learning_rate=options["learning_rate"])
    step = lambda batch: model.step(batch["source"], batch["target"])

    def predict(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Without dropout; as published, the norms use the statistics of the images themselves at test time too."""
        model.g.rate = 0.0
        return model.g.train()(batch["source"])

    return Peer({"generator": model.g, "discriminator": model.d}, step, predict)
