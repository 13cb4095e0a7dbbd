"""Tests on the CPU: several devices, a compile cache, a tiny dataset and run to share."""

import json
import os
import pathlib
import subprocess
from typing import NamedTuple

from tests import tiny_runs

# Before JAX is imported, and for the processes that tests start.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("XLA_FLAGS", tiny_runs.QUICK_COMPILATION)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", tiny_runs.CACHE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import pytest  # noqa: E402

from tests import fake_gcs  # noqa: E402
from tests.tiny_configs import procedural_birds  # noqa: E402


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no worker begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def gcs():
    """A `FakeGcs` with the empty bucket `birds`, which this process's `gs://` leads to."""
    with fake_gcs.serving("birds") as server:
        yield server


def config_in(data_dir):
    """The tiny config, unlocked, with its dataset in `data_dir`."""
    config = procedural_birds.get_config()
    config.data.data_dir = data_dir
    return config


@pytest.fixture(scope="session")
def tiny_data_dir(tmp_path_factory):
    """A folder with the tiny config's dataset."""
    from attngan_jax.data import datasets

    data_dir = str(tmp_path_factory.mktemp("data"))
    datasets.prepare(config_in(data_dir))
    return data_dir


@pytest.fixture
def tiny_config(tiny_data_dir):
    """The tiny config with its dataset prepared; unlocked, each test's own."""
    return config_in(tiny_data_dir)


@pytest.fixture(scope="session")
def tiny_dataset(tiny_data_dir):
    """The tiny dataset, open."""
    from attngan_jax.data import datasets

    return datasets.load(config_in(tiny_data_dir))


class TinyRun(NamedTuple):
    """A run of `main` on the tiny config, which began with nothing."""

    done: subprocess.CompletedProcess
    workdir: pathlib.Path
    data_dir: pathlib.Path

    @property
    def config_keys(self) -> set[str]:
        """The keys of the config that the run read, apart from its checks."""
        return set(json.loads((self.workdir.parent / "config_keys.json").read_text()))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The `TinyRun` of this test session."""
    folder = tmp_path_factory.mktemp("tiny")
    recorder = f"tests.recorded_keys {folder}/config_keys.json"
    done = tiny_runs.start_main(folder / "run", folder / "data", module=recorder)
    assert done.returncode == 0, done.stderr[-3000:]
    return TinyRun(done, folder / "run", folder / "data")
