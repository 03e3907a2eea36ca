"""Other trained models beside the one that is scored: the first phase it started from, and its interpolation with another."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from medjax.build import config as configs
from medjax.build import superres
from medjax.build.trained import Model, load
from medjax.metrics.tables import COMPANIONS
from medjax.state import interpolate, weights_of
from medjax.types import ConfigError


def companions(model: Model, interpolation: tuple[str | Path, float] | None = None) -> dict[str, Model]:
    """`{row: model}` of what an evaluation shows beside `model`.

    The row `l1` (or whatever loss it descends) is the first phase that a second phase of super-resolution was started from;
    where its workdir is gone a warning says so. interpolation: another run's workdir and the share of this one, for the row
    `interpolated`: its generator's weights are (1 - share) of the other's and share of this one's (Wang et al. 2018, eq. 4).
    Raises CheckpointError for a run of another architecture, naming the first parameter that differs, and ConfigError for a
    share outside [0, 1] or nets that enlarge differently.
    """
    found = first_phase(model)
    if interpolation is not None:
        found["interpolated"] = interpolated(model, *interpolation)
    return found


def first_phase(model: Model) -> dict[str, Model]:
    """`{loss: model}` of the supervised run that a second phase began from, `{}` where there is none."""
    config = model.config
    if config.method.name not in superres.METHODS or not config.init_from:
        return {}
    origin = Path(config.init_from).expanduser()
    if not (origin / "config.json").exists():
        warnings.warn(f"the first phase of this run, {origin}, is gone: its row is left out", stacklevel=2)
        return {}
    method = configs.read(origin).method
    if method.name != "supervised" or method.reconstruction not in COMPANIONS:
        return {}
    return {method.reconstruction: load(origin)}


def stated_rows(found: dict[str, Model], interpolation: tuple[str | Path, float] | None) -> dict[str, Any]:
    """What these rows are of, for the protocol of a result file."""
    rows = {row: f"step {model.step} of {model.config.name}:{model.config.variant}" for row, model in found.items()}
    if interpolation is not None:
        other, share = interpolation
        rows["interpolated"] = f"{share:g} of this run's weights and {1 - share:g} of those of {Path(other).name}"
    return {"companions": rows} if rows else {}


def interpolated(model: Model, other: str | Path, share: float) -> Model:
    """`model` with the weights of its generator moved towards those of the run `other`, of which 1 - `share` is taken."""
    theirs = load(other)
    if superres.enlargement(theirs.config) != superres.enlargement(model.config):
        told = " and ".join(str(superres.enlargement(m.config)) for m in (model, theirs))
        raise ConfigError(f"{other} cannot be interpolated with: the scales, bases and ranges of enlargement are {told}")
    first, second = ({"generator": weights_of(m.state)["generator"]} for m in (theirs, model))
    params, stats = interpolate(first, second, share, origin=str(other))["generator"]
    nets = {**model.state.nets, "generator": model.state.nets["generator"]._replace(params=params, stats=stats)}
    return replace(model, state=model.state._replace(nets=nets))
