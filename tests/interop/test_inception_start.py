"""The image encoder's start from ImageNet's Inception-v3, and what an imported run brings along."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from original_weights import torchvision

from attngan_jax import experiment
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.interop import write_safetensors
from attngan_jax.interop.inception_weights import PUBLISHED
from attngan_jax.interop.state_dict_files import sha256
from attngan_jax.training import loop, warm_start
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.workdir import Workdir
from configs import cub
from tests import tiny_runs


def test_the_weights_become_the_trunk(tmp_path):
    config, path = cub.get_config(), tmp_path / "inception.safetensors"
    write_safetensors(path, torchvision())
    config.image_encoder.weights = str(path)
    weights = warm_start.trunk_weights(config, tmp_path)
    fresh = jax.eval_shape(DamsmTask(config, 5).create_train_state, jax.random.key(0))
    started = warm_start.with_trunk(fresh, weights)
    types = [jax.tree.map(lambda x: (x.shape, x.dtype), state) for state in (started, fresh)]
    assert types[0] == types[1]
    pt, image = torchvision(), started.image
    kernel = image.params["inception"]["Mixed_7c"]["branch1x1"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel.T, pt["Mixed_7c.branch1x1.conv.weight"].swapaxes(2, 3))
    variance = image.batch_stats["inception"]["Mixed_7c"]["branch1x1"]["norm"]["var"]
    np.testing.assert_array_equal(variance, pt["Mixed_7c.branch1x1.bn.running_var"])
    assert not jax.tree.leaves(image.opt_state)[0].shape  # none for the trunk ...
    assert set(image.opt_state[0].mu) == {"regions", "code"}  # ... which stays as it came
    warm_start.record(weights, config.image_encoder.weights, tmp_path)
    record = json.loads(Workdir(tmp_path).inception_weights.read_text())
    assert record == {"file": str(path), "sha256": sha256(path)}


def test_without_weights_nothing_is_begun(tiny_config, tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(UserError, match=f"{PUBLISHED}.*image_encoder.weights=FILE"):
        experiment.train_and_evaluate(cub.get_config().lock(), workdir)
    done = tiny_runs.start_command("main", "--config", "configs/cub.py", "--workdir", workdir)
    tiny_runs.assert_one_line(done, 1, PUBLISHED, "--config.image_encoder.weights=FILE")
    assert not workdir.exists()
    config = cub.get_config()
    config.image_encoder.weights = "random"
    assert warm_start.trunk_weights(config, tmp_path) is None  # untrained, asked for by name
    assert warm_start.trunk_weights(tiny_config, tmp_path) is None  # the small trunk


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

    for start in (ones, never):
        state = loop.train(task, tiny_dataset, tmp_path, start=start)
        assert all((leaf == 1).all() for leaf in jax.tree.leaves(state.image.params))
    # This run has begun: it needs no file, wherever that was.
    assert warm_start.trunk_weights(cub.get_config(), tmp_path) is None


def test_a_run_keeps_its_own_vocabulary(tiny_config, tiny_dataset, tmp_path):
    words = tiny_dataset.vocabulary.words
    assert experiment.prepare(tiny_config, tmp_path / "new").vocabulary.words == words
    own, path = Vocabulary([words[0], *reversed(words[1:]), "zebra"]), Workdir(tmp_path).vocabulary
    own.save(path)
    assert experiment.prepare(tiny_config, tmp_path).vocabulary.words == own.words
    assert Vocabulary.load(path).words == own.words


def test_a_run_without_an_image_encoder_is_neither_trained_nor_scored(tiny_config, tmp_path):
    Workdir(tmp_path).imported.write_text(json.dumps({"image_encoder": False}))
    for use in (suite.evaluate, lambda run: experiment.train_and_evaluate(tiny_config, run)):
        with pytest.raises(UserError, match="without an image encoder.*--image_encoder FILE"):
            use(tmp_path)
