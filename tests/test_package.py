"""The package as pip installs it: away from the clone, with the configs, without TensorFlow."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

import attngan_jax
from attngan_jax.__main__ import COMMANDS
from attngan_jax.configuration import flatten
from tests import tiny_runs
from tests.tiny_configs import procedural_birds
from tests.tiny_runs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements(name):
    lines = (ROOT / name).read_text().splitlines()
    return {line.replace('"', "'") for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize("extra", ["gcs", "test", "tpu"])
def test_extras_are_what_the_requirements_files_list(extra):
    extras = PROJECT["optional-dependencies"]
    listed = set(extras[extra])
    if "attngan_jax[tensorflow]" in listed:
        listed = listed - {"attngan_jax[tensorflow]"} | set(extras["tensorflow"])
    assert listed == requirements(f"requirements-{extra}.txt")


def test_nothing_else_in_the_project_names_the_version():
    assert "version" not in PROJECT and "version" in PROJECT["dynamic"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", attngan_jax.__version__)


def test_all_that_names_the_projects_address_names_one():
    """It has none yet; CONTRIBUTING.md says where it goes."""
    cells = json.loads((ROOT / "launch" / "attngan_jax.ipynb").read_text())["cells"]
    notebook = "".join(line for cell in cells for line in cell["source"])
    citation = (ROOT / "CITATION.cff").read_text()
    patterns = {
        r"colab\.research\.google\.com/(?:github/([\w.-]+/[\w.-]+)/blob/[^)]+)?\)": notebook,
        r'REPOSITORY = "(?:https://github\.com/([\w.-]+/[\w.-]+))?"': notebook,
        r"\Z|^repository-code: https://github\.com/([\w.-]+/[\w.-]+)$": citation,
        r"\Z|^https://github\.com/([\w.-]+/[\w.-]+)$": PROJECT.get("urls", {}).get(
            "Repository", ""
        ),
    }
    found = [re.search(pattern, text, re.M) for pattern, text in patterns.items()]
    assert len({match[1] for match in found}) == 1, found


def test_configs_are_one_folder():
    assert (ROOT / "attngan_jax" / "configs").readlink() == pathlib.Path("../configs")
    for path in (ROOT / "configs").glob("*.py"):  # a wheel has no package `configs`
        assert not re.search(r"^(from|import) configs\b", path.read_text(), re.M), path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("attngan_jax", "configs"):  # a copy: setuptools leaves files behind
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--disable-pip-version-check"]
    done = tiny_runs.start_python(*build, "--wheel-dir", folder, source)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("attngan_jax-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The `bin` of an environment with the wheel and, by a link, what it requires."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    required = [path for path in sys.path if path.endswith("-packages")]
    (packages / "required.pth").write_text("\n".join(required))
    install = ["-m", "pip", "--python", folder / "bin" / "python", "install", "-q", "--no-deps"]
    done = tiny_runs.start_python(*install, "--disable-pip-version-check", wheel)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def run(command, *arguments, cwd):
    environment = {n: x for n, x in os.environ.items() if n != "PYTHONPATH"}
    options = dict(cwd=cwd, env=environment | {"JAX_NUM_CPU_DEVICES": "1"}, text=True)
    return subprocess.run([command, *map(str, arguments)], capture_output=True, **options)


def test_the_wheel_has_all_that_the_package_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith("dist-info/METADATA"))
        text = archive.read(metadata).decode()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"attngan_jax"}
    for path in (ROOT / "attngan_jax").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert str(path.relative_to(ROOT)) in names
    for path in (ROOT / "configs").glob("*.py"):
        assert f"attngan_jax/configs/{path.name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    required = set(re.findall(r"^Requires-Dist: ([^;]*?)$", text, re.M))
    assert {re.split("[<>=[]", line)[0] for line in required} == {
        re.split("[<>=[]", line)[0] for line in requirements("requirements.txt")
    }
    assert not any(line.startswith("tensorflow-cpu") for line in required)


def test_commands_are_listed_and_named(installed, tmp_path):
    done = run(installed / "attngan", cwd=tmp_path)
    assert done.returncode == 0 and all(f"  {name} " in done.stdout for name in COMMANDS)
    assert run(installed / "python", "-m", "attngan_jax", cwd=tmp_path).stdout == done.stdout
    assert {p.stem for p in (ROOT / "attngan_jax").glob("[a-z]*.py")} >= set(COMMANDS)
    wrong = run(installed / "attngan", "smaple", cwd=tmp_path)
    assert wrong.returncode == 2 and "did you mean sample?" in wrong.stderr
    help_ = run(installed / "attngan", "sample", "--help", cwd=tmp_path)
    assert help_.returncode == 0 and "--num_images" in help_.stdout


@pytest.mark.slow
def test_a_whole_run_and_sample_in_an_empty_folder(installed, tmp_path):
    values = flatten(procedural_birds.get_config().to_dict())
    (tmp_path / "mine.py").write_text(
        "from attngan_jax.configs import default\n\n\ndef get_config():\n"
        "    config = default.get_config()\n"
        f"    config.update_from_flattened_dict({values!r})\n"
        "    return config\n"
    )
    done = run(installed / "attngan", "main", "--config", "mine.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    workdir = tmp_path / "runs" / "tiny_birds"
    assert (workdir / "report" / "index.html").exists()
    sample = ["sample", "--workdir", workdir, "--out", "out", "--caption", "a red bird"]
    done = run(installed / "attngan", *sample, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "out" / "grid.png").exists(), done.stderr


CODE = """
import sys
from attngan_jax import cli, configuration, experiment
from attngan_jax.training import metric_writer
assert "site-packages/attngan_jax" in cli.__file__
assert "tensorflow" not in sys.modules
for name in ("cub", "configs/cub.py", "configs/ablation.py:lambda_5", "cub.py"):
    path = cli.find_config(name)
    assert "site-packages/attngan_jax/configs/" in path, path
"""


def test_packaged_configs_are_found_by_name_and_nothing_imports_tensorflow(installed, tmp_path):
    done = run(installed / "python", "-c", CODE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(installed / "attngan", "main", "--config", "cub", "--config.nope=1", cwd=tmp_path)
    assert done.returncode == 1 and "no config key nope" in done.stderr
    done = run(installed / "attngan", "main", "--config=configs/no.py", cwd=tmp_path)
    assert done.returncode == 1 and "no config file configs/no.py: give" in done.stderr
    assert "configs/cub.py" in done.stderr
