"""A run of CycleGAN from its config: resumed to the bit with pool and average, validated, judged, set on files, and turned into
pairs for the next stage.
"""

from __future__ import annotations

import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from helpers import crashed, leaves, values
from PIL import Image

from medjax import formats
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import evaluation, pairs, trained, training
from medjax.cli import main
from medjax.data import led_pairs as read_pairs
from medjax.data import pools
from medjax.data.augment import resize
from medjax.types import ConfigError, DataError, to_unit
from medjax.writers import read_metrics

pytestmark = pytest.mark.usefixtures("quick_compile")

NAME = "led_cyclegan:tiny"


def test_killed_between_checkpoints_and_resumed_equals_unbroken(unbroken_cyclegan, tiny, long_cyclegan, tmp_path):
    """To the bit, with what could break it: batch norm, dropout, an average, and pools of which one was exchanged with."""
    config, arrays = tiny(*long_cyclegan, name=NAME), unbroken_cyclegan[1]
    assert config.train.ema and config.generator.dropout and config.data.threads == 2
    for part in ("'pool'", ".ema", "batch_stats", "opt_state"):
        assert any(part in path for path in arrays), part
    assert all(int(arrays[f".extra['pool']['{side}'].count"]) == 3 for side in "ab")
    crashed(config, tmp_path / "run", step=5)
    said = []
    state = training.train(config, tmp_path / "run", say=said.append)
    assert said[-1] == "resuming at step 3"
    for path, value in leaves(state).items():
        np.testing.assert_array_equal(arrays[path], value, err_msg=path)
    assert values(tmp_path / "run") == values(unbroken_cyclegan[0])


def test_what_a_run_leaves(cyclegan_run):
    row = [r for r in read_metrics(cyclegan_run) if r["split"] == "validation"][-1]
    assert {"g_loss", "g_cycle_a", "g_cycle_b", "g_gan_ab", "g_gan_ba", "psnr", "ssim"} <= set(row) and "high" not in row
    assert row["g_loss"] == pytest.approx(sum(v for k, v in row.items() if k.startswith("g_") and k != "g_loss"), rel=1e-5)
    facts = configs.resolved(cyclegan_run)["pools"]
    assert facts["counts"]["train"] == {"low": 6, "high": 6} and set(facts["balance"]) == {"grey", "body"}
    with Image.open(cyclegan_run / "samples" / "validation_000006.png") as sheet:
        assert sheet.size[0] > 7 * 32


def test_a_validation_is_over_the_images_of_each_pool(cyclegan_run, tiny, long_cyclegan):
    """The mean cycle of high-quality images, computed one by one: masks of the two pools are kept apart."""
    model, config = trained.load(cyclegan_run, which="latest"), tiny(*long_cyclegan, name=NAME)
    data = build_data.open_data(config, cyclegan_run)
    row = [r for r in read_metrics(cyclegan_run) if r["split"] == "validation"][-1]
    whole = next(iter(build_data.eval_batches(config, data, "validation", limit=3, batch_size=3)))
    found = model.predict()({"b": whole["b"]}, jax.random.key(0))
    assert row["g_cycle_b"] == pytest.approx(10 * np.abs(found["cycle_b"] - whole["b"]).mean(), rel=1e-3)


def test_it_is_judged_against_the_known_truth_and_between_the_pools(cyclegan_run, tmp_path):
    found = evaluation.score_run(cyclegan_run, output=tmp_path, feature_networks=(), progress=False)
    assert list(found["rows"]) == ["input", "gaussian", "clahe", "model"] and found["n"] == 3
    assert set(found["unpaired"]["swd"]) == {"input", "model", "degraded"} and found["unpaired"]["n"] == {"low": 3, "high": 3}
    assert json.loads((tmp_path / "evaluation.json").read_text())["unpaired"] == found["unpaired"]
    assert found["unpaired"]["balance"].startswith("balance of the pools")


def test_without_a_truth_there_is_no_psnr(cyclegan_run, tmp_path, capsys):
    """Other folders of two pools: what can be said is said, by the command."""
    for pool in ("low", "high"):
        (tmp_path / "data" / pool).mkdir(parents=True)
        for i in range(2):
            image = np.random.default_rng([i, pool == "low"]).integers(0, 65536, (36, 36)).astype(np.uint16)
            Image.fromarray(image).save(tmp_path / "data" / pool / f"{pool}{i}.png")
    argv = ["evaluate", f"--workdir={cyclegan_run}", "--data_source=pools", f"--data_root={tmp_path / 'data'}"]
    assert main([*argv, f"--output={tmp_path / 'out'}", "--features="]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["kind"] == "unpaired" and set(found["rows"]["model"]) == {"cycle", "change"} and found["n"] == 2
    assert "cycle" in capsys.readouterr().out and "Nobody knows the truth" in (tmp_path / "out" / "report.html").read_text()


def test_enhance_takes_files_of_any_size(cyclegan_run, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (50, 40)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert main(["enhance", str(tmp_path / "a.png"), f"--workdir={cyclegan_run}", f"--output={tmp_path / 'out'}"]) == 0
    with Image.open(tmp_path / "out" / "a.png") as out:
        assert out.size == (40, 50) and np.any(np.asarray(out) != image)


# ------------------------------------------------------------------------------------------------ pairs for the next stage


def test_pairs_are_what_g_ba_makes_of_the_high_pool(cyclegan_run, led_pairs, tiny, long_cyclegan):
    source, config = read_pairs.led_pairs(led_pairs), tiny(*long_cyclegan, name=NAME)
    data = build_data.open_data(config, cyclegan_run)
    high = pools.in_pool(data.source, range(len(data.source)), "high")
    assert sorted(source.names) == sorted(data.source.names[i] for i in high) and source.paired
    mine = {name: {source.names[i] for i in own} for name, own in read_pairs.split(source).items()}
    theirs = {name: {data.source.names[i] for i in own} for name, own in data.splits.items()}
    assert all(mine[name] <= theirs[name] and mine[name] for name in mine), "each stays in its split"
    number = data.source.names.index(source.names[0])
    pair, image = source.load(0), data.source.load(number)["target"]
    np.testing.assert_allclose(pair["target"], resize(image, 32), atol=1e-5)
    made = trained.load(cyclegan_run).predict()({"b": 2 * resize(image, 32)[None] - 1}, jax.random.key(0))["a"]
    np.testing.assert_allclose(pair["source"], to_unit(np.asarray(made[0])), atol=2e-5)
    assert formats.stored_bits(source.records[0].paths[0]) == 16
    manifest = json.loads((led_pairs / "manifest.json").read_text())
    assert manifest["made_by"]["config_sha256"] == hashlib.sha256((cyclegan_run / "config.json").read_bytes()).hexdigest()


def test_a_later_stage_trains_on_them_in_their_splits(led_pairs, tiny):
    config = tiny("data.source=led_pairs", f"data.root={led_pairs}", "data.degradation.steps=()", name="restorer_cxr:tiny")
    data = build_data.open_data(config)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 6, "validation": 3, "test": 3}
    batch = next(build_data.train_batches(config, data)(0))
    assert batch["source"].shape == batch["target"].shape == (2, 32, 32, 1)


def test_a_changed_file_is_named(led_pairs, tmp_path):
    copy = tmp_path / "pairs"
    shutil.copytree(led_pairs, copy)
    path = sorted((copy / "source").iterdir())[1]
    formats.write(path, np.zeros((32, 32, 1), np.float32), formats.Encoding("png", "uint16", 0.0, 65535.0))
    with pytest.raises(DataError, match=f"1 files have changed since .*{path.name}; make the pairs again with medjax degrade"):
        read_pairs.led_pairs(copy)
    assert len(read_pairs.led_pairs(copy, check=False)) == 12
    path.unlink()
    with pytest.raises(DataError, match=f"1 files that .*manifest.json names are absent: source/{path.name}"):
        read_pairs.led_pairs(copy)
    (copy / "manifest.json").write_text('{"pairs": [{"name": "a"}]}')
    with pytest.raises(DataError, match="cannot be read as a manifest"):
        read_pairs.led_pairs(copy)


def test_a_stage_without_the_one_before_says_what_to_run(tmp_path, tiny, cyclegan_run, led_pairs, trained, capsys):
    assert main(["degrade", f"--workdir={tmp_path / 'none'}", f"--output={tmp_path / 'out'}"]) == 1
    assert f"train it with medjax train --config=led_cyclegan --workdir={tmp_path / 'none'}" in capsys.readouterr().err
    with pytest.raises(DataError, match="make them with medjax degrade --workdir=CYCLEGAN --output="):
        read_pairs.led_pairs(tmp_path)
    config = tiny("data.source=led_pairs", f"data.root={tmp_path / 'pairs'}", name="restorer_cxr:tiny")
    with pytest.raises(DataError, match="is absent; make it with medjax degrade"):
        build_data.open_data(config)
    with pytest.raises(ConfigError, match="exists and is not empty"):
        pairs.write_pairs(cyclegan_run, led_pairs)
    with pytest.raises(ConfigError, match="learns no degradation; cyclegan does"):
        pairs.write_pairs(trained, tmp_path / "out")


def test_the_command_deals_one_split_for_several_stages(tmp_path):
    path = tmp_path / "splits.json"
    argv = ["split", "--config=led_cyclegan:tiny", "--config=classifier_cxr:tiny", f"--output={path}"]
    assert main(argv) == 0
    for name in ("led_cyclegan:tiny", "classifier_cxr:tiny"):
        data = build_data.open_data(configs.get(name, [f"data.split_file={path}"]))
        listed = json.loads(path.read_text())["patients"]
        for split, own in data.splits.items():
            assert {data.source.records[i].patient for i in own} <= set(listed[split])
