"""What the figures of an evaluation depend on, in words and numbers, for its result file."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from medjax import baselines
from medjax.build import config as configs
from medjax.build import diffusion
from medjax.build.data import Data, range_of
from medjax.data.degrade import PREFILTERS
from medjax.data.records import Source
from medjax.types import ConfigError


def baseline_names(config: ConfigDict) -> list[str]:
    """`config.evaluation.baselines`: enhancers and maps of intensity, at a scale above 1 upscalers.

    Raises ConfigError for a name that is none of them.
    """
    names, scale = list(config.evaluation.baselines), config.data.scale
    known = tuple(baselines.UPSCALERS) if scale > 1 else (*baselines.ENHANCERS, *baselines.MAPS)
    unknown = [name for name in names if name not in known]
    if unknown:
        where = f", the rows there are at config.data.scale = {scale}" if scale > 1 else ""
        raise ConfigError(f"config.evaluation.baselines: {unknown[0]!r} is none of {', '.join(known)}{where}")
    return names


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
        **_inputs(c, data.source),
        "baselines": params,
        "predict_norm": c.get("generator", {}).get("predict_norm", "none"),
        **diffusion.stated(c),
        **of_run(c, step),
    }


def of_run(config: ConfigDict, step: int) -> dict[str, Any]:
    """Which checkpoint of which training was scored."""
    c = config.data
    return {"checkpoint_step": step, "training_data": c.source, "split_seed": c.split_seed, "train_seed": config.seed}


def _inputs(config: ConfigDict, source: Source) -> dict[str, Any]:
    """What sets a run of super-resolution apart, and what is done to inputs alone; nothing where nothing is."""
    c, stated = config.data, {}
    if c.scale > 1:
        side, kind = c.image_size // c.scale, c.degradation.downsample.resampler
        stated["scale"] = f"x{c.scale}: inputs of {side} x {side}, targets of {c.image_size} x {c.image_size} pixels"
        stated["downsampler"] = f"{kind} (Pillow, antialiased, float32), the whole image, pixel grids sharing their corners"
        stated["upscalers"] = "Pillow, float32 (bicubic: a = -0.5), clipped to [0, 1]"
    if c.prefilter:
        stated["inputs"] = f"filtered ({PREFILTERS[c.prefilter]}) for the model and for every row; targets as they are"
    if c.self_supervised and source.kind == c.source:
        stated["training_images"] = "self-supervised: the run's own images, those that are scored"
    return stated


def _intensities(config: ConfigDict, source: Source) -> dict[str, Any]:
    """How values became 0 and 1, and which slices they are of."""
    if source.kind == "mixed":
        kinds = {entry: entry.partition(":")[0] for entry in config.data.mixed.kinds}
        return {"intensities": {entry: _mapped(config.data[kind]) for entry, kind in kinds.items()}}
    section = config.data.get(source.kind, {})
    if "plane" not in section:
        return {"value_range": _range(section)}
    return {
        "intensities": _mapped(section),
        "slices": configs.to_json(section),
        "region": "_inside: over the head's mask; _affine: after the a * output + b of each image that is closest there",
    }


def _mapped(section: ConfigDict) -> str:
    """The map of intensities of one kind of data, in words."""
    if "plane" not in section:
        return f"by the range {_range(section)}"
    window = section.get("window", ())
    mapped = f"by the window {tuple(window)}" if window else f"by the percentiles {tuple(section.percentiles)} inside each head"
    return f"each volume mapped to [0, 1] {mapped}, clipped"


def _range(section: ConfigDict) -> Any:
    return range_of(section) or "of the stored type"
