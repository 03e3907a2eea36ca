"""Images of the test patients as every row has them, each row in a file of its own: the low-quality ones enhanced in every way,
and those of the same patients without their finding, where they can be drawn.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.unpaired import anatomy_stage
from experiments.unpaired.runs import Study, config_of
from experiments.unpaired.scales import PHANTOM
from medjax import baselines
from medjax.build import data as build_data
from medjax.build import pooling
from medjax.build.enhancer import JUDGES
from medjax.build.evaluation import load
from medjax.data import led_pairs, pools
from medjax.data.augment import resize
from medjax.data.phantom.known import NONE, redraw
from medjax.data.records import Record
from medjax.evaluate import in_batches
from medjax.files import replace as replace_file
from medjax.types import NonFiniteError, to_signed, to_unit

BATCH = 8
CLASSICAL = ("clahe", "equalise", "gamma")
LED, MEAN, DEVIATION = "led", "led_mean", "deviation"
NORMAL, TRUTH = "normal", "truth"  # the same patients at a normal dose, and without noise at all
SINGLE = {"regression": "regression", "physical": "physical", "physical_led": "physical", "sane": "sane"}  # row: its run
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tested:
    """The test images of an arm, [0, 1]: `low` and `high` `[n, H, W, 1]`, `truth` of the low ones or None, the records of both;
    `places` in `low` of the images whose finding has a place, and their `twins` without it, low and at the normal dose.
    """

    low: np.ndarray
    high: np.ndarray
    truth: np.ndarray | None
    index: np.ndarray
    records: tuple[Record, ...]
    high_records: tuple[Record, ...]
    places: tuple[int, ...] = ()
    twins: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Pixels along a side."""
        return self.low.shape[1]


def tested(study: Study, arm: str, data: build_data.Data) -> Tested:
    """The test images of an arm at the size of training, `scale.test` of each pool at most."""
    config, most = config_of(study, arm, "cyclegan"), study.scale.test
    parts: dict[str, list[np.ndarray]] = {"a": [], "b": [], "index": [], "target": []}
    for batch in build_data.eval_batches(config, data, "test", limit=most, batch_size=BATCH):
        for name, mask in (("a", "mask"), ("index", "mask"), ("target", "mask"), ("b", "high")):
            if name in batch:
                parts[name].append(np.asarray(batch[name])[np.asarray(batch[mask], bool)])
    whole = {name: np.concatenate(own) for name, own in parts.items() if own}
    images = {name: np.asarray(to_unit(own), np.float32) for name, own in whole.items() if name != "index"}
    high = pools.in_pool(data.source, data.splits["test"], pools.HIGH)[:most]
    records = tuple(data.source.records[int(i)] for i in whole["index"])
    others = tuple(data.source.records[int(i)] for i in high)
    made = Tested(images["a"], images["b"], images.get("target"), whole["index"], records, others)
    if arm != PHANTOM:
        return made
    places = tuple(anatomy_stage.countable(records))
    return replace(made, places=places, twins=_as_pool(config, data, [records[i] for i in places])) if places else made


def _as_pool(config: Any, data: build_data.Data, records: Sequence[Record]) -> np.ndarray:
    """The twins of phantoms without their finding, taken and degraded as the low-quality pool is, at the size of training."""
    drawn = anatomy_stage.twins(records, max(config.data.image_size, config.data.load_size))
    given = {"load": lambda i: {"source": drawn[i], "target": drawn[i]}, "records": tuple(records)}
    source = pooling.degraded(config, replace(data.source, **given))
    return np.stack([resize(source.load(i)["source"], config.data.image_size) for i in range(len(records))])


def rows(study: Study, arm: str, test: Tested, data: build_data.Data) -> tuple[Arrays, Arrays, Arrays]:
    """(`{row: [n, H, W, 1]}` of the low-quality images, the same of their twins, `{"degraded", "deviation"}`, and where a
    classifier judges `"high_led"`), all in [0, 1].

    Every row is kept as it is made, so that an interrupted study goes on with the next.
    """
    stack = test.low if test.twins is None else np.concatenate([test.low, test.twins])
    index = np.concatenate([test.index, test.index[list(test.places)]]).astype(np.int32)[: len(stack)]
    folder, there = study.place / "images" / arm, study.runs(arm)
    found = {"low": stack}
    translated = kept(folder / "cyclegan.npz", lambda: _translated(study, arm, stack, index, test.high))
    found["cyclegan"] = translated["enhanced"]
    for row, run in SINGLE.items():
        if run in there:
            made = kept(folder / f"{row}.npz", lambda row=row, run=run: {"images": _single(study, arm, row, run, stack, index)})
            found[row] = made["images"]
    draws = kept(folder / "led.npz", lambda: _draws(study, arm, stack, index))
    found |= {LED: draws["one"], MEAN: draws["mean"]}
    found |= kept(folder / "classical.npz", lambda: _classical(study, arm, test, data, stack))
    n = len(test.low)
    beside = {"degraded": translated["degraded"], DEVIATION: draws[DEVIATION][:n]}
    if arm == study.main:
        beside["high_led"] = kept(folder / "high_led.npz", lambda: {"images": _high(study, arm, test.high)})["images"]
    return {row: each[:n] for row, each in found.items()}, {row: each[n:] for row, each in found.items()}, beside


def kept(path: Path, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays that `compute` gave when it was asked first."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        np.savez_compressed(content, **compute())
        replace_file(path, content.getvalue())
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def applied(
    key: Any, predict: Callable, images: np.ndarray, index: np.ndarray, *, asked: str = "source", given: str = "target"
) -> np.ndarray:
    """What `predict` makes of images `[n, H, W, 1]` in [0, 1], in batches of one shape; [0, 1] again. NonFiniteError where it is
    no number.
    """

    def run(places: np.ndarray) -> np.ndarray:
        batch = {asked: to_signed(images[places]).astype(np.float32), "index": index[places].astype(np.int32)}
        return np.asarray(predict(batch, key)[given], np.float32)

    made = in_batches(run, len(images), size=BATCH)
    if not np.isfinite(made).all():
        bad = int(np.flatnonzero(~np.isfinite(made).all((1, 2, 3)))[0])
        raise NonFiniteError(f"what the model makes of image {bad} (counted from 0) is not finite")
    return np.asarray(to_unit(made), np.float32)


def own_key() -> Any:
    """What all that is drawn here is drawn by."""
    import jax

    from medjax.rng import named

    return named(jax.random.key(0), "enhanced")


def _translated(study: Study, arm: str, stack: np.ndarray, index: np.ndarray, high: np.ndarray) -> Arrays:
    """g_ab of the low-quality images, g_ba of the high-quality ones."""
    predict = load(study.folder(arm, "cyclegan"), optional=JUDGES).predict()
    degraded = applied(own_key(), predict, high, np.arange(len(high)), asked="b", given="a")
    return {"enhanced": applied(own_key(), predict, stack, index), "degraded": degraded}


def _single(study: Study, arm: str, row: str, run: str, stack: np.ndarray, index: np.ndarray) -> np.ndarray:
    """One image, or one draw, of a run; for the row `physical_led` drawn as LED's of the same training are, so that the pairs
    behind the two back ends alone differ.
    """
    given = None
    if row == "physical_led":
        like = config_of(study, arm, "sane" if "sane" in study.runs(arm) else "diffusion").method
        given = {name: like[name] for name in ("enhancer", "start", "sampler", "steps")}
    return applied(own_key(), load(study.folder(arm, run), sampling=given).sample(), stack, index)


def _high(study: Study, arm: str, high: np.ndarray) -> np.ndarray:
    """What LED makes of images that need no enhancement: the fourth set of which the paper speaks."""
    return applied(own_key(), load(study.folder(arm, "diffusion")).sample(), high, np.arange(len(high)))


def _draws(study: Study, arm: str, stack: np.ndarray, index: np.ndarray) -> Arrays:
    """The first draw of LED, and mean and standard deviation of `scale.samples` of them; a patient and its twin share noise."""
    import jax

    key, draw = own_key(), load(study.folder(arm, "diffusion")).sample()
    many = np.stack([applied(jax.random.fold_in(key, i), draw, stack, index) for i in range(study.scale.samples)])
    return {"one": many[0], "mean": many.mean(0), DEVIATION: many.std(0, ddof=1)}


def _classical(study: Study, arm: str, test: Tested, data: build_data.Data, stack: np.ndarray) -> Arrays:
    """CLAHE, histogram equalisation and gamma, tuned for PSNR on validation images."""
    params = tuned(study, arm, data)
    return {
        row: np.stack([enhance(image) for image in stack]).astype(np.float32) for row, enhance in baselines.bind(params).items()
    }


def tuned(study: Study, arm: str, data: build_data.Data) -> Mapping[str, Mapping[str, Any]]:
    """The parameters of the classical rows: for the truth where it is known, else for the targets of the CycleGAN's pairs."""
    sources, targets = validation_pairs(study, arm, data, study.scale.tuned)
    return baselines.tuned(sources, targets, names=CLASSICAL, progress=study.progress)


def validation_pairs(study: Study, arm: str, data: build_data.Data, most: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Sources and targets [H, W, 1] in [0, 1] of validation images, `most` at most."""
    size = config_of(study, arm, "cyclegan").data.image_size
    if pools.truth_known(data.source):
        source = pools.view(data.source, pools.LOW, truth=True)
        own = pools.in_pool(data.source, data.splits["validation"], pools.LOW)[:most]
    else:
        source = led_pairs.led_pairs(study.pairs(arm), check=False)
        own = led_pairs.split(source)["validation"][:most]
    images = [source.load(int(i)) for i in own]
    return tuple([resize(each[side], size) for each in images] for side in ("source", "target"))


def normal(test: Tested) -> tuple[np.ndarray, np.ndarray]:
    """The phantoms of `places` and their twins at a normal dose, `[n, H, W, 1]` in [0, 1]."""
    unit = lambda drawn: (np.stack(drawn).astype(np.float32) / np.float32(anatomy_stage.TOP))[..., None]  # noqa: E731
    records = [test.records[i] for i in test.places]
    own = [redraw(record, size=test.size, dose=1.0).image for record in records]
    return unit(own), unit([redraw(record, size=test.size, dose=1.0, finding=NONE).image for record in records])
