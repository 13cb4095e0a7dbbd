"""Training state: arrays only."""

import zlib
from typing import Any

import flax.struct
import jax

from attngan_jax.training import parallel


def stage_key(seed: int, stage: str, count: int) -> jax.Array:
    """The random key of a stage's update number `count`; its first state is drawn with -1."""
    key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))
    return jax.random.fold_in(key, count + 1)


@flax.struct.dataclass
class Network:
    """One network's parameters, running statistics and optimiser state."""

    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict:
        """What `Module.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def average_statistics(state: Any) -> Any:
    """Running statistics as the mean of the devices' own, where each device takes its own."""

    def average(leaf):
        if not isinstance(leaf, Network):
            return leaf
        return leaf.replace(batch_stats=parallel.mean_over_devices(leaf.batch_stats))

    return jax.tree.map(average, state, is_leaf=lambda leaf: isinstance(leaf, Network))


@flax.struct.dataclass
class DamsmState:
    """`step` updates have been made."""

    step: jax.Array
    text: Network
    image: Network


@flax.struct.dataclass
class AttnganState:
    """`step` updates have been made; one discriminator per stage."""

    step: jax.Array
    generator: Network
    discriminators: tuple[Network, ...]
    ema_params: Any
