"""Weights: every tensor used once, to the bit and back, files read safely, and a sentence for whatever is wrong."""

from __future__ import annotations

import json
import sys
import types

import jax
import numpy as np
import pytest
from golden import published_names, seeded
from ml_collections import ConfigDict
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from medjax import weights
from medjax.build import config as configs
from medjax.build import evaluation, importing
from medjax.models.lpips import LAYERS, channel_weights
from medjax.state import check_same_tree
from medjax.types import CheckpointError, ConfigError
from medjax.weights import lookup
from medjax.weights.layouts import from_state, names_of, to_flax, to_torch

pytestmark = pytest.mark.usefixtures("quick_compile")

ALEX = weights.NETWORKS["lpips_alex"]  # five small tensors
HEADS = {f"lin{i}.model.1.weight": (1, n, 1, 1) for i, n in enumerate(LAYERS["alex"].values())}


@pytest.fixture
def heads(tmp_path):
    """A file of the LPIPS heads, and its tensors."""
    state = seeded.state(HEADS)
    save_file(state, tmp_path / "heads.safetensors")
    return tmp_path / "heads.safetensors", state


def equal(a, b):
    assert list(a) == list(b) or set(a) == set(b)
    assert all(a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]) for name in a)


# -------------------------------------------------------------------------------------------------------- the mapping


def test_layouts_are_those_of_the_two_libraries():
    """A dense layer, a convolution and a transposed one by their definitions, written out."""
    rng = np.random.default_rng(0)
    dense, x = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=5)
    np.testing.assert_allclose(x @ to_flax(dense, "kernel"), dense @ x, rtol=1e-5)
    conv = rng.normal(size=(4, 2, 3, 5)).astype(np.float32)  # out, in, kh, kw
    assert to_flax(conv, "kernel").shape == (3, 5, 2, 4) and to_flax(conv, "kernel")[1, 2, 0, 3] == conv[3, 0, 1, 2]
    transposed = rng.normal(size=(2, 4, 3, 5)).astype(np.float32)  # in, out, kh, kw; here [kh, kw, out, in]
    assert to_flax(transposed, "kernel")[1, 2, 3, 0] == transposed[0, 3, 1, 2]
    for array in (dense, conv, transposed):
        assert np.array_equal(to_torch(to_flax(array, "kernel"), "kernel"), array)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_radimagenet", "lpips_vgg"])
def test_every_array_has_one_name_of_its_own(name):
    network = weights.NETWORKS[name]
    names = names_of(network.abstract(), network.mapping())
    assert len(set(names.values())) == len(names)
    modules = {"/".join(path[1:-1]) for path in names}
    assert modules == set(network.mapping())  # and the table names nothing that is not there


def test_radimagenet_numbers_the_children_of_a_resnet50():
    """`nn.Sequential(*list(resnet50().children())[:9])`: conv1, bn1, relu, maxpool, layer1 ... layer4, avgpool."""
    network = weights.NETWORKS["resnet50_radimagenet"]
    names = set(names_of(network.abstract(), network.mapping()).values())
    assert {"backbone.0.weight", "backbone.1.running_var", "backbone.4.0.downsample.1.bias", "backbone.7.2.bn3.weight"} <= names
    assert not any(name.startswith(("backbone.2", "backbone.3", "backbone.8", "fc")) for name in names)


def test_imported_exported_and_imported_again_to_the_same_bits(tmp_path):
    """A U-Net and an RRDBNet in the repositories' own names, through Flax, a file and back."""
    cases = {"unet": published_names.unet(1, 1, 5, 4), "rrdb": published_names.rrdb(1, 8, 4)}
    for name, shapes in cases.items():
        state = seeded.state(shapes)
        save_file(state, tmp_path / "in.safetensors")
        first = weights.import_trained(tmp_path / "in.safetensors", name)
        weights.export(tmp_path / "out.safetensors", first.variables, weights.TRAINED[name], options=first.options)
        equal(load_file(tmp_path / "out.safetensors"), state)
        again = weights.import_trained(tmp_path / "out.safetensors", name)
        assert again.options == first.options
        jax.tree.map(np.testing.assert_array_equal, again.variables, first.variables)
        card = (tmp_path / "out.md").read_text()
        assert f"{len(state)} tensors" in card and "load_state_dict" in card


def test_counters_and_declared_copies_are_left_out_and_nothing_else(heads):
    """PyTorch's counters, LPIPS's second copy of its heads; any other tensor more is an error."""
    _, state = heads
    more = {"bn.num_batches_tracked": np.array(3), "lins.0.model.1.weight": state["lin0.model.1.weight"]}
    tree = from_state({**state, **more}, ALEX.abstract(), ALEX.mapping(), what="it", ignored=ALEX.ignored)
    assert {layer: w.shape for layer, w in channel_weights(tree, "alex").items()} == {k: (n,) for k, n in LAYERS["alex"].items()}
    np.testing.assert_array_equal(channel_weights(tree, "alex")["relu2"], state["lin1.model.1.weight"].reshape(-1))


# --------------------------------------------------------------------------------------- weights of another architecture


def test_the_first_difference_is_named_with_both_shapes(heads):
    path, state = heads
    state["lin2.model.1.weight"] = np.zeros((1, 7, 1, 1), np.float32)
    state["extra"] = state.pop("lin4.model.1.weight")
    save_file(state, path)
    with pytest.raises(CheckpointError) as error:
        weights.load(path, "lpips_alex")
    text = str(error.value)
    assert "another architecture: lin2.model.1.weight is [1, 7, 1, 1] there and [1, 384, 1, 1] here" in text
    assert "missing: lin4.model.1.weight" in text and "left over: extra" in text and "of another shape: lin2" in text
    assert "\n" not in text and path.name in text


def test_a_long_list_of_names_is_cut(heads):
    with pytest.raises(CheckpointError, match=r"conv1.weight is absent there and \[64, 3, 7, 7\] here.* and \d+ more"):
        weights.load(heads[0], "resnet18")


@pytest.mark.parametrize("name", list(weights.TRAINED))
def test_a_file_of_something_else_is_no_generator(name, heads):
    with pytest.raises(CheckpointError, match=r"heads.safetensors: this is no .* it has no convolution"):
        weights.import_trained(heads[0], name)


def test_a_feature_network_is_not_imported_as_a_generator(heads):
    with pytest.raises(CheckpointError, match="vgg16 is a feature network"):
        weights.import_trained(heads[0], "vgg16")
    with pytest.raises(CheckpointError, match="no network is called 'vgg11'; known: vgg16"):
        weights.load(heads[0], "vgg11")


# --------------------------------------------------------------------------------------------------------------- files


def test_npz_and_safetensors_hold_the_same(heads, tmp_path):
    path, state = heads
    np.savez(tmp_path / "heads.npz", **{f"module.{name}": value.astype(np.float64) for name, value in state.items()})
    for file in (path, tmp_path / "heads.npz"):
        equal(weights.read_state(file), state)


def test_bad_files_are_told_in_one_sentence(heads, tmp_path):
    path, state = heads
    whole = path.read_bytes()
    np.savez(tmp_path / "pickled.npz", a=np.array([{}], dtype=object))
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez_compressed(tmp_path / "damaged.npz", a=np.random.default_rng(0).normal(size=999))
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[200:400] = bytes(200)
    (tmp_path / "damaged.npz").write_bytes(content)
    np.savez(tmp_path / "words.npz", a=np.array(["b"]))
    np.savez(tmp_path / "complex.npz", a=np.ones(3, complex))
    np.savez(tmp_path / "whole.npz", weight=np.ones(3, int))
    (tmp_path / "notes.txt").write_text("x")
    save_file({**state, "lin0.model.1.weight": np.full((1, 64, 1, 1), np.nan, np.float32)}, tmp_path / "nan.safetensors")
    expected = {
        "damaged.npz": "cannot be read as npz", "words.npz": "holds <U1, where weights are", "complex.npz": "holds complex128",
        "whole.npz": "holds int64, where weights are floating-point", "absent.safetensors": "are absent",
        "cut.safetensors": "cannot be read as safetensors", "empty.npz": "cannot be read",
        "pickled.npz": "without unpickling, which is never done", "notes.txt": "no file of weights: they end in",
        "nan.safetensors": "the tensor lin0.model.1.weight is not finite",
    }  # fmt: skip
    for name, message in expected.items():
        with pytest.raises(CheckpointError, match=message) as error:
            weights.load(tmp_path / name, "lpips_alex")
        assert name in str(error.value) and "\n" not in str(error.value)


def test_a_pytorch_file_without_pytorch(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match="a.pth is a PyTorch file and torch is not installed"):
        weights.read_state(tmp_path / "a.pth")


class Tensor(np.ndarray):
    """As much of a torch.Tensor as is read."""

    is_floating_point = lambda self: self.dtype.kind == "f"  # noqa: E731
    float = lambda self: self.astype(np.float32).view(Tensor)  # noqa: E731
    detach = cpu = lambda self: self  # noqa: E731
    numpy = lambda self: np.asarray(self)  # noqa: E731


@pytest.fixture
def torch_like(tmp_path, monkeypatch):
    """A stand-in for torch whose `load` returns or raises what a test says and records how it was called."""
    calls, answer = [], {}

    def load(path, **options):
        calls.append(options)
        if isinstance(answer["is"], Exception):
            raise answer["is"]
        return answer["is"]

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
    (tmp_path / "a.pth").write_bytes(b"x")
    return tmp_path / "a.pth", answer, calls


def test_a_pytorch_file_is_never_unpickled_bare(torch_like):
    import pickle

    path, answer, calls = torch_like
    answer["is"] = pickle.UnpicklingError("Weights only load failed")
    with pytest.raises(CheckpointError, match="a.pth is refused: it holds more than tensors, .* could run any code"):
        weights.read_state(path)
    answer["is"] = EOFError("cut")
    with pytest.raises(CheckpointError, match="a.pth cannot be read as a PyTorch file"):
        weights.read_state(path)
    assert calls == [{"map_location": "cpu", "weights_only": True}] * 2


def test_the_averaged_state_dict_of_a_training_file_is_taken(torch_like):
    path, answer, _ = torch_like
    tensor = lambda v: np.full(2, v, np.float64).view(Tensor)  # noqa: E731
    answer["is"] = {"params": {"module.a": tensor(1)}, "params_ema": {"module.a": tensor(2)}}
    assert weights.read_state(path)["a"].tolist() == [2, 2]
    assert weights.read_state(path, entry="params")["a"].dtype == np.float32
    with pytest.raises(CheckpointError, match="no entry 'g'; it has params, params_ema"):
        weights.read_state(path, entry="g")
    for nothing in ({"epoch": 3}, [1, 2], {}):
        answer["is"] = nothing
        with pytest.raises(CheckpointError, match="holds no state dict"):
            weights.read_state(path)


def test_a_real_pytorch_file_with_code_in_it_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match="is refused"):
        weights.read_state(tmp_path / "module.pth")
    torch.save({"params_ema": {"a": torch.ones(2, dtype=torch.bfloat16)}}, tmp_path / "state.pth")
    assert weights.read_state(tmp_path / "state.pth")["a"].tolist() == [1, 1]


# ----------------------------------------------------------------------------------------------------- where they lie


def test_weights_are_found_by_path_then_in_the_folder(heads, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDJAX_WEIGHTS", raising=False)
    assert weights.find("lpips_alex", heads[0]) == heads[0]
    with pytest.raises(CheckpointError, match="v0.1/alex.pth is published by the lpips package.*set MEDJAX_WEIGHTS"):
        weights.find("lpips_alex")
    monkeypatch.setenv("MEDJAX_WEIGHTS", str(tmp_path))
    with pytest.raises(CheckpointError, match="no weights of inception_v3 in .*: pt_inception-2015-12-05-6726825d.pth is pub"):
        weights.find("inception_v3")
    with pytest.raises(CheckpointError, match="elsewhere.npz of vgg16 are absent; vgg16-397923af.pth is published by"):
        weights.find("vgg16", "elsewhere.npz")
    (tmp_path / "v0.1").mkdir()
    for name in ("v0.1/alex.pth", "lpips_alex.safetensors"):  # the safe format is taken first
        (tmp_path / name).write_bytes(b"")
        assert weights.find("lpips_alex") == tmp_path / name


def test_a_published_name_on_another_file_is_refused(heads, monkeypatch):
    path, state = heads
    renamed = path.rename(path.with_name("alex.pth"))
    monkeypatch.setattr(lookup, "read_state", lambda p: state)
    with pytest.raises(CheckpointError, match="alex.pth is not the published file: its sha256 begins with .*, not df73285e"):
        weights.load(renamed, "lpips_alex")


def test_what_was_exported_remembers_the_file_it_came_from(heads, tmp_path):
    found = weights.load_weights(heads[0], "lpips_alex")
    assert found.published is False and not weights.is_published(heads[0], "lpips_alex")
    weights.export(tmp_path / "e.safetensors", found.variables, ALEX, source_sha256=ALEX.sha256)
    assert weights.is_published(tmp_path / "e.safetensors", "lpips_alex")
    assert weights.load_weights(tmp_path / "e.safetensors", "lpips_alex").sha256 == ALEX.sha256
    assert "lpips package" in (tmp_path / "e.md").read_text()
    with pytest.raises(CheckpointError, match="must end in .safetensors"):
        weights.export(tmp_path / "e.pth", found.variables, ALEX)


# -------------------------------------------------------------------------------------------------- workdirs of trained


PHANTOMS = ("data.source=phantom_cxr", "data.phantom_cxr.count=10", "data.image_size=32", "data.load_size=32",
            "data.crop_size=32", "evaluation.baselines=()", "train.compilation_cache=", "data.threads=0")  # fmt: skip


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A workdir of a colour ResNet generator from seeded tensors."""
    folder = tmp_path_factory.mktemp("imported")
    save_file(seeded.state(published_names.resnet(3, 3, 4, 6)), folder / "g.safetensors")
    options = {"overrides": PHANTOMS, "say": lambda text: None}
    importing.import_weights("resnet_6blocks", folder / "g.safetensors", folder / "run", **options)
    return folder


def test_a_trained_model_becomes_a_workdir_that_enhances_and_is_scored(imported, tmp_path):
    """The grey image three times in, the mean of the channels out: the PyTorch-named net itself, through the commands."""
    model = evaluation.load(imported / "run")
    assert model.step == 0 and configs.resolved(imported / "run")["imported"]["file"] == "g.safetensors"
    found = weights.import_trained(imported / "g.safetensors", "resnet")
    x = seeded.image("enhance", (1, 32, 32, 1))
    module = weights.TRAINED["resnet"].make(**found.options, predict_norm="batch")
    direct = jax.jit(module.apply)(found.variables, np.repeat(x, 3, -1)).mean(-1, keepdims=True)
    ours = model.predict()({"source": x, "index": np.zeros(1, np.int32)}, jax.random.key(0))["target"]
    np.testing.assert_allclose(ours, direct, atol=1e-6)
    assert np.std(ours) > 0.05
    Image.fromarray((seeded.image("file", (40, 48), low=0.0) * 255).astype(np.uint8)).save(tmp_path / "a.png")
    outcome = evaluation.enhance(imported / "run", [tmp_path / "a.png"], tmp_path / "out", progress=False)
    assert not outcome.failed and Image.open(tmp_path / "out" / "a.png").size == (48, 40)
    summary = evaluation.score_run(imported / "run", output=tmp_path, progress=False)
    assert np.isfinite(summary["rows"]["model"]["psnr"]["mean"])


def test_an_imported_workdir_is_exported_in_the_published_names(imported, tmp_path):
    card = importing.export(imported / "run", tmp_path / "e.safetensors")
    equal(load_file(tmp_path / "e.safetensors"), load_file(imported / "g.safetensors"))
    assert "imported from g.safetensors" in card.read_text() and "unknown to medjax" in card.read_text()
    with pytest.raises(ConfigError, match="no net called 'critic'; it has generator"):
        importing.export(imported / "run", tmp_path / "e.safetensors", net="critic")


@pytest.mark.parametrize("model, scale", [("srresnet", 3), ("srresnet", 4)])
def test_a_super_resolution_model_keeps_the_size(model, scale, tmp_path):
    """32 is no multiple of 3; tensors of zeros leave the bilinear enlargement of the reduced image."""
    state = seeded.state(published_names.srresnet(1, 4, 1, scale))
    save_file({name: np.zeros_like(value) for name, value in state.items()}, tmp_path / "g.safetensors")
    importing.import_weights(model, tmp_path / "g.safetensors", tmp_path / "run", overrides=PHANTOMS[:-1], say=lambda text: None)
    run = evaluation.load(tmp_path / "run")
    assert run.config.data.degradation.steps == ("down_up",) and run.config.data.degradation.down_up.factor == scale
    flat = np.full((1, 32, 32, 1), 0.3, np.float32)
    output = run.predict()({"source": flat, "index": np.zeros(1, np.int32)}, jax.random.key(0))["target"]
    np.testing.assert_allclose(output, flat, atol=1e-5)


def test_a_gan_is_imported_with_its_discriminator(tmp_path):
    """Both nets are those that a pix2pix run of the same config draws, so it can start from them."""
    save_file(seeded.state(published_names.unet(1, 1, 7, 2)), tmp_path / "g.safetensors")
    save_file(seeded.state(published_names.patchgan(2, 4, 2)), tmp_path / "d.safetensors")
    options = {"overrides": PHANTOMS[:2], "say": lambda text: None}
    config = importing.import_weights(
        "unet_128", tmp_path / "g.safetensors", tmp_path / "run", discriminator=tmp_path / "d.safetensors", **options
    )
    assert isinstance(config, ConfigDict) and config.method.name == "pix2pix" and config.generator.dropout == 0.5
    judge = weights.import_trained(tmp_path / "d.safetensors", "patchgan")
    with importing.Checkpoints(tmp_path / "run", best="psnr:max", read_only=True) as checkpoints:
        step, nets = checkpoints.weights()
    assert step == 0 and set(nets) == {"generator", "discriminator"}
    check_same_tree(nets["discriminator"][0], judge.variables["params"], what="it")
    importing.export(tmp_path / "run", tmp_path / "e.safetensors", net="discriminator")
    equal(load_file(tmp_path / "e.safetensors"), load_file(tmp_path / "d.safetensors"))
    save_file(seeded.state(published_names.patchgan(6, 4, 2)), tmp_path / "rgb.safetensors")
    with pytest.raises(CheckpointError, match="the discriminator in .*rgb.safetensors has another architecture"):
        importing.import_weights(
            "unet_128", tmp_path / "g.safetensors", tmp_path / "two", discriminator=tmp_path / "rgb.safetensors", **options
        )
    assert not (tmp_path / "two").exists()


def test_a_run_of_this_library_is_exported(trained, tmp_path):
    """A U-Net with batch norm in the published names; its discriminator too."""
    for net, network in (("generator", "unet"), ("discriminator", "patchgan")):
        importing.export(trained, tmp_path / f"{net}.safetensors", net=net)
        found = weights.import_trained(tmp_path / f"{net}.safetensors", network)
        with importing.Checkpoints(trained, best="psnr:max", read_only=True) as checkpoints:
            params, _ = checkpoints.weights()[1][net]
        jax.tree.map(np.testing.assert_array_equal, found.variables["params"], jax.tree.map(np.asarray, params))
    with safe_open(tmp_path / "generator.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["options"])["norm"] == "batch"


def test_what_has_no_published_layout_keeps_its_own(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "NETWORK", {})
    card = importing.export(trained, tmp_path / "own.safetensors")
    assert "params.encoder_0.kernel" in load_file(tmp_path / "own.safetensors")
    assert "Flax layout" in card.read_text() and "load_state_dict" not in card.read_text()


def test_wrong_requests_are_told_and_write_nothing(imported, tmp_path):
    file = imported / "g.safetensors"
    cases = {
        ("unet_512", file, tmp_path / "x"): (ConfigError, "unknown model 'unet_512'; known: unet_256"),
        ("resnet_9blocks", file, tmp_path / "x"): (CheckpointError, "is no resnet_9blocks: blocks is 6 there and 9 here"),
        ("unet_256", file, tmp_path / "x"): (CheckpointError, "no U-Net of pytorch-CycleGAN-and-pix2pix"),
        ("resnet_6blocks", file, imported / "run"): (CheckpointError, "holds a run already"),
    }
    for (model, path, workdir), (kind, message) in cases.items():
        with pytest.raises(kind, match=message):
            importing.import_weights(model, path, workdir, say=lambda text: None)
    with pytest.raises(ConfigError, match="no field 'data.sorce'; did you mean data.source"):
        importing.import_weights("resnet_6blocks", file, tmp_path / "x", overrides=["data.sorce=x"])
    assert not (tmp_path / "x").exists()


def test_the_commands_export_and_import(trained, tmp_path, capsys):
    from medjax.cli import main

    file = tmp_path / "unet.safetensors"
    assert main(["export-weights", str(file), f"--workdir={trained}"]) == 0
    assert file.exists() and file.with_suffix(".md").exists()
    assert main(["import-weights", str(file), "--model=unet_256", f"--workdir={tmp_path / 'w'}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("medjax: ") and "Traceback" not in err and not (tmp_path / "w").exists()
    assert main(["import-weights", str(file), "--model=alexnet", f"--workdir={tmp_path / 'w'}"]) == 2
