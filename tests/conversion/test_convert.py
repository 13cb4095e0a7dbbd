"""The released code's files to a workdir and back: numbers, images, and what may go wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax import interop
from attngan_jax.conversion.export_run import export
from attngan_jax.conversion.import_run import read_original, write_workdir
from attngan_jax.errors import UserError
from attngan_jax.interop import read_state_dict, write_safetensors
from attngan_jax.interop.name_tables import TABLES
from attngan_jax.models.image_encoder import ImageEncoder
from attngan_jax.sampling.trained_model import TrainedModel, networks_in
from attngan_jax.training import loop, parallel
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.training.state import stage_key
from attngan_jax.workdir import has_image_encoder
from configs import default
from tests import tiny_runs
from tests.interop.original_weights import assert_same
from tests.made_up_sources import captions_pickle
from tests.reference_vectors import state_dict

WORDS = ["<end>", "a", "red", "bird"]
GENERATOR = dict(num_stages=2, base_size=8, gf_dim=2, z_dim=3, condition_dim=5)
GENERATOR |= dict(num_residual_blocks=1)
TEXT_ENCODER = dict(word_dim=7, embedding_dim=6)
DISCRIMINATOR = dict(df_dim=2, max_width=16, embedding_dim=6, unconditional=True, norm="batch")
DIMENSIONS = {  # file -> kind and dimensions
    "netG": ("generator", GENERATOR | {"embedding_dim": 6, "attention": True}),
    "text_encoder": ("text_encoder", TEXT_ENCODER | {"vocabulary_size": 4, "rnn_type": "lstm"}),
    "netD0": ("discriminator", DISCRIMINATOR | {"image_size": 8}),
    "netD1": ("discriminator", DISCRIMINATOR | {"image_size": 16}),
}
CONFIG = {f"generator.{name}": value for name, value in GENERATOR.items()}
CONFIG |= {f"text_encoder.{name}": value for name, value in TEXT_ENCODER.items()}
CONFIG |= {"image_encoder.trunk": "cnn", "image_encoder.cnn_dim": 2, "image_encoder.image_size": 16}
CONFIG |= {"discriminator.df_dim": 2, "data.max_words": 4, "compilation_cache_dir": ""}


def make_config(**changes):
    config = default.get_config()
    config.update_from_flattened_dict(CONFIG | changes)
    return config.lock()


@pytest.fixture(scope="module")
def originals():
    """File -> state_dict with seeded numbers."""
    weights = {
        name: state_dict([(row.pt, row.shape) for row in TABLES[kind].rows(dimensions)])
        for name, (kind, dimensions) in DIMENSIONS.items()
    }
    encoder, images = ImageEncoder("cnn", 6, 2), jnp.zeros((1, 16, 16, 3))
    fresh = encoder.init(jax.random.key(0), images, train=False)
    return weights | {"image_encoder": interop.state_dict_from_variables("image_encoder", fresh)}


@pytest.fixture(scope="module")
def files(originals, tmp_path_factory):
    """A folder of the released code's files."""
    folder = tmp_path_factory.mktemp("originals")
    for name, weights in originals.items():
        write_safetensors(folder / f"{name}.safetensors", weights)
    (folder / "captions.pickle").write_bytes(captions_pickle(WORDS, [[1, 2, 3]], [[1, 3]]))
    return folder


def read(config, files, discriminators=("netD1", "netD0"), **changes):
    names = ["generator", "text_encoder", "image_encoder"]
    paths = {name: files / f"{name.replace('generator', 'netG')}.safetensors" for name in names}
    paths["captions"] = files / "captions.pickle"
    paths["discriminators"] = [files / f"{name}.safetensors" for name in discriminators]
    return read_original(config, **paths | changes)


@pytest.fixture(scope="module")
def workdir(files, tmp_path_factory):
    config, path = make_config(), tmp_path_factory.mktemp("runs") / "imported"
    write_workdir(config, path, read(config, files))
    return path


def test_what_goes_in_comes_out(workdir, originals, tmp_path):
    paths = export(workdir, tmp_path / "out")
    assert {path.stem for path in paths} == set(originals)
    for path in paths:
        exported, original = read_state_dict(path), originals[path.stem]
        assert_same({name: exported[name] for name in original}, original)
    assert (tmp_path / "out" / "vocabulary.txt").read_text().split() == WORDS


def test_a_run_generates_with_the_weights(workdir, originals):
    trained = TrainedModel.load(workdir)
    assert list(trained.vocabulary.words) == WORDS and trained.step == 0
    assert has_image_encoder(workdir)
    kinds = {"generator": "generator", "text": "text_encoder", "image": "image_encoder"}
    for network, kind in kinds.items():
        original = originals["netG" if kind == "generator" else kind]
        expected = interop.variables_from_state_dict(kind, original)
        for collection, values in trained.variables[network].items():
            jax.tree.map(np.testing.assert_array_equal, values, expected[collection])
    batch = {"caption": [[1, 2, 3, 0]], "caption_length": [3], "number": [0]}
    batch = {name: np.array(value, np.int32) for name, value in batch.items()}
    drawn = trained.generate(trained.variables, batch).images[16]
    assert drawn.shape == (1, 16, 16, 3) and drawn.std() > 0


def resume(task, workdir):
    """The state that training goes on from, as `loop.train` makes it."""
    create = jax.jit(
        task.create_train_state, out_shardings=parallel.replicated(parallel.make_mesh())
    )
    state = create(stage_key(task.config.seed, task.name, -1))
    with Checkpoints(workdir, task.name) as checkpoints:
        return checkpoints.restore(state)[0]


def test_training_goes_on_from_the_imported_run(workdir):
    """One update of every network from the restored state."""
    trained = TrainedModel.load(workdir)
    state = resume(trained.task, workdir)
    rng = np.random.default_rng(0)
    batch = {
        "caption": np.array([[1, 2, 3, 0], [1, 3, 0, 0]] * 2, np.int32),
        "caption_length": np.array([3, 2] * 2, np.int32),
        "class_id": np.full(4, -1, np.int32),
        **{f"image_{s}": rng.integers(0, 256, (4, s, s, 3), np.uint8) for s in (8, 16)},
    }
    mesh = parallel.make_mesh()
    before = jax.tree.map(np.asarray, state.generator.params)
    encoders = {name: trained.variables[name] for name in ("text", "image")}
    step = parallel.parallel_step(trained.task.train_step, mesh)
    state, metrics = step(state, encoders, parallel.shard_batch(batch, mesh))
    assert int(state.step) == 1 and all(jnp.isfinite(value) for value in metrics.values())
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, state.generator.params)
    assert moved["image_1"]["conv"]["kernel"] and moved["initial"]["dense"]["kernel"]


def test_networks_that_were_not_given_start_afresh(files, originals, tmp_path):
    config = make_config()
    model = read(config, files, ["netD1"], image_encoder=None)
    write_workdir(config, tmp_path / "run", model, step=7)
    assert not has_image_encoder(tmp_path / "run")
    trained = TrainedModel.load(tmp_path / "run", networks=networks_in(tmp_path / "run"))
    state = resume(trained.task, tmp_path / "run")
    assert int(state.step) == trained.step == 7
    fresh, given = (np.asarray(d.params["stem"]["kernel"]) for d in state.discriminators)
    original = originals["netD1"]["img_code_s4.0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(given, original)
    flat = fresh.reshape(-1, fresh.shape[-1])
    np.testing.assert_allclose(flat.T @ flat, np.eye(flat.shape[1]), atol=1e-5)  # orthogonal
    exported = export(tmp_path / "run", tmp_path / "out")
    assert {path.stem for path in exported} == {"netG", "text_encoder", "netD1"}
    damsm = resume(DamsmTask(trained.config, len(WORDS)), tmp_path / "run")
    assert int(damsm.step) == config.damsm.num_train_steps
    with pytest.raises(UserError, match="imported without an image encoder"):
        loop.train(trained.task, None, tmp_path / "run")


def test_a_used_workdir_is_left_alone(workdir, files, tmp_path):
    config = make_config()
    model = read(config, files)
    with pytest.raises(UserError, match="not empty"):
        write_workdir(config, workdir, model)
    (tmp_path / "run.unfinished").mkdir()
    (tmp_path / "run.unfinished" / "half").write_text("")
    (tmp_path / "run").mkdir()
    write_workdir(config, tmp_path / "run", model)
    assert not (tmp_path / "run" / "half").exists() and not (tmp_path / "run.unfinished").exists()


OTHER = {"generator.num_residual_blocks": 2, "generator.num_stages": 3, "generator.z_dim": 4}
OTHER |= {"generator.condition_dim": 4, "generator.attention": False, "discriminator.df_dim": 4}
OTHER |= {"text_encoder.embedding_dim": 8, "text_encoder.word_dim": 300, "image_encoder.cnn_dim": 4}
OTHER |= {"text_encoder.rnn_type": "gru", "image_encoder.trunk": "inception_v3"}


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("generator.gf_dim", 3, "gf_dim is 2 there and 3 by generator.gf_dim"),
        ("generator.base_size", 16, "pixels, and the config has"),
        ("generator.single_image", True, "pixels, and the config has|generator.single_image"),
        *((key, value, key) for key, value in OTHER.items()),
    ],
)
def test_weights_of_another_config(files, key, value, message):
    with pytest.raises(UserError, match=message):
        read(make_config(**{key: value}), files)


def test_files_in_each_others_place(files, tmp_path):
    config = make_config()
    with pytest.raises(UserError, match="text_encoder.safetensors.*another network"):
        read(config, files, generator=files / "text_encoder.safetensors")
    with pytest.raises(UserError, match="a second one"):
        read(config, files, ["netD0", "netD0"])
    words = [f"w{i}" for i in range(5)]
    (tmp_path / "captions.pickle").write_bytes(captions_pickle(words, [[1]], [[1]]))
    with pytest.raises(UserError, match="vocabulary_size is 4 there and 5 by --captions"):
        read(config, files, captions=tmp_path / "captions.pickle")


def convert(command, **options):
    arguments = [text for name, value in options.items() for text in (f"--{name}", value)]
    return tiny_runs.start_command("convert", *command.split(), *arguments)


def test_from_the_command_line(files, originals, tmp_path):
    config, run, out = tmp_path / "config.py", tmp_path / "new" / "run", tmp_path / "out"
    config.write_text(
        "from configs import default\n\n\ndef get_config():\n"
        "    config = default.get_config()\n"
        f"    config.update_from_flattened_dict({CONFIG!r})\n"
        "    return config\n"
    )
    given = {"generator": files / "netG.safetensors", "captions": files / "captions.pickle"}
    given["text_encoder"] = files / "text_encoder.safetensors"
    imported = convert("import", config=config, workdir=run, **given)
    assert imported.returncode == 0, imported.stderr
    assert "attngan_jax.sample" in imported.stdout and "legacy_mask" in imported.stdout
    exported = convert("export", workdir=run, out=out)
    assert exported.returncode == 0, exported.stderr
    assert "load_state_dict" in exported.stdout
    generator = read_state_dict(out / "netG.safetensors")
    assert_same({name: generator[name] for name in originals["netG"]}, originals["netG"])


def test_mistakes_on_the_command_line(tmp_path):
    missing_flags = convert("import", workdir=tmp_path / "run")
    assert missing_flags.returncode == 2 and "--generator" in missing_flags.stderr
    no_command = convert("", workdir=tmp_path)
    assert no_command.returncode == 2 and "export" in no_command.stderr
    no_run = convert("export", workdir=tmp_path, out=tmp_path / "out")
    tiny_runs.assert_one_line(no_run, 1, "config.json")
