"""Compiled programs kept on disk, so that a second start is quick."""

import os

import jax


def use(folder: str) -> None:
    """Keeps what takes long to compile in `folder`; "": nowhere."""
    if folder:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
