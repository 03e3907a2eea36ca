"""The training step of a config as a benchmark's worker (see `workers`): the objective, jitted and donated as `fit` does it.

Imported in the worker's process alone: it sets the command line's XLA flag for CPUs before jax is loaded.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from medjax.cli import set_cpu_flags

set_cpu_flags()
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or a peer would find a GPU's memory taken

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

from experiments.benchmarks.workers import MEGA  # noqa: E402
from medjax.build import config as configs  # noqa: E402
from medjax.build import networks  # noqa: E402
from medjax.loop import rematerialising  # noqa: E402
from medjax.objective import Objective, train_step  # noqa: E402
from medjax.rng import named  # noqa: E402
from medjax.state import TrainState  # noqa: E402

_SCHEDULE = 100_000  # steps of the learning rate's schedule: more than a benchmark takes


def build(
    *, config: str, overrides: Sequence[str]
) -> tuple[dict[str, Any], Callable[[int], None], Callable[[], dict]]:
    """Trains the objective of `config` on one random batch, handed over as numpy each step as the loader does."""
    jax.config.update("jax_enable_compilation_cache", False)  # the compile time is part of the answer
    compiles: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiles.append(seconds) if "backend_compile" in name else None
    )
    c = configs.get(config, overrides)
    objective, example = networks.objective(c, _SCHEDULE), random_batch(c.data.batch_size, c.data.crop_size)
    key = named(jax.random.key(c.seed), "train")
    step = jax.jit(train_step(objective), donate_argnums=0, compiler_options=rematerialising() if c.train.remat else None)
    held = {"state": begin(objective, example, c.seed), "metrics": {}}

    clock = time.perf_counter()
    lowered = step.lower(held["state"], example, key)
    lowered_at = time.perf_counter()
    compiled = lowered.compile()
    seconds = {"trace_s": lowered_at - clock, "compile_s": time.perf_counter() - lowered_at}

    def run(count: int) -> None:
        for _ in range(count):
            held["state"], held["metrics"] = step(held["state"], example, key)
        jax.block_until_ready(held)

    run(1)
    before = len(compiles)

    def finish() -> dict[str, Any]:
        memory = jax.devices()[0].memory_stats() or {}
        terms = {name: float(np.asarray(x)) for name, x in held["metrics"].items()}
        return {
            "recompiled": len(compiles) - before if before else None,
            "steps": int(held["state"].step),
            "terms": terms,
            "finite": all(math.isfinite(x) for x in terms.values()),
            "device_mb": memory["peak_bytes_in_use"] / MEGA if "peak_bytes_in_use" in memory else None,
        }

    cost = {"gflop": _gflop(lowered), "gflop_compiled": _gflop(compiled), "program_mb": _program_mb(compiled)}
    return {**seconds, **cost, **_about(held["state"])}, run, finish


def begin(objective: Objective, example: dict[str, Any], seed: int) -> TrainState:
    """A fresh state, placed as a training run places it."""
    once = {"xla_backend_optimization_level": 1}  # it runs once: compiling it well takes longer than running it
    state = jax.jit(objective.init, compiler_options=once)(named(jax.random.key(seed), "init"), example)
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def random_batch(batch: int, size: int) -> dict[str, Any]:
    """Uniform noise in the shape of a batch: `source`, `target` float32 `[B, S, S, 1]` in [-1, 1], `index` int32 `[B]`."""
    rng = np.random.default_rng(0)
    images = {name: rng.uniform(-1, 1, (batch, size, size, 1)).astype(np.float32) for name in ("source", "target")}
    return images | {"index": np.arange(batch, dtype=np.int32)}


def _gflop(program: Any) -> float | None:
    cost = program.cost_analysis() or {}
    return cost["flops"] / 1e9 if cost.get("flops", 0) > 0 else None


def program_bytes(compiled: Any) -> dict[str, int] | None:
    """Bytes of arguments, outputs that are no donated argument, temporaries, and the total, by XLA's memory analysis."""
    m = compiled.memory_analysis()
    if m is None:
        return None
    sizes = {
        "arguments": m.argument_size_in_bytes,
        "outputs": m.output_size_in_bytes - m.alias_size_in_bytes,
        "temporaries": m.temp_size_in_bytes,
    }
    return {**sizes, "total": sum(sizes.values())}


def _program_mb(compiled: Any) -> dict[str, float] | None:
    """Those in megabytes."""
    sizes = program_bytes(compiled)
    return sizes and {name: size / MEGA for name, size in sizes.items()}


def _about(state: TrainState) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "versions": configs.versions(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "threads": len(os.sched_getaffinity(0)),
        "parameters": {name: sum(x.size for x in jax.tree.leaves(net.params)) for name, net in state.nets.items()},
    }
