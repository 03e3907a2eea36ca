"""The stages after training, each kept in the workdir: what is there is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from experiments.common import kept
from experiments.unpaired import ablation, balance, counted, enhanced, judged, restored
from experiments.unpaired.enhanced import Arrays, Tested
from experiments.unpaired.runs import ARMS, Study
from experiments.unpaired.scales import PHANTOM
from experiments.unpaired.verdicts import Found
from medjax.build.data import Data


class Seen(NamedTuple):
    """The images of an arm: of the test patients, in every row, of their twins, and beside: see `enhanced.rows`."""

    test: Tested
    rows: Arrays
    twins: Arrays
    beside: Arrays


def enhance(study: Study, data: Mapping[str, Data], *, say: Callable[[str], None] = print) -> dict[str, Seen]:
    """Every row of images of every arm."""
    found = {}
    for arm in study.arms:
        say(f"[{ARMS[arm]}] test images, enhanced in every way ...")
        test = enhanced.tested(study, arm, data[arm])
        found[arm] = Seen(test, *enhanced.rows(study, arm, test, data[arm]))
    return found


def measure(study: Study, data: Mapping[str, Data], seen: Mapping[str, Seen], *, say: Callable[[str], None] = print) -> Found:
    """All that is told of them."""
    main, of = study.main, seen[study.main]

    def stage(name: str, compute: Callable[[], Any]) -> Any:
        return kept(study.place / f"{name}.json", compute)

    say("Against the truth, and what moved ...")
    known = {arm: each for arm, each in seen.items() if each.test.truth is not None}
    better = {
        arm: stage(f"restored_{arm}", lambda each=each: restored.measure(each.rows, each.test.truth))
        for arm, each in known.items()
    }
    moved = {
        arm: stage(f"anatomy_{arm}", lambda a=arm, e=each: counted.anatomy(a, e.test, e.rows, e.beside["degraded"]))
        for arm, each in seen.items()
    }
    alike = {
        arm: stage(f"balance_{arm}", lambda a=arm, e=each: balance.measure(study, a, e.test, e.beside["degraded"], data[a]))
        for arm, each in seen.items()
    }
    say("Before the classifier ...")
    told = stage("judgement", lambda: judged.measure(study, main, of.test, of.rows, of.beside["high_led"]))
    sets = {"low": of.test.low, "high": of.test.high, "degraded": of.beside["degraded"], "led": of.rows["led"]}
    places = stage("features", lambda: judged.placed(study, main, sets))
    say("Findings of phantoms ...")
    phantoms = seen[PHANTOM]
    count = stage("findings", lambda: counted.findings(phantoms.test, phantoms.rows, phantoms.twins))
    say("Start, condition, sampler and steps ...")
    tried = stage("ablation", lambda: ablation.measure(study, main, of.test, data[main]))
    return Found(told, places, count, tried, better, moved, alike)
