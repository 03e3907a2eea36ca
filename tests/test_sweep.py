"""The random search: draws that depend on name and trial alone, a table in order, resumption, fields refused before training."""

from __future__ import annotations

import csv
import json
import math

import pytest

from experiments import sweep
from experiments.sweeping import fields, trials
from medjax.build import config as configs
from medjax.types import MedjaxError, NonFiniteError

QUICK = ("--set=train.compilation_cache=", "--set=train.steps=2")
SEARCH = ("--field=optimizer.learning_rate=log:1e-5:1e-3", "--field=method.reconstruction=choice:l1,charbonnier")


@pytest.fixture
def trainer(monkeypatch):
    """A trainer that leaves what the search reads: a run whose PSNR falls with the distance of its rate from 1e-4."""
    calls = []

    def train(config, folder, *, say):
        calls.append(folder.name)
        rate = config.optimizer.learning_rate
        if len(calls) == 2:
            raise NonFiniteError("the loss is not finite at step 1")
        (folder / "checkpoints" / "2").mkdir(parents=True)
        configs.write(config, folder, steps=2)
        score = 30 - abs(math.log10(rate) + 4)
        rows = [{"step": s, "split": "validation", "psnr": p} for s, p in ((1, score), (2, score - 1))]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    monkeypatch.setattr(trials.training, "train", train)
    return calls


def test_draws_depend_on_seed_name_and_trial_alone():
    rate = fields.parse("optimizer.learning_rate=log:1e-5:1e-3")
    drawn = [float(rate.draw(0, trial)) for trial in range(200)]
    assert drawn == [float(rate.draw(0, trial)) for trial in range(200)] and drawn[0] != float(rate.draw(1, 0))
    assert min(drawn) >= 1e-5 and max(drawn) <= 1e-3
    assert 80 < sum(value < 1e-4 for value in drawn) < 120, "the middle of the logarithms"
    width = fields.parse("generator.width=int:3:5")
    assert {width.draw(0, trial) for trial in range(60)} == {"3", "4", "5"}
    assert {fields.parse("a=choice:x,y").draw(0, trial) for trial in range(30)} == {"x", "y"}
    uniform = [float(fields.parse("a=uniform:-1:1").draw(0, trial)) for trial in range(100)]
    assert min(uniform) < -0.8 and max(uniform) > 0.8


def test_a_search_ends_in_one_table_and_resumes(trainer, tmp_path, capsys):
    asked = ["--config=restorer_cxr:tiny", f"--workdir={tmp_path}", *QUICK, *SEARCH, "--best=psnr:max", "--quiet"]
    assert sweep.main([*asked, "--trials=3"]) == 0
    assert trainer == ["trial_000", "trial_001", "trial_002"]
    first = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["trial"] for row in first["trials"]][-1] == 1 and first["trials"][-1]["value"] is None
    assert "not finite" in first["trials"][-1]["why"] and first["seed"] == 0 and len(first["digest"]) == 12
    values = [row["value"] for row in first["trials"][:-1]]
    assert values == sorted(values, reverse=True) and all(row["step"] == 1 for row in first["trials"][:-1])
    for row in first["trials"][:-1]:
        rate = float(row["fields"]["optimizer.learning_rate"])
        assert row["value"] == pytest.approx(30 - abs(math.log10(rate) + 4), abs=1e-6)
    assert sweep.main([*asked, "--trials=4"]) == 0
    assert trainer[3:] == ["trial_003"], "finished trials are read back, one that failed too"
    again = json.loads((tmp_path / "sweep.json").read_text())
    assert {row["trial"]: row for row in first["trials"]}.items() <= {row["trial"]: row for row in again["trials"]}.items()
    with open(tmp_path / "sweep.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 4 and table[0]["optimizer.learning_rate"] == again["trials"][0]["fields"]["optimizer.learning_rate"]
    assert again["digest"] in (tmp_path / "sweep.md").read_text()
    assert sweep.main([*asked[:4], "--field=data.batch_size=int:1:2", "--best=psnr:max", "--quiet"]) == 2
    assert "another search (its fields differ)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "extra, told",
    [
        (
            ["--field=optimizer.learning_rat=log:1e-5:1e-3"],
            "no field 'optimizer.learning_rat'; did you mean optimizer.learning_rate",
        ),
        (["--field=optimizer.learning_rate=log:0:1"], "log takes two numbers above 0"),
        (["--field=optimizer.learning_rate=log:1:0.1"], "the lower first"),
        (["--field=optimizer.learning_rate=normal:0:1"], "--field reads FIELD=log:LOW:HIGH"),
        (["--field=method.reconstruction=choice:l1"], "two values or more"),
        (["--field=data.batch_size=choice:1,many"], "cannot set data.batch_size=many"),
        ([*SEARCH[:1], *SEARCH[:1]], "given twice"),
        (["--field=data.split_seed=int:0:5"], "stays the same for all"),
        (["--field=method.reconstruction=choice:l1,mse", "--best=loss:min"], "are not compared by a loss"),
        ([], "say what to search over"),
        ([*SEARCH, "--best=step:max"], "by a metric of the validation"),
        ([*SEARCH, "--trials=0"], "at least 1, not 0"),
    ],
)
def test_what_cannot_be_searched_is_said_before_any_training(extra, told, trainer, tmp_path, capsys):
    assert sweep.main(["--config=restorer_cxr:tiny", f"--workdir={tmp_path / 'x'}", *extra]) == 2
    assert told in capsys.readouterr().err and not trainer and not (tmp_path / "x").exists()


@pytest.mark.slow
def test_the_house_trains_the_trials(tmp_path):
    asked = ["--config=restorer_cxr:tiny", f"--workdir={tmp_path}", *QUICK, "--set=train.eval_every=1", "--trials=2", "--quiet"]
    assert sweep.main([*asked, SEARCH[0]]) == 0
    rows = json.loads((tmp_path / "sweep.json").read_text())["trials"]
    assert len(rows) == 2 and all(10 < row["value"] < 60 and row["steps"] == 2 for row in rows)


def test_an_unknown_metric_is_the_trainers_to_name():
    assert trials.objective("ssim:max") == ("ssim", "max")
    with pytest.raises(MedjaxError):
        trials.objective("ssim")
