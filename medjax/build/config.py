"""Configs: found by name, overridden field by field, written beside a run and compared with it."""

from __future__ import annotations

import difflib
import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from medjax.files import replace
from medjax.types import CheckpointError, ConfigError

# Fields that change where or how fast a run goes, but not what it computes.
FREE_FIELDS = (
    "data.root", "data.threads", "data.verify", "train.remat", "train.devices", "train.fsdp", "train.progress",
    "train.tensorboard", "train.compilation_cache", "init_from", "evaluation.baselines", "evaluation.samples",
    "data.mri_pairs.cache", "method.perceptual.weights", "method.enhancer",
)  # fmt: skip
FREE_VALUES = {"data.cache": ("auto", "none", "host")}  # values of a field that give the same run to the bit
SHARED = ("__init__", "common", "sources")  # modules beside the configs that are none themselves
_PACKAGES = ("medjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "scikit-image", "pillow")


def config_folder() -> Path:
    """Where the shipped configs lie: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "configs"
    return beside if (beside / "common.py").exists() else package / "configs"


def names() -> list[str]:
    """The configs that are shipped."""
    return sorted(p.stem for p in config_folder().glob("*.py") if p.stem not in SHARED)


def get(name: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The config `name` (`NAME`, `NAME:VARIANT` or `PATH.py:VARIANT`) with `overrides` like `train.steps=10`.

    Raises ConfigError for an unknown config, variant or field (with close matches) and for a value of another type.
    """
    stem, _, variant = name.partition(":")
    path = Path(stem) if stem.endswith(".py") else config_folder() / f"{stem}.py"
    if not path.exists() or path.stem in SHARED:
        raise ConfigError(f"no config {stem!r}{_close(stem, names())}; shipped: {', '.join(names())}")
    try:
        config = _load_module(path).get_config(variant) if variant else _load_module(path).get_config()
    except ValueError as error:
        raise ConfigError(f"{stem}: {error}") from error
    except Exception as error:  # a config file is code: whatever is wrong with the user's own is his to mend
        raise ConfigError(f"{path} is no config with get_config(variant) ({type(error).__name__}: {error})") from error
    absent = [field for field in ("data.source", "train.steps", "optimizer.learning_rate", "method.name", "seed")
              if config_at(config, field) is None]  # fmt: skip
    if absent:
        raise ConfigError(f"{path} lacks the field {absent[0]!r}; begin with the sections of configs/common.py")
    return override(config, overrides)


def _load_module(path: Path) -> Any:
    """Import a config file; `from configs import common` finds the shipped ones wherever they are installed."""
    if "configs" not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            "configs", config_folder() / "__init__.py", submodule_search_locations=[str(config_folder())]
        )
        sys.modules["configs"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["configs"])
    spec = importlib.util.spec_from_file_location(f"medjax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def override(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """`config` with `field.of.field=value` strings applied by ml_collections' own flag parser; of a field given twice
    the last value holds.
    """
    from absl import flags
    from ml_collections import config_flags

    known = dict(flatten(config))
    for text in overrides:
        field, sep, _ = text.partition("=")
        if not sep:
            raise ConfigError(f"an override reads FIELD=VALUE, not {text!r}")
        inside = any(field.startswith(f"{name}.") and isinstance(config_at(config, name), dict) for name in known)
        if field not in known and not inside and not isinstance(config_at(config, field), (ConfigDict, dict)):
            raise ConfigError(f"the config has no field {field!r}{_close(field, known)}")
    values = flags.FlagValues()
    last = {text.partition("=")[0]: text for text in overrides}  # absl would join tuples that are given twice
    argv = ["medjax", *(f"--config.{text}" for text in last.values())]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
        return values.config
    except (flags.Error, ValueError, TypeError, SyntaxError) as error:
        raise ConfigError(f"cannot set {' '.join(overrides)}: {str(error).splitlines()[0]}") from error


def config_at(config: ConfigDict, field: str) -> Any:
    """The value at a dotted field, None where there is none."""
    value: Any = config
    for part in field.split("."):
        if not isinstance(value, (ConfigDict, dict)) or part not in value:
            return None
        value = value[part]
    return value


def _close(word: str, known: Sequence[str] | Mapping) -> str:
    """Close matches by the whole name, or by its last part."""
    tails = {k.rpartition(".")[2]: k for k in known}
    found = difflib.get_close_matches(word, list(known), 3, 0.6)
    found += [tails[t] for t in difflib.get_close_matches(word.rpartition(".")[2], list(tails), 3, 0.7)]
    found = list(dict.fromkeys(found))[:3]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def flatten(config: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted field, value) of every leaf; an empty section is a leaf."""
    for name, value in config.items():
        if isinstance(value, (ConfigDict, dict)) and len(value):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON would give it back: tuples become lists."""
    return json.loads(json.dumps(config.to_dict()))


def versions() -> dict[str, str]:
    """Python, packages, device and commit."""
    import jax

    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {**found, "device": f"{jax.device_count()} x {device.device_kind} ({device.platform})", "commit": _commit()}


def _commit() -> str:
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").exists():  # installed: a repository around it is somebody else's
        return "installed"
    git = lambda *a: subprocess.run(["git", "-C", str(root), *a], capture_output=True, text=True, check=True)  # noqa: E731
    try:
        changed = "+changes" if git("status", "--porcelain", "--untracked-files=no").stdout.strip() else ""
        return git("rev-parse", "--short", "HEAD").stdout.strip() + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write(config: ConfigDict, workdir: Path, **resolved: Any) -> None:
    """`workdir/config.json`: the config, what was resolved from it, versions, device and commit."""
    content = {"config": to_json(config), "resolved": resolved, "versions": versions()}
    replace(workdir / "config.json", json.dumps(content, indent=2) + "\n")


def holds_run(path: str | Path) -> bool:
    """Whether `path` is a workdir of a run, or a file of exported weights, which tells of its run."""
    return Path(path).suffix == ".safetensors" or (Path(path) / "config.json").exists()


def read(workdir: str | Path) -> ConfigDict:
    """The config of a run, by its workdir or a file of its exported weights. Raises CheckpointError where that is neither."""
    return _stored(workdir)["config"]


def resolved(workdir: str | Path) -> dict[str, Any]:
    """What training worked out from the config of a run: steps, data_root, parameters, and fov_mm of its slices.

    Raises CheckpointError where the folder is no workdir.
    """
    return _stored(workdir).get("resolved", {})


def _stored(workdir: str | Path) -> dict[str, Any]:
    """What `write` wrote, or into the metadata of exported weights `named.metadata_of`."""
    path = Path(workdir)
    if path.suffix != ".safetensors":
        path = path / "config.json"
    if not path.exists():
        raise CheckpointError(f"{workdir} is no workdir of a run: it has no config.json")
    text = _text(path)
    try:
        content = json.loads(text)
        return {**content, "config": ConfigDict(_with_defaults(_with_tuples(content["config"])))}
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path} cannot be read as a run's config ({error})") from error


def _text(path: Path) -> str:
    if path.suffix != ".safetensors":
        return path.read_text()
    from medjax.weights.files import told

    if "run" not in (found := told(path)):
        raise CheckpointError(f"{path} does not tell what run its weights are of, as files of medjax export-weights do")
    return found["run"]


def _with_defaults(stored: dict[str, Any]) -> dict[str, Any]:
    """Fields that came into being after the run was made, at their defaults."""
    common = _load_module(config_folder() / "common.py")
    sections = {"data": common.data(), "train": common.train(), "optimizer": common.optimizer()}
    sections["evaluation"] = common.evaluation()
    name = stored.get("method", {}).get("name")
    if name == "pix2pix":
        sections["method"] = {"perceptual": common.perceptual()}
    if name == "cgan":
        sections |= {"method": {"guide": {"weight": 0.0, "classifier": ""}}, "discriminator": {"contrast": 0.0}}
    if name == "diffusion":
        sections["method"] = {"enhancer": ""}
    return _merged(sections, stored)


def _merged(defaults: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """`stored` over `defaults`, section by section."""
    both = {name: _merged(v, stored[name]) for name, v in defaults.items() if isinstance(v, dict) and name in stored}
    return {**defaults, **stored, **both}


def _with_tuples(value: Any) -> Any:
    """Lists back to the tuples that modules are hashed by; before a ConfigDict holds them, as its fields keep their type."""
    if isinstance(value, dict):
        return {name: _with_tuples(v) for name, v in value.items()}
    return tuple(_with_tuples(v) for v in value) if isinstance(value, list) else value


def check_same(config: ConfigDict, workdir: Path) -> None:
    """Raises ConfigError naming the fields in which `config` differs from the run in `workdir`."""
    if not (workdir / "config.json").exists():
        if any((workdir / "checkpoints").glob("[0-9]*")):
            raise ConfigError(f"{workdir} has checkpoints of an unknown run (no config.json); take another --workdir")
        return
    ours, theirs = dict(flatten(to_json(config))), dict(flatten(to_json(read(workdir))))
    free = lambda k: k in FREE_FIELDS or all(c.get(k) in FREE_VALUES.get(k, ()) for c in (ours, theirs))  # noqa: E731
    fields = [k for k in sorted(ours | theirs) if ours.get(k) != theirs.get(k) and not free(k)]
    if fields:
        told = "; ".join(f"{k}: {theirs.get(k)!r} there, {ours.get(k)!r} now" for k in fields[:5])
        more = f" and {len(fields) - 5} more" if len(fields) > 5 else ""
        raise ConfigError(f"{workdir} belongs to a run of another config ({told}{more}); take another --workdir")
