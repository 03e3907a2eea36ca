"""ResNet-18 for grey images in torchvision's layout, cross-entropy with smoothed labels, clipped AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks.peers.common import Peer


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; a projection if the shape changes."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        if stride != 1 or inputs != width:
            self.downsample_0 = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.downsample_1 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        x = self.downsample_1(self.downsample_0(x)) if hasattr(self, "downsample_0") else x
        return F.relu(x + h, inplace=True)


class Backbone(nn.Module):
    """The trunk down to the pooled vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        nets, inputs = {}, width
        for level in range(1, 5):
            for i in range(2):
                out = width * 2 ** (level - 1)
                nets[f"layer{level}_{i}"] = BasicBlock(inputs, out, 2 if level > 1 and i == 0 else 1)
                inputs = out
        self.nets = nn.ModuleDict(nets)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.max_pool2d(F.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        for block in self.nets.values():
            h = block(h)
        return h.mean((2, 3))


class ResNet18(nn.Module):
    """Logits of grey images."""

    def __init__(self, *, classes: int, width: int = 64) -> None:
        super().__init__()
        self.backbone, self.fc = Backbone(width), nn.Linear(8 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)).float()


def make(options: Mapping[str, Any]) -> Peer:
    """The classifier; options: `classes`, `width`, `learning_rate`, `weight_decay`, `label_smoothing`, `clip`."""
    net = ResNet18(classes=options["classes"], width=options["width"])
    optimizer = torch.optim.AdamW(net.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"])

    def step(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        loss = F.cross_entropy(net(batch["target"]), batch["label"], label_smoothing=options["label_smoothing"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if options["clip"]:
            torch.nn.utils.clip_grad_norm_(net.parameters(), options["clip"])
        optimizer.step()
        return {"loss": loss.detach()}

    return Peer({"classifier": net}, step, lambda batch: F.softmax(net(batch["target"]), 1))
