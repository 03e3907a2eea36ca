"""Conditional diffusion from a config: the denoiser, the schedule, the objective, and what a result file says of sampling."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from medjax import objectives
from medjax.diffusion import Schedule, make_schedule
from medjax.models.denoiser import Denoiser
from medjax.objective import Objective, Player
from medjax.objectives.diffusion import mismatch
from medjax.types import Array, ConfigError

SAMPLING = ("sampler", "steps", "start", "samples", "eta", "variance", "spacing", "condition")
"""Fields of `config.method` that say how images are drawn, and may be others at inference than in training, as `enhancer` may."""

MOST_LEFT = 0.01  # of an image's power, in what is taken for noise alone; linear leaves 4e-5 at 1000 times


def _denoiser(config: ConfigDict, **options: Any) -> nn.Module:
    return Denoiser(**options)


DENOISERS: dict[str, Callable[..., nn.Module]] = {"denoiser": _denoiser}


def diffusion(config: ConfigDict, denoiser: Player) -> Objective:
    """The conditional diffusion of `config.method`.

    Raises ConfigError for an unknown schedule, prediction, weighting or sampler, for a start beyond the schedule's steps of
    noise, for more sampling steps than there are, and as `enhancer.enhancer` does where an enhancer is needed.
    """
    m = config.method
    if config.data.scale != 1:
        raise ConfigError(f"diffusion keeps the size of its condition: config.data.scale is 1 for it, not {config.data.scale}")
    return objectives.diffusion(
        denoiser,
        schedule=_schedule(m),
        prediction=m.prediction,
        weighting=m.weighting,
        gamma=m.gamma,
        **{name: m[name] for name in SAMPLING},
        enhance=_enhance(config) if needs_enhancer(config) else None,
        trained_on=m.trained_on,
        microbatch=config.train.microbatch,
    )


def _schedule(method: ConfigDict) -> Schedule:
    schedule = make_schedule(method.schedule, method.num_times)
    left = float(schedule.alpha_bar[-1])
    if not method.start and left > MOST_LEFT:
        warnings.warn(
            f"at the last of {method.num_times} times the schedule {method.schedule!r} leaves {left:.0%} of an image's power, so "
            "images cannot begin as noise alone: linear is made for 1000 times, cosine for any number",
            stacklevel=4,
        )
    return schedule


def _enhance(config: ConfigDict) -> Callable[[Array], Array]:
    from medjax.build import enhancer  # which reads runs, and so all of `build`

    return enhancer.enhancer(config)


def needs_enhancer(config: ConfigDict) -> bool:
    """Whether a run is trained on what an enhancer makes of its sources, or draws its images with one."""
    return is_diffusion(config) and (config.method.trained_on == "enhanced" or _draws_with_enhancer(config.method))


def _draws_with_enhancer(method: ConfigDict) -> bool:
    return method.condition == "enhanced" or (method.start > 0 and method.enhancer != "")


def for_drawing(config: ConfigDict) -> ConfigDict:
    """`config` with what its images are drawn by and no more: an enhancer that only the training reads is not looked for.

    Warns where the denoiser is shown another condition than it was trained on.
    """
    if told := mismatch(config.method.trained_on, config.method.condition):
        warnings.warn(told, stacklevel=3)
    changed = config.copy_and_resolve_references()
    changed.method.trained_on = config.method.condition
    return changed


def is_diffusion(config: ConfigDict) -> bool:
    """Whether a run's images are drawn by a denoiser."""
    return config.method.name == "diffusion"


def resampled(config: ConfigDict, sampling: Mapping[str, Any]) -> ConfigDict:
    """`config` with another `enhancer` and other values of `SAMPLING` fields, those that are None left as they are.

    Raises ConfigError for a run that does not sample, with the name of the first option given, and for an enhancer that would
    not be used.
    """
    given = {name: value for name, value in sampling.items() if value is not None}
    if given and not is_diffusion(config):
        raise ConfigError(f"--{next(iter(given))} is for runs of diffusion, not for one of {config.method.name}")
    changed = config.copy_and_resolve_references()
    changed.method.update(given)
    if given.get("enhancer") and not _draws_with_enhancer(changed.method):
        raise ConfigError(
            "--enhancer changes nothing where images begin as noise alone and the denoiser is shown the source: give --start or "
            "--condition=enhanced too"
        )
    return changed


def stated(config: ConfigDict) -> dict[str, Any]:
    """How the images that were scored were drawn, for a result file; nothing for other methods."""
    if not is_diffusion(config):
        return {}
    from medjax.build import enhancer

    m = config.method
    found = {name: m[name] for name in (*SAMPLING, "schedule", "num_times", "prediction", "trained_on")}
    found["enhancer"] = enhancer.identity(config) if _draws_with_enhancer(m) else None
    told = mismatch(m.trained_on, m.condition)
    return {"sampling": found | ({"mismatch": told} if told else {})}
