"""Labelled images from a trained run: what `medjax synthesize` and the studies call."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import generator, networks
from medjax.build.conditions import Conditions, chosen_labels, given_columns
from medjax.build.generator import columns_of, load_generator
from medjax.build.trained import Model, load
from medjax.metrics.discrimination import calibration, most_passing
from medjax.rng import named
from medjax.synthesize import TRIES, Outcome, check, synthesize
from medjax.types import Array, ConfigError, MedjaxError

BATCH = 16
FACT = (
    "an optimal discriminator gives t or more to at most (1 - t) / t of the generated images, and one half to every image once "
    "the generator's density equals the real one (Goodfellow et al. 2014, proposition 1, with Markov's inequality)"
)


def run(
    workdir: str | Path,
    output: str | Path,
    *,
    labels: Sequence[str],
    count: int,
    seed: int = 0,
    threshold: float = 0.0,
    max_tries: int | None = None,
    upscale: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    which: str = "best",
    overwrite: bool = False,
    progress: bool = True,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Write `count` images of each of `labels` by the run in `workdir` into the folder `output`; see `medjax.synthesize`.

    labels: classes of the run, or `("all",)`; () for a run without labels. columns: `{"age" | "sex" | "view": value}` of all
    images; those of the run's columns that are not given are drawn from its training images of the class. upscale: a run of
    super-resolution that enlarges images of just this size.

    Raises ConfigError, CheckpointError and DataError as the module's parts do, before anything is written.
    """
    tries = TRIES * count if max_tries is None else max_tries
    check(output, count=count, threshold=threshold, max_tries=tries, overwrite=overwrite)
    if seed < 0:
        raise ConfigError(f"the seed is a whole number from 0 on, not {seed}")
    model = load_generator(workdir, which=which)
    labels = chosen_labels(model, labels, workdir)
    given = given_columns(model, columns or {}, workdir)
    enlarge = None if upscale is None else Enlarger(upscale, model, workdir)
    judge = generator.judge(model) if threshold else None
    needed = threshold or set(columns_of(model)) - {"label", *given}
    data, why = _data(model, workdir) if needed else (None, "")
    conditions = Conditions(model, given, data, seed, why)
    make, key = generator.generator(model), named(jax.random.key(seed), "synthesis")
    origin = f"run {Path(workdir).resolve().name}, step {model.step}, seed {seed}"
    stated = {"run": _stated(workdir, model), "upscale": enlarge and enlarge.stated}
    stated |= {"seed": seed, "count": count, "labels": list(labels), "columns": dict(columns or {})}

    def provenance(outcome: Outcome) -> dict[str, Any]:
        stated["filter"] = _filter(model, outcome, threshold, tries, data, why) if threshold else None
        stated["ms_per_image"] = outcome.ms_per_image() | {"batch_size": BATCH}
        what = "synthetic images: made by a computer, of no patient"
        return {"what": what, "images": len(outcome.rows), **stated, "versions": configs.versions()}

    outcome = synthesize(
        lambda label, numbers: make(named(key, label), numbers, conditions(label, numbers)),
        labels,
        output,
        count=count,
        seed=seed,
        judge=judge and (lambda label, numbers, images: judge(images, conditions(label, numbers))),
        threshold=threshold,
        max_tries=tries,
        enlarge=enlarge,
        describe=conditions.described,
        told=origin,
        provenance=provenance,
        batch_size=BATCH,
        overwrite=overwrite,
        progress=progress,
    )
    for line in report(outcome, stated):
        say(line)
    return outcome


class Enlarger:
    """Images through a run of super-resolution: `[1, h, w, 1]` in [-1, 1] to what is `config.data.scale` times larger.

    Raises ConfigError for a run that does not enlarge, or one that was trained to enlarge images of another size.
    """

    def __init__(self, workdir: str | Path, model: Model, origin: str | Path) -> None:
        config, side = configs.read(workdir), model.config.data.crop_size
        c = config.data
        if networks.method(config).kind != "image" or c.scale < 2 or build_data.channels(config) > 1:
            raise ConfigError(f"{workdir} does not enlarge single images: --upscale takes a run with config.data.scale from 2 on")
        grid = c.image_size // c.scale
        if grid != side:
            raise ConfigError(
                f"{workdir} enlarges images of {grid} x {grid} to {c.image_size} x {c.image_size} pixels, and {origin} makes "
                f"images of {side} x {side}: structures would have another size than any it has seen; "
                f"a run of config.data.image_size={side * c.scale} fits"
            )
        enlarging = load(workdir)
        self.stated = {**_stated(workdir, enlarging), "scale": c.scale, "size": [side * c.scale] * 2}
        self._enhance = enlarging.enhance()

    def __call__(self, images: Array) -> Array:
        return self._enhance(images)


def _data(model: Model, workdir: str | Path) -> tuple[build_data.Data | None, str]:
    """The run's data, or why they are not at hand: a generator can be used away from them."""
    try:
        return build_data.open_data(model.config, workdir), ""
    except MedjaxError as error:
        return None, str(error)


def _stated(workdir: str | Path, model: Model) -> dict[str, Any]:
    """Which run, and which checkpoint of it."""
    text = json.dumps(configs.to_json(model.config), sort_keys=True)
    name = f"{model.config.name}:{model.config.variant}"
    found = {"workdir": str(workdir), "config": name, "config_sha256": hashlib.sha256(text.encode()).hexdigest()}
    return found | {"checkpoint_step": model.step, "size": [model.config.data.crop_size] * 2}


def _filter(
    model: Model, outcome: Outcome, threshold: float, tries: int, data: build_data.Data | None, why: str
) -> dict[str, Any]:
    """What the threshold let pass, what it can let pass, and what the probabilities are worth."""
    if told := generator.no_probability(model.config):
        warnings.warn(told, stacklevel=4)
    found: dict[str, Any] = {"threshold": threshold, "max_tries": tries, "adversary": model.config.method.adversary}
    found["passed"] = {label: tally.passed(threshold) for label, tally in outcome.tallies.items()}
    found |= {"most_of_an_optimal_discriminator": most_passing(threshold), "fact": FACT}
    generated = {label: tally.every for label, tally in outcome.tallies.items()}
    real, label = generator.judged(model, data, "validation") if data else (np.empty(0), np.empty(0, int))
    names = np.array(tuple(model.config.data.classes) or ("",))[label]
    of = {name: (real[names == name] if name else real, p) for name, p in generated.items()}
    both_sides = [both for both in of.values() if len(both[0])]  # a class that one side alone has would tell them apart
    of |= {"all": tuple(np.concatenate(side) for side in zip(*both_sides, strict=True))} if len(both_sides) > 1 else {}
    found["calibration"] = {name: calibration(*both) for name, both in of.items() if len(both[0])}
    bare = [name or "no label" for name, both in of.items() if not len(both[0])]
    if bare:
        found["calibration_absent"] = why or f"the validation split has no image of {', '.join(bare)}"
        told = f"the discriminator was not calibrated on held-out real images of {', '.join(bare)}: {found['calibration_absent']}"
        warnings.warn(told, stacklevel=4)
    return found


def report(outcome: Outcome, stated: Mapping[str, Any]) -> list[str]:
    """What the command prints of an outcome and its provenance."""
    many = ", ".join(f"{tally.kept} of {label or 'no label'}" for label, tally in outcome.tallies.items())
    lines, cut = [f"{many}: written to {outcome.folder}"], stated["filter"]
    if cut:
        for label, passed in cut["passed"].items():
            low, high = passed["ci95"]
            rate = f"{passed['count']} of {passed['n']} passed, {passed['rate']:.1%} [{low:.1%}, {high:.1%}]"
            lines.append(f"threshold {cut['threshold']:g}, {label or 'no label'}: {rate}")
        lines.append(f"of an optimal discriminator at most {cut['most_of_an_optimal_discriminator']:.1%} can pass: {FACT}")
        for label, found in cut["calibration"].items():
            sides = [_side(found[side], told) for side, told in (("real", "held-out real"), ("generated", "generated"))]
            scores = f"Brier {found['brier']:.3f} (a coin: 0.25), calibration error {found['ece']:.3f}"
            lines.append(f"discriminator{', ' if label else ''}{label}: {'; '.join(sides)}; {scores}")
    times = stated["ms_per_image"]
    parts = ", ".join(f"{name} {ms:.3g}" for name, ms in times.items() if name not in ("kept", "batch_size"))
    lines.append(f"ms per image (warm, batches of {times['batch_size']}): {parts}; for each image kept {times['kept']:.3g}")
    return lines


def _side(found: Mapping[str, Any], told: str) -> str:
    return f"{found['n']} {told} images, mean probability {found['mean']:.3f}, {found['half']['rate']:.0%} at 0.5 or above"
