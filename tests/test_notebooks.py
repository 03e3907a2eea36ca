"""The notebooks run from top to bottom, say what they should, and are kept without outputs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_is_kept_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, f"clear the outputs of {path.name}"


def executed(name, folder):
    """A notebook after execution; its own assertions have held."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")  # XLA's alarm at a slow compilation tells of the machine, not of the notebook
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # these tiny networks compile for longer than they run
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """`pix2pix_by_hand`, run where nothing lies."""
    return executed("pix2pix_by_hand", tmp_path_factory.mktemp("notebook"))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """`volumes`, run where nothing lies and with its temporary files there."""
    folder = tmp_path_factory.mktemp("volumes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        return executed("volumes", folder)


def outputs(notebook, kind):
    """All outputs of one kind: the text of streams, or pictures."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    if kind == "image/png":
        return [output["data"][kind] for output in found if kind in output.get("data", {})]
    return "".join(output["text"] for output in found if output.output_type == "stream" and output.name == kind)


@pytest.mark.slow
def test_pix2pix_by_hand_shows_what_it_promises(by_hand):
    text = outputs(by_hand, "stdout")
    assert len(outputs(by_hand, "image/png")) == 6
    assert re.search(r"map 3: \(8, 14, 14, 1\)", text), "the discriminator's logits, one per patch"
    assert "attention_encoder_16 (1, 256, 256)" in text, "a 16x16 map attends over 256 positions"
    moved, arrays = map(int, re.search(r"generator: (\d+) of (\d+) arrays moved", text).groups())
    assert arrays - moved == 6, "gamma 0 holds kernel and bias of query, key and value still on the first step"


@pytest.mark.slow
def test_pix2pix_by_hand_ends_in_a_restorer_above_its_input(by_hand):
    last = {name: float(value) for name, value in re.findall(r"^(\w+) +([\d.]+) dB", outputs(by_hand, "stdout"), re.M)}
    assert set(last) == {"input", "unet", "restorer"}
    assert last["restorer"] > last["input"] > 20


@pytest.mark.slow
def test_pix2pix_by_hand_warns_of_nothing(by_hand):
    assert outputs(by_hand, "stderr") == ""


@pytest.mark.slow
def test_volumes_reads_pairs_by_subject_and_position(volumes):
    text = outputs(volumes, "stdout")
    assert "(72, 84, 72) float32, axes RAS, 2.40 x 2.40 x 2.40 mm" in text
    nmi, shifted = (float(re.search(rf"'{name}': '([\d.]+)'", text).group(1)) for name in ("nmi", "nmi_shifted"))
    assert nmi > 1.1 > shifted > 1, "an aligned pair knows more of each other than a shifted one"
    people = [set(re.findall(r"PHANTOM\d+", part)) for part in re.search(r"\{'train'.*\}", text).group(0).split("]")[:3]]
    assert [len(p) for p in people] == [4, 1, 1] and not people[0] & people[1] and not people[0] & people[2]
    costs = [float(value) for value in re.findall(r"shifted by [\d.]+ mm: ([\d.]+) dB", text)]
    assert len(costs) == 3 and costs == sorted(costs, reverse=True) and costs[0] < 20


@pytest.mark.slow
def test_volumes_ends_in_a_synthetic_t2_on_the_grid_of_its_t1(volumes):
    text = outputs(volumes, "stdout")
    means = {name: float(value) for name, value in re.findall(r"^(\w+) +([\d.]+) dB", text, re.M)}
    assert means["model"] > means["monotone"] > means["linear"] > means["input"]
    assert re.search(r"PHANTOM\d+-T1_synthetic-T2.nii.gz: \(72, 84, 72\), axes RAS, the grid of its T1", text)
    assert len(outputs(volumes, "image/png")) == 4 and outputs(volumes, "stderr") == ""


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    """`gan_by_hand`, run where nothing lies."""
    return executed("gan_by_hand", tmp_path_factory.mktemp("gan"))


@pytest.mark.slow
def test_gan_by_hand_swaps_its_loss_in_one_line(gan):
    """The cell of the swap holds one line; what was trained goes on, and ends near the mean of the real films."""
    swaps = [cell.source for cell in gan.cells if cell.cell_type == "code" and "losses.hinge())" in cell.source]
    assert swaps[0] == "gan = make(losses.hinge())"
    text = outputs(gan, "stdout")
    moved, arrays = map(int, re.search(r"(\d+) of (\d+) arrays moved on", text).groups())
    assert moved == arrays > 40
    away = {name: float(value) for name, value in re.findall(r"'(untrained|trained)': ([\d.]+)", text)}
    assert away["trained"] < away["untrained"] / 2
    assert len(re.findall(r"alike within a class 0\.\d+, D's score 0\.\d+", text)) == 2
    assert len(outputs(gan, "image/png")) == 5 and outputs(gan, "stderr") == ""


@pytest.fixture(scope="module")
def diffusion(tmp_path_factory):
    """`diffusion_by_hand`, run where nothing lies."""
    return executed("diffusion_by_hand", tmp_path_factory.mktemp("diffusion"))


@pytest.mark.slow
def test_diffusion_by_hand_drowns_learns_and_draws(diffusion):
    text = outputs(diffusion, "stdout")
    assert "after 800 steps -28" in text
    assert {name for name, _ in re.findall(r"^(\w+) +([\d.]+) dB", text, re.M)} == {"source", "ddpm", "ddim", "dpm2m"}
    one, mean = map(float, re.search(r"one draw ([\d.]+) dB, the mean of 16 ([\d.]+) dB", text).groups())
    assert mean > one > 5
    assert len(outputs(diffusion, "image/png")) == 4 and outputs(diffusion, "stderr") == ""
