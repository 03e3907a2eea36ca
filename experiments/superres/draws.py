"""What the generator's output depends on: noise, or the image it is given."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from experiments.superres.curves import few
from experiments.superres.runs import Opened, Study
from experiments.superres.scores import images
from medjax.build import evaluation as build_evaluation
from medjax.types import to_signed, to_unit

COUNT = 4


def measure(study: Study, opened: Opened, run: str) -> dict[str, Any]:
    """`{"noise", "inputs", "n"}`: standard deviation of a pixel of the output, over draws of one input and over inputs."""
    model, data = build_evaluation.load(study.folder(run), which="latest"), opened.of(run)
    chosen = images(study, data, run, [int(i) for i in few(data, "test", COUNT).splits["test"]])
    source = to_signed(np.stack([small for small, _ in chosen.values()]))
    batch = {"source": source, "index": np.arange(len(source), dtype=np.int32)}
    sample = model.sample()
    drawn = np.stack([to_unit(np.asarray(sample(batch, jax.random.key(k))["target"])) for k in range(COUNT)])
    return {"noise": float(drawn.std(0).mean()), "inputs": float(drawn[0].std(0).mean()), "n": len(source)}
