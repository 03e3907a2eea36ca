"""The house rules that a program can check: import directions, docstrings, keys, options, lengths, and no stray paths."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "medjax"
MODULES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}

# Imports run down this list and never up; parts of one row may know each other.
LAYERS = (
    ("types", "rng", "files", "xla"),
    ("formats",),
    ("data", "baselines"),
    ("losses", "images", "pool", "diffusion", "metrics"),
    ("models",),
    ("state", "processes", "placement", "objective"),
    ("objectives",),
    ("loop", "checkpoint", "writers", "evaluate", "results", "inference", "outputs", "slicewise", "tiling", "report", "figures",
     "synthesize", "synthetic", "exported"),
    ("weights",),
    ("build",),
    ("cli", "cli_synthesize", "cli_compare", "cli_export", "cli_led", "__main__"),
)
LEVEL = {part: level for level, row in enumerate(LAYERS) for part in row}
NO_JAX = ("types", "formats", "data", "baselines")
COMPOSED = (
    "state",
    "objective",
    "objectives",
    "loop",
    "checkpoint",
    "writers",
    "evaluate",
    "results",
    "inference",
    "slicewise",
    "synthesize",
    "synthetic",
)  # what a notebook composes
# (objective, state, batch or batches, key): the order of Objective's own functions
FOLLOW_OBJECTIVE = {"fit", "score", "score_images", "score_classes", "descend"}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module a file imports, at the top or inside a function; `from medjax import x` counts as medjax.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module in ("medjax", "jax"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Module-level functions and methods, as (qualified name, node)."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{m.name}", m) for m in node.body if isinstance(m, ast.FunctionDef))


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


EVERY = [(module, name, node) for module, tree in TREES.items() for name, node in functions(tree)]
PUBLIC = [(module, name, node) for module, name, node in EVERY if is_public(name)]


def told(found: list[str]) -> str:
    return "\n" + "\n".join(found)


def test_imports_run_down_the_layers():
    unknown = [m for m in MODULES if m != "medjax" and part_of(m) not in LEVEL]
    assert not unknown, f"give these a layer: {unknown}"
    wrong = [
        f"{module} imports {name}"
        for module, tree in TREES.items()
        for name in imports(tree)
        if name.startswith("medjax.") and part_of(name) in LEVEL and LEVEL[part_of(name)] > LEVEL.get(part_of(module), 99)
    ]
    assert not wrong, told(wrong)


def test_numpy_packages_import_no_jax():
    libraries = ("jax", "flax", "optax", "orbax", "chex", "clu")
    wrong = [
        f"{m} imports {n}" for m, t in TREES.items() if part_of(m) in NO_JAX for n in imports(t) if n.split(".")[0] in libraries
    ]
    assert not wrong, told(wrong)


def test_methods_and_the_loop_know_no_model_and_no_data():
    wrong = [
        f"{m} imports {n}"
        for m, t in TREES.items()
        if part_of(m) in COMPOSED
        for n in imports(t)
        if n.startswith(("medjax.models", "medjax.data", "medjax.build", "configs", "ml_collections"))
    ]
    assert not wrong, told(wrong)


def test_config_crosses_one_seam():
    wrong = [m for m, t in TREES.items() if part_of(m) != "build" for n in imports(t) if n.startswith("ml_collections")]
    assert not wrong, f"only medjax.build reads a ConfigDict, not {wrong}"


def test_everything_public_is_documented():
    wrong = [m for m, t in TREES.items() if not ast.get_docstring(t)]
    for module, tree in TREES.items():
        wrong += [
            f"{module}.{n.name}"
            for n in tree.body
            if isinstance(n, ast.ClassDef) and is_public(n.name) and not ast.get_docstring(n)
        ]
    wrong += [f"{module}.{name}" for module, name, node in PUBLIC if not ast.get_docstring(node)]
    assert not wrong, told(wrong)


def test_public_functions_are_annotated():
    wrong = [
        f"{module}.{name}({a.arg})"
        for module, name, node in PUBLIC
        for a in [*node.args.args, *node.args.kwonlyargs]
        if a.annotation is None and a.arg not in ("self", "cls")
    ]
    wrong += [f"{module}.{name} ->" for module, name, node in PUBLIC if node.returns is None]
    assert not wrong, told(wrong)


def test_a_jax_key_is_called_key_and_comes_first():
    """`rng` is a numpy Generator; the exceptions follow the order of linen's and of Objective's own functions."""
    wrong = []
    for module, name, node in PUBLIC:
        if (module, name) == ("medjax.objective", "Player.apply"):
            continue
        kinds = {a.arg: ast.unparse(a.annotation or ast.Constant("")) for a in [*node.args.args, *node.args.kwonlyargs]}
        positional = [a.arg for a in node.args.args if a.arg not in ("self", "cls")]
        keys = {arg for arg, kind in kinds.items() if kind in ("Key", "Key | None")}
        late = "key" in positional[1:] and name.split(".")[-1] not in FOLLOW_OBJECTIVE
        if keys - {"key"} or late or ("rng" in kinds and "Generator" not in kinds["rng"]):
            wrong.append(f"{module}.{name}")
    assert not wrong, told(wrong)


def test_options_are_keyword_only():
    """In the libraries of pure functions every argument with a default is."""
    wrong = [
        f"{module}.{name}"
        for module, name, node in PUBLIC
        if part_of(module) in ("losses", "metrics", "images", "baselines", "diffusion", "objectives", "inference")
        if node.args.defaults
    ]
    assert not wrong, told(wrong)


def sources() -> list[Path]:
    return [p for folder in ("medjax", "configs", "experiments") for p in sorted((ROOT / folder).rglob("*.py"))]


def test_files_are_short():
    wrong = [f"{p.relative_to(ROOT)}: {n}" for p in sources() if (n := len(p.read_text().splitlines())) > 260]
    assert not wrong, told(wrong)


def test_functions_are_short():
    wrong = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            # A method is one function of nested ones: its parts are measured, and its own text without its docstring.
            if isinstance(node, ast.FunctionDef):
                inner = sum(n.end_lineno - n.lineno + 1 for n in node.body if isinstance(n, ast.FunctionDef))
                text = ast.get_docstring(node, clean=False)
                length = node.end_lineno - node.lineno + 1 - inner - (len(text.splitlines()) if text else 0)
                if length > 60:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.name}: {length}")
    assert not wrong, told(wrong)


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        if path.is_file() and path != Path(__file__):
            try:
                yield path, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture


def test_no_path_of_a_machine_and_no_package_index():
    """`/nowhere` and the like in tests are no machine's; an index belongs to whoever installs."""
    machine = re.compile(r"(?<![\w.])/(work|root|home|Users|mnt|tmp)/[\w.]+")
    index = re.compile(r"(extra-)?index-url|https?://[^\s\"')]*(pypi|devpi|artifactory|nexus)", re.IGNORECASE)
    wrong = [
        f"{path.relative_to(ROOT)}: {found.group(0)}"
        for path, text in texts()
        for rule in (machine, index)
        if (found := rule.search(text))
    ]
    assert not wrong, told(wrong)


def test_no_data_is_tracked():
    wrong = [
        str(p.relative_to(ROOT))
        for p in tracked()
        if p.suffix.lower() in (".npz", ".npy", ".tif", ".tiff", ".dcm", ".nii", ".pth")
    ]
    models = ROOT / "experiments" / "models"
    most = lambda path: 20_000_000 if path.parent == models and path.suffix == ".safetensors" else 2_000_000
    wrong += [f"{p.relative_to(ROOT)}: {p.stat().st_size} bytes" for p in tracked() if p.is_file() and p.stat().st_size > most(p)]
    assert not wrong, told(wrong)


def test_every_package_is_installed():
    """Packages named in pyproject.toml, by hand because configs/ moves into medjax/, are those there are."""
    import tomllib

    named = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert named - {"medjax.configs"} == there
