"""What attention costs by placement: parameters, operations, and seconds, the steps of all runs timed in turn.

Operations are XLA's count of the forward pass before optimisation (a multiplication and an addition are two), at
batch 1. Seconds come in two kinds: from the trainings themselves, which ran one after the other, and of single steps of
all runs in rotation within one process, which whatever else the machine does hits alike.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from experiments.attention.runs import Study, config_of, places_text, scheduled
from experiments.common import example, kept
from medjax import placement
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import networks, training
from medjax.objective import train_step
from medjax.writers import read_metrics

PUBLISHED_PLACES = (16, 32, 64, 128)


def measure(study: Study, data: build_data.Data) -> dict[str, Any]:
    """`{"runs": {run: costs}, "published": [costs by placement]}`, measured once and then read from `costs.json`."""
    return kept(study.workdir / "costs.json", lambda: {"runs": _runs(study, data), "published": published()})


def _runs(study: Study, data: build_data.Data) -> dict[str, dict[str, Any]]:
    table = {}
    for run in study.scale.runs:
        config = config_of(study, run)
        parameters, flops = generator_cost(config)
        logged = [row["time"]["seconds_per_step"] for row in read_metrics(study.folder(run)) if "time" in row]
        table[run] = {
            "places": places_text(study.places(run)), "parameters": parameters, "gflop": flops / 1e9,
            "logged_seconds": float(np.median(logged[1:] or logged)),
        }  # fmt: skip
    for run, seconds in rotation(study, len(data.splits["train"])).items():
        table[run]["seconds"] = seconds
    return table


def generator_cost(config: ConfigDict) -> tuple[int, float]:
    """(parameters, operations of one forward pass of one image) of the generator; nothing is computed."""
    module = networks.module(config, "generator", networks.GENERATORS)
    side = config.data.image_size
    image = jax.ShapeDtypeStruct((1, side, side, 1), jnp.float32)
    variables = jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), image)
    lowered = jax.jit(lambda v, x: module.apply(v, x, train=False)).lower(variables, image)
    return count(variables["params"]), lowered.cost_analysis()["flops"]


def count(tree: Any) -> int:
    """Numbers in a tree of arrays or shapes."""
    return int(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(tree)))


def rotation(study: Study, num_images: int) -> dict[str, list[float]]:
    """Seconds of single training steps {run: [rounds]}; a round takes one step of each run.

    The steps are those of the trainings to the last constant, so that their compiled programs are found in the cache.
    """
    steps, mesh, key = {}, placement.mesh_of(), jax.random.key(0)
    for run in study.scale.runs:
        config = scheduled(study, config_of(study, run), num_images)
        objective, batch = networks.objective(config, training.num_steps(config, num_images)), example(config)
        state = placement.place(jax.jit(objective.init)(key, batch), mesh)
        steps[run] = [jax.jit(train_step(objective), donate_argnums=0), state, batch]
    seconds: dict[str, list[float]] = {run: [] for run in steps}
    for turn in range(study.scale.rounds + 1):
        for run, held in steps.items():
            begun = time.perf_counter()
            held[1], _ = jax.block_until_ready(held[0](held[1], held[2], key))
            if turn:  # the first compiles
                seconds[run].append(time.perf_counter() - begun)
    return seconds


def published() -> list[dict[str, Any]]:
    """Parameters and operations of the generator as published (256 pixels, 64 features), without and by placement.

    Encoder only: the decoder's maps have the same channels, so attention there costs the same.
    """
    wanted = [(), *((f"encoder:{size}",) for size in PUBLISHED_PLACES)]
    found = []
    for places in wanted:
        config = configs.get("pix2pix_cxr:paper", [f"generator.attention_at={places!r}"])
        parameters, flops = generator_cost(config)
        found.append({"places": places_text(places), "parameters": parameters, "gflop": flops / 1e9})
    return found
