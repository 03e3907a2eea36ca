"""How the studies score a run: under the one protocol, with the first outputs kept for pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

POOL = 32  # test images whose outputs are kept for pictures, unless told otherwise
COLUMNS = ("patient", "view", "sex", "age")


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
