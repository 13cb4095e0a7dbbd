"""`kill -9` at a moment of a build: the next one finishes, and its result is the same."""

import signal
import subprocess
import sys
import time

import pytest

from attngan_jax.data import datasets
from attngan_jax.errors import UserError
from tests import made_up_sources, tiny_runs

NUM_IMAGES = 8 * 40


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cub")
    made_up_sources.make_cub(folder, images_per_class=NUM_IMAGES // 8)
    name = "001.Black_footed_Albatross/Black_footed_Albatross_0003_103"
    made_up_sources.write(folder / "text" / f"{name}.txt", b"\n")
    return folder


def content(config) -> tuple:
    """The words and all records in order. (The order of fields in a record's bytes differs from
    process to process.)"""
    dataset = datasets.load(config)
    rows = [dict(record) for record in made_up_sources.records(dataset)]
    return dataset.vocabulary.words, len(rows), made_up_sources.digest(rows)


@pytest.fixture(scope="module")
def unharmed(source, tmp_path_factory):
    config = made_up_sources.config_for("cub", tmp_path_factory.mktemp("whole"))
    datasets.prepare(config, str(source))
    return content(config)


@pytest.mark.parametrize("moment", ["cub/incomplete.*/*test*", "cub/1.0.0"])
def test_a_second_run_finishes(moment, source, unharmed, tmp_path):
    config = made_up_sources.config_for("cub", tmp_path)
    data = tmp_path / "data"
    command = [sys.executable, "-m", "attngan_jax.prepare", "--config", "tests/tiny_configs/cub.py"]
    command += ["--data_dir", str(data), "--source", str(source)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=tiny_runs.ROOT, **quiet)
    while not list(data.glob(moment)) and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    killed = process.wait() == -signal.SIGKILL
    assert killed or moment == "cub/1.0.0"  # after which there is little left to do
    if not list(data.glob("cub/1.0.0/vocabulary.txt")):
        assert killed
        with pytest.raises(UserError, match="attngan_jax.prepare"):
            datasets.load(config)
    datasets.prepare(config, str(source))
    assert content(config) == unharmed and unharmed[1] == NUM_IMAGES - 1
    assert [path.name for path in (data / "cub").iterdir() if path.is_dir()] == ["1.0.0"]
