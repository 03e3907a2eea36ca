"""The training step of a config as a benchmark's worker (see `workers`): the objective, jitted and donated as `fit` does it.

Imported in the worker's process alone: it sets the command line's XLA flag for CPUs before jax is loaded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from medjax import set_cpu_flags

set_cpu_flags()
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # or a peer would find a GPU's memory taken

import jax  # noqa: E402
import numpy as np  # noqa: E402

from experiments.benchmarks.medjax_common import Compiled, about, begin, program_bytes, random_batch  # noqa: E402
from medjax.build import config as configs  # noqa: E402
from medjax.build import networks  # noqa: E402
from medjax.loop import rematerialising  # noqa: E402
from medjax.objective import train_step  # noqa: E402
from medjax.rng import named  # noqa: E402

__all__ = ["begin", "build", "jax", "program_bytes", "random_batch"]
_SCHEDULE = 100_000  # steps of the learning rate's schedule: more than a benchmark takes


def build(
    *, config: str, overrides: Sequence[str]
) -> tuple[dict[str, Any], Callable[[int], None], Callable[[], dict]]:
    """Trains the objective of `config` on one random batch, handed over as numpy each step as the loader does."""
    compiled = Compiled()
    c = configs.get(config, overrides)
    objective, example = networks.objective(c, _SCHEDULE), random_batch(c)
    key = named(jax.random.key(c.seed), "train")
    held = {"state": begin(objective, example, c.seed), "metrics": {}}
    step = jax.jit(train_step(objective), donate_argnums=0, compiler_options=rematerialising() if c.train.remat else None)
    step, facts = compiled.measured(step, held["state"], example, key)

    def run(count: int) -> None:
        for _ in range(count):
            held["state"], held["metrics"] = step(held["state"], example, key)
        jax.block_until_ready(held)

    run(1)
    compiled.mark()

    def finish() -> dict[str, Any]:
        terms = {name: float(np.asarray(x)) for name, x in held["metrics"].items()}
        finite = all(math.isfinite(x) for x in terms.values())
        return {**compiled.since(), "steps": int(held["state"].step), "terms": terms, "finite": finite}

    return {**facts, **about(held["state"])}, run, finish
