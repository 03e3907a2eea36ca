"""Operations that training the CGAN takes for an image, by the width of its networks, against what the paper's card can do."""

from __future__ import annotations

from typing import Any

import jax

from experiments.labelled.runs import Study
from medjax.build import config as configs
from medjax.build import networks, trained
from medjax.objective import train_step

EPOCHS, IMAGES, HOURS = 500, 15_000, 12
PEAK = 2.138e12  # FLOP/s in float32 of a GeForce GTX 1050 Ti: 768 cores, 2 operations at 1.392 GHz
FEASIBLE = 0.5  # of the peak, more than networks this small keep up
BATCH = 8


def measure(study: Study) -> dict[str, Any]:
    """`{"rate": images a second, "peak", "pixels", "widths": {width: {"gflop": an image, "tflops": a second, "share": of the
    peak, "parameters"}}}`: XLA's count of one training step before optimisation; nothing is computed.
    """
    rate, widths = EPOCHS * IMAGES / (HOURS * 3600), {}
    for width, (name, overrides) in study.scale.flops.items():
        config = configs.get(name, [*overrides, f"data.batch_size={BATCH}"])
        objective, key, batch = networks.objective(config, 1000), jax.random.key(0), trained.blank(config, batch_size=BATCH)
        state = jax.eval_shape(objective.init, key, batch)
        flop = jax.jit(train_step(objective)).lower(state, batch, key).cost_analysis()["flops"] / BATCH
        count = {n: sum(x.size for x in jax.tree.leaves(net.params)) for n, net in state.nets.items()}
        widths[str(width)] = {"gflop": flop / 1e9, "tflops": rate * flop / 1e12, "share": rate * flop / PEAK, "parameters": count}
    return {"rate": rate, "peak": PEAK, "pixels": config.data.crop_size, "widths": widths}
