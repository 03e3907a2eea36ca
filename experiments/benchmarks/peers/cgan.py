"""The conditional GAN of labelled chest X-rays: DCGAN's shape, the label beside noise and image, non-saturating, Adam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks.peers.common import Peer, adam, descend


class Condition(nn.Module):
    """The label's embedding."""

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.label = nn.Embedding(classes, features)

    def forward(self, label: torch.Tensor) -> torch.Tensor:
        return self.label(label)


class Generator(nn.Module):
    """Noise and label to images, by transposed convolutions from 4x4 maps."""

    def __init__(self, *, stages: int, classes: int, latent: int, features: int, most_features: int, embedding: int) -> None:
        super().__init__()
        widths = [min(features * 2 ** (stages - stage), most_features) for stage in range(stages + 1)]
        self.width, self.stages = widths[0], stages
        self.condition, self.first = Condition(classes, embedding), nn.Linear(latent + embedding, 16 * widths[0])
        nets = {"norm_0": nn.BatchNorm2d(widths[0])}
        for i in range(1, stages + 1):
            nets[f"up_{i}"] = nn.ConvTranspose2d(widths[i - 1], widths[i], 4, 2, 1, bias=False)
            nets[f"norm_{i}"] = nn.BatchNorm2d(widths[i])
        self.nets, self.last = nn.ModuleDict(nets), nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        h = self.first(torch.cat([z, self.condition(label)], 1)).reshape(len(z), self.width, 4, 4)
        h = F.leaky_relu(self.nets["norm_0"](h), 0.2)
        for i in range(1, self.stages + 1):
            h = F.leaky_relu(self.nets[f"norm_{i}"](self.nets[f"up_{i}"](h)), 0.2)
        return torch.tanh(self.last(h).float())


class Discriminator(nn.Module):
    """Stride-2 convolutions down to 4x4 maps with dropout, a dense layer, a logit; the label as constant channels."""

    def __init__(
        self, *, stages: int, classes: int, features: int, most_features: int, hidden: int, embedding: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [1 + embedding, *(min(features * 2**stage, most_features) for stage in range(stages))]
        self.rate, self.condition = dropout, Condition(classes, embedding)
        self.nets = nn.ModuleDict({f"conv_{i}": nn.Conv2d(widths[i], widths[i + 1], 4, 2, 1) for i in range(stages)})
        self.dense, self.logits = nn.Linear(16 * widths[-1], hidden), nn.Linear(hidden, 1)

    def forward(self, images: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        told = self.condition(label)[:, :, None, None].expand(-1, -1, *images.shape[2:])
        h = torch.cat([images, told], 1)
        for conv in self.nets.values():
            h = F.dropout(F.leaky_relu(conv(h), 0.2), self.rate, self.training)
        return self.logits(F.leaky_relu(self.dense(h.flatten(1)), 0.2)).float()


def make(options: Mapping[str, Any]) -> Peer:
    """Options: `generator`, `discriminator`, `latent`, `learning_rate`."""
    g, d = Generator(**options["generator"]), Discriminator(**options["discriminator"])
    g_adam, d_adam = adam(g, options["learning_rate"]), adam(d, options["learning_rate"])
    latent = options["generator"]["latent"]

    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Descend D on real and fake, then G against the new D."""
        real, label = batch["target"], batch["label"]
        fake = g(torch.randn(len(real), latent, device=real.device), label)
        d.requires_grad_(True)
        d_loss = F.softplus(-d(real, label)).mean() + F.softplus(d(fake.detach(), label)).mean()
        descend(d_loss, d_adam)
        d.requires_grad_(False)
        g_loss = F.softplus(-d(fake, label)).mean()
        descend(g_loss, g_adam)
        return {"d_loss": d_loss.detach(), "g_loss": g_loss.detach()}

    def predict(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        label = batch["label"]
        return g(torch.randn(len(label), latent, device=label.device), label)

    return Peer({"generator": g, "discriminator": d}, step, predict)
