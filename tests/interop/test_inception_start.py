"""The image encoder's start from ImageNet's Inception-v3, and what an imported run brings along."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attngan_jax import experiment
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.interop import write_safetensors
from attngan_jax.interop.inception_table import inception_rows
from attngan_jax.interop.inception_weights import PUBLISHED
from attngan_jax.interop.state_dict_files import sha256
from attngan_jax.training import loop, warm_start
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.workdir import Workdir
from configs import cub
from tests import tiny_runs
from tests.reference_vectors import state_dict


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Seeded weights under torchvision's names, with the layers that the encoder leaves out."""
    weights = state_dict([(row.theirs, row.shape) for row in inception_rows(below="")])
    weights |= {
        "AuxLogits.conv0.conv.weight": np.ones((1, 1, 1, 1), np.float32),
        "fc.weight": np.ones((1000, 2048), np.float32),
        "fc.bias": np.zeros(1000, "f4"),
    }
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    write_safetensors(path, weights)
    return path


def test_the_weights_become_the_trunk(weights_file, tmp_path):
    config = cub.get_config()
    config.image_encoder.weights = str(weights_file)
    weights = warm_start.trunk_weights(config, tmp_path)
    fresh = jax.eval_shape(DamsmTask(config, 5).create_train_state, jax.random.key(0))
    started = warm_start.with_trunk(fresh, weights)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), started) == jax.tree.map(
        lambda x: (x.shape, x.dtype), fresh
    )
    given = state_dict(
        [
            ("Mixed_7c.branch1x1.conv.weight", (320, 2048, 1, 1)),
            ("Mixed_7c.branch1x1.bn.running_var", (320,)),
        ]
    )
    trunk = started.image.params["inception"]["Mixed_7c"]["branch1x1"]
    np.testing.assert_array_equal(
        trunk["conv"]["kernel"][0, 0].T, given["Mixed_7c.branch1x1.conv.weight"][:, :, 0, 0]
    )
    statistics = started.image.batch_stats["inception"]["Mixed_7c"]["branch1x1"]
    assert any(
        np.array_equal(leaf, given["Mixed_7c.branch1x1.bn.running_var"])
        for leaf in jax.tree.leaves(statistics)
    )
    assert not jax.tree.leaves(started.image.opt_state)[0].shape  # none for the trunk ...
    moments = jax.tree.map(lambda x: x.shape, started.image.opt_state[0].mu)
    assert set(moments) == {"regions", "code"}  # ... which stays as it came


def test_the_run_tells_which_file_it_came_from(weights_file, tmp_path):
    config = cub.get_config()
    config.image_encoder.weights = str(weights_file)
    weights = warm_start.trunk_weights(config, tmp_path)
    warm_start.record(weights, config.image_encoder.weights, tmp_path)
    assert json.loads(Workdir(tmp_path).inception_weights.read_text()) == {
        "file": str(weights_file),
        "sha256": sha256(weights_file),
    }


def test_without_weights_nothing_is_begun(tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match=f"{PUBLISHED}.*image_encoder.weights=FILE"):
        experiment.train_and_evaluate(cub.get_config().lock(), workdir)
    assert not workdir.exists()
    done = tiny_runs.start_door("main", "--config", "configs/cub.py", "--workdir", workdir)
    tiny_runs.assert_one_line(done, 1, PUBLISHED, "--config.image_encoder.weights=FILE")
    assert not workdir.exists()


def test_an_untrained_trunk_is_asked_for_by_name(tmp_path):
    config = cub.get_config()
    config.image_encoder.weights = "random"
    assert warm_start.trunk_weights(config, tmp_path) is None


def test_the_small_trunk_needs_no_weights(tiny_config, tmp_path):
    assert warm_start.trunk_weights(tiny_config, tmp_path) is None


def test_a_start_is_for_fresh_states_only(tiny_config, tiny_dataset, tmp_path):
    """The loop puts the weights into its first state; a restored one has them already."""
    tiny_config.damsm.num_train_steps = 1
    tiny_config.damsm.learning_rate = 0.0
    task = DamsmTask(tiny_config.lock(), len(tiny_dataset.vocabulary))

    def ones(state):
        params = jax.tree.map(jnp.ones_like, state.image.params)
        return state.replace(image=state.image.replace(params=params))

    def never(state):
        raise AssertionError("a restored state was started again")

    state = loop.train(task, tiny_dataset, tmp_path, start=ones)
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(state.image.params))
    state = loop.train(task, tiny_dataset, tmp_path, start=never)
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(state.image.params))
    config = cub.get_config()  # this run has begun: it needs no file, wherever that was
    assert warm_start.trunk_weights(config, tmp_path) is None


def test_a_run_keeps_its_own_vocabulary(tiny_config, tiny_dataset, tmp_path):
    words = tiny_dataset.vocabulary.words
    assert experiment.prepare(tiny_config, tmp_path / "new").vocabulary.words == words
    own = Vocabulary([words[0], *reversed(words[1:]), "zebra"])
    (tmp_path / "imported").mkdir()
    own.save(tmp_path / "imported" / "vocabulary.txt")
    dataset = experiment.prepare(tiny_config, tmp_path / "imported")
    assert dataset.vocabulary.words == own.words
    assert Vocabulary.load(tmp_path / "imported" / "vocabulary.txt").words == own.words


def test_a_run_without_an_image_encoder_is_neither_trained_nor_scored(tiny_config, tmp_path):
    (tmp_path / "imported.json").write_text(json.dumps({"image_encoder": False}))
    for use in (suite.evaluate, lambda run: experiment.train_and_evaluate(tiny_config, run)):
        with pytest.raises(UserError, match="without an image encoder.*--image_encoder FILE"):
            use(tmp_path)
