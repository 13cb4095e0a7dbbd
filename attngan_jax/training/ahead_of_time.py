"""The jitted steps of both stages and what they take, without one array: for compiling ahead.

`abstract_step(config, stage, mesh, vocabulary_size).lower().compile()` is the program that
`loop.train` runs, for any mesh, that of a TPU which isn't there included.
"""

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from attngan_jax import WITHOUT_TPU, configuration
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.training import parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask
from benchmarks.tpu import collectives, hlo, traffic

TASKS = {task.name: task for task in (DamsmTask, AttnganTask)}


@dataclasses.dataclass(frozen=True)
class AbstractStep:
    """A stage's training step with the shapes, dtypes and shardings of its arguments.

    Attributes:
      step: jitted `(state, frozen, batch) -> (state, metrics)`; the state is donated.
      state, frozen, batch: pytrees of `jax.ShapeDtypeStruct`.
    """

    task: Any
    step: Callable
    state: Any
    frozen: Any
    batch: dict[str, jax.ShapeDtypeStruct]

    def lower(self) -> jax.stages.Lowered:
        """The step, traced and lowered for its mesh's devices."""
        return self.step.lower(self.state, self.frozen, self.batch)


def abstract_step(config: Config, stage: str, mesh: Mesh, vocabulary_size: int) -> AbstractStep:
    """The step of `stage`, "damsm" or "attngan", over `mesh`; builds no array.

    The global batch is the config's `damsm.batch_size` or `attngan.batch_size`; `UserError` where
    the devices do not divide it.
    """
    if stage not in TASKS:
        raise UserError(f"there is no stage {stage!r}: choose one of {', '.join(TASKS)}")
    task = TASKS[stage](config, vocabulary_size)
    parallel.check_stage(config, stage, mesh)
    state = _abstract_state(task)
    frozen = None
    if stage == AttnganTask.name:
        encoders = _abstract_state(DamsmTask(config, vocabulary_size))
        frozen = {"text": {"params": encoders.text.params}, "image": encoders.image.variables}
    copied = parallel.replicated(mesh)
    return AbstractStep(
        task,
        parallel.parallel_step(task.train_step, mesh),
        _placed(state, copied),
        _placed(frozen, copied),
        _placed(abstract_batch(task), parallel.split(mesh)),
    )


def abstract_batch(task) -> dict[str, jax.ShapeDtypeStruct]:
    """A global batch of `data.pipeline.train_iterator`, as shapes and dtypes."""
    B, T = task.settings.batch_size, task.max_words
    batch = {
        f"image_{size}": jax.ShapeDtypeStruct((B, size, size, 3), jnp.uint8)
        for size in task.image_sizes
    }
    batch["caption"] = jax.ShapeDtypeStruct((B, T), jnp.int32)
    for name in ("caption_length", "class_id", "index"):
        batch[name] = jax.ShapeDtypeStruct((B,), jnp.int32)
    return batch


def _abstract_state(task):
    return jax.eval_shape(task.create_train_state, jax.random.key(0))


def _placed(tree, sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


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
        raise UserError(
            f"{name!r} is no topology: give one of {', '.join(CHIPS)}, a colon and the "
            "chips in each direction, such as v5e:2x4 or v4:2x2x2"
        )
    if not libtpu_is_installed():
        raise UserError(
            "the TPU's compiler is missing: pip install -r requirements-tpu.txt "
            "(it exists for Linux on x86_64 alone)"
        )
    for variable, value in WITHOUT_TPU.items():
        os.environ.setdefault(variable, value)
    from jax.experimental import topologies

    options = dict(CHIPS[kind].options)
    if all(size == "1" for size in name.partition(":")[2].split("x")):
        options["chips_per_host_bounds"] = (1, 1, 1)
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:  # jax raises several kinds
        raise UserError(
            f"libtpu knows no topology {name} ({' '.join(str(error).split())[:200]}): "
            "try v5e:2x4, v5e:4x4, v4:2x2x2, v5p:2x2x1 or v6e:2x4"
        ) from error
    return CHIPS[kind], topology.devices


GIB = 2**30
_USED = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")


def compile_check(
    config: Config, topology: str, per_device_batch: int | None = None, vocabulary_size: int = 5450
) -> dict:
    """Compiles the steps that `loop.train` would run and reads off what they need.

    Args:
      config: an unlocked config; its batch sizes are set where `per_device_batch` is given.
      topology: such as "v5e:2x4"; see `topology_devices`.
      per_device_batch: images of each chip in both stages; None: the config's batches, shared out.
      vocabulary_size: words, `<end>` included; CUB has 5,450.

    Returns:
      JSON values; the keys of `docs/tpu.md`.

    Raises:
      UserError: a topology that isn't one, no libtpu, or a batch that the chips don't divide.
    """
    configuration.check(config)
    chip, devices = topology_devices(topology)
    mesh = parallel.make_mesh(devices)
    config.platform = "tpu"
    if per_device_batch is not None:
        config.damsm.batch_size = config.attngan.batch_size = per_device_batch * mesh.size
    stages = {}
    for stage in TASKS:
        step = abstract_step(config, stage, mesh, vocabulary_size)
        stages[stage] = check_step(step, chip, mesh.size, config[stage].batch_size)
    return {
        "config": config.name,
        "topology": topology,
        "chips": mesh.size,
        "chip": devices[0].device_kind,
        "compute_dtype": config.compute_dtype,
        "assumed": {
            "hbm_gib": chip.hbm_gib,
            "flops_per_second": chip.flops,
            "hbm_bytes_per_second": chip.hbm_bytes,
            "interconnect_bytes_per_second": chip.ici_bytes,
            "vocabulary_size": vocabulary_size,
        },
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "libtpu")},
        "stages": stages,
    }


def check_step(step: AbstractStep, chip: Chip, num_chips: int, global_batch: int) -> dict:
    """One stage's entry of the report; numbers are of one chip and one step where not said."""
    start = time.monotonic()
    traced = step.step.trace(step.state, step.frozen, step.batch)
    report = {"global_batch": global_batch, "exchanged_for": collectives.traced(traced.jaxpr.jaxpr)}
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        used = _USED.search(str(error))
        if not used:
            raise UserError(
                f"the TPU's compiler refuses the step: {' '.join(str(error).split())[:300]}"
            ) from error
        return report | {
            "hbm_gib": _too_much(used, chip),
            "compile_seconds": round(time.monotonic() - start, 1),
        }
    seconds = time.monotonic() - start
    images = global_batch // num_chips
    costs = compiled.cost_analysis()
    module = hlo.parse(compiled.as_text())
    flops, moved = costs["flops"] / images, traffic.memory_bytes(module) / images
    sent = collectives.compiled(module)
    return report | {
        "hbm_gib": _memory(compiled.memory_analysis(), chip),
        "flops_per_image": round(flops),
        "memory_bytes_per_image": round(moved),
        "accessed_bytes_per_image": round(costs["bytes accessed"] / images),
        "collectives": sent,
        "roofline": roofline(flops, moved, sent, chip, num_chips, images),
        "compile_seconds": round(seconds, 1),
    }


def roofline(
    flops: float, moved: float, sent: dict, chip: Chip, num_chips: int, images: int
) -> dict:
    """Images a second and chip if the slowest of the three ran at its peak and hid the others.

    `flops` and `moved` (bytes to and from memory) are of an image, `sent` is of a step of `images`
    images a chip. A ring passes (n - 1) / n of an array by each chip, for an all-reduce twice.
    """
    passed = sum((1 + (kind == "all-reduce")) * entry["bytes"] for kind, entry in sent.items())
    seconds = {
        "compute": flops / chip.flops,
        "memory": moved / chip.hbm_bytes,
        "interconnect": passed * (num_chips - 1) / num_chips / images / chip.ici_bytes,
    }
    slowest = max(seconds, key=seconds.get)
    return {
        "images_per_second_per_chip": round(1 / seconds[slowest], 1),
        "bound_by": slowest,
        "microseconds_per_image": {k: round(1e6 * s, 1) for k, s in seconds.items()},
    }


def _memory(stats, chip: Chip) -> dict:
    """GiB; outputs lie where donated arguments were, but for the metrics."""
    arguments, temporaries = stats.argument_size_in_bytes, stats.temp_size_in_bytes
    total = (
        arguments
        + temporaries
        + stats.generated_code_size_in_bytes
        + stats.output_size_in_bytes
        - stats.alias_size_in_bytes
    )
    return {
        "arguments": round(arguments / GIB, 3),
        "temporaries": round(temporaries / GIB, 3),
        "total": round(total / GIB, 3),
        "available": chip.hbm_gib,
        "fits": total <= chip.hbm_gib * GIB,
    }


def _too_much(used: re.Match, chip: Chip) -> dict:
    """What the compiler says of a program that it could not fit: the total, and no parts."""
    scale = {"K": 2**-20, "M": 2**-10, "G": 1, "T": 2**10}
    return {
        "arguments": None,
        "temporaries": None,
        "total": round(float(used[1]) * scale[used[2]], 3),
        "available": chip.hbm_gib,
        "fits": False,
    }
