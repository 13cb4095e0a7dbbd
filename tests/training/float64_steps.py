"""Run by `test_reference_steps.py` in a process of its own: the three steps in float64.

Where the code asks for float32, it gets float64. Prints the losses as JSON, a list for each step.
"""

import json

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
jnp.float32 = jnp.float64  # before anything of the package takes it as a default

from tests.training import test_reference_steps  # noqa: E402

if __name__ == "__main__":
    losses, _ = test_reference_steps.three_steps("float64")
    print(json.dumps(losses.tolist()))
