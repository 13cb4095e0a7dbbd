"""The StableHLO file: the same images as the model's, for any batch, with jax alone."""

import subprocess
import sys

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image

import attngan_jax
from attngan_jax.sampling import sample_captions
from attngan_jax.training.state import stage_key
from tests import tiny_runs

CAPTIONS = ["a red bird with black wings", "this bird is blue", "a small white bird"]


@pytest.fixture(scope="module")
def folder(tiny_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("stablehlo")
    flags = f"--workdir {tiny_run.workdir} --out {path} --format stablehlo"
    done = tiny_runs.start_command(f"convert export {flags}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == str(path / "model.stablehlo")
    return path


def test_it_generates_what_the_model_does_on_every_platform(folder, tiny_run):
    exported = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    model = attngan_jax.load(tiny_run.workdir)
    g, data = model.config.generator, model.config.data
    noise_key = jax.random.fold_in(stage_key(5, "evaluation", 0), 0)
    noise = np.array(jax.random.normal(noise_key, (g.z_dim + g.condition_dim,)))[None]
    for captions in (CAPTIONS[:1], CAPTIONS):
        rows, lengths = sample_captions.encode(captions, model.vocabulary, data, 0)
        stages = exported.call(rows, lengths, np.repeat(noise, len(captions), axis=0))
        for made, wanted in zip(stages, model.generate(captions, seed=5).stages, strict=True):
            np.testing.assert_allclose(np.asarray(made, int), wanted, atol=1)


def test_the_example_runs_with_jax_alone(folder, tmp_path):
    lines = (folder / "generate.py").read_text().splitlines()
    assert len(lines) < 35
    code = (
        "import runpy, sys; sys.argv[1:] = ['a RED bird, qux'];"
        f"runpy.run_path({str(folder / 'generate.py')!r}, run_name='__main__');"
        "assert not any(n.startswith(('attngan_jax', 'flax', 'orbax')) for n in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "is an image of: a red bird" in done.stdout
    assert Image.open(folder / "image.ppm").size == (16, 16)
