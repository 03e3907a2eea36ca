"""What the peers share: how one is built and timed in a worker's process, weights from Flax, parameters counted."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

Tensors = dict[str, torch.Tensor]


class Peer(NamedTuple):
    """nets: those counted. step: `batch -> terms`, one training step. predict: `batch -> images or logits`, called without
    gradients.
    """

    nets: dict[str, nn.Module]
    step: Callable[[Tensors], Tensors]
    predict: Callable[[Tensors], torch.Tensor]


def adam(net: nn.Module, learning_rate: float, b1: float = 0.5, b2: float = 0.999) -> torch.optim.Optimizer:
    """Adam as the configs have it."""
    return torch.optim.Adam(net.parameters(), lr=learning_rate, betas=(b1, b2))


def descend(loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Clear, backward, step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def count(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in module.parameters())


def load_flax(module: nn.Module, params: Mapping[str, Any]) -> None:
    """Copy a tree of Flax parameters; every array of both sides is used once.

    Kernels `[kh, kw, in, out]`, and transposed ones `[kh, kw, out, in]`, both become PyTorch's by the same permutation.
    """
    names = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
    found: dict[str, torch.Tensor] = {}

    def walk(tree: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                walk(value, (*path, name))
                continue
            array = np.asarray(value)
            turned = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim if name == "kernel" else 0)
            array = array.transpose(turned) if turned else array
            found[".".join((*path, names[name]))] = torch.from_numpy(np.array(array, order="C"))

    walk(params, ())
    own = {name.replace("nets.", ""): parameter for name, parameter in module.named_parameters()}
    assert own.keys() == found.keys(), sorted(own.keys() ^ found.keys())
    with torch.no_grad():
        for name, parameter in own.items():
            assert parameter.shape == found[name].shape, (name, parameter.shape, found[name].shape)
            parameter.copy_(found[name])


def build(
    *, model: str, form: str, precision: str, shapes: Mapping[str, tuple], options: Mapping[str, Any], task: str = "train"
) -> tuple[dict[str, Any], Callable[[int], None], Callable[[], dict]]:
    """A worker (see `workers`) that steps, or predicts, on one random batch, handed over as numpy each time as a loader would.

    model: a module of this package. form: eager, channels_last or compile (`torch.compile` of every net). shapes: of the batch
    `{name: shape}`, images `[B, C, H, W]`; a name may go with the number of its classes, `{name: (shape, classes)}`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # what XLA does by default
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    layout = torch.channels_last if form == "channels_last" else torch.contiguous_format
    made = importlib.import_module(f"experiments.benchmarks.peers.{model}").make(options)
    for net in made.nets.values():
        net.to(device, memory_format=layout).train(task == "train")
        if form == "compile":
            net.compile()
    arrays = {name: _random(shape) for name, shape in shapes.items()}
    half = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work = made.step if task == "train" else torch.inference_mode()(made.predict)

    def run(steps: int) -> None:
        for _ in range(steps):
            batch = {name: torch.from_numpy(x).to(device) for name, x in arrays.items()}
            batch = {name: x.contiguous(memory_format=layout) if x.ndim == 4 else x for name, x in batch.items()}
            with half:
                work(batch)
        wait()

    begun = time.perf_counter()
    run(1)
    first = time.perf_counter() - begun
    facts = {"parameters": {name: count(net) for name, net in made.nets.items()}, "threads": torch.get_num_threads()}
    facts |= {"versions": {"torch": torch.__version__}, "first_s": first}
    facts |= {"device_kind": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    memory = lambda: torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else None
    return facts, run, lambda: {"device_mb": memory()}


def _random(shape: tuple) -> np.ndarray:
    """Uniform noise in [-1, 1], or classes."""
    rng = np.random.default_rng(0)
    if len(shape) == 2 and isinstance(shape[0], tuple | list):
        return rng.integers(0, shape[1], shape[0])
    return rng.uniform(-1, 1, shape).astype(np.float32)
