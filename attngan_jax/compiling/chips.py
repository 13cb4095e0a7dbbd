"""TPU chips, their peak rates, and topologies of them, by name."""

import dataclasses
import importlib.util
import os
import re

from attngan_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peak rates of one chip, as Google Cloud's documentation states them.

    Attributes:
      hbm_gib: memory. flops: bfloat16 multiplications and additions a second. XLA multiplies
        float32 matrices in bfloat16 too, unless asked for more precision.
      hbm_bytes, ici_bytes: a second, to memory and to the other chips (both ways together).
      options: what libtpu wants to know beside a topology's name.
    """

    hbm_gib: int
    flops: float
    hbm_bytes: float
    ici_bytes: float
    options: dict = dataclasses.field(default_factory=dict)


# Without them libtpu looks for a TPU, says at length that there is none, and locks out the next.
WITHOUT_TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-8",
               "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
CHIPS = {
    "v4": Chip(32, 275e12, 1228e9, 300e9, {"chip_config_name": "megacore"}),  # two cores as one
    "v5e": Chip(16, 197e12, 819e9, 200e9),
    "v5p": Chip(95, 459e12, 2765e9, 600e9),
    "v6e": Chip(32, 918e12, 1640e9, 400e9),
}


def libtpu_is_installed() -> bool:
    """Whether there is a TPU compiler here; it exists for Linux on x86_64."""
    return importlib.util.find_spec("libtpu") is not None


def topology_devices(name: str) -> tuple[Chip, list]:
    """The chip and the devices of a topology such as "v5e:2x4" or "v4:2x2x2".

    Raises:
      UserError: the name is none, or libtpu is not installed.
    """
    kind = name.partition(":")[0]
    if not re.fullmatch(r"\w+:\d+(x\d+){1,2}", name) or kind not in CHIPS:
        raise UserError(f"{name!r} is no topology: give one of {', '.join(CHIPS)}, a colon and the "
                        "chips in each direction, such as v5e:2x4 or v4:2x2x2")
    if not libtpu_is_installed():
        raise UserError("the TPU's compiler is missing: pip install -r requirements-tpu.txt "
                        "(it exists for Linux on x86_64 alone)")
    for variable, value in WITHOUT_TPU.items():
        os.environ.setdefault(variable, value)
    from jax.experimental import topologies

    options = dict(CHIPS[kind].options)
    if all(size == "1" for size in name.partition(":")[2].split("x")):
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:  # jax raises several kinds
        raise UserError(f"libtpu knows no topology {name} ({' '.join(str(error).split())[:200]}): "
                        "try v5e:2x4, v5e:4x4, v4:2x2x2, v5p:2x2x1 or v6e:2x4") from error
    return CHIPS[kind], topology.devices
