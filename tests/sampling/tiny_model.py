"""A model folder with weights that nothing was trained for, made in a second."""

import jax
import pytest

from attngan_jax.data.vocabulary import END, Vocabulary
from attngan_jax.sampling import model_folder
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from tests.tiny_configs import procedural_birds

WORDS = "a red bird with black wings and yellow beak this is blue".split()


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """The folder: it generates images of 8 and 16 pixels from captions of `WORDS`."""
    folder, config = tmp_path_factory.mktemp("model"), procedural_birds.get_config()
    Vocabulary([END, *WORDS]).save(folder / "vocabulary.txt")
    (folder / "README.md").write_text("# A card\n")
    key, num_words = jax.random.key(0), len(WORDS) + 1
    variables = {
        "generator": jax.jit(AttnganTask(config, num_words).init_generator)(key),
        "text": jax.jit(DamsmTask(config, num_words).init_text)(key),
    }
    model_folder.write(folder, folder, config, variables, step=4)
    return folder
