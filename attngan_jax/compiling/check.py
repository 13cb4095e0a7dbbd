"""Both stages' training steps, compiled for a TPU topology, as a table of what they need."""

import importlib.metadata
import re
import time

import jax

from attngan_jax import configuration
from attngan_jax.compiling import chips, collectives, hlo, traffic
from attngan_jax.errors import UserError
from attngan_jax.training import abstract, parallel
from attngan_jax.training.networks import Config

GIB = 2**30
_USED = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")


def compile_check(config: Config, topology: str, per_device_batch: int | None = None,
                  vocabulary_size: int = 5450) -> dict:
    """Compiles the steps that `loop.train` would run and reads off what they need.

    Args:
      config: an unlocked config; its batch sizes are set where `per_device_batch` is given.
      topology: such as "v5e:2x4"; see `chips.topology_devices`.
      per_device_batch: images of each chip in both stages; None: the config's batches, shared out.
      vocabulary_size: words, `<end>` included; CUB has 5,450.

    Returns:
      JSON values; the keys of `docs/tpu.md`.

    Raises:
      UserError: a topology that isn't one, no libtpu, or a batch that the chips don't divide.
    """
    configuration.check(config)
    chip, devices = chips.topology_devices(topology)
    mesh = parallel.make_mesh(devices)
    config.platform = "tpu"
    if per_device_batch is not None:
        config.damsm.batch_size = config.attngan.batch_size = per_device_batch * mesh.size
    stages = {}
    for stage in abstract.TASKS:
        step = abstract.abstract_step(config, stage, mesh, vocabulary_size)
        stages[stage] = check_step(step, chip, mesh.size, config[stage].batch_size)
    return {
        "config": config.name, "topology": topology, "chips": mesh.size,
        "chip": devices[0].device_kind, "compute_dtype": config.compute_dtype,
        "assumed": {"hbm_gib": chip.hbm_gib, "flops_per_second": chip.flops,
                    "hbm_bytes_per_second": chip.hbm_bytes,
                    "interconnect_bytes_per_second": chip.ici_bytes,
                    "vocabulary_size": vocabulary_size},
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "libtpu")},
        "stages": stages}


def check_step(step: abstract.AbstractStep, chip: chips.Chip, num_chips: int,
               global_batch: int) -> dict:
    """One stage's entry of the report; numbers are of one chip and one step where not said."""
    start = time.monotonic()
    traced = step.step.trace(step.state, step.frozen, step.batch)
    report = {"global_batch": global_batch, "exchanged_for": collectives.traced(traced.jaxpr.jaxpr)}
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        used = _USED.search(str(error))
        if not used:
            raise UserError("the TPU's compiler refuses the step: "
                            f"{' '.join(str(error).split())[:300]}") from error
        return report | {"hbm_gib": _too_much(used, chip),
                         "compile_seconds": round(time.monotonic() - start, 1)}
    seconds = time.monotonic() - start
    images = global_batch // num_chips
    costs = compiled.cost_analysis()
    module = hlo.parse(compiled.as_text())
    flops, moved = costs["flops"] / images, traffic.memory_bytes(module) / images
    sent = collectives.compiled(module)
    return report | {
        "hbm_gib": _memory(compiled.memory_analysis(), chip),
        "flops_per_image": round(flops), "memory_bytes_per_image": round(moved),
        "accessed_bytes_per_image": round(costs["bytes accessed"] / images),
        "collectives": sent,
        "roofline": roofline(flops, moved, sent, chip, num_chips, images),
        "compile_seconds": round(seconds, 1)}


def roofline(flops: float, moved: float, sent: dict, chip: chips.Chip, num_chips: int,
             images: int) -> dict:
    """Images a second and chip if the slowest of the three ran at its peak and hid the others.

    `flops` and `moved` (bytes to and from memory) are of an image, `sent` is of a step of `images`
    images a chip. A ring passes (n - 1) / n of an array by each chip, for an all-reduce twice.
    """
    passed = sum((1 + (kind == "all-reduce")) * entry["bytes"] for kind, entry in sent.items())
    seconds = {"compute": flops / chip.flops, "memory": moved / chip.hbm_bytes,
               "interconnect": passed * (num_chips - 1) / num_chips / images / chip.ici_bytes}
    slowest = max(seconds, key=seconds.get)
    return {"images_per_second_per_chip": round(1 / seconds[slowest], 1), "bound_by": slowest,
            "microseconds_per_image": {k: round(1e6 * s, 1) for k, s in seconds.items()}}


def _memory(stats, chip: chips.Chip) -> dict:
    """GiB; outputs lie where donated arguments were, but for the metrics."""
    arguments, temporaries = stats.argument_size_in_bytes, stats.temp_size_in_bytes
    total = (arguments + temporaries + stats.generated_code_size_in_bytes
             + stats.output_size_in_bytes - stats.alias_size_in_bytes)
    return {"arguments": round(arguments / GIB, 3), "temporaries": round(temporaries / GIB, 3),
            "total": round(total / GIB, 3), "available": chip.hbm_gib,
            "fits": total <= chip.hbm_gib * GIB}


def _too_much(used: re.Match, chip: chips.Chip) -> dict:
    """What the compiler says of a program that it could not fit: the total, and no parts."""
    scale = {"K": 2**-20, "M": 2**-10, "G": 1, "T": 2**10}
    return {"arguments": None, "temporaries": None,
            "total": round(float(used[1]) * scale[used[2]], 3), "available": chip.hbm_gib,
            "fits": False}
