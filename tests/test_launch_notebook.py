"""launch/attngan_jax.ipynb, executed from top to bottom at tiny size."""

import nbclient
import nbformat
import pytest

from tests.tiny_runs import CACHE, CONFIG, ROOT

NOTEBOOK = ROOT / "launch" / "attngan_jax.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after a run from nothing, its parameters replaced."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    values = {"data.data_dir": folder / "data", "compilation_cache_dir": CACHE}
    options = [f"--config.{key}={value}" for key, value in values.items()]
    parameters.source += (
        f"\nDEVICE, INSTALL, CONFIG = 'cpu', False, {CONFIG!r}"
        f"\nWORKDIR, OPTIONS = {str(folder / 'run')!r}, {options!r}"
    )
    for cell in notebook.cells:  # images go beside the run
        cell.source = cell.source.replace("out/notebook", str(folder / "out"))
    resources = {"metadata": {"path": str(ROOT / "launch")}}
    options = dict(timeout=600, kernel_name="python3", resources=resources)
    nbclient.NotebookClient(notebook, **options).execute()
    return notebook, folder


def outputs(notebook, part):
    """All outputs of the code cells whose source has `part`."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and part in cell.source]
    return [output for cell in cells for output in cell.outputs]


@pytest.mark.slow
def test_it_trains_and_prints_the_scores(executed):
    notebook, folder = executed
    assert (folder / "run" / "report" / "index.html").exists()
    scores = "".join(output.text for output in outputs(notebook, "metrics.json"))
    assert scores.startswith("R-precision: ") and "Colours as the sentence says: " in scores
    assert "on [CpuDevice" in "".join(o.text for o in outputs(notebook, "jax.devices()"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ("grid.png", "_attention.png"))
def test_it_shows_a_caption_and_where_its_words_look(executed, name):
    notebook, folder = executed
    shown = [output for output in outputs(notebook, name) if output.output_type == "display_data"]
    assert len(shown) == 1 and "image/png" in shown[0].data
    assert (folder / "out" / "grid.png").exists()


def test_it_is_committed_without_outputs():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert cell.cell_type == "markdown" or not (cell.outputs or cell.execution_count)
