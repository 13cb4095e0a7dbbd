"""Training state: arrays only, as pytrees."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.errors
import flax.struct
import jax
import optax
from optax import GradientTransformation as Optimizer

from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.training import parallel


def stage_key(seed: int | jax.Array, stage: str, count: int | jax.Array) -> jax.Array:
    """The random key of a stage's update number `count`; its initial state is drawn with -1."""
    # Not hash(), which differs from process to process.
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))
    return jax.random.fold_in(key, count + 1)


class Network(flax.struct.PyTreeNode):
    """One network's parameters, running statistics and optimizer state."""

    params: Any
    batch_stats: Any
    opt_state: Any

    @classmethod
    def create(cls, variables: Mapping, optimizer: Optimizer) -> "Network":
        """The network of a module's initial variables."""
        params = variables["params"]
        return cls(params, variables.get("batch_stats", {}), optimizer.init(params))

    @property
    def variables(self) -> dict:
        """What `Module.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @jax.named_scope("optimizer")  # its name in profiles and in compile_check's list
    def update(self, optimizer: Optimizer, grads: Any, batch_stats: Any) -> "Network":
        """The network after one optimizer step, with the statistics of its forward pass."""
        updates, opt_state = optimizer.update(grads, self.opt_state, self.params)
        return Network(optax.apply_updates(self.params, updates), batch_stats, opt_state)


class DamsmState(flax.struct.PyTreeNode):
    """Stage 1 after `step` updates."""

    step: jax.Array
    text: Network
    image: Network

    @property
    def encoders(self) -> dict:
        """Variables of `text` and `image`, as everything after stage 1 reads them."""
        return {"text": {"params": self.text.params}, "image": self.image.variables}


class AttnganState(flax.struct.PyTreeNode):
    """Stage 2 after `step` updates; discriminators as `networks.build_discriminators` has them."""

    step: jax.Array
    generator: Network
    discriminators: tuple[Network, ...]
    ema_params: Any


def average_statistics(state: Any) -> Any:
    """Running statistics as the mean of the devices' own, where each device takes its own."""
    key, mean = jax.tree_util.GetAttrKey("batch_stats"), parallel.mean_over_devices
    return jax.tree.map_with_path(lambda path, x: mean(x) if key in path else x, state)


def abstract_state(create: Callable[[jax.Array], Any], config: Config) -> Any:
    """What `create(key)` would make, as shapes; takes no memory.

    Raises `UserError` for a config of whose values no networks can be made.
    """
    try:
        return jax.eval_shape(create, jax.random.key(0))
    except (ValueError, TypeError, ArithmeticError, flax.errors.FlaxError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"no networks can be made of the config {config.name} ({reason}): compare its sizes "
            "with those of configs/default.py"
        ) from error
