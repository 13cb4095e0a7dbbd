"""Strict tests on the CPU: several devices, no silent dtype promotion surprises, a compile cache."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax  # noqa: E402

jax.config.update("jax_compilation_cache_dir",
                  os.path.expanduser("~/.cache/attngan_jax/tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
