"""What the figures of an evaluation depend on, in words and numbers, for its result file."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.build.data import Data, value_range
from medjax.data.records import Source


def of(config: ConfigDict, data: Data, params: dict[str, Any], *, step: int) -> dict[str, Any]:
    """What the figures depend on, for the result file."""
    c = config
    degradation = "none: the data set's own pairs"
    if data.degradation is not None:
        d = data.degradation
        params_used = {k: dict(v) for k, v in d.params.items()}
        degradation = {"steps": list(d.steps), "params": params_used, "size": d.size or c.data.image_size}
    return {
        "resolution": c.data.image_size,
        "resampler": "lanczos (Pillow), to a square",
        **_intensities(c, data.source),
        "degradation": degradation,
        "baselines": params,
        "predict_norm": c.generator.get("predict_norm", "none"),
        "checkpoint_step": step,
        "training_data": c.data.source,
        "split_seed": c.data.split_seed,
        "train_seed": c.seed,
    }


def _intensities(config: ConfigDict, source: Source) -> dict[str, Any]:
    """How values became 0 and 1, and which slices they are of."""
    section = config.data.get(source.kind, {})
    if "plane" not in section:
        return {"value_range": value_range(config) or "of the stored type"}
    window = section.get("window", ())
    mapped = f"by the window {tuple(window)}" if window else f"by the percentiles {tuple(section.percentiles)} inside each head"
    return {
        "intensities": f"each volume mapped to [0, 1] {mapped}, clipped",
        "slices": configs.to_json(section),
        "region": "_inside: over the head's mask; _affine: after the a * output + b of each image that is closest there",
    }
