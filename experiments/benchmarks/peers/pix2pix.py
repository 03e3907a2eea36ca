"""The published pix2pix in PyTorch, written as its users write it: the peer that `train_step.py --peer` runs against.

Same networks (U-Net and PatchGAN of `medjax.models`, layer for layer, same initialisation), same losses, same Adam. Images are
float32 `[B, C, H, W]` in [-1, 1]. Submodules carry the names of the Flax modules, so `load_flax` copies weights across.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

FORMS = ("eager", "channels_last")


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
        self.apply(_initialise)

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
    """pix2pix's discriminator on source and image side by side; logits `[B, 1, h, w]`."""

    def __init__(self, *, features: int = 64, layers: int = 3, channels: int = 2) -> None:
        super().__init__()
        widths, nets = [features * min(2**i, 8) for i in range(layers + 1)], {}
        for i, width in enumerate(widths):
            nets[f"conv_{i}"] = _conv(widths[i - 1] if i else channels, width, 2 if i < layers else 1, bias=i == 0)
            if i:
                nets[f"norm_{i}"] = nn.BatchNorm2d(width)
        nets["logits"] = _conv(widths[-1], 1, 1, bias=True)
        self.layers, self.nets = layers, nn.ModuleDict(nets)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x
        for i in range(self.layers + 1):
            h = self.nets[f"conv_{i}"](h)
            h = F.leaky_relu(self.nets[f"norm_{i}"](h) if i else h, 0.2)
        return self.nets["logits"](h).float()


def _initialise(module: nn.Module) -> None:
    """Normal(0, 0.02) kernels, Normal(1, 0.02) norm scales, zero biases."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def load_flax(module: nn.Module, params: Mapping[str, Mapping[str, Any]]) -> None:
    """Copy Flax parameters {name: {"kernel" | "scale" | "bias": array}}; every array of both sides is used once.

    Kernels `[kh, kw, in, out]`, and transposed ones `[kh, kw, out, in]`, both become PyTorch's by the same permutation.
    """
    names = {"kernel": "weight", "scale": "weight", "bias": "bias"}
    found = {}
    for name, leaves in params.items():
        for leaf, value in leaves.items():
            array = np.asarray(value)
            array = array.transpose(3, 2, 0, 1) if leaf == "kernel" else array
            found[f"nets.{name}.{names[leaf]}"] = torch.from_numpy(np.array(array, order="C"))
    own = dict(module.named_parameters())
    assert own.keys() == found.keys(), sorted(own.keys() ^ found.keys())
    module.load_state_dict(found, strict=False)


class Pix2Pix:
    """Generator, discriminator and their Adams; `step` is one step of each, as `medjax.objectives.pix2pix` defines it."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, *, learning_rate: float = 2e-4) -> None:
        self.g, self.d = generator.train(), discriminator.train()
        adam = lambda net: torch.optim.Adam(net.parameters(), lr=learning_rate, betas=(0.5, 0.999))
        self.g_adam, self.d_adam = adam(self.g), adam(self.d)

    def step(self, source: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Descend D on real and fake, then G against the new D with 100 * L1; returns the terms."""
        fake = self.g(source)
        self.d.requires_grad_(True)
        real_logits = self.d(torch.cat([source, target], 1))
        fake_logits = self.d(torch.cat([source, fake.detach()], 1))
        d_loss = 0.5 * (F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean())
        self.d_adam.zero_grad(set_to_none=True)
        d_loss.backward()
        self.d_adam.step()

        self.d.requires_grad_(False)
        g_gan = F.softplus(-self.d(torch.cat([source, fake], 1))).mean()
        g_reconstruction = 100 * F.l1_loss(fake, target)
        self.g_adam.zero_grad(set_to_none=True)
        (g_gan + g_reconstruction).backward()
        self.g_adam.step()
        return {"d_loss": d_loss.detach(), "g_gan": g_gan.detach(), "g_reconstruction": g_reconstruction.detach()}


def count(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters())


def build(
    *, form: str, batch: int, size: int, precision: str, generator: dict, discriminator: dict, learning_rate: float
) -> tuple[dict[str, Any], Callable[[int], None], Callable[[], dict]]:
    """A worker (see `workers`) that trains on one random batch, handed over as numpy each step as a loader would."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # what XLA does by default
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if form == "channels_last" else torch.contiguous_format
    nets = UNet(image_size=size, **generator), PatchGAN(**discriminator)
    g, d = (net.to(device, memory_format=layout) for net in nets)
    model = Pix2Pix(g, d, learning_rate=learning_rate)
    rng = np.random.default_rng(0)
    images = [rng.uniform(-1, 1, (batch, 1, size, size)).astype(np.float32) for _ in range(2)]
    half = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def run(steps: int) -> None:
        for _ in range(steps):
            source, target = (torch.from_numpy(x).to(device).contiguous(memory_format=layout) for x in images)
            with half:
                model.step(source, target)
        wait()

    run(1)
    facts = {"parameters": {"generator": count(g), "discriminator": count(d)}, "threads": torch.get_num_threads()}
    facts |= {"versions": {"torch": torch.__version__}}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    memory = lambda: torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else None
    return facts, run, lambda: {"device_mb": memory()}
