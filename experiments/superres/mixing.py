"""Network interpolation: the generator between its L1 phase and its GAN phase (Wang et al. 2018, section 3.4)."""

from __future__ import annotations

import functools

from experiments.scoring import judged
from experiments.superres.runs import RUNS, Opened, Study, config_of
from experiments.superres.scores import Results, asked_of, by_patient, share_of
from medjax.build import evaluation as build_evaluation
from medjax.build.companions import interpolated
from medjax.build.trained import Model

MAIN = "cxr_gan"  # whose whole curve is scored; of the others the published share alone


def measure(study: Study, opened: Opened, results: Results) -> None:
    """Scores every interpolation on the test images, or reads its scores, into `results.mixed`."""
    for run in opened.runs:
        if not RUNS[run].after:
            continue
        alphas = study.scale.alphas
        chosen = alphas if run == MAIN else (share_of(dict.fromkeys(alphas)),)
        folder, data, config = study.folder(run), opened.of(run), config_of(study, run)
        asked = asked_of(study, config) | {"params": {}, "keep": 1}
        results.mixed[run] = {
            share: judged(
                functools.partial(_between, study, run, share), config, data, folder / f"interpolated_{share:g}", **asked
            )
            for share in chosen
        }


def _between(study: Study, run: str, share: float) -> Model:
    """`share` of the second phase's weights, the rest of the first's."""
    model = build_evaluation.load(study.folder(run), which="latest")
    return interpolated(model, study.folder(RUNS[run].after), share)


def curve(results: Results, pairs: str) -> dict[float, str | float]:
    """{share of the GAN: the row or the share under which `point` finds its scores}, ends included."""
    gan = results.gan(pairs)
    return {0.0: RUNS[gan].after, **{share: share for share in sorted(results.mixed[gan])}, 1.0: gan}


def point(results: Results, pairs: str, found: str | float) -> tuple[dict, dict[str, float]]:
    """Records over features, and the mean over patients of every metric, of one end or one share."""
    if isinstance(found, str):
        summary, evaluation = results.summaries[found][0], results.evaluations[found][0]
    else:
        summary, evaluation = results.mixed[results.gan(pairs)][found]
    means = {metric: float(by_patient(evaluation, "model", metric).mean()) for metric in evaluation.scores["model"]}
    return summary.get("features", {}).get("model", {}), means
