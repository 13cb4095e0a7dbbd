"""launch/attngan_jax.ipynb, executed from top to bottom at tiny size."""

import os
import re
import shutil

import nbclient
import nbformat
import pytest

from tests import made_up_sources
from tests.sampling.tiny_model import tiny_model  # noqa: F401
from tests.tiny_runs import CONFIG, ROOT

NOTEBOOK = ROOT / "launch" / "attngan_jax.ipynb"


def code_cells(notebook, part=""):
    """The code cells whose source has `part`."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and part in cell.source]


def fill_in(notebook, values):
    """Puts values into the notebook's forms; every one of them must be asked for."""
    asked = set()
    for cell in code_cells(notebook):
        if "parameters" in cell.metadata.get("tags", ()):
            names = set(re.findall(r"^(\w+) = ", cell.source, re.MULTILINE)) & values.keys()
            cell.source += "".join(f"\n{name} = {values[name]!r}" for name in names)
            asked |= names
    assert asked == values.keys()


@pytest.fixture(scope="module")
def executed(tmp_path_factory, tiny_model):  # noqa: F811
    """The notebook after a run from nothing, its forms filled in; the package is installed."""
    folder = tmp_path_factory.mktemp("notebook")
    made_up_sources.make_folder(folder / "pictures", count=60)
    shutil.copytree(tiny_model, folder / "runs" / "cub-published")  # as if it had been fetched
    values = dict(
        DEVICE="cpu",
        INSTALL=False,
        RUNS=str(folder / "runs"),
        OUT=str(folder / "out"),
        MODEL=str(tiny_model),
        CONFIG=CONFIG,
        OPTIONS=[f"--config.data.data_dir={folder / 'data'}"],
        REAL_BIRDS=True,
        PICTURES=str(folder / "pictures"),
        PICTURES_CONFIG="tests/tiny_configs/folder_small.py",
        PICTURES_CAPTION=made_up_sources.captions(0, 1)[0],
    )
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    fill_in(notebook, values)
    resources = {"metadata": {"path": str(ROOT / "launch")}}
    options = dict(timeout=600, kernel_name="python3", resources=resources)
    # One device, as for `tiny_run`: its compiled programs serve here too.
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    nbclient.NotebookClient(notebook, **options).execute(env=environment)
    return notebook, folder


def outputs(notebook, part):
    """All outputs of the code cells whose source has `part`."""
    return [output for cell in code_cells(notebook, part) for output in cell.outputs]


@pytest.mark.slow
def test_it_trains_and_prints_the_scores(executed):
    notebook, folder = executed
    assert (folder / "runs" / "procedural_birds" / "report" / "index.html").exists()
    assert (folder / "runs" / "my_pictures" / "report" / "index.html").exists()
    printed = "".join(o.get("text", "") for o in outputs(notebook, "metrics.json"))
    assert printed.startswith("R-precision: ") and "Colours as the sentence says: " in printed
    assert "on [CpuDevice" in "".join(o.text for o in outputs(notebook, "jax.devices()"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "part, images",
    [
        ("first.png", 1),
        ("text_box", 2),
        ('"trained"', 2),
        ('"real_birds"', 2),
        ('draw(mine, PICTURES_CAPTION, "my_pictures")', 2),
    ],
)
def test_every_section_shows_its_images(part, images, executed):
    """The images of a caption, and but for the first where its words look."""
    notebook, _ = executed
    shown = [o for o in outputs(notebook, part) if o.output_type == "display_data"]
    assert len(shown) == images and all("image/png" in output.data for output in shown)


@pytest.mark.parametrize(
    "driver, device, extra",
    [
        ("580.65.06", "gpu", "jax[cuda13]"),
        ("570.124.06", "gpu", "jax[cuda12]"),
        ("470.1", "cpu", "jax"),
        (None, "cpu", "jax"),
    ],
)
def test_the_driver_decides_which_cuda_is_installed(
    driver, device, extra, tmp_path, monkeypatch, capsys
):
    if driver:
        made_up_sources.write(tmp_path / "nvidia-smi", f"#!/bin/sh\necho {driver}\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    monkeypatch.setenv("JAX_PLATFORMS", os.environ["JAX_PLATFORMS"])  # which the cell changes
    (cell,) = code_cells(nbformat.read(NOTEBOOK, as_version=4), "def nvidia_driver")
    names = {"DEVICE": "auto"}
    exec("import os, pathlib, subprocess\n" + cell.source, names)
    assert (names["DEVICE"], names["extra"]) == (device, extra)
    assert ("too old" in capsys.readouterr().out) == (driver == "470.1")


def test_without_a_clone_it_asks_for_the_address(tmp_path, monkeypatch):
    (cell,) = code_cells(nbformat.read(NOTEBOOK, as_version=4), "def run(")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="in the first box.*REPOSITORY"):
        exec(cell.source, {"REPOSITORY": ""})


def test_it_is_committed_without_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.cell_type == "markdown" or not (cell.outputs or cell.execution_count)
