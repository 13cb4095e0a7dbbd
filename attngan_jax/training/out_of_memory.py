"""Too little memory, on any device: one line with what was asked for and the settings that help."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

import jax

from attngan_jax.configuration import Config
from attngan_jax.errors import UserError

# How the runtimes of CPUs, GPUs and TPUs, the TPU's compiler and the C++ library say it.
_SAID = re.compile(
    r"out of memory|RESOURCE_EXHAUSTED|bad_alloc|ALLOC_FAILED|failed to allocate", re.IGNORECASE
)
_AMOUNTS = (
    r"[Uu]sed (?P<amount>[\d.]+ ?[KMGT]?i?B?) of (?P<limit>[\d.]+ ?[KMGT]?i?B?)\b",
    r"[Aa]llocat\w* (?P<amount>[\d.]+ ?(?:bytes|[KMGT]i?B?))",
)


@contextlib.contextmanager
def explained(config: Config, stage: str) -> Iterator[None]:
    """Turns a device's or the machine's want of memory into a `UserError`; stage "eval" scores."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if why := describe(error):
            raise UserError(_line(config, stage, why)) from error
        raise


def describe(error: BaseException) -> str:
    """What an error says was asked for, if it is want of memory; "" for others."""
    is_one = isinstance(error, MemoryError) or (
        isinstance(error, jax.errors.JaxRuntimeError) and _SAID.search(str(error))
    )
    amount = _amount(str(error))
    return f"asked for {amount or 'more than there is'}" if is_one else ""


def check_state(state: Any, config: Config, stage: str, copies: int) -> None:
    """Raises `UserError` where a device has no room for a (abstract) state by itself.

    On CPUs the machine's memory holds all `copies` of it, and its kernel would end the process.
    """
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    if not limit and jax.default_backend() == "cpu":
        size, limit = size * copies, _machine_bytes()
    if limit and size > limit:
        alone = f"its parameters and optimizers take {_gib(size)} of {_gib(limit)}"
        raise UserError(f"{_line(config, stage, alone)}, and narrower networks first of all")


def _line(config: Config, stage: str, why: str) -> str:
    device = jax.default_backend().upper()
    if stage == "eval":
        name, size = "config.eval.batch_size", config.eval.batch_size
        return f"not enough memory to score on the {device} ({why}): lower {name} (now {size})"
    settings = (
        f"a smaller --config.{stage}.batch_size (now {config[stage].batch_size})",
        f"--config.{stage}.accumulation_steps (now {config[stage].accumulation_steps})",
        f"--config.remat=networks (now {config.remat})",
        f"--config.compute_dtype=bfloat16 (now {config.compute_dtype})",
    )
    ways = f"{', '.join(settings[:3])} or {settings[3]}, all but remat in a new --workdir"
    return f"not enough memory for stage {stage} on the {device} ({why}): try {ways}"


def _amount(text: str) -> str:
    for pattern in _AMOUNTS:
        if found := re.search(pattern, text):
            amount = found["amount"]
            if amount.endswith("bytes"):
                amount = _gib(int(float(amount.removesuffix("bytes"))))
            limit = found.groupdict().get("limit")
            return f"{amount} of {limit}" if limit else amount
    return ""


def _gib(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB"


def _machine_bytes() -> int:
    """The memory of this machine, or of the container that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max") as file:
        total = min(total, int(file.read()))
    return total
