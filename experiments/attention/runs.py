"""The study's runs: one baseline, attention at several places, and reconstruction alone, at equal epochs and data.

A scale fixes the sizes; a run differs from the baseline in nothing but what its name says. Every run is an ordinary
workdir of `medjax train`, so each can be evaluated, resumed and used by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from experiments import common
from medjax.build import config as configs
from medjax.build import data as build_data


class Run(NamedTuple):
    """What sets a run apart. sides: where attention sits, at the map side of the scale; short: its name in figures."""

    label: str
    short: str
    sides: tuple[str, ...] = ()
    kind: str = "self"
    method: str = "pix2pix"


RUNS: dict[str, Run] = {
    "l1_only": Run("same U-Net, L1 alone (no discriminator)", "L1 only", method="supervised"),
    "baseline": Run("pix2pix, no attention", "pix2pix"),
    "encoder": Run("pix2pix + self-attention, encoder", "self, encoder", ("encoder",)),
    "decoder": Run("pix2pix + self-attention, decoder", "self, decoder", ("decoder",)),
    "both": Run("pix2pix + self-attention, encoder and decoder", "self, both", ("encoder", "decoder")),
    "channel": Run(
        "pix2pix + channel attention, encoder and decoder", "channel, both", ("encoder", "decoder"), "channel"
    ),
}
ATTENTION = ("encoder", "decoder", "both", "channel")
SIXTHS = 6  # the paper compares every 25 of 150 epochs; so does the study, in sixths of its own training


class Scale(NamedTuple):
    """The sizes of a study. place: side of the maps that attention sits on; audit: images for the claims on inputs."""

    config: str
    overrides: tuple[str, ...]
    epochs: int
    place: int
    runs: tuple[str, ...]
    phantoms: int
    audit: int
    audit_size: int
    rounds: int


SCALES: dict[str, Scale] = {
    "tiny": Scale(
        "pix2pix_cxr:tiny", ("train.tensorboard=False", "train.log_every=3"), 2, 16, ("baseline", "both"), 24, 4, 64, 1
    ),
    "small": Scale(
        "pix2pix_cxr:paper",
        (
            "data.image_size=128", "data.load_size=143", "data.crop_size=128", "data.batch_size=4", "data.limit=0",
            "generator.features=16", "discriminator.features=16", "train.log_every=24", "train.tensorboard=False",
            "train.eval_images=0",
        ),
        60, 32, tuple(RUNS), 240, 60, 256, 6,
    ),
    "paper": Scale("pix2pix_cxr:paper", (), 150, 32, tuple(RUNS), 4999, 60, 256, 20),
}  # fmt: skip


@dataclass(frozen=True)
class Study(common.Study):
    """What was asked for, on chest X-rays."""

    source: str = "nih_cxr14"

    @property
    def scale(self) -> Scale:
        """The sizes."""
        return SCALES[self.scale_name]

    def folder(self, name: str, seed: int = 0) -> Path:
        """The workdir of a run."""
        return self.workdir / "runs" / name / f"seed_{seed}"

    def places(self, name: str) -> tuple[str, ...]:
        """Where the run has attention, as the config says it: `encoder:32`."""
        return tuple(f"{side}:{self.scale.place}" for side in RUNS[name].sides)


def config_of(study: Study, name: str, seed: int = 0) -> ConfigDict:
    """The config of run `name`, complete but for what depends on the number of images."""
    run, scale = RUNS[name], study.scale
    overrides = [
        *scale.overrides,
        f"data.source={study.source}",
        f"data.root={study.root}",
        f"method.name={run.method}",
        f"generator.attention_at={study.places(name)!r}",
        f"generator.attention_kind={run.kind}",
        f"seed={seed}",
        f"train.progress={study.progress}",
    ]
    if not study.real:
        overrides += [f"data.phantom_cxr.count={scale.phantoms}", "data.limit=0"]
    return configs.get(scale.config, overrides)


def scheduled(study: Study, config: ConfigDict, num_images: int) -> ConfigDict:
    """The config with its length in epochs, and validations at least twice in every sixth of it."""
    steps, sixth = max(num_images // config.data.batch_size, 1), max(study.scale.epochs // SIXTHS, 1)
    period = max(d for d in range(1, max(sixth // 2, 1) + 1) if sixth % d == 0) * steps
    sheets = 4 * period if study.scale.epochs >= SIXTHS else 0  # of a training that short there is nothing to see
    changes = dict(epochs=study.scale.epochs, steps=0, eval_every=period, save_every=period, sample_every=sheets)
    return configs.override(config, [f"train.{k}={v}" for k, v in changes.items()])


def epoch_steps(config: ConfigDict, data: build_data.Data) -> int:
    """Steps in a pass over the training images."""
    return max(len(data.splits["train"]) // config.data.batch_size, 1)


def train_all(study: Study, *, say: Callable[[str], None] = print) -> build_data.Data:
    """Train or resume every run in turn; returns the data all of them share. Raises MedjaxError if one was stopped."""
    data = build_data.open_data(config_of(study, "baseline"))
    for seed in range(study.seeds):
        for name in study.scale.runs:
            say(f"[{name}, seed {seed}] {RUNS[name].label}")
            config = scheduled(study, config_of(study, name, seed), len(data.splits["train"]))
            common.train_to_end(name, config, study.folder(name, seed), len(data.splits["train"]), say=say)
    return data


def places_text(places: Sequence[str]) -> str:
    """`encoder:32, decoder:32`, or a dash."""
    return ", ".join(places) or "–"
