"""What the tensors of a trained generator or discriminator tell about it, and the mapping tables of the nested ones.

Names and nesting are those of pytorch-CycleGAN-and-pix2pix (`models/networks.py`) and BasicSR (`basicsr/archs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.types import CheckpointError

State = Mapping[str, np.ndarray]


def _need(state: State, what: str, *names: str) -> list[tuple[int, ...]]:
    """Shapes of the kernels that an architecture must have. Raises CheckpointError naming the first that is absent."""
    for name in names:
        if name not in state or state[name].ndim != 4:
            first = next(iter(state), "nothing")
            raise CheckpointError(f"this is no {what}: it has no convolution {name}; its first tensor is {first}")
    return [tuple(state[name].shape) for name in names]


def _kernels(state: State) -> list[str]:
    return [name for name, value in state.items() if value.ndim == 4]


def _norm(state: State, norm_weight: str, conv_bias: str) -> str:
    """Batch norm has weights; before an instance norm the convolutions carry a bias; otherwise there is no norm."""
    return "batch" if norm_weight in state else "instance" if conv_bias in state else "none"


def unet(state: State) -> dict[str, Any]:
    """Options of a U-Net: two convolutions for every level."""
    levels = len(_kernels(state)) // 2
    first, last = _need(state, "U-Net of pytorch-CycleGAN-and-pix2pix", "model.model.0.weight", "model.model.3.weight")
    norm = _norm(state, "model.model.1.model.2.weight", "model.model.0.bias")
    options = {"out_channels": last[1], "features": first[0], "levels": levels, "norm": norm, "first_dropout": 1}
    return {**options, "use_bias": norm == "instance", "channels": first[1]}


def unet_table(*, levels: int, norm: str = "batch", **_: object) -> dict[str, str]:
    """Flax module -> PyTorch's: every block lies inside the one before, between its way down and its way up."""
    names = {"encoder_0": "model.model.0", "output": "model.model.3"}
    prefix = "model.model.1.model"
    for level in range(1, levels):
        innermost, block = level == levels - 1, levels - 1 - level
        up = 3 if innermost else 5
        names |= {f"encoder_{level}": f"{prefix}.1", f"decoder_{block}": f"{prefix}.{up}"}
        if norm == "batch":
            names[f"decoder_norm_{block}"] = f"{prefix}.{up + 1}"
            if not innermost:
                names[f"encoder_norm_{level}"] = f"{prefix}.2"
        prefix += ".3.model"
    return names


def resnet(state: State) -> dict[str, Any]:
    """Options of a ResNet generator."""
    blocks = sum(name.endswith("conv_block.1.weight") for name in _kernels(state))
    dropout = any(name.endswith("conv_block.6.weight") for name in _kernels(state))
    what = "ResNet generator of pytorch-CycleGAN-and-pix2pix"
    first, last = _need(state, what, "model.1.weight", f"model.{17 + blocks}.weight")
    norm = _norm(state, "model.2.weight", "model.1.bias")
    options = {"out_channels": last[0], "features": first[0], "blocks": blocks, "norm": norm, "dropout": dropout}
    return {**options, "channels": first[1]}


def patchgan(state: State) -> dict[str, Any]:
    """Options of a PatchGAN."""
    first, second = _need(state, "PatchGAN of pytorch-CycleGAN-and-pix2pix", "model.0.weight", "model.2.weight")
    norm = _norm(state, "model.3.weight", "model.2.bias")
    options = {"features": first[0], "layers": len(_kernels(state)) - 2, "norm": norm}
    return {**options, "use_bias": norm == "instance", "channels": first[1]}


def patchgan_table(*, layers: int = 3, norm: str = "batch", **_: object) -> dict[str, str]:
    """Flax module -> PyTorch's: convolution, norm and activation in turn, but no norm after the first."""
    names = {"conv_0": "model.0", "logits": f"model.{3 * layers + 2}"}
    for i in range(1, layers + 1):
        names[f"conv_{i}"] = f"model.{3 * i - 1}"
        if norm == "batch":
            names[f"norm_{i}"] = f"model.{3 * i}"
    return names


def rrdb(state: State) -> dict[str, Any]:
    """Options of an RRDBNet; the scale from how often the input's channels fit into the first convolution."""
    names = ("conv_first.weight", "conv_last.weight", "body.0.rdb1.conv1.weight")
    first, last, dense = _need(state, "RRDBNet of BasicSR", *names)
    scale = {1: 4, 4: 2, 16: 1}.get(first[1] // last[0])
    scale = 8 if "conv_up3.weight" in state and scale == 4 else scale
    if scale is None or first[1] % last[0]:
        raise CheckpointError(f"an RRDBNet of {first[1]} first channels and {last[0]} of output has none of the published scales")
    blocks = sum(name.endswith("rdb1.conv1.weight") for name in _kernels(state))
    options = {"out_channels": last[0], "features": first[0], "blocks": blocks, "growth": dense[0], "scale": scale}
    return {**options, "channels": last[0]}


def srresnet(state: State) -> dict[str, Any]:
    """Options of an SRResNet; the scale from its upsampling convolutions."""
    names = ("conv_first.weight", "conv_last.weight", "upconv1.weight")
    first, last, up = _need(state, "MSRResNet of BasicSR", *names)
    scale = 3 if up[0] == 9 * first[0] else 8 if "upconv3.weight" in state else 4 if "upconv2.weight" in state else 2
    blocks = sum(name.startswith("body.") and name.endswith("conv1.weight") for name in _kernels(state))
    return {"out_channels": last[0], "features": first[0], "blocks": blocks, "scale": scale, "channels": first[1]}
