"""From a config to what makes inputs of good images: the degradation, its scale, the filter of inputs, and deformations."""

from __future__ import annotations

from ml_collections import ConfigDict

from medjax.build import networks
from medjax.data.augment import RESAMPLERS, Warp
from medjax.data.degrade import OPERATIONS, PREFILTERS, Degradation
from medjax.data.pools import pooled
from medjax.data.records import Source
from medjax.types import ConfigError


def degradation_of(config: ConfigDict, source: Source) -> Degradation | None:
    """The degradation of `config.data.degradation` at `config.data.scale`; None for pairs, which bring their own inputs, and
    where no image is made of an image.

    Raises ConfigError for pairs at a scale above 1, for steps that are missing or unknown, and for a scale that does not fit
    the sizes of the images.
    """
    c = config.data.degradation
    if pooled(source):
        return None  # it is applied to one of two pools, once and for all
    if source.paired:
        if config.data.scale != 1:
            raise ConfigError(
                f"config.data.scale is {config.data.scale}, but {source.kind} brings its own inputs, as large as its targets"
            )
        return None
    if not c.steps and networks.method(config).kind != "image":
        return None  # what is learnt is a label, or images without an input
    if not c.steps:
        raise ConfigError(f"{source.kind} holds good images alone, so config.data.degradation.steps may not be empty")
    check_scale(config)
    params = params_of(c)
    if "downsample" in params:
        params["downsample"]["factor"] = config.data.scale
    return Degradation(steps=tuple(c.steps), params=params, size=c.size or None)


def params_of(section: ConfigDict) -> dict[str, dict]:
    """The parameters of the steps of `config.data.degradation`, by their names."""
    return {name: section[name].to_dict() for name in OPERATIONS if name in section and name in section.steps}


def check_scale(config: ConfigDict) -> None:
    """ConfigError where `config.data.scale` and the steps disagree, or where the scale does not divide a size."""
    c = config.data
    if not isinstance(c.scale, int) or c.scale < 1:
        raise ConfigError(f"config.data.scale is a whole number from 1 on, not {c.scale}")
    count = list(c.degradation.steps).count("downsample")
    if count != (c.scale > 1):
        wanted = "once, at a scale above 1" if c.scale == 1 else f"once, as config.data.scale is {c.scale}"
        raise ConfigError(f"config.data.degradation.steps holds downsample {count} times, where it belongs {wanted}")
    if c.scale == 1:
        return
    for field in ("image_size", "load_size", "crop_size"):
        if c[field] % c.scale:
            raise ConfigError(f"config.data.{field} is {c[field]}, which config.data.scale = {c.scale} does not divide")
    if c.degradation.size:
        raise ConfigError("config.data.degradation.size has no meaning at a scale above 1: set image_size and load_size")
    if c.degradation.downsample.resampler not in RESAMPLERS:
        raise ConfigError(
            f"config.data.degradation.downsample.resampler is {c.degradation.downsample.resampler!r}, "
            f"which is none of {', '.join(RESAMPLERS)}"
        )


def warp_of(config: ConfigDict) -> Warp:
    """How training images are deformed."""
    c = config.data
    return Warp(rotate=c.rotate, zoom=c.zoom, alpha=c.elastic.alpha, sigma=c.elastic.sigma)


def notes_of(config: ConfigDict) -> tuple[str, ...]:
    """What the user should know of how inputs are made, beside the source's own notes."""
    kind, notes = config.data.prefilter, []
    if kind:
        if kind not in PREFILTERS:
            raise ConfigError(f"config.data.prefilter is {kind!r}, which is none of {', '.join(PREFILTERS)}, nor empty")
        notes.append(
            f"inputs are filtered ({PREFILTERS[kind]}); targets are not, and must not be: a filtered target is easier to "
            "reach and lifts the PSNR of every row by several dB"
        )
    if config.data.self_supervised:
        notes.append("self-supervised: trained, validated and tested on the same images, so no score says how others fare")
    return tuple(notes)
