"""Conditional DDPM: the U-Net of Ho et al. 2020 that is shown a source beside x_t, the squared error of the noise, and DDIM."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks.peers.common import Peer, adam, descend


def group_norm(channels: int) -> nn.GroupNorm:
    """At most 32 groups."""
    return nn.GroupNorm(max(g for g in range(1, min(32, channels) + 1) if channels % g == 0), channels)


class TimedBlock(nn.Module):
    """Norm, SiLU, 3x3, twice; the second norm is scaled and shifted by the time."""

    def __init__(self, inputs: int, features: int, embedding: int) -> None:
        super().__init__()
        self.norm_0, self.conv_0 = group_norm(inputs), nn.Conv2d(inputs, features, 3, padding=1)
        self.time = nn.Linear(embedding, 2 * features)
        self.norm_1, self.conv_1 = group_norm(features), nn.Conv2d(features, features, 3, padding=1)
        if inputs != features:
            self.skip = nn.Conv2d(inputs, features, 1)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        h = self.conv_0(F.silu(self.norm_0(x)))
        scale, shift = self.time(F.silu(embedding))[:, :, None, None].chunk(2, 1)
        h = self.conv_1(F.silu(self.norm_1(h) * (1 + scale) + shift))
        return h + (self.skip(x) if hasattr(self, "skip") else x)


class Transformer(nn.Module):
    """Pre-norm transformer block over positions."""

    def __init__(self, channels: int, heads: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self.heads = max(h for h in range(1, heads + 1) if channels % h == 0)
        self.LayerNorm_0, self.LayerNorm_1 = nn.LayerNorm(channels, 1e-6), nn.LayerNorm(channels, 1e-6)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.up, self.down = nn.Linear(channels, expansion * channels), nn.Linear(expansion * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.LayerNorm_0(tokens)).reshape(batch, height * width, 3, self.heads, -1)
        mixed = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(tokens.shape))
        tokens = tokens + self.down(F.gelu(self.up(self.LayerNorm_1(tokens)), approximate="tanh"))
        return tokens.transpose(1, 2).reshape(x.shape)


class Denoiser(nn.Module):
    """U-Net of `blocks` residual blocks down and `blocks` + 1 up at each level."""

    def __init__(
        self, *, features: int, multipliers: tuple[int, ...], blocks: int, attention_levels: tuple[int, ...], channels: int = 1
    ) -> None:
        super().__init__()
        self.features, self.blocks, self.levels = features, blocks, len(multipliers)
        widths, embedding = [features * m for m in multipliers], 4 * features
        self.time_0, self.time_1 = nn.Linear(features, embedding), nn.Linear(embedding, embedding)
        self.first, nets = nn.Conv2d(2 * channels, features, 3, padding=1), {}

        def refine(name: str, inputs: int, width: int, attend: bool) -> int:
            nets[name] = TimedBlock(inputs, width, embedding)
            if attend:
                nets[f"attention_{name}"] = Transformer(width)
            return width

        h, skips = features, [features]
        for level, width in enumerate(widths):
            if level:
                nets[f"halve_{level}"] = nn.Conv2d(h, width, 3, 2, 1)
                h = width
                skips.append(h)
            for i in range(blocks):
                h = refine(f"down_{level}_{i}", h, width, level in attention_levels)
                skips.append(h)
        h = refine("middle_0", h, widths[-1], len(attention_levels) > 0)
        h = refine("middle_1", h, widths[-1], False)
        for level in reversed(range(self.levels)):
            for i in range(blocks + 1):
                h = refine(f"up_{level}_{i}", h + skips.pop(), widths[level], level in attention_levels)
            if level:
                nets[f"double_{level}"] = nn.Conv2d(h, widths[level - 1], 3, padding=1)
                h = widths[level - 1]
        self.nets = nn.ModuleDict(nets)
        self.last_norm, self.last = group_norm(h), nn.Conv2d(h, channels, 3, padding=1)

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        half = self.features // 2
        angles = t[:, None].float() * torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device) / half)
        embedding = self.time_1(F.silu(self.time_0(torch.cat([angles.cos(), angles.sin()], 1))))

        def refined(h: torch.Tensor, name: str) -> torch.Tensor:
            h = self.nets[name](h, embedding)
            return self.nets[f"attention_{name}"](h) if f"attention_{name}" in self.nets else h

        h = self.first(torch.cat([x, condition], 1))
        skips = [h]
        for level in range(self.levels):
            if level:
                h = self.nets[f"halve_{level}"](h)
                skips.append(h)
            for i in range(self.blocks):
                h = refined(h, f"down_{level}_{i}")
                skips.append(h)
        h = refined(refined(h, "middle_0"), "middle_1")
        for level in reversed(range(self.levels)):
            for i in range(self.blocks + 1):
                h = refined(torch.cat([h, skips.pop()], 1), f"up_{level}_{i}")
            if level:
                h = self.nets[f"double_{level}"](F.interpolate(h, scale_factor=2, mode="nearest"))
        return self.last(F.silu(self.last_norm(h))).float()


def make(options: Mapping[str, Any]) -> Peer:
    """Ho et al. 2020 with a condition; options: `denoiser`, `learning_rate`, `num_times`, `steps` of DDIM (0: one call)."""
    net = Denoiser(**options["denoiser"])
    optimizer = adam(net, options["learning_rate"], 0.9)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, options["num_times"]), 0)

    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        x0 = batch["target"]
        t = torch.randint(0, len(alpha_bar), (len(x0),), device=x0.device)
        noise, kept = torch.randn_like(x0), alpha_bar.to(x0.device)[t][:, None, None, None]
        loss = F.mse_loss(net(kept.sqrt() * x0 + (1 - kept).sqrt() * noise, t, batch["source"]), noise)
        descend(loss, optimizer)
        return {"loss": loss.detach()}

    def predict(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """One call of the network, or as many steps of DDIM without noise (Song et al. 2021, eq. 12)."""
        source, steps = batch["source"], options["steps"]
        x = torch.randn_like(source)
        if not steps:
            return net(x, torch.full((len(x),), 500, device=x.device), source)
        times = torch.linspace(len(alpha_bar) - 1, 0, steps).round().long().tolist()
        for t, after in zip(times, [*times[1:], -1], strict=True):
            now, later = alpha_bar[t], alpha_bar[after] if after >= 0 else torch.ones(())
            noise = net(x, torch.full((len(x),), t, device=x.device), source)
            x0 = ((x - (1 - now).sqrt() * noise) / now.sqrt()).clamp(-1, 1)
            noise = (x - now.sqrt() * x0) / (1 - now).sqrt()
            x = later.sqrt() * x0 + (1 - later).sqrt() * noise
        return x

    return Peer({"denoiser": net}, step, predict)
