"""`kill -9` at a moment of a build: the next one finishes, and its result is the same."""

import os
import signal
import subprocess
import sys
import time

import pytest

from attngan_jax.data import datasets
from attngan_jax.errors import UserError
from tests import made_up_sources, tiny_runs
from tests.tiny_configs import cub

NUM_IMAGES = 8 * 40


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cub")
    made_up_sources.make_cub(folder, images_per_class=NUM_IMAGES // 8)
    made_up_sources.write(
        folder / "text" / "001.Black_footed_Albatross" / "Black_footed_Albatross_0003_103.txt",
        b"\n",
    )
    return folder


def start(source, data_dir) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "attngan_jax.prepare",
            "--config",
            "tests/tiny_configs/cub.py",
            "--data_dir",
            str(data_dir),
            "--source",
            str(source),
        ],
        cwd=tiny_runs.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    )


def content(config) -> tuple:
    """All records in order, and the words. (The order of fields in a record's bytes differs from
    process to process.)"""
    dataset = datasets.load(config)
    return (
        dataset.vocabulary.words,
        *(
            (
                record["name"],
                record["image"],
                tuple(record["captions"]),
                int(record["class_id"]),
                tuple(record["bbox"]),
            )
            for record in (*dataset.train, *dataset.test)
        ),
    )


@pytest.fixture(scope="module")
def unharmed(source, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("whole")
    config = cub.get_config()
    config.data.data_dir = str(data_dir)
    datasets.prepare(config, str(source))
    return content(config)


@pytest.mark.parametrize("moment", ["cub/incomplete.*/*test*", "cub/1.0.0"])
def test_a_second_run_finishes(moment, source, unharmed, tmp_path):
    config = cub.get_config()
    config.data.data_dir = str(tmp_path)
    process = start(source, tmp_path)
    while not list(tmp_path.glob(moment)) and process.poll() is None:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)

    killed = process.wait() == -signal.SIGKILL
    assert killed or moment == "cub/1.0.0"  # after which there is little left to do
    if not list(tmp_path.glob("cub/1.0.0/vocabulary.txt")):
        assert killed
        with pytest.raises(UserError, match="attngan_jax.prepare"):
            datasets.load(config)
    datasets.prepare(config, str(source))

    assert content(config) == unharmed and len(unharmed) == NUM_IMAGES - 1 + 1
    assert [path.name for path in (tmp_path / "cub").iterdir() if path.is_dir()] == ["1.0.0"]
