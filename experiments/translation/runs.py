"""The study's runs: the paper's system in three legs, a network made for this task with and without an adversary, phantoms
and the warm-up on digits.

Every run is an ordinary workdir of `medjax train`. The paper's system trains at a constant rate, so a run to a tenth of
its schedule, continued to six tenths and to the end, is to the bit one run to the end: its three legs are the 1x, 6x and
10x of the paper's Figures 3 to 5, each a workdir that can be evaluated and used.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments import common
from experiments.translation.scales import SCALES, Scale
from medjax.build import config as configs
from medjax.build import data as build_data


class Run(NamedTuple):
    """What sets a run apart. network: one of the scale's; arm: volumes, phantom (simulated heads) or digits."""

    label: str
    short: str
    about: str
    network: str
    method: str = "pix2pix"
    arm: str = "volumes"


_RESIDUAL = "fully convolutional, sees the slice between its neighbours, learns a correction to it"
RUNS: dict[str, Run] = {
    "published": Run("U-Net as published, pix2pix", "published", "dropout, one slice in, constant rate", "published"),
    "l1_only": Run("residual network, L1 alone", "L1 only", f"{_RESIDUAL}; no discriminator", "main", "supervised"),
    "main": Run("residual network, pix2pix", "pix2pix", _RESIDUAL, "main"),
    "phantom": Run("residual network, pix2pix, simulated heads", "phantoms", "the same", "main", arm="phantom"),
    "digits": Run("the warm-up, pix2pix", "digits", "U-Net, from a damaged digit to the digit", "digits", arm="digits"),
}
LEGS = {"1x": 1, "6x": 6, "10x": 10}  # tenths of the schedule: the paper's 4,920, 29,520 and 49,200
LAST = "10x"


@dataclass(frozen=True)
class Study(common.Study):
    """What was asked for, on pairs of volumes. subjects "": the scale's own choice."""

    source: str = "mri_pairs"
    subjects: str = ""

    @property
    def scale(self) -> Scale:
        """The sizes."""
        return SCALES[self.scale_name]

    @property
    def chosen(self) -> str:
        """The regular expression of the subjects trained on; "" for all."""
        return self.subjects or self.scale.subjects

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs in order; on simulated heads alone the run of that name is the main run itself."""
        return tuple(run for run in RUNS if self.real or run != "phantom")

    @property
    def compared(self) -> tuple[str, ...]:
        """The runs that share the volumes."""
        return tuple(run for run in self.runs if RUNS[run].arm == "volumes")

    @property
    def on_phantoms(self) -> str:
        """The run that was trained on simulated heads."""
        return "phantom" if self.real else "main"

    def folder(self, name: str, seed: int = 0, leg: str = LAST) -> Path:
        """The workdir of a run."""
        return self.workdir / "runs" / name / f"seed_{seed}" / (leg if name == "published" else "")


def config_of(study: Study, name: str, seed: int = 0, *, leg: str = LAST) -> ConfigDict:
    """The config of run `name`."""
    run, scale = RUNS[name], study.scale
    config, overrides = scale.networks[run.network]
    steps = scale.steps[name]
    period = max(steps // scale.checks, 1)
    return configs.get(config, [
        *overrides, *data_of(study, run.arm), f"method.name={run.method}", f"seed={seed}",
        f"train.steps={steps * LEGS[leg] // 10 if name == 'published' else steps}", f"train.eval_every={period}",
        f"train.save_every={period}", f"train.sample_every={period if scale.checks > 1 else 0}",
        f"train.log_every={max(steps // 100, 1)}",
        "train.eval_images=0", "train.sample_colours=viridis", "train.tensorboard=False", f"train.progress={study.progress}",
    ])  # fmt: skip


def data_of(study: Study, arm: str) -> list[str]:
    """The overrides that choose the images of an arm."""
    scale = study.scale
    if arm == "digits":
        return ["data.source=phantom_digits", "data.root=", f"data.phantom_digits.count={scale.digits}"]
    if arm == "phantom" or not study.real:
        heads = [f"data.phantom_mri.count={scale.heads}", f"data.split={scale.head_split}", "data.phantom_mri.stripped=True"]
        return ["data.source=phantom_mri", "data.root=", *heads]
    whose = [f"data.mri_pairs.subjects={study.chosen}"] if study.chosen else []
    split = (0.8, 0.1, 0.1) if study.subjects else scale.split
    return [
        f"data.source={study.source}", f"data.root={study.root}", *whose, f"data.split={split}",
        f"data.mri_pairs.registration={scale.registration}", "data.mri_pairs.missing=skip",
    ]  # fmt: skip


def train_all(study: Study, *, say: Callable[[str], None] = print) -> dict[str, build_data.Data]:
    """Train or resume every run in turn; returns the data of each. Raises MedjaxError if one was stopped."""
    data = {name: build_data.open_data(config_of(study, name)) for name in study.runs}
    for seed in range(study.seeds):
        for name in study.runs:
            size, before = len(data[name].splits["train"]), None
            for leg in LEGS if name == "published" else (LAST,):
                say(f"[{name}, seed {seed}] {RUNS[name].label}" + (f", to {leg}" if name == "published" else ""))
                config, folder = config_of(study, name, seed, leg=leg), study.folder(name, seed, leg)
                if before is not None:
                    continue_run(before, folder, config)
                common.train_to_end(name, config, folder, size, say=say)
                before = folder
    return data


def continue_run(before: Path, folder: Path, config: ConfigDict) -> None:
    """A copy of the finished run `before` in `folder` that goes on to the end of `config`, once; whole or not at all."""
    if (folder / "config.json").exists():
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(before, part, ignore=shutil.ignore_patterns("evaluation*", "outputs.npz", "examples.npz"))
    configs.write(config, part, **(configs.resolved(before) | {"steps": config.train.steps}))
    part.rename(folder)


def thinned(data: build_data.Data, split: str, step: int) -> build_data.Data:
    """The data with every `step`-th image of `split` alone: neighbouring slices tell little that is new."""
    return replace(data, splits={**data.splits, split: np.asarray(data.splits[split])[::step]})
