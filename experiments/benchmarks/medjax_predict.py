"""The prediction of a config as a benchmark's worker (see `workers`): the objective's `predict` under jit, with fresh weights.

Imported in the worker's process alone: it sets the command line's XLA flag for CPUs before jax is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medjax import set_cpu_flags

set_cpu_flags()
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or a peer would find a GPU's memory taken

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from experiments.benchmarks.medjax_common import Compiled, about, begin, random_batch  # noqa: E402
from medjax.build import config as configs  # noqa: E402
from medjax.build import diffusion, networks  # noqa: E402
from medjax.rng import named  # noqa: E402
from medjax.state import TrainState  # noqa: E402

SHOWN = ("source", "target", "label", "index")  # what a prediction may read


def build(
    *, config: str, overrides: Sequence[str], task: str = "predict"
) -> tuple[dict[str, Any], Callable[[int], None], Callable[[], dict]]:
    """task: predict, or forward, one call of the denoiser of a diffusion."""
    compiled = Compiled()
    c = configs.get(config, overrides)
    objective, example = networks.objective(c, 1), random_batch(c)
    state = begin(objective, example, c.seed)
    state = state._replace(nets={name: net._replace(opt_state=()) for name, net in state.nets.items()})
    given = {name: example[name] for name in SHOWN if name in example}
    key = named(jax.random.key(c.seed), "predict")
    work = forward(c) if task == "forward" else lambda state, batch, key: objective.predict(state, batch, key)
    step, facts = compiled.measured(jax.jit(work), state, given, key)

    def run(count: int) -> None:
        for _ in range(count):
            jax.block_until_ready(step(state, given, key))

    run(1)
    compiled.mark()

    def finish() -> dict[str, Any]:
        found = jax.tree.leaves(step(state, given, key))
        return {**compiled.since(), "finite": all(bool(np.isfinite(x).all()) for x in found)}

    return {**facts, **about(state)}, run, finish


def forward(config: Any) -> Callable[[TrainState, Mapping[str, Any], Any], Any]:
    """`(state, batch, key) -> prediction`: one call of the denoiser of `config`, at the middle time."""
    net = networks.module(config, "denoiser", diffusion.DENOISERS)
    t = config.method.num_times // 2

    def work(state: TrainState, batch: Mapping[str, Any], key: Any) -> Any:
        source, params = batch["source"], state.nets["denoiser"].params
        x = jax.random.normal(key, source.shape)
        return net.apply({"params": params}, x, jnp.full(len(source), t), source)

    return work
