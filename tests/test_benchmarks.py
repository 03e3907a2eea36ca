"""Benchmarks and the GPU check: arithmetic by hand, one step measured through the real objective, and the peer's equality."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest

from experiments import gpu_check
from experiments.benchmarks import (
    cases,
    devices,
    inference,
    profile,
    report_tables,
    roofline,
    sampling,
    settings,
    side_by_side,
    startup,
    train_step,
)
from experiments.benchmarks.workers import Worker, WorkerError, environment
from medjax.build import config as configs
from medjax.build import diffusion, networks
from medjax.objective import train_step as one_step
from medjax.types import ConfigError, MedjaxError

# ------------------------------------------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize(
    ("kind", "bfloat16", "bandwidth"),
    [
        ("NVIDIA H200", 989e12, 4.8e12),
        ("NVIDIA GH200 480GB", 989e12, 4.0e12),
        ("NVIDIA H100 80GB HBM3", 989e12, 3.35e12),
        ("NVIDIA A100-SXM4-40GB", 312e12, 1.555e12),
        ("NVIDIA A100-SXM4-80GB", 312e12, 2.039e12),
        ("Tesla T4", None, 0.32e12),
        ("NVIDIA L40S", 362e12, 0.864e12),
    ],
)
def test_peaks_are_the_data_sheets(kind, bfloat16, bandwidth):
    known = devices.peak(kind)
    assert known.of("bfloat16") == bfloat16
    assert known.bandwidth == pytest.approx(bandwidth)


def test_a_cpu_has_no_peak_and_no_floor():
    assert devices.peak("cpu") is None
    assert devices.floor_seconds("cpu", "float32", flop=1e9, parameters=1) is None
    assert devices.floor_seconds("Tesla T4", "bfloat16", flop=1e9, parameters=1) is None


def test_floor_is_the_longer_of_arithmetic_and_traffic():
    floor = lambda batch: devices.floor_seconds(
        "NVIDIA H200", "bfloat16", flop=batch * devices.PIX2PIX_FLOP, parameters=57_170_000
    )
    assert floor(64) == pytest.approx(64 * 82.5e9 / (0.4 * 790e12))  # 16.7 ms
    assert floor(1) == pytest.approx(57.17e6 * 32 / 4.3e12)  # 0.43 ms: at batch 1 Adam's traffic is what takes time


def test_flop_of_the_published_step_as_xla_counts_it():
    """82.5 GFLOP by arithmetic on the layers; XLA counts elementwise work too and leaves out products with padding."""
    objective = networks.objective(configs.get("pix2pix_cxr:paper"), 100)
    image = jax.ShapeDtypeStruct((1, 256, 256, 1), np.float32)
    batch = {"source": image, "target": image, "index": jax.ShapeDtypeStruct((1,), np.int32)}
    key = jax.random.key(0)
    state = jax.eval_shape(objective.init, key, batch)
    flops = jax.jit(one_step(objective)).lower(state, batch, key).cost_analysis()["flops"]
    assert flops == pytest.approx(devices.PIX2PIX_FLOP, rel=0.05)


def row_of(**known):
    usual = {"device_kind": "NVIDIA H200", "precision": "bfloat16", "task": "train", "calls": 1, "parameters": {"g": 1000}}
    return {**usual, **known}


def test_a_row_stands_beside_the_peak_and_the_floor_of_its_device():
    """By hand for an H200: 989 TFLOP/s on paper, 790 and 4.3 TB/s attained, of which 40% is the floor."""
    step = roofline.beside(row_of(gflop=64 * 82.5, ms=25.0, tflops=64 * 82.5 / 25))
    assert step["floor_ms"] == pytest.approx(16.71, abs=0.01) and step["floor_of"] == "arithmetic"
    assert step["floor_share"] == pytest.approx(0.668, abs=0.001) and step["peak_share"] == pytest.approx(0.2135, abs=1e-4)
    # Sampling reads the weights once for every call: 18 million in 1000 calls are 16.7 ms, the arithmetic of one image more.
    sampled = row_of(task="sample", calls=1000, parameters={"denoiser": 18_000_000}, ms=1000.0, tflops=1.0)
    assert roofline.beside({**sampled, "gflop": 1.0})["floor_ms"] == pytest.approx(1000 * 18e6 * 4 * 1000 / 4.3e12)
    assert roofline.beside({**sampled, "gflop": 185e3 * 16})["floor_ms"] == pytest.approx(9367, abs=1)
    assert roofline.beside(row_of(device_kind="cpu", gflop=1.0, ms=1.0, tflops=1.0)) == {}
    assert roofline.beside(row_of(device_kind="Tesla T4", gflop=1.0, ms=1.0, tflops=1.0)) == {}, "it has no bfloat16"


def test_the_published_rows_are_configs_that_there_are():
    for case in (*roofline.PUBLISHED, *roofline.REDUCED):
        config = configs.get(case.config, [*case.overrides, f"data.batch_size={case.batch}"])
        assert case.calls == (config.method.steps if case.task == "sample" else 1), case.name
    assert {case.config for case in roofline.PUBLISHED} == {case.config.replace("tiny", "paper") for case in roofline.REDUCED}


@pytest.mark.slow
def test_the_table_runs_reduced(tmp_path):
    assert roofline.main(["--reduced", "--slices=1", "--seconds=0.1", f"--output={tmp_path / 'deep' / 'table.json'}"]) == 0
    result = json.loads((tmp_path / "deep" / "table.json").read_text())
    assert len(result["rows"]) == 2 * len(roofline.REDUCED) and result["reduced"] and not result["failed"]
    draws = [row for row in result["rows"] if row["task"] == "sample"]
    assert all(row["calls"] == 3 and row["gflop"] > 0 and row["finite"] for row in draws)


# --------------------------------------------------------------------------------------------------------- startup


def test_parts_of_a_start_are_what_its_process_did():
    """A command at 100 s: 2 s to be imported, 3 for data, and a trace within another that is not counted twice."""
    marks = {"command": 100.0, "imported": 102.0, "first_step": 112.0, "second_step": 112.25}
    events = [("trace", 105.2, 105.7), ("trace", 105.0, 106.5), ("compile", 107.0, 111.0), ("compile", 111.25, 111.75),
              ("lower", 106.5, 106.75)]  # fmt: skip
    parts = startup.parts_of(marks, {"data": 3.0}, events)
    assert parts == pytest.approx({
        "total_s": 12.0, "import_s": 2.0, "data_s": 3.0, "trace_s": 1.5, "lower_s": 0.25, "compile_s": 4.5, "rest_s": 0.75,
        "next_step_s": 0.25,
    })  # fmt: skip


def test_the_page_shows_starts_and_floors():
    """A median and its range, a share in percent, a dash for what a CPU has not."""
    part = {"median": 1.5, "range": [1.0, 2.0]}
    start = {"config": "a:b", "cache": "cold", "repeats": 3, "rss_mb": 1234.0, "parts": {"total_s": part, "import_s": part}}
    assert report_tables.startup({"rows": [start]})[2] == "| a:b | cold | 3 | 1.50 [1.00, 2.00] | 1.50 | 1234 |"
    step = {"name": "DDPM", "batch": 2, "precision": "float32", "ms": 25.0, "ms_range": [24.0, 26.0], "images_per_second": 80.0}
    known = {**step, "floor_ms": 20.0, "floor_of": "bytes", "floor_share": 0.8, "peak_share": 0.25, "gflop": 10.0, "tflops": 0.4}
    plain, told = report_tables.roofline({"rows": [step, known]})[2:]
    assert told == "| DDPM | 2 | float32 | 25.0 [24.0, 26.0] | 80 | 10 | 0.4 | 25.0% | 20 | bytes | 80.0% | - | - |"
    assert plain == "| DDPM | 2 | float32 | 25.0 [24.0, 26.0] | 80 | - | - | - | - | - | - | - | - |"
    assert report_tables.checks({"rows": [{"check": "step", "result": "ok", "figures": "x", "step": known}]})[-1] == told


@pytest.mark.slow
def test_startup_is_measured_cold_and_warm(tmp_path):
    words = ["--config=restorer_cxr:tiny", "--repeats=1", f"--output={tmp_path / 'deep' / 'startup.json'}"]
    assert startup.main(words) == 0
    result = json.loads((tmp_path / "deep" / "startup.json").read_text())
    assert result["benchmark"] == "startup" and [row["cache"] for row in result["rows"]] == ["cold", "warm"]
    cold, warm = result["rows"]
    assert cold["cache_hits"] == [0] and warm["cache_hits"][0] > 0
    assert warm["parts"]["compile_s"]["median"] < cold["parts"]["compile_s"]["median"]
    assert cold["parts"]["total_s"]["median"] > cold["parts"]["import_s"]["median"] > 0 and cold["rss_mb"] > 100


# ------------------------------------------------------------------------------------------------------ train_step


def test_train_step_measures_the_real_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(side_by_side, "torch_missing", lambda: True)
    argv = ["--config=restorer_cxr:tiny", "--batch=2", "--slices=2", "--seconds=0.05", "--peer", "--config.train.ema=0.0"]
    assert train_step.main([*argv, f"--output={tmp_path / 'deep' / 'step.json'}"]) == 0
    printed = capsys.readouterr().out
    assert "PyTorch is not installed here" in printed and "recompiled" in printed and "padding" in printed
    result = json.loads((tmp_path / "deep" / "step.json").read_text())
    (row,) = result["rows"]
    assert result["overrides"] == ["train.ema=0.0"]
    assert row["recompiled"] == 0 and row["finite"] and row["steps"] > 4
    low, high = row["ms_range"]
    assert 0 < low <= row["ms"] <= high
    assert row["images_per_second"] == pytest.approx(2000 / row["ms"])
    assert row["tflops"] == pytest.approx(row["gflop"] / row["ms"]) and row["gflop"] > 0
    total = row["program_mb"]["arguments"] + row["program_mb"]["outputs"] + row["program_mb"]["temporaries"]
    assert row["program_mb"]["total"] == pytest.approx(total)
    # Adam keeps two moments per parameter: the arguments are at least three times the weights.
    assert row["program_mb"]["arguments"] > 3 * 4 * row["parameters"]["generator"] / 1e6
    assert row["rss_mb"] > 100 and row["versions"]["jax"] == jax.__version__


def test_train_step_names_a_wrong_field_before_any_work(capsys):
    assert train_step.main(["--config=restorer_cxr:tiny", "--config.train.precison=bfloat16"]) == 2
    assert "train.precision" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "override"),
    [("restorer_cxr:tiny", "seed=0"), ("pix2pix_cxr:small", "seed=0"), ("pix2pix_cxr:tiny", "method.adversary=lsgan"),
     ("led_cyclegan:paper", "seed=0"), ("led_diffusion:sane", "seed=0"), ("cgan_cxr:small", "seed=0"),
     ("classifier_cxr:small", "seed=0"), ("esrgan:light", "seed=0"), ("srgan_cxr:srresnet_tiny", "seed=0")],
)  # fmt: skip
def test_only_the_published_systems_have_peers(config, override):
    with pytest.raises(ConfigError, match="no peer"):
        cases.peer(config, [override], "float32")


def test_every_case_has_a_peer_of_its_sizes():
    for case in (*cases.TRAIN, *cases.INFERENCE):
        found = cases.peer(case.config, [*case.overrides, f"data.batch_size={case.batch}"], "float32", task=case.task)
        sizes = [shape[0] if len(shape) != 2 else shape[0][0] for shape in found["shapes"].values()]
        assert sizes and set(sizes) == {case.batch}
    found = cases.peer("pix2pix_cxr:paper", ["data.batch_size=4"], "float32")
    assert found["shapes"]["source"] == (4, 1, 256, 256) and found["options"]["generator"]["features"] == 64


def test_the_denoiser_of_the_cases_has_eighteen_million_parameters():
    case = next(case for case in cases.TRAIN if case.config.startswith("led_diffusion"))
    net = networks.module(configs.get(case.config, case.overrides), "denoiser", diffusion.DENOISERS)
    image, t = jax.ShapeDtypeStruct((1, 128, 128, 1), np.float32), jax.ShapeDtypeStruct((1,), np.int32)
    params = jax.eval_shape(net.init, jax.random.key(0), image, t, image)["params"]
    assert round(sum(x.size for x in jax.tree.leaves(params)) / 1e6) == 18


def test_cases_are_chosen_by_words():
    found = cases.chosen(cases.TRAIN, ["cgan_cxr", "ResNet-18"])
    assert [case.config for case in found] == ["classifier_cxr:paper", "cgan_cxr:paper"]
    with pytest.raises(ConfigError, match="no case 'vgg'"):
        cases.chosen(cases.TRAIN, ["vgg"])


def test_inference_measures_the_objectives_prediction(tmp_path):
    argv = ["--config=restorer_cxr:tiny", "--batch=2", "--slices=2", "--seconds=0.01", f"--output={tmp_path / 'inference.json'}"]
    assert inference.main(argv) == 0
    result = json.loads((tmp_path / "inference.json").read_text())
    (row,) = result["rows"]
    assert (result["benchmark"], row["task"], row["recompiled"], row["finite"]) == ("inference", "predict", 0, True)
    assert row["images_per_second"] == pytest.approx(2000 / row["ms"]) and row["gflop"] > 0


def test_a_worker_that_fails_says_why():
    with pytest.raises(WorkerError, match="no config 'absent'"), Worker(
        "experiments.benchmarks.medjax_step:build", config="absent", overrides=[]
    ):
        pass


def test_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("MEDJAX_A", "before")
    with environment(MEDJAX_A="inside", MEDJAX_B="inside"):
        pass
    import os

    assert os.environ["MEDJAX_A"] == "before" and "MEDJAX_B" not in os.environ


# ------------------------------------------------------------------------------------------------------ GPU check


@pytest.mark.slow
def test_gpu_check_in_its_reduced_form(tmp_path, capsys):
    assert gpu_check.main(["--reduced", "--configs=pix2pix_cxr,led_diffusion", f"--output={tmp_path / 'gpu.json'}"]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert [(row["check"].split()[0], row["result"]) for row in result["rows"]] == [
        ("smoke", "ok"), ("resume", "ok"), ("smoke", "ok"), *[("step", "ok"), ("step", "ok"), ("draw", "ok")] * 2,
    ]  # fmt: skip
    assert "equal to the bit" in result["rows"][1]["figures"]
    steps = [row["step"] for row in result["rows"] if "step" in row]
    assert [row["precision"] for row in steps] == ["bfloat16"] * 3 + ["float32"] * 3 and all(row["tflops"] > 0 for row in steps)
    printed = capsys.readouterr().out
    assert result["quick"] and "reduced" in printed
    if result["platform"] == "cpu":
        assert "no GPU was found" in printed


@pytest.mark.slow
def test_gpu_check_of_every_config(tmp_path):
    assert gpu_check.main(["--quick", "--minutes=30", f"--output={tmp_path / 'gpu.json'}"]) == 0
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {row["check"] for row in rows} >= {f"smoke {name}:tiny" for name in configs.names()}


def test_gpu_check_refuses_an_unknown_config(capsys):
    assert gpu_check.main(["--quick", "--configs=restorer"]) == 2
    assert "restorer_cxr" in capsys.readouterr().err


def test_a_failed_check_is_reported_and_the_next_one_runs():
    report = gpu_check.Report(minutes=1)

    def broken():
        raise MedjaxError("the reason")

    report.check("first", broken)
    report.check("second", lambda: {"figures": "fine"})
    report.check("third", lambda: {"figures": "fine"}, needs=3600)
    assert [row["result"] for row in report.rows] == ["FAIL", "ok", "skipped"]
    assert "the reason" in report.table()


def fake_run(name, workdir, deterministic):
    """What a run that starts afresh instead of resuming would return."""
    return {"said": [], "digest": "a", "rows": [], "steps": 4}


def fake_other_bits(name, workdir, deterministic):
    return {"said": ["resuming at step 2"], "digest": "b", "rows": [], "steps": 4}


@pytest.mark.parametrize(("again", "message"), [(fake_run, "did not resume"), (fake_other_bits, "state after resuming")])
def test_resume_check_fails_where_it_should(tmp_path, monkeypatch, again, message):
    for step in (2, 4):
        (tmp_path / "run" / "checkpoints" / str(step)).mkdir(parents=True)
    monkeypatch.setattr(gpu_check, "apart", lambda function, *args: again(*args))
    whole = {"said": [], "digest": "a", "rows": [], "steps": 4}
    with pytest.raises(MedjaxError, match=message):
        gpu_check.resume("pix2pix_cxr", tmp_path / "run", whole, False)
    assert (tmp_path / "run" / "checkpoints" / "4").exists(), "the unbroken run is left as it is"
    assert not (tmp_path / "run_resumed" / "checkpoints" / "4").exists()
    shutil.rmtree(tmp_path / "run_resumed")


def test_digest_sees_every_bit():
    a = {"x": np.float32([1, 2]), "y": np.int32(3)}
    assert gpu_check.digest(a) == gpu_check.digest({"y": np.int32(3), "x": np.float32([1, 2])})
    assert gpu_check.digest(a) != gpu_check.digest({**a, "x": np.float32([1, np.nextafter(np.float32(2), 3)])})
    assert gpu_check.digest(a) != gpu_check.digest({**a, "y": np.int64(3)})


def test_shards_of_features_are_one_pass(quick_compile, monkeypatch):
    from experiments.benchmarks import features

    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    found = features.measure("resnet18", 10, 2)
    assert found["weights"] == "drawn from a seed" and found["shards"]["n"] == 10
    assert found["shards"]["mean"] < 1e-5 and found["shards"]["scatter"] < 1e-4
    assert found["images_per_second"] > 0
    one, two = (next(features.batches(i, i + 1, 1)) for i in (0, 1))
    assert one.shape == (1, 299, 299, 1) and abs(one - two).max() > 0.1


def test_sampling_compiles_once_and_holds_as_much_for_more_steps(tmp_path, capsys):
    words = ["--config=led_diffusion:tiny", "--size=32", "--batch=2", "--steps=2,9", "--samplers=dpm2m"]
    assert sampling.main([*words, f"--output={tmp_path / 'deep' / 'sampling.json'}"]) == 0
    few, many = json.loads((tmp_path / "deep" / "sampling.json").read_text())["rows"]
    assert few["compiled"] == many["compiled"] == 1 and few["finite"] and many["finite"]
    assert many["temporary_mib"] == pytest.approx(few["temporary_mib"], abs=0.01)
    assert "dpm2m     9 steps: 1 compiled" in capsys.readouterr().out


def test_a_traces_operations_are_told_apart():
    names = {"transpose_copy_fusion.3": 20, "copy_bitcast_fusion": 10, "copy.8": 5, "ynn_fusion.12": 30, "dot.1": 5, "add": 9}
    others = {"ThunkExecutor::Execute": 100, "$api.py:2479 block_until_ready": 100, "end: dot.1": 50, "PjitFunction(step)": 9}
    events = [{"ph": "X", "name": name, "dur": 1e3 * ms} for name, ms in {**names, **others}.items()]
    found = profile.shares([*events, {"ph": "M", "name": "add"}], 0.1)
    expected = {"layouts": 0.35, "products and sums": 0.35, "elementwise": 0.09, profile.REST: 0.21}
    assert found == pytest.approx(expected)


def test_cases_have_batches_of_their_own(capsys):
    with pytest.raises(SystemExit):
        inference.main(["--only=pix2pix", "--batch=2"])
    assert "--config and --batch are for one config" in capsys.readouterr().err


def test_settings_are_compared_where_none_is_chosen(monkeypatch, capsys):
    for name in settings.CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    with pytest.raises(SystemExit):
        settings.main([])
    assert "MALLOC_ARENA_MAX is set" in capsys.readouterr().err
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    with pytest.raises(SystemExit):
        settings.main(["--only=nothing"])
    assert "no case 'nothing'" in capsys.readouterr().err


@pytest.mark.slow
def test_ways_of_a_step_are_compared(monkeypatch):
    for name in settings.CHOICES:
        monkeypatch.delenv(name, raising=False)
    for task in ("train", "predict"):
        rows = settings.measure(cases.Case("small", "restorer_cxr:tiny", 2, 0.0, task=task), slices=2, seconds=0.05)
        assert [row["way"] for row in rows] == list(settings.WAYS) and rows[0]["of_neither"] == 1
        assert [bool(row["xla_flags"]) for row in rows] == [False, True, True] and all(row["ms"] > 0 for row in rows)
