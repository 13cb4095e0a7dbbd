"""Which module may import which: dependencies point one way."""

import ast
import pathlib

import pytest

from tests.tiny_runs import ROOT

PACKAGE = ROOT / "attngan_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = ("main", "prepare", "evaluate", "sample", "report", "convert", "ablation")
COMMANDS += ("demo", "published", "compile_check", "train_judges", "experiment", "cli", "__main__")
# From the top: a layer imports those below it, and of its own layer only itself.
LAYERS = (
    COMMANDS,
    ("evaluation", "conversion"),
    ("sampling",),
    ("training",),
    ("data", "reporting"),
    ("interop",),
    ("configuration",),
    ("workdir",),
    ("log_file",),
    ("storage",),
    ("locks",),
    ("plain_files", "console"),
    ("tpu_layout",),
    ("bars", "errors", "models", "losses", "configs", "__init__"),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# Networks and losses are pure: arrays and constructor fields in, arrays out.
PURE = {
    "models": {"jax", "flax", "numpy", "attngan_jax.models"},
    "losses": {"jax", "attngan_jax.losses"},
}
STANDARD_LIBRARY = {"collections", "dataclasses", "functools", "math", "typing"}
TENSORFLOW = ("tensorflow", "clu.metric_writers", "clu.periodic_actions")  # or with it


def imports(path: pathlib.Path) -> set[str]:
    """Full names of all that a file imports, at its top or inside of functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part(path: pathlib.Path) -> str:
    """The subpackage, or the module at the top, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: pathlib.Path) -> set[str]:
    parts = set()
    for name in imports(path):
        first, _, rest = name.partition(".")
        assert first != "configs", f"{path} imports configs, which a wheel has in attngan_jax alone"
        if first == "attngan_jax":
            second = rest.partition(".")[0]
            parts.add(second if second in RANK else "__init__")
    return parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = part(path)
    assert own in RANK, f"{own} has no layer"
    for other in imported_parts(path) - {own}:
        allowed = RANK[own] < RANK[other]
        # A command uses cli and experiment; no module uses a command.
        allowed |= own in COMMANDS and other in ("cli", "experiment")
        allowed |= own == "__init__" and other in (
            "conversion",
            "sampling",
        )  # `load`, when it is called
        assert allowed, f"{path} imports {other}"


def test_an_upward_import_is_noticed(tmp_path):
    file = tmp_path / "file.py"
    file.write_text("def f():\n    from attngan_jax import configs, training, storage\n")
    assert imported_parts(file) == {"training", "storage", "configs"}
    assert RANK["losses"] > RANK["training"] > RANK["evaluation"]


@pytest.mark.parametrize("name", PURE)
def test_networks_and_losses_are_pure(name):
    for path in (PACKAGE / name).glob("*.py"):
        for imported in imports(path):
            allowed = PURE[name] | STANDARD_LIBRARY
            assert any(f"{imported}.".startswith(f"{module}.") for module in allowed), path


def test_tensorflow_is_imported_by_the_reader_of_its_files_alone():
    # CLU's writers import it, unless the module in its place has been imported before them.
    using = {PACKAGE / "training" / "event_files.py", PACKAGE / "interop" / "tensorflow_files.py"}
    for path in FILES:
        if path not in using:
            for name in imports(path):
                assert not any(f"{name}.".startswith(f"{m}.") for m in TENSORFLOW), path


def test_files_are_small_and_say_their_job():
    assert len(FILES) < 140
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
        assert path.stem not in ("utils", "helpers", "misc", "common"), path
