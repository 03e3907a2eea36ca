"""What the workers of medjax share: a random batch, a state placed as a run places it, what compiling cost and gave.

Imported in a worker's process alone, after XLA's flags are set.
"""

from __future__ import annotations

import os
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.benchmarks.workers import MEGA
from medjax import placement
from medjax.build import config as configs
from medjax.build import networks, trained
from medjax.objective import Objective
from medjax.rng import named
from medjax.state import TrainState


class Compiled:
    """Compilations of this process, counted and timed; the persistent cache is off, as the time is part of the answer."""

    def __init__(self) -> None:
        jax.config.update("jax_enable_compilation_cache", False)
        self._seconds: list[float] = []
        self._before = 0
        jax.monitoring.register_event_duration_secs_listener(
            lambda name, seconds, **_: self._seconds.append(seconds) if "backend_compile" in name else None
        )

    def measured(self, fn: Any, *args: Any) -> tuple[Any, dict[str, Any]]:
        """`fn`, jitted, and what tracing and compiling it for `args` took, with its FLOPs and memory."""
        clock = time.perf_counter()
        lowered = fn.lower(*args)
        lowered_at = time.perf_counter()
        compiled = lowered.compile()
        seconds = {"trace_s": lowered_at - clock, "compile_s": time.perf_counter() - lowered_at}
        cost = {"gflop": _gflop(lowered), "gflop_compiled": _gflop(compiled), "program_mb": _program_mb(compiled)}
        return fn, {**seconds, **cost}

    def mark(self) -> None:
        """What is compiled from now on counts as compiled again."""
        self._before = len(self._seconds)

    def since(self) -> dict[str, Any]:
        """Compilations since then, and the device's peak memory."""
        memory = jax.devices()[0].memory_stats() or {}
        return {
            "recompiled": len(self._seconds) - self._before if self._before else None,
            "device_mb": memory["peak_bytes_in_use"] / MEGA if "peak_bytes_in_use" in memory else None,
        }


def random_batch(config: ConfigDict) -> dict[str, Any]:
    """A batch of `config` with uniform noise in [-1, 1] for images and random classes for labels; see `trained.blank`."""
    rng = np.random.default_rng(0)
    batch = trained.blank(config, batch_size=config.data.batch_size)
    for name, blank in batch.items():
        if blank.ndim == 4:
            batch[name] = rng.uniform(-1, 1, blank.shape).astype(np.float32)
    if "label" in batch:
        several = batch["label"].ndim == 2
        drawn = rng.integers(0, 2 if several else networks.num_classes(config), batch["label"].shape)
        batch["label"] = drawn.astype(batch["label"].dtype)
    return {**batch, "index": np.arange(config.data.batch_size, dtype=np.int32)}


def begin(objective: Objective, example: dict[str, Any], seed: int) -> TrainState:
    """A fresh state, placed as a training run places it."""
    once = {"xla_backend_optimization_level": 1}  # it runs once: compiling it well takes longer than running it
    state = jax.jit(objective.init, compiler_options=once)(named(jax.random.key(seed), "init"), example)
    return placement.place(state, placement.mesh_of())


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


def about(state: TrainState) -> dict[str, Any]:
    """The machine, the versions, and the sizes of the networks."""
    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device_kind": device.device_kind,
        "versions": configs.versions(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "threads": len(os.sched_getaffinity(0)),
        "parameters": {name: sum(x.size for x in jax.tree.leaves(net.params)) for name, net in state.nets.items()},
    }
