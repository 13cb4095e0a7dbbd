"""A model to sample from."""

import pytest

from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.sampling.trained_model import TrainedModel, generator_variables
from attngan_jax.training.attngan_task import AttnganTask
from tests.tiny_configs import procedural_birds
from tests.training.one_device import encoders, first_state

VOCABULARY = Vocabulary(["<end>", "a", "red", "bird", "with", "blue", "wings", "green", "wing"])


class Words:
    """What `encoders` needs of a dataset."""

    vocabulary = VOCABULARY


@pytest.fixture(scope="module")
def trained():
    """The tiny networks as they start, with a vocabulary of eight words."""
    config = procedural_birds.get_config()
    task = AttnganTask(config, len(VOCABULARY))
    variables = encoders(config, Words) | {"generator": generator_variables(first_state(task))}
    return TrainedModel(config, VOCABULARY, task, variables, 0)
