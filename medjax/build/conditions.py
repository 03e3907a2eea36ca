"""What a conditional generator is asked for: labels and columns as text, to the conditions of its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medjax.build import labelled
from medjax.build.data import Data
from medjax.build.generator import columns_of
from medjax.build.trained import Model
from medjax.data.labels import SEXES, VIEWS
from medjax.rng import generator
from medjax.types import ConfigError

TABLE = {"age": "Patient Age", "sex": "Patient Gender", "view": "View Position"}  # column -> NIH's name of it


def chosen_labels(model: Model, labels: Sequence[str], workdir: str | Path) -> tuple[str, ...]:
    """The classes asked for, each once. Raises ConfigError listing the known ones."""
    known = tuple(model.config.data.classes) if "label" in columns_of(model) else ()
    if not known:
        if labels:
            raise ConfigError(f"{workdir} was told no label of an image: leave out --label={labels[0]}")
        return ("",)
    if not labels:
        raise ConfigError(f"say which label with --label: {workdir} knows {', '.join(known)}, and all for each of them")
    unknown = [label for label in labels if label not in (*known, "all")]
    if unknown:
        raise ConfigError(f"{workdir} knows no label {unknown[0]!r}; it knows {', '.join(known)}")
    return known if "all" in labels else tuple(dict.fromkeys(labels))


def given_columns(model: Model, columns: Mapping[str, str], workdir: str | Path) -> dict[str, float | int]:
    """What batches carry of the columns given as text. Raises ConfigError for a column the run does not have, and a bad value."""
    known = [name for name in columns_of(model) if name != "label"]
    found: dict[str, float | int] = {}
    for name, text in columns.items():
        if name not in known:
            told = ", ".join(columns_of(model)) or "nothing"
            raise ConfigError(f"{workdir} was not told the {name} of an image; it knows {told}")
        if name == "age":
            try:
                found[name] = float(text) / 100
            except ValueError:
                found[name] = -1.0
            if not 0 <= found[name] <= 1.2:
                raise ConfigError(f"--age is in years, from 0 to 120, not {text!r}")
            continue
        values = {"sex": SEXES, "view": VIEWS}[name]
        if text.upper() not in values:
            raise ConfigError(f"--{name} is {' or '.join(values)}, not {text!r}")
        found[name] = values[text.upper()]
    return found


class Conditions:
    """`(label, numbers) -> {column: [B]}`: the class, the columns given, and for the others those of a training image of the
    class, drawn from (seed, label, number).
    """

    def __init__(self, model: Model, given: Mapping[str, float | int], data: Data | None, seed: int, why: str) -> None:
        self.classes, self.given, self.seed = tuple(model.config.data.classes), dict(given), seed
        self.names = columns_of(model)
        self.drawn = [name for name in self.names if name not in ("label", *given)]
        self.known, self.records, self.train, self.own = {}, (), np.empty(0, int), {}
        if self.drawn and data is None:
            flags = " and ".join(f"--{name}" for name in self.drawn)
            raise ConfigError(f"give {flags}: they cannot be drawn from the training images of the run, as {why}")
        if self.drawn:
            self.known = labelled.columns_of(model.config, data.source)
            self.records, self.train = data.source.records, data.splits["train"]

    def __call__(self, label: str, numbers: np.ndarray) -> dict[str, np.ndarray]:
        rows = [self.of(label, int(number)) for number in numbers]
        whole = lambda name: np.float32 if name == "age" else np.int32  # noqa: E731
        return {name: np.array([row[name] for row in rows], whole(name)) for name in self.names}

    def of(self, label: str, number: int) -> dict[str, float | int]:
        """The condition of one image."""
        found = dict(self.given)
        if "label" in self.names:
            found["label"] = self.classes.index(label)
        if self.drawn:
            if label not in self.own:
                self.own[label] = [i for i in self.train if not label or label in self.records[int(i)].labels]
            own = self.own[label]
            pick = own[generator(self.seed, "columns", label, number).integers(len(own))]
            found |= {name: self.known[name][pick] for name in self.drawn}
        return found

    def described(self, label: str, number: int) -> dict[str, str]:
        """What the table says of an image beside its label, in NIH's words."""
        row = self.of(label, number)
        words = {
            "age": lambda value: f"{100 * value:.0f}",
            "sex": lambda value: list(SEXES)[int(value)],
            "view": lambda value: list(VIEWS)[int(value)],
        }
        return {TABLE[name]: words[name](row[name]) for name in self.names if name != "label"}
