"""What single scores of single slices do not see: how outputs change from slice to slice, and from draw to draw."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from experiments.translation.runs import LAST, Study, thinned
from experiments.translation.scores import Results, by_subject, stacks
from medjax import baselines, evaluate
from medjax.build import data as build_data
from medjax.build import evaluation as build_evaluation
from medjax.metrics import psnr, ssim
from medjax.metrics.consistency import change_ratio, error_change
from medjax.rng import named
from medjax.types import to_unit


def consistency(study: Study, data: build_data.Data, results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """{row: {subject: {"change_ratio", "error_change"}}}: how a row changes from slice to slice, see
    `medjax.metrics.consistency`."""
    maps, found = baselines.bind(results.params["main"]), {}
    for subject, indices in stacks(data, data.splits["test"]).items():
        source, target, region = (np.stack(part) for part in zip(*(results.images[i] for i in indices), strict=True))
        rows = {name: np.stack([maps[name](image) for image in source]) for name in ("monotone",) if name in maps}
        rows |= {run: np.stack([results.outputs[run][i] for i in indices]) for run in study.compared}
        for row, images in rows.items():
            figures = {"change_ratio": change_ratio, "error_change": error_change}
            values = {name: float(of(images, target, region)) for name, of in figures.items()}
            found.setdefault(row, {})[subject] = values
    return found


def dropout(study: Study, data: build_data.Data) -> dict[str, Any]:
    """What the published generator's dropout makes of it: scores of single draws, of the point estimate, and the draws'
    standard deviation within a pixel, on every fifth test slice.

    {"draws": [mean PSNR inside of each], "ssim": ..., "point": ..., "pixel_std", "between_inputs", "rank_correlation", "n"}
    """
    few = thinned(data, "test", 5 if len(data.splits["test"]) >= 20 else 1)
    model = build_evaluation.load(study.folder("published", 0, LAST), which="latest")
    predict, sample, key = model.predict(), model.sample(), named(jax.random.key(0), "dropout")
    batches = build_data.eval_batches(model.config, few, "test")
    shared = {"names": data.source.names, "columns": {"patient": data.source.column("patient")}, "progress": study.progress}
    shared |= {"key": key, "metrics": {"psnr": psnr, "ssim": ssim}, "num_examples": 0}

    def means(evaluation: evaluate.Evaluation) -> dict[str, float]:
        return {m: float(by_subject(evaluation, "model", m)[0].mean()) for m in ("psnr_inside", "ssim_inside")}

    point = evaluate.evaluate(predict, batches, sample=sample, num_samples=study.scale.draws, **shared)
    each = [
        means(evaluate.evaluate(lambda b, k, i=i: sample(b, jax.random.fold_in(k, i)), batches, **shared))
        for i in range(study.scale.draws)
    ]
    inputs = np.stack([np.asarray(predict({n: b[n] for n in ("source", "index")}, key)["target"]) for b in batches])
    return {
        "draws": [row["psnr_inside"] for row in each],
        "ssim": [row["ssim_inside"] for row in each],
        "point": means(point),
        "pixel_std": float(point.uncertainty["mean_std"].mean()),
        "between_inputs": float(to_unit(inputs).reshape(-1, *inputs.shape[2:]).std(0).mean()),
        "rank_correlation": float(np.nanmean(point.uncertainty["rank_correlation"])),
        "n": len(few.splits["test"]),
    }
