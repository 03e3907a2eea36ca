"""Images of given labels from a generator, into a folder that is itself a data set (see `medjax.synthetic`).

Nothing here knows a model or a data set: what generates, judges and enlarges comes in as functions. Image `number` of a label is
the one that the generator makes of (seed, label, number), so it depends on no other, nor on how many are wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from medjax import synthetic
from medjax.files import check_free, whole
from medjax.metrics.discrimination import most_passing, passing_threshold, proportion
from medjax.types import Array, ConfigError, NonFiniteError, to_unit

Generate = Callable[[str, np.ndarray], Array]  # label, numbers int32 [B] -> images [B, H, W, 1] in [-1, 1]
Judge = Callable[[str, np.ndarray, Array], Array]  # label, numbers, images -> probability of being real [B]
Enlarge = Callable[[Array], Array]  # [1, h, w, 1] in [-1, 1] -> [1, H, W, 1]
Describe = Callable[[str, int], Mapping[str, str]]  # label, number -> columns of its row
TRIES = 50  # for each image wanted, where nobody says another number
SURE = 1e-4  # chance with which a count within reach is given up early
MARGIN = 1.5  # a threshold that is suggested lets so many times the count pass


@dataclass
class Tally:
    """Of one label: every probability that was given, how many images were tried and kept."""

    probabilities: list[np.ndarray] = field(default_factory=list)
    tried: int = 0
    kept: int = 0

    @property
    def every(self) -> np.ndarray:
        """The probabilities `[tried]`; empty where nobody judged."""
        return np.concatenate(self.probabilities) if self.probabilities else np.empty(0)

    def passed(self, threshold: float) -> dict[str, Any]:
        """How many of all that were tried pass: `metrics.discrimination.proportion`."""
        return proportion(int(np.sum(self.every >= threshold)), self.tried)


@dataclass
class Outcome:
    """What came about: rows of the table, a tally for each label, and the seconds that each part took for so many images."""

    folder: Path
    rows: list[dict[str, str]] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)

    def ms_per_image(self) -> dict[str, float]:
        """Of each part, without compilation; `kept`: of all of them, for each image that was written."""
        found = {name: 1000 * seconds / self.images[name] for name, seconds in self.seconds.items()}
        return found | {"kept": 1000 * sum(self.seconds.values()) / len(self.rows)}

    def timed(self, name: str, count: int, run: Callable[..., Array], *args: Any) -> np.ndarray:
        """`run(*args)`, its time put down for `count` images; the first time it runs once before, to be compiled."""
        if name not in self.seconds:
            np.asarray(run(*args))
        start = time.perf_counter()
        found = np.asarray(run(*args))
        self.spent(name, count, start)
        return found

    def spent(self, name: str, count: int, start: float) -> None:
        """Put down the time since `start` (of `time.perf_counter`) for `count` images."""
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.images[name] = self.images.get(name, 0) + count


def synthesize(
    generate: Generate,
    labels: Sequence[str],
    output: str | Path,
    *,
    count: int,
    seed: int,
    judge: Judge | None = None,
    threshold: float = 0.0,
    max_tries: int | None = None,
    enlarge: Enlarge | None = None,
    describe: Describe = lambda label, number: {},
    told: str = "",
    provenance: Callable[[Outcome], Mapping[str, Any]] = lambda outcome: {},
    batch_size: int = 16,
    overwrite: bool = False,
    progress: bool = True,
) -> Outcome:
    """Write `count` images of each of `labels` into the folder `output`, and what goes with them.

    Args:
      generate, judge, enlarge: see the module's types; each is called with one shape only.
      threshold: images to which `judge` gives less are left out; with 0 nobody is asked.
      max_tries: images generated at most of each label; by default `TRIES` for each that is wanted.
      describe: columns of the table beside those that every row has. told: what every PNG says of its origin.
      provenance: what `provenance.json` holds, from the outcome.
      overwrite: a folder of earlier synthetic images is replaced.

    Raises ConfigError for numbers out of range, an `output` in the way, and a threshold that so few images reach that `count`
    is out of reach; NonFiniteError naming the image. Nothing is written then.
    """
    folder, max_tries = Path(output), TRIES * count if max_tries is None else max_tries
    check(folder, count=count, threshold=threshold, max_tries=max_tries, overwrite=overwrite)
    if threshold and judge is None:
        raise ConfigError("a threshold needs a discriminator to judge images by")
    drawer = _Drawer(generate, judge if threshold else None, threshold, max_tries, batch_size, Outcome(folder))
    outcome, shown = drawer.outcome, {label: [] for label in labels}
    with whole(folder) as part:
        for label in labels:
            described = f"synthesising {label}".strip()
            with tqdm(desc=described, total=count, unit="image", disable=not progress, leave=False) as bar:
                for number, image in drawer.kept(label, count):
                    image = _finished(image, enlarge, outcome)
                    name = synthetic.name_of(label, seed, number)
                    start = time.perf_counter()
                    synthetic.write_image(part / f"{name}.png", image, label, told)
                    outcome.spent("writing", 1, start)
                    outcome.rows.append(synthetic.row_of(label, name, describe(label, number)))
                    shown[label] += [image] if len(shown[label]) < synthetic.SHEET_IMAGES else []
                    bar.update()
        synthetic.write_rest(part, outcome.rows, shown, provenance(outcome))
    return outcome


def _finished(image: np.ndarray, enlarge: Enlarge | None, outcome: Outcome) -> np.ndarray:
    """float32 `[H, W, 1]` in [0, 1], enlarged where that is asked for."""
    if enlarge is not None:
        image = outcome.timed("enlargement", 1, enlarge, image[None])[0]
        if not np.isfinite(image).all():
            raise NonFiniteError("an enlarged image is not finite")
    return np.asarray(to_unit(image), np.float32)


@dataclass
class _Drawer:
    """Generates and judges batch after batch of a label."""

    generate: Generate
    judge: Judge | None
    threshold: float
    max_tries: int
    batch_size: int
    outcome: Outcome

    def kept(self, label: str, count: int) -> Iterator[tuple[int, np.ndarray]]:
        """(number, image `[H, W, 1]` in [-1, 1]) of the first `count` that pass; ConfigError where they are out of reach."""
        tally = self.outcome.tallies[label] = Tally()
        while tally.kept < count:
            check_reach(tally, label, count=count, threshold=self.threshold, max_tries=self.max_tries)
            yield from self._batch(label, tally, count - tally.kept)

    def _batch(self, label: str, tally: Tally, wanted: int) -> list[tuple[int, np.ndarray]]:
        numbers = np.arange(tally.tried, tally.tried + self.batch_size, dtype=np.int32)
        images = self.outcome.timed("generator", len(numbers), self.generate, label, numbers)
        bad = numbers[~np.isfinite(images).all((1, 2, 3))]
        if len(bad):
            raise NonFiniteError(f"the generator's image {bad[0]} of {label or 'no label'} is not finite")
        used = min(self.batch_size, self.max_tries - tally.tried)
        passing = np.ones(used, bool)
        if self.judge is not None:
            given = self.outcome.timed("discriminator", len(numbers), self.judge, label, numbers, images)
            tally.probabilities.append(given[:used].astype(np.float64))
            passing = tally.probabilities[-1] >= self.threshold
        tally.tried += used
        chosen = np.flatnonzero(passing)[:wanted]
        tally.kept += len(chosen)
        return [(int(numbers[i]), images[i]) for i in chosen]


def check(output: str | Path, *, count: int, threshold: float, max_tries: int, overwrite: bool) -> None:
    """Raises ConfigError for what can be told before anything is generated; see `synthesize`."""
    if count < 1:
        raise ConfigError(f"the count of images is at least 1, not {count}")
    if not 0 <= threshold < 1:
        raise ConfigError(f"the threshold is a probability from 0 (no filter) to below 1, not {threshold}")
    if max_tries < count:
        raise ConfigError(f"{count} images cannot come of {max_tries} tries")
    check_free(Path(output), marker=synthetic.PROVENANCE, what="synthetic images", overwrite=overwrite)


def check_reach(tally: Tally, label: str, *, count: int, threshold: float, max_tries: int) -> None:
    """Raises ConfigError where `count` images that pass are not to be had in `max_tries`, as soon as that is all but sure."""
    if not tally.tried or not threshold:
        return
    passed, left = tally.passed(threshold), max_tries - tally.tried
    highest = proportion(passed["count"], tally.tried, level=1 - 2 * SURE)["ci95"][1]
    if left > 0 and passed["count"] + highest * left >= count:
        return
    low, high = passed["ci95"]
    enough = passing_threshold(tally.every, min(1.0, MARGIN * count / max_tries))
    raise ConfigError(
        f"{passed['count']} of {tally.tried} images of {label or 'no label'} passed the threshold {threshold:g} (pass rate "
        f"{passed['rate']:.1%}, 95% interval {low:.1%} to {high:.1%}), so {count} are out of reach within {max_tries} tries: a "
        f"threshold of {enough:.4g} would let them pass, and {most_passing(threshold):.1%} is the most that an optimal "
        "discriminator can let pass (Goodfellow et al. 2014, proposition 1, with Markov's inequality)"
    )
