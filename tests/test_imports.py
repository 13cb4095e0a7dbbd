"""Who may import whom: dependencies point one way."""

import ast
import pathlib

import pytest

from tests.tiny_runs import ROOT

PACKAGE = ROOT / "attngan_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
DOORS = ("main", "prepare", "evaluate", "sample", "report", "convert", "ablation", "compile_check")
ROOM_RULES = {
    "models": (
        "jax",
        "flax",
        "numpy",
        "attngan_jax.models",
        "typing",
        "math",
        "collections",
        "dataclasses",
        "functools",
    ),
    "losses": ("jax", "attngan_jax.losses", "typing"),
}


def imports(path: pathlib.Path) -> set[str]:
    """Full names of all modules that a file imports, wherever it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


@pytest.mark.parametrize("room", ROOM_RULES)
def test_models_and_losses_import_neither_config_nor_training(room):
    for path in (PACKAGE / room).glob("*.py"):
        for name in imports(path):
            assert any(is_within(name, allowed) for allowed in ROOM_RULES[room]), (path, name)


def test_nothing_imports_a_door():
    for path in FILES:
        for name in imports(path):
            assert not any(is_within(name, f"attngan_jax.{door}") for door in DOORS), (path, name)


def test_training_does_not_import_what_comes_after_it():
    for path in (PACKAGE / "training").glob("*.py"):
        for name in imports(path):
            assert not is_within(name, "attngan_jax.evaluation"), (path, name)
            assert not is_within(name, "attngan_jax.reporting"), (path, name)


def test_tensorflow_is_imported_by_the_metric_writers_and_the_reader_of_its_files_alone():
    for path in FILES:
        if path not in (
            PACKAGE / "training" / "metric_writer.py",
            PACKAGE / "interop" / "tensorflow_files.py",
        ):
            for name in imports(path):
                assert not any(
                    is_within(name, module)
                    for module in ("tensorflow", "clu.metric_writers", "clu.periodic_actions")
                ), path


def test_files_are_small_and_folders_say_their_job():
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        assert ast.get_docstring(ast.parse(text)), f"{path} has no docstring"
        assert path.stem not in ("utils", "helpers", "misc", "common"), path
