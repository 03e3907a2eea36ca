"""The study's runs: an L1 phase on each modality, its GAN phase, the L1 phase at x2, and a light generator at x2.

Every run is an ordinary workdir of `medjax train`. A second phase starts from the last weights of its first, so that the
two can be interpolated. X-rays must be there; where CT or MR is not, the study goes on without it and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from experiments import common
from experiments.superres.curves import Curve
from experiments.superres.scales import SCALES, Scale
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build.training import num_steps
from medjax.data.phantom.files import write_phantoms
from medjax.types import DataError


class Run(NamedTuple):
    """What sets a run apart. after: the first phase that it begins from; network: main, or light."""

    label: str
    short: str
    modality: str
    factor: int = 4
    after: str = ""
    network: str = "main"

    @property
    def pairs(self) -> str:
        """The images it is trained and scored on."""
        return f"{self.modality}_x{self.factor}"


RUNS: dict[str, Run] = {
    "cxr": Run("L1", "L1", "cxr"),
    "cxr_gan": Run("GAN, begun from L1", "GAN", "cxr", after="cxr"),
    "cxr_x2": Run("L1", "L1", "cxr", 2),
    "light": Run("L1, light RRDB", "light", "cxr", 2, network="light"),
    "ct": Run("L1", "L1", "ct"),
    "ct_gan": Run("GAN, begun from L1", "GAN", "ct", after="ct"),
    "mri": Run("L1", "L1", "mri"),
    "mri_gan": Run("GAN, begun from L1", "GAN", "mri", after="mri"),
}
MODALITIES = {"cxr": "chest X-rays", "ct": "CT slices", "mri": "T1 MR slices"}
FOLDERS = {"cxr": "cxr_nih", "ct": "ct", "mri": "mri_t1_t2"}  # below the folder of the data
PHANTOM_FOLDERS = {"ct": "ct", "mri": "brain"}


@dataclass(frozen=True)
class Study(common.Study):
    """What was asked for. source: files or phantoms; root: the folder above those of the modalities."""

    source: str = common.FILES

    @property
    def scale(self) -> Scale:
        """The sizes."""
        return SCALES[self.scale_name]

    def folder(self, name: str, seed: int = 0) -> Path:
        """The workdir of a run."""
        return self.workdir.resolve() / "runs" / name / f"seed_{seed}"

    def images(self, modality: str) -> str:
        """The folder of a modality's images, "" for simulated X-rays, which are drawn."""
        if not self.real:
            return "" if modality == "cxr" else str(self.workdir.resolve() / common.PHANTOMS / PHANTOM_FOLDERS[modality])
        return str(self.above() / FOLDERS[modality])


@dataclass
class Opened:
    """What there is to train and score on. data: by what `Run.pairs` names; runs: those that have images, in order; absent:
    {modality: why it is not there}."""

    data: dict[str, build_data.Data] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    absent: dict[str, str] = field(default_factory=dict)

    def of(self, run: str) -> build_data.Data:
        """The data of a run."""
        return self.data[RUNS[run].pairs]

    def on(self, pairs: str) -> tuple[str, ...]:
        """The runs on these images, first phases first."""
        return tuple(run for run in self.runs if RUNS[run].pairs == pairs)


def title(pairs: str) -> str:
    """`chest X-rays x4`."""
    modality, _, factor = pairs.partition("_")
    return f"{MODALITIES[modality]} {factor}"


def heading(pairs: str) -> str:
    """`title` as a sentence begins with it."""
    return title(pairs)[0].upper() + title(pairs)[1:]


def config_of(study: Study, name: str, seed: int = 0) -> ConfigDict:
    """The config of run `name`, its images included; the number of steps is the scale's, or follows from the epochs."""
    run, scale = RUNS[name], study.scale
    variant, overrides = scale.light if run.network == "light" else scale.first[run.modality]
    double = scale.double if run.factor == 2 and run.network == "main" else ()
    config = configs.get(f"{variant}_gan" if run.after else variant, [*overrides, *double])
    images_of(study, run.modality, config)
    config.seed, steps = seed, scale.steps[name]
    if run.after:
        config.init_from = str(study.folder(run.after, seed))
    if steps:
        period = max(steps // scale.checks, 1)
        config.train.update(steps=steps, epochs=0, eval_every=period, save_every=period, log_every=max(steps // 100, 1))
        config.train.update(sample_every=0 if scale.checks < 3 else steps, eval_images=8)
    config.train.update(best="step:max", tensorboard=False, progress=study.progress)
    return config


def images_of(study: Study, modality: str, config: ConfigDict) -> None:
    """Sets the source of `config` to the images of a modality: the files as `esrgan:small_MODALITY` reads them, or phantoms."""
    c = config.data
    donor = configs.get("esrgan:small" if modality == "cxr" else f"esrgan:small_{modality}").data
    c.source, c.root = donor.source, study.images(modality)
    c[c.source].update(donor[c.source])
    if study.real:
        return
    if modality == "cxr":
        c.source, c.phantom_cxr.count = "phantom_cxr", study.scale.cxr
        return
    c.source, c.split = "mri_slices" if modality == "mri" else "volumes", (0.5, 0.25, 0.25)
    c.volumes.names = "^PHANTOM[0-9]+$"  # not what is known of them, in the folder beside
    c[c.source].update(range_mm=(), step_mm=study.scale.apart[modality], fov_mm=0.0)


def write_volumes(study: Study) -> None:
    """The simulated volumes, once."""
    for modality, kind in (("ct", "ct"), ("mri", "brain")):
        folder = study.workdir.resolve() / common.PHANTOMS / kind
        if not (folder / "subjects.csv").exists():  # written last but for the table of findings
            options = {"contrasts": ("T1",)} if kind == "brain" else {}
            write_phantoms(folder, kind=kind, count=study.scale.volumes, **study.scale.grids[modality], **options)


def open_all(study: Study) -> Opened:
    """The images of every modality, dealt as they were where a run was begun, whatever has come into their folder since.

    Raises DataError where there are no X-rays; the folders of CT and MR may be absent, and what is in them must be sound.
    """
    if not study.real:
        write_volumes(study)
    found = Opened()
    for name in study.scale.steps:
        run = RUNS[name]
        if run.pairs in found.data or run.modality in found.absent:
            continue
        try:
            found.data[run.pairs] = build_data.open_data(config_of(study, name), study.folder(name))
        except DataError as error:
            if run.modality == "cxr" or Path(study.images(run.modality)).is_dir():
                raise
            found.absent[run.modality] = str(error)
    found.runs = tuple(name for name in study.scale.steps if RUNS[name].modality not in found.absent)
    return found


def train_all(study: Study, *, say: Callable[[str], None] = print) -> Opened:
    """Train or resume every run in turn; returns the images they share. Raises MedjaxError if one was stopped."""
    opened = open_all(study)
    for modality, why in opened.absent.items():
        say(f"Without {MODALITIES[modality]}: {why}")
    for seed in range(study.seeds):
        for name in opened.runs:
            say(f"[{name}, seed {seed}] {title(RUNS[name].pairs)}, {RUNS[name].label}")
            config, data = config_of(study, name, seed), opened.of(name)
            size, folder = len(data.splits["train"]), study.folder(name, seed)
            curve = Curve(config, data, folder, count=study.scale.watched, steps=num_steps(config, size))
            common.train_to_end(name, config, folder, size, hooks=[(config.train.eval_every, curve)], say=say)
    return opened


def describe(study: Study, name: str) -> dict[str, Any]:
    """What a run's generator is and how long it was trained, for the report."""
    config, known = config_of(study, name), configs.resolved(study.folder(name))
    g = config.generator
    return {
        "generator": f"{g.name} (blocks: {g.blocks}, features: {g.features})", "steps": known["steps"],
        "parameters": known["parameters"]["generator"], "batch": f"{config.data.batch_size} x {config.data.crop_size} pixels",
    }  # fmt: skip
