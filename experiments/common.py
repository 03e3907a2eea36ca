"""What the studies share: their flags, one way to end, runs trained to the last step, stages that keep their results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax.cli import set_cpu_flags
from medjax.files import replace
from medjax.types import MedjaxError

POOL = 32  # test images whose outputs are kept for pictures, unless told otherwise
COLUMNS = ("patient", "view", "sex", "age")


def parser(module: str, doc: str, *, seeds: bool = True) -> argparse.ArgumentParser:
    """The flags of every study. doc: the study's docstring, whose first line says what it is; seeds: with `--seeds`."""
    made = argparse.ArgumentParser(prog=f"python -m experiments.{module}", description=doc.splitlines()[0])
    made.add_argument("--scale", choices=("tiny", "small", "paper"), default="small")
    made.add_argument("--workdir", type=Path, required=True)
    if seeds:
        made.add_argument("--seeds", type=int, default=1, help="trainings of every run that differ in the seed alone")
    made.add_argument("--quiet", action="store_true", help="no progress bars")
    return made


def conclude(module: str, conduct: Callable[[], Path], *, opening: str = "\n") -> int:
    """Run a study and print where its report is; what the user has to mend ends it in one sentence. The exit status."""
    set_cpu_flags()
    try:
        print(f"{opening}The report: {conduct()}")
    except MedjaxError as error:
        print(f"{module}: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """What `compute` gave when it was asked first, from JSON at `path`."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps(compute(), indent=1, default=float) + "\n")
    return json.loads(path.read_text())


def train_to_end(
    name: str,
    config: ConfigDict,
    folder: Path,
    num_images: int,
    *,
    hooks: Sequence[tuple[int, Callable]] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Train or resume a run to its last step; hooks as in `training.train`. Raises MedjaxError if it was stopped before."""
    from medjax.build import training

    state, wanted = training.train(config, folder, hooks=hooks, say=say), training.num_steps(config, num_images)
    if int(state.step) < wanted:
        raise MedjaxError(f"{name} was stopped at step {int(state.step)} of {wanted}; the same command again resumes")


@dataclass(frozen=True)
class Study:
    """What was asked for: where, at which scale, on which data, how many seeds."""

    workdir: Path
    scale_name: str
    source: str = ""
    root: str = ""
    seeds: int = 1
    progress: bool = True

    @property
    def real(self) -> bool:
        """Whether the images are of people."""
        return not self.source.startswith("phantom")


def score(run: Path, data: Any, output: Path, **options: Any) -> tuple[dict, Any]:
    """`judged` of a run's last weights, kept in `output`: runs are compared at equal training, and none picks its moment."""
    from medjax.build import config as configs
    from medjax.build import data as build_data
    from medjax.build import evaluation as build_evaluation

    config = build_data.fixed_canvas(configs.read(run), run)
    return judged(lambda: build_evaluation.load(run, which="latest"), config, data, output, **options)


def judged(
    load: Callable[[], Any],
    config: ConfigDict,
    data: Any,
    output: Path,
    *,
    params: Mapping[str, dict],
    progress: bool,
    split: str = "test",
    columns: Sequence[str] = COLUMNS,
    keep: int = POOL,
    feature_networks: Sequence[str] = (),
    metrics: Mapping[str, Callable] | None = None,
) -> tuple[dict, Any]:
    """Summary and scores of a model on a split of `data` (a `build.data.Data`), kept in `output`.

    load gives a `build.trained.Model` and is called where nothing is kept yet; `config` says how images are made of the data,
    the model's own or another's. `params` are those of the classical rows; the outputs of the first `keep` images are kept
    too, see `outputs`. Distances over `feature_networks` are measured where their weights are at hand; `metrics` stand beside
    the protocol's own.
    """
    import jax

    from medjax import baselines, evaluate
    from medjax.build import data as build_data
    from medjax.build import features as build_features
    from medjax.build import protocol as build_protocol
    from medjax.metrics import METRICS
    from medjax.rng import named

    known = build_features.at_hand(config, feature_networks)
    if (output / "evaluation.json").exists() and (output / "outputs.npz").exists():
        summary, scored = evaluate.read(output)
        if measured(summary) >= known.names:  # else weights have come since
            return summary, scored
    model = load()
    predict, images = recorded(model.predict(), keep)
    watcher = build_features.Watcher(known.networks)
    scored = evaluate.evaluate(
        predict,
        build_data.eval_batches(config, data, split),
        key=named(jax.random.key(config.data.split_seed), "evaluation"),
        names=data.source.names,
        columns={name: data.source.column(name) for name in columns},
        metrics={**METRICS, **known.metrics, **(metrics or {})},
        baselines=baselines.bind(params) or None,
        watch=watcher,
        progress=progress,
    )
    protocol = build_protocol.of(config, data, dict(params), step=model.step)
    protocol |= {"training_data": model.config.data.source, "train_seed": model.config.seed}
    protocol |= {"lpips": known.stated} if known.stated else {}
    summary = evaluate.summarise(scored, protocol=protocol, dataset=data.source.kind, split=split)
    summary |= {"features": watcher.records(), "features_absent": known.absent}
    output.mkdir(parents=True, exist_ok=True)
    chosen = sorted(images)
    np.savez_compressed(output / "outputs.npz", index=chosen, image=np.stack([images[i] for i in chosen]))
    evaluate.write(scored, output, summary=summary)
    return summary, scored


def measured(summary: Mapping[str, Any]) -> set[str]:
    """The feature networks and LPIPS that a result file has."""
    records = summary.get("features", {}).get("model", {})
    return {key.partition("/")[2].partition(".")[0] for key in records} | set(lpips_of(summary))


def networks_of(config: ConfigDict) -> tuple[str, ...]:
    """The feature networks of a study: the published ones of its config, and one that nobody trained, always at hand."""
    return (*config.evaluation.features, "random_alexnet")


def lpips_of(summary: Mapping[str, Any]) -> dict[str, str]:
    """{metric: title} of the LPIPS that a result file has."""
    return {m: f"LPIPS ({m.removeprefix('lpips_')})" for m in summary["rows"]["model"] if m.startswith("lpips")}


def over_features(rows: Mapping[str, tuple[Mapping[str, Any], str]]) -> list[str]:
    """A report's tables of distances over features. rows: {label: (summary, its row)}; the first names what is absent."""
    from medjax.report.features import feature_blocks

    found = {label: summary.get("features", {}).get(row, {}) for label, (summary, row) in rows.items()}
    absent = next(iter(rows.values()))[0].get("features_absent", ())
    return feature_blocks({"features": {k: v for k, v in found.items() if v}, "features_absent": absent})


def recorded(predict: Callable, keep: int = POOL) -> tuple[Callable, dict[int, np.ndarray]]:
    """`predict`, and a dict in which the first `keep` outputs gather, [0, 1], by record number."""
    from medjax.types import to_unit

    images: dict[int, np.ndarray] = {}

    def wrapped(batch: dict, key: Any) -> dict:
        result = predict(batch, key)
        for i, image in zip(np.asarray(batch["index"]).tolist(), to_unit(np.asarray(result["target"])), strict=True):
            if i in images or len(images) < keep:
                images[i] = image
        return result

    return wrapped, images


def outputs(folder: Path) -> dict[int, np.ndarray]:
    """The outputs that `score` kept."""
    with np.load(folder / "outputs.npz") as arrays:
        return dict(zip(arrays["index"].tolist(), arrays["image"], strict=True))


def example(config: ConfigDict) -> dict[str, np.ndarray]:
    """A batch of noise in the shapes of training."""
    from medjax.build.data import channels
    from medjax.types import to_signed

    side, size = config.data.crop_size, config.data.batch_size
    images = to_signed(np.random.default_rng(0).random((size, side, side, 1), np.float32))
    return {"source": images.repeat(channels(config), -1), "target": images, "index": np.arange(size, dtype=np.int32)}


def step_flops(config: ConfigDict) -> float:
    """Operations of one whole training step, by XLA's count of the program before optimisation; nothing is computed."""
    import jax

    from medjax.build import networks
    from medjax.objective import train_step

    objective, key, batch = networks.objective(config, 1000), jax.random.key(0), example(config)
    state = jax.eval_shape(objective.init, key, batch)
    return jax.jit(train_step(objective)).lower(state, batch, key).cost_analysis()["flops"]


def protocol_blocks(summary: Mapping[str, Any]) -> list[str]:
    """A report's last section: the protocol and the versions of a result file."""
    from medjax import report

    def words(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{a}: {words(b)}" for a, b in value.items())
        return str(np.array(value).tolist())

    rows = [(name.replace("_", " "), words(value)) for name, value in summary["protocol"].items() if value is not None]
    versions = ", ".join(f"{name} {value}" for name, value in summary["versions"].items())
    return [report.table(("", ""), rows), report.text(f"Versions: {versions}.")]
