"""Fields of a config and the ranges they are drawn from, checked before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.rng import generator
from medjax.types import ConfigError

KINDS = ("log", "uniform", "int", "choice")
_OF_LOSS = ("method.", "data.degradation.")


class Range(NamedTuple):
    """A field and what it is drawn from. kind: of `KINDS`; ends: lowest and highest, or the choices as text."""

    field: str
    kind: str
    ends: tuple[Any, ...]

    def draw(self, seed: int, trial: int) -> str:
        """The value of a trial as text, for an override: a pure function of the seed, the field's name and the trial."""
        r = generator(seed, "sweep", self.field, trial)
        if self.kind == "choice":
            return self.ends[int(r.integers(len(self.ends)))]
        low, high = self.ends
        if self.kind == "int":
            return str(int(r.integers(low, high, endpoint=True)))
        value = math.exp(r.uniform(math.log(low), math.log(high))) if self.kind == "log" else r.uniform(low, high)
        return f"{min(max(value, low), high):.6g}"


def parse(text: str) -> Range:
    """`FIELD=KIND:...` as a `Range`. Raises ConfigError for one that is none."""
    field, equals, told = text.partition("=")
    kind, _, rest = told.partition(":")
    if not equals or not field or kind not in KINDS or not rest:
        raise ConfigError(f"--field reads FIELD=log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B,..., not {text!r}")
    if kind == "choice":
        choices = tuple(rest.split(","))
        if len(choices) < 2 or len(set(choices)) < len(choices) or "" in choices:
            raise ConfigError(f"{field}: a choice is between two values or more, each named once, not {rest!r}")
        return Range(field, kind, choices)
    try:
        ends = tuple((int if kind == "int" else float)(end) for end in rest.split(":"))
    except ValueError:
        ends = ()
    lowest = 0.0 if kind == "log" else -math.inf
    if len(ends) != 2 or not lowest <= ends[0] < ends[1] < math.inf or (kind == "log" and ends[0] == 0):
        what = {"log": "numbers above 0", "uniform": "numbers", "int": "whole numbers"}[kind]
        raise ConfigError(f"{field}: {kind} takes two {what}, the lower first, not {rest!r}")
    return Range(field, kind, ends)


def checked(name: str, fixed: Sequence[str], asked: Sequence[str], best: str = "") -> tuple[ConfigDict, tuple[Range, ...]]:
    """The config of every trial and what its fields are drawn from. best: what trials are compared by; "": `train.best`.

    Raises ConfigError for an unknown field (with close matches), one that is asked for twice or that a search must not move,
    and for values that the field cannot hold: both ends of a range and every choice are tried.
    """
    config, ranges = configs.get(name, fixed), tuple(map(parse, asked))
    by_loss = "loss" in (best or config.train.best)
    if not ranges:
        raise ConfigError("say what to search over with --field FIELD=RANGE")
    names = [each.field for each in ranges]
    twice = [field for field in names if names.count(field) > 1]
    if twice:
        raise ConfigError(f"--field {twice[0]} is given twice")
    for each in ranges:
        if each.field in ("train.best", "seed", "data.split_seed") or each.field.startswith("evaluation."):
            raise ConfigError(f"{each.field} decides how trials are compared, so it stays the same for all")
        if by_loss and each.field.startswith(_OF_LOSS):
            raise ConfigError(
                f"trials that differ in {each.field} are not compared by a loss, which it may change: take a metric of images, "
                "--best=psnr:max"
            )
        for value in each.ends:
            override(config, [f"{each.field}={value}"])
    return config, ranges


def override(config: ConfigDict, texts: Sequence[str]) -> ConfigDict:
    """A copy of `config` with overrides."""
    return configs.override(config.copy_and_resolve_references(), texts)
