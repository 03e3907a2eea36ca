"""Golden outputs of the published PyTorch networks: writes networks.safetensors beside itself.

    python tests/golden/generate.py --basicsr=DIR

It alone needs torch, torchvision, lpips, pytorch-fid and torchxrayvision, whose own definitions run here, and BasicSR's
source distribution unpacked at DIR. pytorch-CycleGAN-and-pix2pix is no package: its U-Net, ResNet generator and PatchGAN
are rebuilt from torch.nn in `junyanz.py`, in the order and nesting of its models/networks.py. No weights are fetched: they
are drawn by `seeded.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
import types
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from golden import junyanz, seeded

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "torchvision", "lpips", "pytorch-fid", "torchxrayvision")


def import_torchvision() -> types.ModuleType:
    """torchvision, also where its compiled operators (boxes, none of them used here) are of another build of torch."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(50):
        try:
            import torchvision

            torchvision.keep = library
            return torchvision
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise
            library.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
                del sys.modules[name]
    raise RuntimeError("torchvision cannot be imported")


class Golden:
    """What is written: samples of every layer, and what is known of every network."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.facts: dict[str, dict] = {}

    def add(self, name: str, outputs: Mapping[str, torch.Tensor]) -> None:
        for layer, value in outputs.items():
            value = value.detach().float()
            value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value
            key = f"{name}/{layer}"
            self.arrays[key] = seeded.sample(key, value.numpy())
            print(f"{key}: {list(value.shape)} rms {self.arrays[key][0]:.4g}")

    def run(
        self, name: str, module: nn.Module, taps: Mapping[str, str], sizes: list[tuple], *, final: str = "",
        call: Callable | None = None, prefix: str = "", **input_range: float,
    ) -> None:  # fmt: skip
        """Seeded weights into `module`, then inputs `[B, H, W, C]` of `sizes`; layers by the names of `taps`."""
        shapes = {n: tuple(v.shape) for n, v in module.state_dict().items()}
        weights = {n: torch.from_numpy(v) for n, v in seeded.state(shapes).items()}
        module.load_state_dict(weights, strict=False)
        module.eval()
        parameters = sum(p.numel() for p in module.parameters())
        self.facts[name] = {"parameters": parameters, "fingerprint": seeded.fingerprint(shapes), "sizes": sizes}
        modules = dict(module.named_modules())
        for size in sizes:
            where = f"{name}/{'x'.join(map(str, size))}"
            found: dict[str, torch.Tensor] = {}
            keep = lambda layer, found=found: lambda m, i, o: found.update({layer: o.detach().clone()})  # noqa: E731
            hooks = [modules[path].register_forward_hook(keep(layer)) for layer, path in taps.items()]
            x = torch.from_numpy(seeded.image(where, size, **input_range)).permute(0, 3, 1, 2)
            with torch.no_grad():
                output = (call or module)(x.contiguous())
            for hook in hooks:
                hook.remove()
            if isinstance(output, Mapping):
                found |= output
            elif final:
                found[final] = output
            self.add(where, {layer: torch.flatten(v, 1) if v.shape[2:] == (1, 1) else v for layer, v in found.items()})


def vgg_taps(depth: int) -> dict[str, str]:
    blocks = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth]
    taps, index = {"relu6": "classifier.1", "relu7": "classifier.4", "logits": "classifier.6"}, 0
    for block, count in enumerate(blocks, start=1):
        for i in range(1, count + 1):
            taps |= {f"conv{block}_{i}": f"features.{index}", f"relu{block}_{i}": f"features.{index + 1}"}
            index += 2
        taps[f"pool{block}"] = f"features.{index}"
        index += 1
    return taps


ALEX_TAPS = {"conv1": 0, "relu1": 1, "pool1": 2, "conv2": 3, "relu2": 4, "pool2": 5, "conv3": 6, "relu3": 7, "conv4": 8,
             "relu4": 9, "conv5": 10, "relu5": 11, "pool5": 12}  # fmt: skip


def torchvision_networks(golden: Golden) -> None:
    from torchvision import models

    golden.run("vgg16", models.vgg16(weights=None), vgg_taps(16), [(2, 64, 48, 3)])
    golden.run("vgg19", models.vgg19(weights=None), vgg_taps(19), [(1, 48, 80, 3)])
    taps = {layer: f"features.{i}" for layer, i in ALEX_TAPS.items()}
    taps |= {"relu6": "classifier.2", "relu7": "classifier.5", "logits": "classifier.6"}
    golden.run("alexnet", models.alexnet(weights=None), taps, [(1, 96, 96, 3), (2, 75, 130, 3)])
    stages = {f"layer{i}": f"layer{i}" for i in range(1, 5)} | {"pool": "avgpool", "logits": "fc"}
    for name, make, sizes in (
        ("resnet18", models.resnet18, [(1, 64, 64, 3), (2, 65, 98, 3)]), ("resnet50", models.resnet50, [(1, 64, 96, 3)]),
    ):  # fmt: skip
        module = make(weights=None)
        # the stem's ReLU, seen as what enters the pool
        module.maxpool = nn.Sequential(nn.Identity(), module.maxpool)
        golden.run(name, module, {**stages, "relu": "maxpool.0"}, sizes)


def inception(golden: Golden) -> None:
    import pytorch_fid.inception as fid
    from torchvision.models.inception import Inception3

    load, fid.load_state_dict_from_url = Inception3.load_state_dict, lambda *a, **k: None
    Inception3.load_state_dict = lambda self, state: None
    try:
        whole = fid.fid_inception_v3()
    finally:
        Inception3.load_state_dict = load
    build, fid.fid_inception_v3 = fid.fid_inception_v3, lambda: whole
    blocks = fid.InceptionV3([0, 1, 2, 3], resize_input=False, normalize_input=False)
    fid.fid_inception_v3 = build

    def call(x: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = dict(zip(("pool1", "pool2", "block3", "pool3"), blocks(x), strict=True))
        del outputs["block3"]
        return {**outputs, "logits": whole.fc(torch.flatten(outputs["pool3"], 1))}

    taps = {name: name for name in dict(whole.named_children()) if name.startswith("Mixed")}
    golden.run("inception_v3", whole, taps, [(1, 107, 139, 3)], call=call)
    without = sum(p.numel() for n, p in whole.named_parameters() if not n.startswith("fc."))
    golden.facts["inception_v3"]["parameters_without_logits"] = without


def densenet(golden: Golden) -> None:
    import torchxrayvision

    module = torchxrayvision.models.DenseNet()
    names = ("pool0", "denseblock1", "denseblock2", "denseblock3", "denseblock4", "norm5")
    taps = {name: f"features.{name}" for name in names} | {"logits": "classifier"}
    call = lambda x: {"pool": module.features2(x), "logits": module(x)}  # noqa: E731
    golden.run("densenet121_xrv", module, taps, [(1, 64, 96, 1)], call=call, low=-1024.0, high=1024.0)


def lpips_distances(golden: Golden) -> None:
    import lpips

    for trunk, network in (("vgg", "vgg16"), ("alex", "alexnet")):
        module = lpips.LPIPS(pretrained=False, pnet_rand=True, net=trunk, verbose=False)
        shapes = {n: tuple(v.shape) for n, v in module.state_dict().items()}
        state = {}
        for name, shape in shapes.items():  # the trunk's tensors by torchvision's names
            if name.startswith("net."):
                _, _, index, leaf = name.split(".")
                state[name] = seeded.tensor(f"features.{index}.{leaf}", shape)
            elif name.startswith("lin"):
                state[name] = seeded.tensor(re.sub(r"^lins\.(\d)", r"lin\1", name), shape)
        module.load_state_dict({n: torch.from_numpy(v) for n, v in state.items()}, strict=False)
        size = (2, 64, 80, 3)
        pair = [torch.from_numpy(seeded.image(f"lpips_{trunk} {k}", size)).permute(0, 3, 1, 2) for k in "ab"]
        with torch.no_grad():
            value, layers = module(*pair, retPerLayer=True)
        name = f"lpips_{trunk}"
        golden.arrays[name] = np.stack([v.numpy().reshape(-1) for v in (*layers, value)])
        heads = {n: s for n, s in shapes.items() if re.match(r"lin\d", n)}
        parameters = sum(int(np.prod(s)) for s in heads.values())
        golden.facts[name] = {"parameters": parameters, "fingerprint": seeded.fingerprint(heads), "trunk": network}


def preprocessing(golden: Golden) -> None:
    x = torch.from_numpy(seeded.image("preprocess", (1, 37, 50, 3), low=0.0)).permute(0, 3, 1, 2)
    for size in ((16, 21), (45, 61)):
        for antialias in (True, False):
            y = nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=antialias)
            golden.arrays[f"preprocess/{size[0]}x{size[1]}/{antialias}"] = y.permute(0, 2, 3, 1).contiguous().numpy()


def trained(golden: Golden, basicsr: Path) -> None:
    nets = {
        "unet_batch": (junyanz.unet(1, 1, 8, 4, "batch"), [(1, 256, 256, 1)]),
        "unet_instance": (junyanz.unet(3, 2, 5, 4, "instance"), [(2, 64, 96, 3)]),
        "unet_none": (junyanz.unet(1, 1, 5, 4, "none"), [(1, 32, 64, 1)]),
        "resnet_instance": (junyanz.resnet(3, 3, 8, 9, "instance"), [(2, 32, 48, 3)]),
        "resnet_batch": (junyanz.resnet(1, 1, 8, 6, "batch", dropout=True), [(1, 36, 24, 1)]),
        "patchgan_batch": (junyanz.patchgan(2, 8, 3, "batch"), [(2, 64, 48, 2)]),
        "patchgan_instance": (junyanz.patchgan(6, 8, 2, "instance"), [(1, 32, 40, 6)]),
        "patchgan_none": (junyanz.patchgan(2, 8, 3, "none"), [(1, 48, 48, 2)]),
    }
    rrdbnet, msrresnet = (load_basicsr(basicsr, f) for f in ("rrdbnet_arch", "srresnet_arch"))
    for scale in (4, 2, 1):
        nets[f"rrdb_{scale}"] = (rrdbnet.RRDBNet(3, 3, scale, 16, 2, 8), [(1, 16, 20, 3)])
    for scale in (4, 3, 2):
        nets[f"srresnet_{scale}"] = (msrresnet.MSRResNet(1, 1, 16, 3, scale), [(1, 12, 15, 1)])
    for name, (module, sizes) in nets.items():
        golden.run(name, module, {}, sizes, final="output")
    full = {
        "unet_256": junyanz.unet(1, 1, 8, 64, "batch"), "resnet_9blocks": junyanz.resnet(3, 3, 64, 9, "instance"),
        "patchgan_3": junyanz.patchgan(2, 64, 3, "batch"), "rrdbnet": rrdbnet.RRDBNet(3, 3), "msrresnet": msrresnet.MSRResNet(),
    }  # fmt: skip
    golden.facts["published"] = {name: sum(p.numel() for p in module.parameters()) for name, module in full.items()}


def load_basicsr(root: Path, name: str) -> types.ModuleType:
    """One of BasicSR's architecture files, without the rest of the package, which needs compiled operators."""
    stub = types.ModuleType("stub")
    stub.ARCH_REGISTRY = types.SimpleNamespace(register=lambda: lambda cls: cls)
    stub.ModulatedDeformConvPack, stub.modulated_deform_conv, stub.get_root_logger = nn.Module, None, None
    parents = ("basicsr", "basicsr.utils", "basicsr.utils.registry", "basicsr.ops", "basicsr.ops.dcn", "basicsr.archs")
    sys.modules |= {parent: stub for parent in parents if parent not in sys.modules}
    for file in ("arch_util", name):
        full = f"basicsr.archs.{file}"
        spec = importlib.util.spec_from_file_location(full, root / "basicsr" / "archs" / f"{file}.py")
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[f"basicsr.archs.{name}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--basicsr", type=Path, required=True, help="BasicSR's source distribution, unpacked")
    args = parser.parse_args()
    torch.set_num_threads(1)
    import_torchvision()
    golden = Golden()
    for part in (torchvision_networks, inception, densenet, lpips_distances, preprocessing):
        part(golden)
    trained(golden, args.basicsr)
    versions = {name: metadata.version(name) for name in PACKAGES}
    facts = json.dumps(golden.facts)
    save_file(golden.arrays, HERE / "networks.safetensors", metadata={"facts": facts, "versions": json.dumps(versions)})


if __name__ == "__main__":
    main()
