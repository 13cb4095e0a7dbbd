"""A trained model from Python: `attngan_jax.load`, and the folder that hands it on."""

import json
import os
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
from PIL import Image

import attngan_jax
from attngan_jax import workdir as workdir_module
from attngan_jax.conversion.export_run import export
from attngan_jax.errors import UserError
from attngan_jax.interop import read_state_dict, write_safetensors
from attngan_jax.reporting import model_card
from attngan_jax.sampling import model_folder
from tests import tiny_runs

CACHE = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
CAPTIONS = ["a red bird with black wings", "this bird is blue"]


@pytest.fixture(scope="module")
def model(tiny_run):
    return attngan_jax.load(tiny_run.workdir)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The tiny run as a model folder."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    model.save(path)
    return path


def files(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_images_their_stages_and_where_they_look(model):
    out = model.generate(CAPTIONS, seed=5, num_images=2)
    assert out.images.shape == (4, 16, 16, 3) and out.images.dtype == np.uint8
    assert [stage.shape for stage in out.stages] == [(4, 8, 8, 3), (4, 16, 16, 3)]
    assert out.images is out.stages[-1] and out.images.std() > 0
    assert out.attention.words == [CAPTIONS[0].split()] * 2 + [CAPTIONS[1].split()] * 2
    (maps,) = out.attention.maps
    assert maps.shape[:3] == (4, 8, 8)
    np.testing.assert_allclose(maps[2, ..., :4].sum(-1), 1, rtol=1e-5)  # four words
    # Image k of each caption is of one noise, whatever is generated beside it.
    one = model.generate(CAPTIONS[1], seed=5).images[0]
    np.testing.assert_allclose(one.astype(int), out.images[2], atol=1)
    assert (model.generate(CAPTIONS[1], seed=6).images[0] != one).any()


def test_a_compact_folder_generates_nearly_the_same_images(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "LARGE", 64)  # the tiny run's arrays are small
    model.save(tmp_path, compact=True)
    compact = attngan_jax.load(tmp_path)
    images = [m.generate(CAPTIONS, seed=5).images.astype(int) for m in (model, compact)]
    difference = np.abs(images[0] - images[1])
    assert 0 < difference.mean() < 1 and difference.max() < 10
    weights = [safetensors.numpy.load_file(p / "model.safetensors") for p in (folder, tmp_path)]
    kept = {name: x for name, x in weights[0].items() if not name.startswith("image_encoder.")}
    rounded = {name for name, x in weights[1].items() if x.dtype == np.int8}
    assert weights[1].keys() == kept.keys() | {f"{name}.scale" for name in rounded}
    assert rounded == {name for name, x in kept.items() if x.ndim > 1 and x.size >= 64}
    for name in rounded:  # by half a step at most
        scale = weights[1][f"{name}.scale"]
        error = np.abs(weights[1][name] * scale - kept[name])
        assert (error <= 0.501 * scale).all() and np.abs(weights[1][name]).max() == 127


def test_a_compact_folder_says_what_it_lacks(folder, tmp_path):
    out = tmp_path / "compact"
    export = ["convert export --format compact", "--workdir", folder, "--out"]
    done = tiny_runs.start_command(*export, out)
    assert done.returncode == 0, done.stderr
    card = (folder / "README.md").read_text()
    assert (out / "README.md").read_text() == card + model_card.COMPACT
    compact = attngan_jax.load(out)
    compact.save(tmp_path / "again", compact=True)
    assert (tmp_path / "again" / "README.md").read_text() == card + model_card.COMPACT
    with pytest.raises(UserError, match="has no image_encoder: it can generate images, not score"):
        compact.embed_images(np.zeros((1, 16, 16, 3), np.uint8))
    before = files(folder)
    refused = tiny_runs.start_command(*export, f"{folder}/")
    tiny_runs.assert_one_line(refused, 1, "has the whole model, which this would replace")
    assert files(folder) == before


def test_a_scale_of_another_shape_gets_one_line(model, tmp_path, monkeypatch):
    monkeypatch.setattr(model_folder, "LARGE", 64)
    model.save(tmp_path, compact=True)
    path = tmp_path / "model.safetensors"
    weights = safetensors.numpy.load_file(path)
    name = next(name for name in weights if name.endswith(".scale"))
    weights[name] = np.ones((2, 2), np.float32)
    safetensors.numpy.save_file(weights, path)
    with pytest.raises(UserError, match=rf"{re.escape(name)} is float32 \[2, 2\] for"):
        attngan_jax.load(tmp_path)


def name_a_folder_for_programs(model, path):
    config = json.loads((model / "config.json").read_text())
    config["compilation_cache_dir"] = str(path)
    (model / "config.json").write_text(json.dumps(config))


def test_sample_keeps_programs_in_the_users_folder_alone(folder, tmp_path):
    theirs = shutil.copytree(folder, tmp_path / "theirs")
    name_a_folder_for_programs(theirs, tmp_path / "their_programs")
    environment = {name: value for name, value in os.environ.items() if name not in CACHE}
    environment |= {"HOME": str(tmp_path), CACHE[1]: "0"}
    words = ["--caption", CAPTIONS[0], "--num_images=1", "--out", tmp_path / "out"]
    command = [sys.executable, "-m", "attngan_jax.sample", "--workdir", theirs, *words]
    subprocess.run(command, env=environment, check=True)
    assert list((tmp_path / ".cache" / "attngan_jax").glob("*-cache"))
    assert not (tmp_path / "their_programs").exists()


def test_only_what_generates_is_read(tiny_run, monkeypatch):
    """Of a whole training state: no discriminator, optimizer, live weight or image encoder."""
    read, handler = [], ocp.type_handlers.ArrayHandler
    deserialize = handler.deserialize

    async def noted(self, infos, args=None):
        read.extend(info.name for info in infos)
        return await deserialize(self, infos, args)

    monkeypatch.setattr(handler, "deserialize", noted)
    model = attngan_jax.load(tiny_run.workdir)
    parts = ["step", "ema_params", "generator.batch_stats", "text.params"]

    def parts_read():
        return {next((part for part in parts if name.startswith(part)), name) for name in read}

    assert parts_read() == set(parts)
    parts += ["image.params", "image.batch_stats"]
    model.embed_images(np.zeros((1, 16, 16, 3), np.uint8))
    assert parts_read() == set(parts)


def test_truncation_brings_the_noise_nearer_to_its_mean(model):
    images = [
        model.generate(CAPTIONS[:1], num_images=16, truncation=t).images.astype(float)
        for t in (None, 0.5, 1e-3, 100.0)
    ]
    spreads = [one.std(axis=0).mean() for one in images]
    assert spreads[0] > spreads[1] > spreads[2]
    np.testing.assert_allclose(images[3], images[0], atol=1)  # so far out nothing is cut off


def test_embeddings_and_similarity(model):
    text = model.embed_text(CAPTIONS)
    images = model.generate(CAPTIONS).images
    embedded = model.embed_images(images)
    assert text.shape == embedded.shape == (2, model.config.text_encoder.embedding_dim)
    similarity = model.similarity(CAPTIONS, images[:1])
    cosine = text[1] @ embedded[0] / np.linalg.norm(text[1]) / np.linalg.norm(embedded[0])
    assert similarity.shape == (2, 1)
    np.testing.assert_allclose(similarity[1, 0], cosine, rtol=1e-5)
    with pytest.raises(ValueError, match=r"uint8 \[N, H, W, 3\], not float64 \[2, 16, 16, 3\]"):
        model.embed_images(images / 255)


def test_a_model_folder_generates_the_same(model, folder):
    assert set(files(folder)) == {
        "config.json",
        "vocabulary.txt",
        "model.safetensors",
        "README.md",
        "samples.png",
    }
    saved = attngan_jax.load(folder)
    assert saved.step == model.step == 4
    for name in ("images", "attention"):
        jax.tree.map(
            np.testing.assert_array_equal,
            getattr(saved.generate(CAPTIONS, seed=3), name),
            getattr(model.generate(CAPTIONS, seed=3), name),
        )
    np.testing.assert_array_equal(saved.embed_text(CAPTIONS), model.embed_text(CAPTIONS))


def test_the_card_is_of_the_run(model, folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: attngan_jax\n")
    for part in (
        "R-precision, generated images",
        "train 45 images",
        "AttnGAN: 4 steps of 8",
        "2.5 with γ₃ 8.0",
    ):
        assert part in card
    assert "samples.png" in card and Image.open(folder / "samples.png").size[0] > 100


def test_there_and_back_again_bit_for_bit(folder, tmp_path):
    """Model folder -> workdir -> exported folder, and a folder of a folder."""
    command = f"convert import --model {folder} --workdir {tmp_path}/run"
    done = tiny_runs.start_command(command)
    assert done.returncode == 0 and "legacy_mask" not in done.stdout, done.stderr
    refused = tiny_runs.start_command(f"{command} --step 3 --captions x")
    tiny_runs.assert_one_line(refused, 2, "leave --captions, --step away")
    single = export(tmp_path / "run", tmp_path / "out")
    # A model folder has no discriminators, and fresh ones are nobody's.
    names = {path.stem for path in single}
    assert names >= {"netG", "text_encoder"} and not names & {"netD0", "netD1"}
    exported = files(tmp_path / "out")
    for name, content in files(folder).items():
        assert exported[name] == content, name
    attngan_jax.load(tmp_path / "out").save(tmp_path / "again")
    assert files(tmp_path / "again") == files(folder)


def test_the_commands_take_a_model_folder(folder, tmp_path):
    out = tmp_path / "out"
    words = ["--caption", CAPTIONS[0], "--num_images=1", "--attention", "--truncation=0.7"]
    done = tiny_runs.start_command("sample", "--workdir", folder, "--out", out, *words)
    assert done.returncode == 0, done.stderr
    expected = attngan_jax.load(folder).generate(CAPTIONS[0], truncation=0.7).images[0]
    image = np.asarray(Image.open(out / "caption_000_image_0.png"))
    np.testing.assert_allclose(image.astype(int), expected, atol=1)
    assert (out / "caption_000_image_0_attention.png").exists()
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    name_a_folder_for_programs(copy, tmp_path / "their_programs")
    done = tiny_runs.start_command("evaluate", "--workdir", copy)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "their_programs").exists()  # what lies there would be run
    metrics = json.loads((copy / "report" / "metrics.json").read_text())
    assert metrics["step"] == 4 and metrics["newest_step"] is None
    assert "R-precision" in (copy / "report" / "index.html").read_text()
    assert not (copy / "damsm").exists()


def test_names_that_are_none_get_one_line(tmp_path, monkeypatch, folder):
    with pytest.raises(UserError, match="no folder nope, and no model of that name: give"):
        attngan_jax.load("nope")
    with pytest.raises(UserError, match="no config.json"):
        attngan_jax.load(tmp_path)
    monkeypatch.setattr(workdir_module, "PRETRAINED", folder.parent)
    assert attngan_jax.load("tiny").step == 4
    with pytest.raises(UserError, match="or one of the names cub-published, tiny"):
        attngan_jax.load("nope")


SHIPPED = sorted(path for path in workdir_module.PRETRAINED.glob("[a-z]*") if path.is_dir())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_model_that_comes_with_the_package_is_small_and_generates(path):
    assert sum(file.stat().st_size for file in path.iterdir()) < 15e6
    assert attngan_jax.load(path.name).generate(CAPTIONS).images.std() > 10


def test_a_folder_whose_files_do_not_fit_gets_one_line(folder, tmp_path):
    for name, content in files(folder).items():
        (tmp_path / name).write_bytes(content)
    weights = read_state_dict(folder / "model.safetensors")
    encoder = {name: x for name, x in weights.items() if not name.startswith("image_encoder")}
    write_safetensors(tmp_path / "model.safetensors", encoder)
    model = attngan_jax.load(tmp_path)
    with pytest.raises(UserError, match="has no image_encoder: it can generate"):
        model.embed_images(model.generate(CAPTIONS).images)
    model.save(tmp_path / "again")  # without it, too
    (tmp_path / "vocabulary.txt").write_text("<end>\nred\n")
    with pytest.raises(UserError, match="vocabulary_size is .* 2 by .*vocabulary.txt"):
        attngan_jax.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="model.safetensors cannot be read"):
        attngan_jax.load(tmp_path)


def test_importing_is_quick_and_help_tells():
    code = "import sys, attngan_jax; help(attngan_jax); print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "load(path_or_name" in done.stdout and "model.generate([" in done.stdout
    assert done.stdout.endswith("False\n")
