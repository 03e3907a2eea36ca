"""From configs to runs: found by name, overridden, compared; sources, splits, networks and schedules."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import networks, training
from medjax.data import choice
from medjax.types import CheckpointError, ConfigError, DataError


def test_overrides_keep_their_types():
    config = configs.get(
        "pix2pix_cxr:tiny",
        [
            "optimizer.learning_rate=1e-3",
            "data.split=(0.5,0.25,0.25)",
            "data.flip=False",
            "generator.attention_at=('encoder:8',)",
            "seed=3",
        ],
    )
    assert config.optimizer.learning_rate == 1e-3 and config.data.split == (0.5, 0.25, 0.25)
    assert config.data.flip is False and config.generator.attention_at == ("encoder:8",) and config.seed == 3
    assert configs.get("pix2pix_cxr:tiny").seed == 0, "one config's overrides must not leak into the next"


@pytest.mark.parametrize(
    "text, told",
    [
        ("optimizer.learning_rat=1", "no field 'optimizer.learning_rat'; did you mean optimizer.learning_rate"),
        ("learning_rate=1", "did you mean optimizer.learning_rate"),
        ("data.fliip=True", "did you mean data.flip"),
        ("data.degradation.gaussian_noise.sigm=1", "did you mean data.degradation.gaussian_noise.sigma"),
        ("zzz=1", "no field 'zzz'$"),
        ("train.steps=many", "cannot set train.steps=many"),
        ("train.steps", "reads FIELD=VALUE, not 'train.steps'"),
        ("data.flip=perhaps", "cannot set data.flip=perhaps"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(text, told):
    with pytest.raises(ConfigError, match=told):
        configs.get("pix2pix_cxr:tiny", [text])


@pytest.mark.parametrize(
    "name, told",
    [
        ("pix2pix_cxr:smal", "variant 'smal' is none of paper, .*small"),
        ("pix2pix_cx", "no config 'pix2pix_cx'; did you mean pix2pix_cxr"),
        ("/nowhere/mine.py", "no config '/nowhere/mine.py'"),
    ],
)
def test_unknown_configs_and_variants_list_the_known_ones(name, told):
    with pytest.raises(ConfigError, match=told):
        configs.get(name)


def test_a_config_file_of_ones_own(tmp_path):
    """A path works as a name does, and may build on the shipped parts."""
    path = tmp_path / "mine.py"
    lines = ["from configs import pix2pix_cxr", "", "def get_config(variant='tiny'):"]
    lines += ["    config = pix2pix_cxr.get_config(variant)", "    config.name = 'mine'", "    return config"]
    path.write_text("\n".join(lines))
    assert configs.get(f"{path}").name == "mine"
    assert configs.get(f"{path}:paper", ["train.steps=9"]).train.steps == 9


def test_a_config_survives_its_workdir(tmp_path):
    """Tuples, floats and empty sections after JSON: the same config, the same modules."""
    config = configs.get("pix2pix_cxr:attention")
    configs.write(config, tmp_path, steps=5)
    again = configs.read(tmp_path)
    assert again.to_dict() == config.to_dict() and again.generator.attention_at == ("encoder:32", "decoder:32")
    configs.check_same(config, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["resolved"] == {"steps": 5}
    assert {"python", "jax", "flax", "device", "commit"} <= set(written["versions"])


def test_a_workdir_of_another_config_names_the_fields(tmp_path):
    config = configs.get("pix2pix_cxr:tiny")
    configs.write(config, tmp_path)
    configs.check_same(
        configs.get("pix2pix_cxr:tiny", ["data.threads=2", "data.root=/elsewhere", "train.progress=True"]), tmp_path
    )
    other = configs.get("pix2pix_cxr:tiny", ["seed=4", "generator.features=16"])
    with pytest.raises(ConfigError, match="generator.features: 8 there, 16 now; seed: 0 there, 4 now.*another --workdir"):
        configs.check_same(other, tmp_path)
    with pytest.raises(ConfigError, match="and [0-9]+ more"):
        configs.check_same(configs.get("restorer_cxr:tiny"), tmp_path)


def test_a_folder_that_is_no_workdir_or_a_broken_one(tmp_path):
    with pytest.raises(CheckpointError, match="is no workdir of a run: it has no config.json"):
        configs.read(tmp_path)
    (tmp_path / "config.json").write_text('{"config": ')
    with pytest.raises(CheckpointError, match="config.json cannot be read"):
        configs.read(tmp_path)


# ------------------------------------------------------------------------------------------------ data


def test_phantoms_are_split_by_patient_and_the_split_is_kept(tiny, tmp_path):
    config = tiny("data.split=(0.5,0.25,0.25)")
    data = build_data.open_data(config)
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 12, "validation": 6, "test": 6}
    build_data.write_splits(data, tmp_path)
    names = json.loads((tmp_path / "splits.json").read_text())
    assert len({n for rows in names.values() for n in rows}) == 24
    other = build_data.open_data(tiny("data.split=(0.5,0.25,0.25)", "data.split_seed=0"), tmp_path)
    assert all(np.array_equal(data.splits[k], other.splits[k]) for k in data.splits)
    names["train"].append(names["test"][0])
    (tmp_path / "splits.json").write_text(json.dumps(names))
    with pytest.raises(DataError, match="patients? (are|is) in more than one split"):
        build_data.open_data(config, tmp_path)


def test_batches_follow_the_config(tiny):
    config = tiny("data.batch_size=3", "data.crop_size=16", "data.degradation.steps=('gaussian_noise',)")
    data = build_data.open_data(config)
    batch = next(build_data.train_batches(config, data)(0))
    assert batch["source"].shape == (3, 16, 16, 1) and batch["index"].dtype == np.int32
    noise = (batch["source"] - batch["target"])[np.abs(batch["target"]) < 0.5] / 2
    assert np.std(noise) == pytest.approx(15 / 255, rel=0.15)
    whole = next(iter(build_data.eval_batches(config, data, "validation", limit=1)))
    assert whole["target"].shape[1:] == (32, 32, 1) and whole["mask"].sum() == 1


@pytest.mark.parametrize(
    "overrides, error, told",
    [
        (["data.source=nih"], ConfigError, "unknown data source 'nih'; known: nih_cxr14"),
        (["data.source=folder", "data.root=/nowhere/at/all"], DataError, "/nowhere/at/all .from config.data.root. is absent"),
        (["data.phantom_cxr.count=0"], ConfigError, "count"),
        (["data.phantom_cxr.count=2"], DataError, "2 patients cannot be dealt|too few"),
        (["data.degradation.steps=()"], ConfigError, "degradation.steps may not be empty"),
        (["data.degradation.steps=('nose',)"], ConfigError, "nose"),
    ],
)
def test_data_that_cannot_be_used(tiny, overrides, error, told):
    with pytest.raises(error, match=told):
        build_data.open_data(tiny(*overrides))


def test_the_root_comes_from_the_config_or_the_environment(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDJAX_DATA", raising=False)
    config = tiny("data.source=nih_cxr14")
    with pytest.raises(DataError, match="nih_cxr14 needs a folder: set --config.data.root=DIR, or MEDJAX_DATA"):
        build_data.root_of(config)
    monkeypatch.setenv("MEDJAX_DATA", str(tmp_path))
    with pytest.raises(DataError, match="cxr_nih .from MEDJAX_DATA. is absent"):
        build_data.root_of(config)
    (tmp_path / "cxr_nih").mkdir()
    assert build_data.root_of(config) == tmp_path / "cxr_nih"
    config.data.root = str(tmp_path)
    assert build_data.root_of(config) == tmp_path


# ------------------------------------------------------------------------------------------------ networks


def rate_at(config, steps, at):
    """The learning rate by what Adam's first-order step does: the size of an update under a constant gradient."""
    tx = networks.optimizer(config, steps)
    state = tx.init({"w": np.zeros(1, np.float32)})
    update = jax.jit(lambda state: tx.update({"w": np.ones(1, np.float32)}, state))
    for _ in range(at):
        updates, state = update(state)
    return -float(updates["w"][0])


def test_the_published_schedule_is_constant_then_linear_to_zero(tiny):
    config = tiny("optimizer.learning_rate=1e-2")
    rates = [rate_at(config, 20, at) for at in (1, 10, 16, 20)]
    np.testing.assert_allclose(rates, [1e-2, 1e-2, 0.5e-2, 0.1e-2], rtol=1e-3)


def test_warmup_and_cosine(tiny):
    config = tiny("optimizer.learning_rate=1e-2", "optimizer.schedule=cosine", "optimizer.warmup=4")
    assert rate_at(config, 20, 3) == pytest.approx(0.5e-2, rel=1e-3)
    assert rate_at(config, 20, 5) == pytest.approx(1e-2, rel=1e-3)
    assert rate_at(config, 20, 13) == pytest.approx(0.5e-2, rel=1e-3)


@pytest.mark.parametrize(
    "text, told",
    [
        ("method.adversary=wgan", "unknown adversary 'wgan'"),
        ("method.reconstruction=l3", "unknown loss 'l3'"),
        ("method.name=pixpix", "unknown method 'pixpix'; known: pix2pix, supervised"),
        ("generator.name=vnet", "unknown generator 'vnet'; known: unet, restorer"),
        ("generator.name=restorer", "config.generator: "),
        ("optimizer.schedule=steps", "unknown schedule 'steps'"),
        ("train.precision=float16", "unknown precision 'float16'; known: float32, bfloat16"),
        ("generator.norm=layer", "unknown norm 'layer'"),
        ("generator.attention_at=('bottleneck',)", "attends to nothing"),
        ("data.image_size=40", "multiples of 32, not 40x40"),
    ],
)
def test_methods_that_cannot_be_built(tiny, text, told, tmp_path):
    """Before any training step, and with nothing written."""
    with pytest.raises(ConfigError, match=told):
        training.train(tiny(text), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_steps_come_from_epochs_where_they_are_not_given(tiny):
    assert training.num_steps(tiny("train.steps=0", "train.epochs=3"), 19) == 27  # batches of 2: 9 per epoch
    with pytest.raises(ConfigError, match="train.steps or config.train.epochs"):
        training.num_steps(tiny("train.steps=0", "train.epochs=0"), 19)


def test_limit_holds_for_every_source():
    config = configs.get("pix2pix_cxr:tiny", ["data.phantom_cxr.count=50", "data.limit=15"])
    assert len(build_data.open_source(config)[0]) == 15


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_schedules_reach_zero_with_and_without_warmup(schedule):
    """The update of a constant gradient is the learning rate, for Adam in the limit: at the end it must be 0."""
    for warmup in (0, 20):
        config = configs.get("pix2pix_cxr:tiny", [f"optimizer.schedule={schedule}", f"optimizer.warmup={warmup}"])
        tx = networks.optimizer(config, 100)
        state, sizes = tx.init({"w": np.float32(0)}), []
        for _ in range(101):
            update, state = tx.update({"w": np.float32(1)}, state)
            sizes.append(abs(float(update["w"])))
        assert sizes[-1] == pytest.approx(0, abs=1e-9) and max(sizes) == pytest.approx(2e-4, rel=1e-3)


def test_a_run_from_before_a_field_existed_can_still_be_read(tmp_path):
    config = configs.get("pix2pix_cxr:tiny")
    configs.write(config, tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    del stored["config"]["data"]["verify"], stored["config"]["optimizer"]["warmup"]
    (tmp_path / "config.json").write_text(json.dumps(stored))
    assert configs.to_json(configs.read(tmp_path)) == configs.to_json(config)


def test_damaged_splits_and_checkpoints_without_a_config_are_named(tmp_path):
    (tmp_path / "splits.json").write_text("{")
    with pytest.raises(DataError, match="splits.json cannot be read"):
        build_data.open_data(configs.get("pix2pix_cxr:tiny"), tmp_path)
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    with pytest.raises(ConfigError, match="unknown run"):
        configs.check_same(configs.get("pix2pix_cxr:tiny"), tmp_path)


def test_a_file_that_is_no_config_is_named(tmp_path):
    for text in ("def get_config(", "x = 1", "import ml_collections\ndef get_config(): return ml_collections.ConfigDict()"):
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(ConfigError, match="mine.py"):
            configs.get(str(tmp_path / "mine.py"))


def test_sample_sheets_show_images_spread_over_the_split():
    assert choice.spread(10, 4) == [1, 3, 6, 8]
    assert choice.spread(2, 4) == [0, 1]


def test_of_a_field_given_twice_the_last_holds():
    found = configs.get("pix2pix_cxr:tiny", ["data.split=(1,2,3)", "train.steps=3", "data.split=(4,5,6)", "train.steps=5"])
    assert found.data.split == (4, 5, 6) and found.train.steps == 5
