"""The study's runs: on each set of images a generator and a classifier that judges it; on phantoms a second phase of the
generator, which another classifier guides; and one super-resolution in two phases.

Every run is an ordinary workdir of `medjax train`: `runs/cgan_phantom/seed_0`, `runs/cgan_nih/seed_0`, and of the others
`runs/NAME`, as their training is not repeated. Super-resolution is trained on the images that the
claims are about, real ones where there are any, from the generator's size to its own. One that is already complete there, as
long as its own config says, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments import common
from experiments.labelled.scales import SCALES, Scale
from medjax.build import config as configs
from medjax.build import data as build_data


class Run(NamedTuple):
    """What sets a run apart. kind: generator, classifier or enlarger; images: of a set, or "" for those of the claims; seed: what
    is added to the study's.
    """

    label: str
    kind: str
    images: str = ""
    seed: int = 0


RUNS: dict[str, Run] = {
    "cgan_phantom": Run("CGAN on phantoms", "generator", "phantom"),
    "guide_phantom": Run("classifier of phantoms that guides", "classifier", "phantom"),
    "cgan_guided": Run("CGAN on phantoms, guided", "generator", "guided"),
    "classifier_phantom": Run("classifier of phantoms", "classifier", "phantom", seed=1),  # no judge of what it guided
    "cgan_nih": Run("CGAN on NIH images", "generator", "nih"),
    "classifier_nih": Run("classifier of NIH images", "classifier", "nih"),
    "srresnet": Run("super-resolution, pixel loss", "enlarger"),
    "srgan": Run("super-resolution, GAN phase", "enlarger"),
}
SETS = {"phantom": "phantoms", "guided": "phantoms, guided", "nih": "NIH chest X-rays"}
JUDGES = {"phantom": "phantom", "guided": "phantom", "nih": "nih"}  # whose classifier judges the generator of a set
FOLDER = "cxr_nih"  # below the folder of the data


@dataclass(frozen=True)
class Study(common.Study):
    """What was asked for. source: files or phantoms; root: the folder above `cxr_nih`; seeds: trainings of every generator."""

    source: str = common.FILES

    @property
    def scale(self) -> Scale:
        """The sizes."""
        return SCALES[self.scale_name]

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets of images, each with a generator; phantoms, whose findings are known, are always there."""
        return tuple(name for name in self.scale.gans if self.real or name != "nih")

    @property
    def main(self) -> str:
        """The set that the claims are judged on."""
        return "nih" if self.real else "phantom"

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs in order."""
        there = [name for name, run in RUNS.items() if run.images in ("", *self.sets)]
        return tuple(name for name in there if name != "guide_phantom" or "guided" in self.sets)

    @property
    def place(self) -> Path:
        """The workdir, absolute."""
        return self.workdir.resolve()

    def folder(self, name: str, seed: int = 0) -> Path:
        """The workdir of a run; generators alone are trained from several seeds."""
        place = self.place / "runs" / name
        return place / f"seed_{seed}" if RUNS[name].kind == "generator" else place

    def gan(self, images: str, seed: int = 0) -> Path:
        """The workdir of the generator of a set."""
        return self.folder(f"cgan_{images}", seed)

    def classifier(self, images: str) -> Path:
        """The workdir of the classifier that judges the generator of a set."""
        return self.folder(f"classifier_{JUDGES[images]}")

    def nih(self) -> str:
        """The folder of the NIH images."""
        return str(self.above() / FOLDER)


def config_of(study: Study, name: str, seed: int = 0) -> ConfigDict:
    """The config of run `name`, its images included."""
    run, scale = RUNS[name], study.scale
    if run.kind == "generator":
        variant, overrides = scale.gans[run.images]
        config = configs.get(variant, list(overrides))
        config.data.root = study.nih() if run.images == "nih" else ""
        if run.images == "guided":
            config.init_from = str(study.gan("phantom", seed))
            config.method.guide.classifier = str(study.folder("guide_phantom"))
    elif run.kind == "classifier":
        variant, overrides = scale.classifiers[run.images]
        config = configs.get(variant, list(overrides))
        same_images(config, config_of(study, f"cgan_{run.images}"))
    else:
        config = _enlarger(study, name)
    if name in scale.steps and scale.steps[name]:
        config.train.update(steps=scale.steps[name], epochs=0)
    config.seed = seed + run.seed
    config.train.update(tensorboard=False, progress=study.progress)
    return config


def same_images(config: ConfigDict, donor: ConfigDict) -> None:
    """Point `config` at the images of `donor`, of the same classes, so that both deal patients in one order."""
    c, theirs = config.data, donor.data
    c.update(source=theirs.source, root=theirs.root, limit=theirs.limit, split_seed=theirs.split_seed)
    c.update(labels=theirs.labels, classes=theirs.classes, label_mode=theirs.label_mode)
    c[c.source].update(theirs[c.source])


def _enlarger(study: Study, name: str) -> ConfigDict:
    """A phase of super-resolution from the generator's size to its own."""
    scale, donor = study.scale, config_of(study, f"cgan_{study.main}")
    variant, overrides = scale.second if name == "srgan" else scale.first
    config = configs.get(variant, list(overrides))
    same_images(config, donor)
    c = config.data
    c.update(scale=c.image_size // donor.data.crop_size, split=donor.data.split, min_per_class=1)
    c.clahe.update(donor.data.clahe)
    if c.source == "phantom_cxr":
        c.phantom_cxr.count = scale.enlarged
    if name == "srgan":
        config.init_from = str(study.folder("srresnet"))
    steps = scale.steps[name]
    if steps:
        period = max(steps // scale.checks, 1)
        config.train.update(eval_every=period, save_every=period, log_every=max(steps // 100, 1), eval_images=8)
        config.train.update(sample_every=steps if scale.checks > 1 else 0)
    config.train.best = "step:max"
    return config


def open_all(study: Study) -> dict[str, build_data.Data]:
    """{set: its images as its generator sees them}, and `large`: those of super-resolution. Raises DataError where a folder is
    absent, before anything is trained."""
    found = {images: build_data.open_data(config_of(study, f"cgan_{images}")) for images in study.sets}
    return found | {"large": build_data.open_data(config_of(study, "srgan"))}


def train_all(study: Study, data: Mapping[str, build_data.Data], *, say: Callable[[str], None] = print) -> None:
    """Train or resume every run in turn. data: as `open_all` gives it. Raises MedjaxError if one was stopped."""
    for name in study.runs:
        for seed in range(study.seeds if RUNS[name].kind == "generator" else 1):
            config, folder = config_of(study, name, seed), study.folder(name, seed)
            if common.complete(config, folder):
                continue
            say(f"[{name}, seed {seed}] {RUNS[name].label}")
            size = len(data[RUNS[name].images or "large"].splits["train"])
            common.train_to_end(name, config, folder, size, say=say)


def describe(study: Study, name: str) -> dict[str, Any]:
    """What a run is and how long it was trained, for the report."""
    folder = study.folder(name)
    config, known = configs.read(folder), configs.resolved(folder)
    c = config.data
    pixels = f"{c.image_size // c.scale} to {c.image_size}" if c.scale > 1 else str(c.image_size)
    return {
        "label": RUNS[name].label, "config": f"{config.name}:{config.variant}", "steps": known["steps"], "pixels": pixels,
        "batch": c.batch_size, "parameters": known["parameters"], "source": c.source, "counts": known.get("class_counts", {}),
    }  # fmt: skip
