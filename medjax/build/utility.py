"""What synthetic images are worth to a classifier: trained on real images, on synthetic ones, on both; tested on real ones.

The real images are those of the generator's own run: its training split to train on, and its test split, which the generator has
not seen, to test on. All are written at the size and depth of the synthetic ones, so that no classifier can go by these.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax import formats, inference, results, synthetic
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import evaluation, training
from medjax.build.generator import as_trained_on
from medjax.build.labelled import clahe_words
from medjax.data.tables import read_table
from medjax.files import replace
from medjax.metrics.classification import paired_tests
from medjax.types import ConfigError, DataError

ARMS = ("real", "synthetic", "both")
Rows = list[dict[str, str]]


def utility(
    generator: str | Path,
    images: str | Path,
    output: str | Path,
    *,
    config: ConfigDict,
    progress: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train the classifier of `config` in the three ways of `ARMS` and test each on the same real images.

    Args:
      generator: the workdir of the run that made the images. images: their folder, as `medjax synthesize` leaves it.
      output: where data and runs are kept; called again, it goes on where it stopped.
      config: a classifier's; its data section is pointed at these images, all else (steps, balance, size) is the same for all.

    Returns:
      What `output/utility.json` holds: `rows` {arm: metrics with intervals over patients}, beside them `majority` and `grey`
      (the mean grey level, fitted to real training images) and `grey_synthetic` (fitted to synthetic ones); `tests` of
      synthetic and both against real (McNemar, DeLong, over patients); `by_class`, `train` {arm: {class: images}}, n.

    Raises ConfigError for a generator without classes, DataError for a folder of images that are not of its classes, and for an
    `output` that holds classifiers of other images.
    """
    output, theirs = Path(output), build_data.fixed_canvas(configs.read(generator), generator)
    if theirs.data.labels != "single":
        raise ConfigError(f"{generator} was told no classes, so its images cannot train a classifier")
    made, size = _made(Path(images), theirs.data.classes)
    _same_images(output, Path(images), made)
    data = build_data.open_data(theirs, generator)
    real = {part: _written(theirs, data, part, output / "images", size) for part in ("train", "test")}
    found: dict[str, tuple[dict, results.Evaluation]] = {}
    for arm, rows in zip(ARMS, (real["train"], made, real["train"] + made), strict=True):
        root = output / arm / "data"
        _lay_out(root, rows, real["test"], {"real": output / "images", "synthetic": Path(images)})
        say(f"classifier trained on {arm} images: {len(rows)}")
        training.train(_pointed(config, root, theirs.data.classes), output / arm / "run", say=say)
        evaluation.score_run(output / arm / "run", progress=progress)
        found[arm] = results.read(output / arm / "run")
    summary = _summary(found, theirs.data.classes) | {
        "train": {arm: configs.resolved(output / arm / "run")["class_counts"]["train"] for arm in ARMS},
        "size": list(size),
        "preprocessing": f"of all images, real ones to test on too: {clahe_words(theirs)}",
        "generator": str(generator),
        "synthetic": str(images),
    }
    replace(output / "utility.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return summary


def _made(folder: Path, classes: Sequence[str]) -> tuple[Rows, tuple[int, int]]:
    """The rows of the synthetic images, and their size."""
    rows = read_table(folder / synthetic.TABLE, synthetic.COLUMNS)
    unknown = {row["Finding Labels"] for row in rows} - set(classes)
    if unknown:
        raise DataError(f"{folder / synthetic.TABLE} has images of {min(unknown)!r}, which is none of {', '.join(classes)}")
    return [{name: row[name] for name in synthetic.COLUMNS} for row in rows], formats.image_size(folder / rows[0]["Image Index"])


def _same_images(output: Path, folder: Path, rows: Rows) -> None:
    """Notes in `output` which synthetic images it is for; DataError where these are others, as finished runs would stay."""
    found = hashlib.sha256((folder / synthetic.TABLE).read_bytes())
    for row in rows:
        found.update((folder / row["Image Index"]).read_bytes())
    noted = output / "synthetic.sha256"
    if noted.exists() and noted.read_text().strip() != found.hexdigest():
        raise DataError(f"{output} holds classifiers trained on other images than those of {folder}: give another folder")
    output.mkdir(parents=True, exist_ok=True)
    replace(noted, found.hexdigest() + "\n")


def _written(config: ConfigDict, data: build_data.Data, part: str, folder: Path, size: tuple[int, int]) -> Rows:
    """The rows of the real images of a split, each written as the generator's training saw it, at `size` and 8 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    source, rows = as_trained_on(config, data).source, []
    for i in data.splits[part]:
        record, name = source.records[int(i)], f"real_{int(i):06d}"
        if not (folder / f"{name}.png").exists():
            image = source.load(int(i))["target"]
            image = image if image.shape[:2] == size else inference.resize(image, size)
            formats.write(folder / f"{name}.png", image, formats.encoding("png"))
        view = record.view if record.view in ("AP", "PA") else ""
        rows.append({**synthetic.row_of(record.labels[0], name, {"View Position": view}), "Patient ID": record.patient})
    return rows


def _lay_out(root: Path, train: Rows, test: Rows, folders: Mapping[str, Path]) -> None:
    """A data set of these images, in NIH's columns and with NIH's lists, its folders of images linked."""
    root.mkdir(parents=True, exist_ok=True)
    for name, folder in folders.items():
        link = root / name
        if link.is_symlink() and link.resolve() != folder.resolve():
            link.unlink()  # the images are the same (see `_same_images`), and lie elsewhere now
        if not link.is_symlink():
            link.symlink_to(folder.resolve(), target_is_directory=True)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, synthetic.COLUMNS)
    writer.writeheader()
    writer.writerows(train + test)
    replace(root / synthetic.TABLE, text.getvalue())
    for name, rows in (("train_val_list.txt", train), ("test_list.txt", test)):
        replace(root / name, "".join(f"{row['Image Index']}\n" for row in rows))


def _pointed(config: ConfigDict, root: Path, classes: Sequence[str]) -> ConfigDict:
    """The classifier's config on the data set in `root`."""
    config = config.copy_and_resolve_references()
    config.data.update(source="nih_cxr14", root=str(root), labels="single", classes=tuple(classes), label_mode="single")
    config.data.update(official_split=True, limit=0, folds=0, columns=())
    config.data.nih_cxr14.update(labels=(), label_mode="any", images="", missing="error")
    return config


def _summary(found: Mapping[str, tuple[dict, results.Evaluation]], classes: Sequence[str]) -> dict[str, Any]:
    """Rows and tests of the three classifiers, on the same images in the same order."""
    first, scored = found["real"]
    rows = {arm: summary["rows"]["model"] for arm, (summary, _) in found.items()}
    rows |= {name: first["rows"][name] for name in ("majority", "grey")}
    rows["grey_synthetic"] = found["synthetic"][0]["rows"]["grey"]
    if any(each.names != scored.names for _, each in found.values()):
        raise DataError("the classifiers were not tested on the same images")
    label = np.array([classes.index(name) for name in scored.columns["label"]])
    given = {arm: np.stack([each.scores["model"][f"p_{name}"] for name in classes], 1) for arm, (_, each) in found.items()}
    return {
        **{name: first[name] for name in ("n", "images", "patients", "class_counts")},
        "classes": list(classes),
        "rows": rows,
        "by_class": {arm: summary["by_class"]["model"] for arm, (summary, _) in found.items()},
        "tests": {
            arm: paired_tests(label, given[arm], given["real"], classes, units=scored.columns["patient"])
            for arm in ("synthetic", "both")
        },
    }
