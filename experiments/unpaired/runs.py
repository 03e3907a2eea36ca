"""The study's runs: on phantoms, whose truth is known, and on X-rays of people, each with one split file for every stage.

Every run is an ordinary workdir of `medjax train`: `runs/phantom/cyclegan`, `runs/real/diffusion`, ... Pairs lie in
`pairs/ARM/learnt`, made by `medjax degrade`, and `pairs/ARM/physical`, the same images under a degradation by physics. A run
that is already complete is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments import common
from experiments.unpaired.scales import PHANTOM, REAL, SCALES, Scale
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import pairs, pooling, training
from medjax.data import pools
from medjax.data.records import Record
from medjax.types import DataError
from medjax.writers import read_metrics

LABELS = {
    "cyclegan": "CycleGAN",
    "diffusion": "diffusion on the CycleGAN's pairs",
    "sane": "the same, longer and at a higher rate",
    "regression": "direct regression on the same pairs",
    "physical": "diffusion on pairs by physics",
    "classifier": "classifier, the judge",
}
ARMS = {PHANTOM: "phantoms", REAL: "X-rays of people"}
ON_PAIRS = ("diffusion", "sane", "regression", "physical")
REFINERS = ("diffusion", "sane")  # what refines the image that the CycleGAN enhanced
LEARNT, PHYSICAL = "learnt", "physical"
OTHERS = 1000  # added to the seed of the phantoms that the classifier sees: patients of its own
FOLDERS = {"nih_cxr14": "cxr_nih", "padchest": "padchest"}  # below --data_root


@dataclass(frozen=True)
class Study(common.Study):
    """What was asked for. source: files or phantoms; root: the folder above `cxr_nih`; low: the kind of the real low-quality
    images, that of the others at a low simulated dose or another as it comes; seed: of every training.
    """

    source: str = common.FILES
    low: str = "nih_cxr14"
    seed: int = 0

    @property
    def scale(self) -> Scale:
        """The sizes."""
        return SCALES[self.scale_name]

    @property
    def place(self) -> Path:
        """The workdir, absolute."""
        return self.workdir.resolve()

    @property
    def arms(self) -> tuple[str, ...]:
        """The kinds of images; phantoms, whose truth is known, are always there."""
        return tuple(arm for arm in self.scale.arms if self.real or arm == PHANTOM)

    @property
    def main(self) -> str:
        """The arm whose images a classifier judges: real ones where it has been trained on such."""
        return REAL if REAL in self.arms and "classifier" in self.scale.arms[REAL] else PHANTOM

    @property
    def shown(self) -> str:
        """The arm that claims on pictures are about."""
        return REAL if REAL in self.arms else PHANTOM

    def runs(self, arm: str) -> tuple[str, ...]:
        """The runs of an arm, in order."""
        return tuple(self.scale.arms[arm])

    def folder(self, arm: str, name: str) -> Path:
        """The workdir of a run."""
        return self.place / "runs" / arm / name

    def pairs(self, arm: str, kind: str = LEARNT) -> Path:
        """The pairs of an arm by the learnt degradation, or by the physical one."""
        return self.place / "pairs" / arm / kind

    def split_file(self, arm: str) -> Path:
        """The patients of each split, for every stage."""
        return self.place / "splits" / f"{arm}.json"


def config_of(study: Study, arm: str, name: str) -> ConfigDict:
    """The config of a run, its images included."""
    variant, overrides = study.scale.arms[arm][name]
    config = configs.get(variant, list(overrides))
    c = config.data
    c.split_file = str(study.split_file(arm))
    if name in ON_PAIRS:
        size = config_of(study, arm, "cyclegan").data.image_size
        c.update(source="led_pairs", root=str(study.pairs(arm, PHYSICAL if name == "physical" else LEARNT)))
        c.update(image_size=size, load_size=size, crop_size=size)
    elif arm == REAL:
        _real_images(study, config)
    elif name == "classifier":
        c.split_seed += OTHERS
    if name in REFINERS:
        m = config.method
        m.update(enhancer=str(study.folder(arm, "cyclegan")), start=round(study.scale.start * m.num_times))
    config.seed += study.seed
    config.train.update(tensorboard=False, progress=study.progress)
    return config


def _real_images(study: Study, config: ConfigDict) -> None:
    """Point a config at files; of two kinds of data the root is the folder above both."""
    c = config.data
    if c.source == "unpaired" and study.low != c.unpaired.high:
        c.unpaired.low = study.low
        c.degradation.steps = ()  # as it comes
    if study.root:
        alone = c.source == "unpaired" and c.unpaired.low == c.unpaired.high
        kind, root = c.unpaired.high if alone else c.source, Path(study.root).expanduser()
        c.root = str(root / FOLDERS[kind] if kind in FOLDERS else root)


def open_all(study: Study) -> dict[str, build_data.Data]:
    """{arm: both its pools with their splits}. Deals the patients of all stages first, in one file for each arm.

    Raises DataError where a folder is absent, before anything is trained or written.
    """
    if REAL in study.arms:
        study.above(" or ".join(FOLDERS.values()))
    first = ("cyclegan", "classifier")  # of the others every patient is among those of the CycleGAN
    dealt = {arm: [config_of(study, arm, name) for name in study.runs(arm) if name in first] for arm in study.arms}
    missing = [arm for arm in study.arms if not study.split_file(arm).exists()]
    for arm in reversed(missing):  # what may be absent first
        for config in dealt[arm]:
            build_data.open_source(config)
    for arm in missing:
        study.split_file(arm).parent.mkdir(parents=True, exist_ok=True)
        pooling.share_split(dealt[arm], study.split_file(arm), build_data.open_source)
    found = {arm: build_data.open_data(own[0]) for arm, own in dealt.items()}
    check_judged(found[study.main], config_of(study, study.main, "classifier").data.classes, most=study.scale.test)
    return found


def of_one_class(records: Sequence[Record], classes: Sequence[str]) -> dict[int, str]:
    """The places of the records that have exactly one of `classes`, and which."""
    told = {i: [name for name in record.labels if name in classes] for i, record in enumerate(records)}
    return {i: names[0] for i, names in told.items() if len(names) == 1}


def check_judged(data: build_data.Data, classes: Sequence[str], *, most: int) -> None:
    """Raises DataError where the test images of a pool, `most` at most, are not of two classes, on which a classifier could be
    judged, before anything is trained.
    """
    for pool in (pools.LOW, pools.HIGH):
        own = pools.in_pool(data.source, data.splits["test"], pool)[:most]
        there = sorted(set(of_one_class([data.source.records[int(i)] for i in own], classes).values()))
        if len(there) < 2:
            only = " and ".join(there) or "none"
            raise DataError(
                f"of the {len(own)} test images of the pool {pool} those of one class alone are of {only}; the classifier is"
                f" judged on {' and '.join(classes)}"
            )


def train_all(study: Study, data: dict[str, build_data.Data], *, say: Callable[[str], None] = print) -> None:
    """Train or resume every run in turn, pairs between the first and those that learn from them. data: as `open_all` gives it.

    Raises MedjaxError if a run was stopped, and what a stage raises whose predecessor is absent.
    """
    for arm in study.arms:
        for name in study.runs(arm):
            if name in ON_PAIRS:
                make_pairs(study, arm, PHYSICAL if name == "physical" else LEARNT, say=say)
            config, folder = config_of(study, arm, name), study.folder(arm, name)
            if common.complete(config, folder):
                continue
            say(f"[{ARMS[arm]}] {LABELS[name]}")
            if config.train.patience:  # may end before its last step
                training.train(config, folder, say=say)
            else:
                common.train_to_end(f"{arm}/{name}", config, folder, _epoch(study, arm, name, config, data[arm]), say=say)


def _epoch(study: Study, arm: str, name: str, config: ConfigDict, data: build_data.Data) -> int:
    """The training images that an epoch of a run goes through."""
    given = name == "cyclegan" or config.train.steps  # which hangs on no images
    return training.images_of_an_epoch(data if given else build_data.open_data(config))


def make_pairs(study: Study, arm: str, kind: str, *, say: Callable[[str], None] = print) -> None:
    """Write the pairs of an arm where there are none yet."""
    from experiments.unpaired import physical

    folder = study.pairs(arm, kind)
    if folder.exists():
        return
    if kind == LEARNT:
        counts = pairs.write_pairs(study.folder(arm, "cyclegan"), folder, progress=study.progress)
    else:
        make_pairs(study, arm, LEARNT, say=say)
        counts = physical.write_pairs(study, arm, folder)
    say(f"[{ARMS[arm]}] {sum(counts.values())} {kind} pairs ({', '.join(f'{n} {c}' for n, c in counts.items())})")


def describe(study: Study, arm: str, name: str) -> dict[str, Any]:
    """What a run is and how long it was trained, for the report."""
    folder = study.folder(arm, name)
    config, known = configs.read(folder), configs.resolved(folder)
    c, rows = config.data, read_metrics(folder)
    return {
        "label": f"{ARMS[arm]}: {LABELS[name]}", "config": f"{config.name}:{config.variant}",
        "steps": rows[-1]["step"] if rows else known["steps"],
        "pixels": c.image_size, "batch": c.batch_size, "parameters": known["parameters"], "source": c.source,
    }  # fmt: skip
