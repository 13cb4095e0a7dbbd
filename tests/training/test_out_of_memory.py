"""Want of memory in one line, as CPUs, GPUs, TPUs and NumPy say it."""

import jax
import jax.numpy as jnp
import pytest

from attngan_jax.errors import UserError
from attngan_jax.training import out_of_memory
from configs import default

SAID = {
    "Out of memory allocating 1638400000000 bytes.": "asked for 1,525.9 GiB",
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12.50GiB.": "asked for 12.50GiB",
    "XLA:TPU compile permanent error. Ran out of memory in memory space hbm. Used 20.46G of "
    "15.48G hbm.": "asked for 20.46G of 15.48G",
    "INTERNAL: CUBLAS_STATUS_ALLOC_FAILED": "asked for more than there is",
}


@pytest.mark.parametrize("said, asked", SAID.items())
def test_it_names_what_was_asked_for_and_the_present_settings(said, asked):
    config = default.get_config()
    config.remat, config.attngan.accumulation_steps = "layers", 4
    with pytest.raises(UserError) as caught:
        with out_of_memory.explained(config, "attngan"):
            raise jax.errors.JaxRuntimeError(said)
    parts = (
        f"for stage attngan on the CPU ({asked})",
        "--config.attngan.batch_size (now 20)",
        "--config.attngan.accumulation_steps (now 4)",
        "--config.remat=networks (now layers)",
        "--config.compute_dtype=bfloat16 (now float32)",
    )
    assert all(part in str(caught.value) for part in parts), caught.value


def test_a_real_array_that_is_too_large():
    with pytest.raises(UserError, match=r"score on the CPU .asked for .* GiB.*now 64"):
        with out_of_memory.explained(default.get_config(), "eval"):
            jnp.ones((2**22, 2**22)).block_until_ready()


def test_other_errors_are_left_as_they_are():
    with pytest.raises(jax.errors.JaxRuntimeError, match="no such device"):
        with out_of_memory.explained(default.get_config(), "damsm"):
            raise jax.errors.JaxRuntimeError("INTERNAL: no such device")
    assert out_of_memory.describe(ValueError("out of memory")) == ""


def test_a_state_that_no_device_can_hold_is_refused_before_it_is_made(monkeypatch):
    state = {"kernel": jax.ShapeDtypeStruct((2**28,), jnp.float32)}  # 1 GiB
    monkeypatch.setattr(out_of_memory, "_machine_bytes", lambda: 3 * 2**30)
    out_of_memory.check_state(state, default.get_config(), "damsm", copies=3)
    with pytest.raises(UserError, match="take 4.0 GiB of 3.0 GiB.: try .*narrower networks"):
        out_of_memory.check_state(state, default.get_config(), "damsm", copies=4)
