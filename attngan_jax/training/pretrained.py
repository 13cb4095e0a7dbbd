"""ImageNet's weights as the start of the image encoder's Inception-v3 trunk (Sec. 3.2)."""

import json

from absl import logging

from attngan_jax import storage
from attngan_jax.interop.inception_weights import InceptionWeights, chosen_inception_weights
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import PRETRAINED, DamsmTask
from attngan_jax.training.networks import Config
from attngan_jax.training.state import DamsmState

RECORD = "inception_weights.json"


def trunk_weights(config: Config, workdir: storage.Place) -> InceptionWeights | None:
    """What `config.image_encoder.weights` asks for, where a run needs it.

    None for the cnn trunk, for a trunk that is to be untrained, and for a run whose checkpoints
    hold the trunk already. Touches nothing in the workdir.

    Raises:
      UserError: the run needs weights and none are chosen, or the file is not what it should be.
    """
    image = config.image_encoder
    if image.trunk != "inception_v3" or Checkpoints.are_in(workdir, DamsmTask.name):
        return None
    return chosen_inception_weights(image.weights)


def record(weights: InceptionWeights, path: str, workdir: storage.Place) -> None:
    """Keeps in the workdir which file the trunk came from, and its SHA-256."""
    logging.info("the image encoder starts from %s (SHA-256 %s)", path, weights.sha256)
    storage.write_text(storage.path(workdir) / RECORD,
                       json.dumps({"file": str(path), "sha256": weights.sha256}, indent=2) + "\n")


def with_trunk(state: DamsmState, weights: InceptionWeights) -> DamsmState:
    """The state with these weights and running statistics as its trunk's."""
    image = state.image
    return state.replace(image=image.replace(
        params=image.params | {PRETRAINED: weights.variables["params"]},
        batch_stats=image.batch_stats | {PRETRAINED: weights.variables["batch_stats"]}))
