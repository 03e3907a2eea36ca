"""Distances over feature networks beside an evaluation: what is at hand is measured, what is not is named."""

from __future__ import annotations

import json
import re
import shutil

import jax
import numpy as np
import pytest

from medjax import weights
from medjax.build import config as configs
from medjax.build import evaluation, features
from medjax.cli import main
from medjax.metrics import lpips, markdown
from medjax.models.lpips import channel_weights
from medjax.report.features import feature_blocks
from medjax.types import CheckpointError, ConfigError
from medjax.weights.drawn import drawn

pytestmark = pytest.mark.usefixtures("quick_compile")


def pictures(n, seed=0, side=64):
    return np.random.default_rng(seed).uniform(size=(n, side, side, 1)).astype(np.float32)


def positive(tree):
    """Heads weigh channels, so they are not negative."""
    return jax.tree.map(np.abs, tree)


@pytest.fixture(scope="module")
def published_layout(tmp_path_factory):
    """A folder with AlexNet and its LPIPS heads as safetensors, of drawn weights, and these weights."""
    folder, trees = tmp_path_factory.mktemp("weights"), {}
    for name, change in (("alexnet", lambda tree: tree), ("lpips_alex", positive)):
        network = weights.NETWORKS[name]
        trees[name] = change(drawn(network))
        weights.export(folder / f"{name}.safetensors", trees[name], network)
    return folder, trees


def test_absent_weights_name_the_file_and_its_publisher_and_nothing_fails(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    assert main(["evaluate", f"--workdir={trained}", f"--output={tmp_path}"]) == 0
    summary = json.loads((tmp_path / "evaluation.json").read_text())
    absent = {each["network"]: each["why"] for each in summary["features_absent"]}
    assert "pt_inception-2015-12-05-6726825d.pth" in absent["inception_v3"] and "pytorch-fid" in absent["inception_v3"]
    assert "images of 63 pixels" in absent["lpips_alex"]  # these have 32
    assert summary["features"] == {}
    printed = capsys.readouterr().out
    assert "inception_v3: not measured" in printed and "pytorch-fid" in printed
    page = (tmp_path / "report.html").read_text()
    assert "Over feature networks" in page and "pt_inception-2015-12-05-6726825d.pth" in page


def test_every_row_is_compared_with_the_targets(trained, tmp_path):
    summary = evaluation.score_run(trained, output=tmp_path, feature_networks=("random_alexnet",), progress=False)
    assert list(summary["features"]) == list(summary["rows"])
    model = summary["features"]["model"]
    assert not any(key.startswith("fid") for key in model)  # nobody published these weights
    record = model["fd/random_alexnet.relu3"]
    n = summary.get("images", summary["n"])
    assert record["n"] == [n, n] and "nobody trained them" in record["weights"] and "fewer than 2048" in record["warning"]
    assert 0 < record["value"] < np.inf
    text = (tmp_path / "evaluation.json").read_text()
    assert json.loads(text)["features"]["input"]["fd/random_alexnet.relu3"]["value"] > 0


def test_few_images_give_a_reason_and_no_number(trained):
    network = features.at_hand(configs.read(trained), ("random_alexnet",)).networks[0]
    watcher = features.Watcher([network])
    few = pictures(3)
    watcher({"target": few, "model": few})
    records = watcher.records()["model"]
    assert records["density/random_alexnet.relu3"]["value"] is None
    assert "more than 5" in records["density/random_alexnet.relu3"]["why"]
    assert abs(records["fd/random_alexnet.relu3"]["value"]) < 1e-3  # identical sets


def test_identical_sets_are_at_no_distance_and_a_name_counts_once(trained):
    found = features.at_hand(configs.read(trained), ("random_alexnet", " random_alexnet"))
    watcher = features.Watcher(found.networks)
    few = pictures(8)
    watcher({"target": few, "model": few})
    records = watcher.records()["model"]
    assert records["kid/random_alexnet.relu3"]["value"] == pytest.approx(0, abs=1e-9)
    assert records["kid/random_alexnet.relu3"]["n"] == [8, 8]
    assert abs(records["fd/random_alexnet.relu3"]["value"]) < 1e-3


def test_a_row_that_is_not_finite_does_not_cost_the_others():
    flat = lambda images: {"top": jax.numpy.where(images.mean((1, 2)) > 2, np.nan, images.mean((1, 2)))}  # noqa: E731
    watcher, good = features.Watcher([features.Extractable("flat", flat, False, "none", "none")]), pictures(8)
    watcher({"target": good, "input": good, "model": good + 5})
    records = watcher.records()
    assert records["input"]["fd/flat.top"]["value"] == pytest.approx(0, abs=1e-9)
    (lost,) = records["model"].values()
    assert lost["value"] is None and "row 'model' over flat: the features of image 0" in lost["why"]
    printed = markdown.features({"features": records})
    assert printed.count("row 'model' over flat") == 1 and "| input |" in printed
    assert "over flat: the features of image 0" in "".join(feature_blocks({"features": records}))


def test_pth_without_torch_is_absent_and_not_the_end(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDJAX_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"x")
    found = features.at_hand(configs.read(trained), ("resnet18",))
    assert not found.networks and "torch is not installed" in found.absent[0]["why"]


def test_batches_do_not_matter(trained):
    network = features.at_hand(configs.read(trained), ("random_alexnet",)).networks[0]
    a, b = pictures(6), pictures(6, 1) ** 2
    whole, parts = features.Watcher([network]), features.Watcher([network])
    whole({"target": a, "model": b})
    for cut in (slice(0, 4), slice(4, 6)):
        parts({"target": a[cut], "model": b[cut]})
    one, two = (w.records()["model"]["kid/random_alexnet.relu3"]["value"] for w in (whole, parts))
    assert one == pytest.approx(two, rel=1e-4)


def test_lpips_is_a_score_of_each_image(trained, published_layout, monkeypatch):
    folder, trees = published_layout
    monkeypatch.setenv("MEDJAX_WEIGHTS", str(folder))
    config = configs.read(trained)
    config.data.image_size = 64
    found = features.at_hand(config, ("lpips_alex",))
    a, b = pictures(2), pictures(2, 1)
    trunk = weights.NETWORKS["alexnet"].features(trees["alexnet"], layers=("relu1", "relu2", "relu3", "relu4", "relu5"))
    expected = lpips.distance(trunk(a), trunk(b), channel_weights(trees["lpips_alex"], "alex"))
    metric = found.metrics["lpips_alex_unpublished"]  # drawn from a seed, so not what the name stands for
    np.testing.assert_allclose(metric(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(metric(a, a), 0, atol=1e-6)
    assert "alexnet.safetensors (sha256 " in found.stated["lpips_alex_unpublished"]


def test_a_path_that_was_given_has_to_hold(trained, tmp_path):
    config = configs.read(trained)
    config.evaluation.weights.resnet18 = str(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match=re.escape("absent.safetensors")):
        features.at_hand(config, ("resnet18",))
    with pytest.raises(ConfigError, match="'vgg99' is none of"):
        features.at_hand(config, ("vgg99",))


def test_damaged_weights_stop_the_evaluation(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDJAX_WEIGHTS", str(tmp_path))
    (tmp_path / "resnet18.safetensors").write_bytes(b"not one")
    run = shutil.copytree(trained, tmp_path / "run")
    assert main(["evaluate", f"--workdir={run}", "--features=resnet18"]) == 1
    assert "resnet18.safetensors" in capsys.readouterr().err


def test_drawn_weights_are_those_of_the_seed():
    network = weights.DRAWN["random_alexnet"]
    one, two, other = drawn(network), drawn(network), drawn(network, seed=1)
    kernel = lambda tree: tree["params"]["conv2"]["kernel"]  # noqa: E731
    np.testing.assert_array_equal(kernel(one), kernel(two))
    assert np.abs(kernel(one) - kernel(other)).max() > 0.01
    fan_in = np.prod(kernel(one).shape[:-1])
    assert kernel(one).var() == pytest.approx(2 / fan_in, rel=0.02)
    assert not one["params"]["conv2"]["bias"].any()
