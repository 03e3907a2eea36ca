"""Milliseconds a frame: generators that double the pixels along a side, timed in turn on this machine.

Time does not depend on what the weights are, so the published generator is timed with weights just drawn. Networks are timed
in rotation within one process, which whatever else the machine does hits alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.superres.runs import RUNS, Opened, Study, config_of
from medjax import baselines
from medjax.build import config as configs
from medjax.build import evaluation as build_evaluation
from medjax.build import networks
from medjax.types import to_signed

PUBLISHED, BICUBIC = "published", "bicubic"
REAL_TIME = 25.0  # frames a second, those of a monitor for fluoroscopy at the least


def measure(study: Study, opened: Opened) -> dict[str, Any]:
    """`{"frame": side of the input, "factor", "rows": {row: {"parameters", "gflop", "ms": [rounds]}}, "device", "threads"}`."""
    side = study.scale.frame
    frame = np.random.default_rng(0).random((1, side, side, 1), np.float32)
    rows, timed = {}, {}
    for row, config in {PUBLISHED: _published(study), **{run: config_of(study, run) for run in _doubling(opened)}}.items():
        module = networks.module(config, "generator", networks.GENERATORS)
        shape = jax.ShapeDtypeStruct(frame.shape, jnp.float32)
        variables = jax.eval_shape(module.init, jax.random.key(0), shape)
        apply = jax.jit(lambda v, x, module=module: module.apply(v, x, train=False))
        flops = apply.lower(variables, shape).cost_analysis()["flops"]
        count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))
        rows[row] = {"parameters": count, "gflop": flops / 1e9}
        weights = _weights(study, row, variables)
        timed[row] = lambda apply=apply, weights=weights: jax.block_until_ready(apply(weights, to_signed(frame)))
    rows[BICUBIC] = {"parameters": 0, "gflop": 0.0}
    timed[BICUBIC] = lambda: baselines.enlarge(frame[0], factor=2)
    for row, milliseconds in rotation(timed, study.scale.rounds).items():
        rows[row]["ms"] = milliseconds
    device = configs.versions()["device"]
    return {"frame": side, "factor": 2, "rows": rows, "device": device, "threads": os.cpu_count()}


def _doubling(opened: Opened) -> list[str]:
    return [run for run in opened.runs if RUNS[run].factor == 2]


def _published(study: Study) -> Any:
    name, overrides = study.scale.full
    return configs.get(name, list(overrides))


def _weights(study: Study, row: str, variables: Any) -> Any:
    """A run's own weights; of the published generator any that are as large as a layer's are."""
    if row != PUBLISHED:
        net = build_evaluation.load(study.folder(row), which="latest").state.nets["generator"]
        return {"params": net.params, **net.stats}
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.normal(0, 0.01, leaf.shape).astype(np.float32)  # noqa: E731
    return jax.device_put(jax.tree.map(draw, variables))


def rotation(timed: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds {row: [rounds]}; a round runs each once, after one that compiles."""
    found: dict[str, list[float]] = {row: [] for row in timed}
    for turn in range(rounds + 1):
        for row, run in timed.items():
            begun = time.perf_counter()
            run()
            if turn:
                found[row].append(1000 * (time.perf_counter() - begun))
    return found


def milliseconds(found: dict[str, Any], row: str) -> float:
    """The median over the rounds."""
    return float(np.median(found["rows"][row]["ms"]))
