"""The training step of a config on simulated devices, as a benchmark's worker (see `workers`): placed as `medjax train` does it.

Imported in the worker's process alone, whose XLA_FLAGS say how many devices there are; `medjax_step` sets the command line's
flag for CPUs beside them before jax is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarks.medjax_step import jax, random_batch
from medjax import placement
from medjax.build import config as configs
from medjax.build import networks
from medjax.objective import train_step
from medjax.rng import named

_SHAPE = re.compile(r"(f64|f32|bf16|f16|s32|u32)\[([\d,]*)\]")
_WIDTH = {"f64": 8, "f32": 4, "bf16": 2, "f16": 2, "s32": 4, "u32": 4}


def build(
    *, config: str, overrides: Sequence[str], devices: int, each: int, equal: int, split: bool
) -> tuple[dict[str, Any], Callable[[int], None], Callable[[], dict]]:
    """Steps of `each` images on every one of `devices`; at the end three steps of one batch of `equal` images, the same on any
    number of devices.
    """
    sized = lambda images: configs.get(config, [*overrides, f"data.batch_size={images}"])
    c = sized(each * devices)
    mesh, key = placement.mesh_of(devices), named(jax.random.key(c.seed), "train")
    objective = placement.with_placement(networks.objective(c, 1000), mesh, split=split)
    step = jax.jit(train_step(objective), donate_argnums=0)

    def begin(config: ConfigDict) -> tuple[Any, dict[str, Any]]:
        batch = random_batch(config)
        state = jax.jit(objective.init)(named(jax.random.key(c.seed), "init"), batch)
        batches = placement.placed_batches(lambda start: iter([batch]), mesh)
        return placement.place(state, mesh, split=split), next(batches(0))

    state, batch = begin(c)
    program = step.lower(state, batch, key).compile().as_text()
    held = {"state": state, "metrics": {}}

    def run(count: int) -> None:
        for _ in range(count):
            held["state"], held["metrics"] = step(held["state"], batch, key)
        jax.block_until_ready(held)

    def finish() -> dict[str, Any]:
        state, batch = begin(sized(equal))
        losses = []
        for _ in range(3):
            state, metrics = step(state, batch, key)
            losses.append({name: float(x) for name, x in metrics.items() if name.endswith("loss")})
        flat = [np.ravel(x) for net in state.nets.values() for x in jax.tree.leaves(net.params)]
        return {"losses": losses, "vector": np.concatenate(flat).astype(np.float64)}

    run(1)
    parameters = sum(x.size for net in state_nets(held["state"]) for x in jax.tree.leaves(net.params))
    moved = {name: operand_bytes(program, name) for name in ("all-reduce", "all-gather", "reduce-scatter", "all-to-all")}
    return {"devices": mesh.size, "batch": each * devices, "parameters": parameters, "bytes": moved}, run, finish


def state_nets(state: Any) -> list[Any]:
    """The nets of a state."""
    return list(state.nets.values())


def operand_bytes(program: str, operation: str) -> int:
    """Bytes that the results of every `operation` of a compiled program have, tuples by their parts; a loop's body once."""
    total = 0
    for line in program.splitlines():
        found = re.search(rf"= (.*?) {operation}(-start)?\(", line)
        if found:
            for kind, shape in _SHAPE.findall(found.group(1)):
                total += _WIDTH[kind] * math.prod(int(n) for n in shape.split(",") if n)
    return total
