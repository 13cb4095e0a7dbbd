"""The training steps of both stages, compiled for TPUs that are not there, without any array.

`compile_check` reports memory, arithmetic and estimated time; docs/tpu.md explains the numbers.
"""

import collections
import importlib.metadata
import importlib.util
import os
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from jax.sharding import Mesh, NamedSharding

from attngan_jax import WITHOUT_TPU, configuration
from attngan_jax.configuration import Config
from attngan_jax.errors import UserError
from attngan_jax.training import parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.damsm_task import DamsmTask

TASKS = {task.name: task for task in (DamsmTask, AttnganTask)}


class Chip(NamedTuple):
    """One TPU chip, with its matrix units (MXUs)."""

    hbm_gib: int
    flops: float  # peak bfloat16 FLOP/s
    num_mxus: int
    mxu_side: int = 128
    options: dict = {}  # what libtpu needs beside the name of a topology

    @property
    def clock_hz(self) -> float:
        """A unit multiplies and adds side x side numbers a cycle."""
        return self.flops / (self.num_mxus * self.mxu_side**2 * 2)


# From Google Cloud's documentation, but for v6e's number of units; docs/tpu.md says why.
CHIPS = {
    "v4": Chip(32, 275e12, 8, options={"chip_config_name": "megacore"}),  # two cores as one
    "v5e": Chip(16, 197e12, 4),
    "v5p": Chip(95, 459e12, 8),
    "v6e": Chip(32, 918e12, 4, 256),
    "tpu7x": Chip(96, 1153.5e12, 4, 256),  # of each of its two cores, which count as a chip here
}


def topology_devices(name: str) -> tuple[Chip, list]:
    """The chip and the devices of a topology such as "v5e:2x4" or "v4:2x2x2".

    Raises `UserError` if the name is no topology, or libtpu is not installed.
    """
    kind, _, shape = name.partition(":")
    if not re.fullmatch(r"\d+(x\d+){1,2}", shape) or kind not in CHIPS:
        raise UserError(
            f"{name!r} is no topology: give one of {', '.join(CHIPS)}, a colon and the "
            "chips in each direction, such as v5e:2x4 or v4:2x2x2"
        )
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "the TPU's compiler is missing: pip install -r requirements-tpu.txt "
            "(it exists for Linux on x86_64 alone)"
        )
    for variable, value in WITHOUT_TPU.items():
        os.environ.setdefault(variable, value)
    from jax.experimental import topologies

    options = CHIPS[kind].options
    if set(shape) == {"1", "x"}:
        options = options | {"chips_per_host_bounds": (1, 1, 1)}
    try:
        topology = topologies.get_topology_desc(platform="tpu", topology_name=name, **options)
    except Exception as error:  # jax raises several kinds
        raise UserError(
            f"libtpu knows no topology {name} ({' '.join(str(error).split())[:200]}): "
            "try v5e:2x4, v5e:4x4, v4:2x2x2, v5p:2x2x1, v6e:2x4 or tpu7x:2x2x1"
        ) from error
    return CHIPS[kind], topology.devices


def abstract_step(config: Config, stage: str, mesh: Mesh, vocabulary_size: int) -> tuple[Any, Any]:
    """The jitted step of a stage over `mesh`, and its abstract arguments, with shardings.

    `step.lower(*arguments).compile()` is the program that `loop.train` runs. Raises `UserError` if
    there is no such stage, or the devices don't divide its global batch.
    """
    if stage not in TASKS:
        raise UserError(f"there is no stage {stage!r}: choose one of {', '.join(TASKS)}")
    parallel.check_stage(config, stage, mesh)

    def initial_state(task):
        create = jax.jit(task.create_train_state, out_shardings=parallel.replicated(mesh))
        return jax.eval_shape(create, jax.random.key(0))

    def array(dtype, *shape):
        shape = (config[stage].batch_size, *shape)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, parallel.SPLIT))

    task, frozen = TASKS[stage](config, vocabulary_size), None
    if stage == AttnganTask.name:
        frozen = initial_state(DamsmTask(config, vocabulary_size)).encoders
    # A global batch of `data.pipeline.train_iterator`.
    batch = {f"image_{S}": array(jnp.uint8, S, S, 3) for S in task.image_sizes}
    batch |= {name: array(jnp.int32) for name in ("caption_length", "class_id", "index")}
    batch["caption"] = array(jnp.int32, task.max_words)
    if num_swapped := config.damsm.swapped_captions:
        batch["swapped_caption"] = array(jnp.int32, num_swapped, task.max_words)
    return parallel.parallel_step(task.train_step, mesh), (initial_state(task), frozen, batch)


def relative_cost(config: Config, vocabulary_size: int) -> float:
    """How many steps of stage 1 a step of stage 2 lasts, as far as that can be told untried.

    By the bytes that their operations read and write, before any are fused. For procedural birds,
    then without a discriminator of regions, the ratio was 1.55 by this count on one CPU device and
    1.54 by the clock, pauses included; on two devices it was 1.25 by the clock.
    """
    moved = {}
    for stage in TASKS:
        step, arguments = abstract_step(config, stage, parallel.make_mesh(), vocabulary_size)
        moved[stage] = sum(
            times * array.aval.size * array.aval.dtype.itemsize
            for equation, times in _operations(step.trace(*arguments).jaxpr.jaxpr)
            for array in [*equation.invars, *equation.outvars]
        )
    return moved[AttnganTask.name] / moved[DamsmTask.name]


def compile_check(
    config: Config, topology: str, per_device_batch: int | None = None, vocabulary_size: int = 5450
) -> dict:
    """Compiles the steps that `loop.train` would run and reports what they need, as JSON values.

    Each chip gets `per_device_batch` images in both stages (the unlocked `config` is changed), by
    default its share of the config's batches. CUB's vocabulary has 5,450 words, with `<end>`.
    Raises `UserError` as `topology_devices`, and for a batch that the chips don't divide.
    """
    configuration.check(config)
    chip, devices = topology_devices(topology)
    mesh = parallel.make_mesh(devices)
    config.platform = "tpu"  # whose layout the networks have
    if per_device_batch is not None:
        config.damsm.batch_size = config.attngan.batch_size = per_device_batch * mesh.size
    stages = {stage: {"global_batch": config[stage].batch_size} for stage in TASKS}
    steps = {stage: abstract_step(config, stage, mesh, vocabulary_size) for stage in TASKS}
    for stage, (step, arguments) in steps.items():
        stages[stage] |= check_step(step, arguments, chip, config[stage].batch_size // mesh.size)
    assumed = {"hbm_gib": chip.hbm_gib, "flops_per_second": chip.flops}
    return {
        "config": config.name,
        "topology": topology,
        "chips": mesh.size,
        "chip": devices[0].device_kind,
        "compute_dtype": config.compute_dtype,
        "assumed": assumed | {"vocabulary_size": vocabulary_size},
        "versions": {name: importlib.metadata.version(name) for name in ("jax", "libtpu")},
        "stages": stages,
    }


def check_step(step: Any, arguments: Any, chip: Chip, images: int) -> dict:
    """A stage's entry of the report, of one step on one chip with `images` of the batch."""
    start = time.monotonic()
    traced = step.trace(*arguments)
    report: dict[str, Any] = {"exchanged_for": exchanges(traced.jaxpr.jaxpr)}
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        message = " ".join(str(error).split())
        used = re.search(r"Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm", message)
        if not used:
            raise UserError(f"the TPU's compiler refuses the step: {message[:300]}") from error
        total = round(float(used[1]) * 1024.0 ** ("KMGT".index(used[2]) - 2), 3)
        gib, fits = {"arguments": None, "temporaries": None, "total": total}, False
    else:
        m = compiled.memory_analysis()
        # Outputs lie where donated arguments were, except for the metrics.
        rest = m.generated_code_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes
        sizes = {"arguments": m.argument_size_in_bytes, "temporaries": m.temp_size_in_bytes}
        sizes["total"] = sum(sizes.values()) + rest
        gib = {name: round(size / 2**30, 3) for name, size in sizes.items()}
        fits = sizes["total"] <= chip.hbm_gib * 2**30
        report["flops_per_image"] = round(compiled.cost_analysis()["flops"] / images)
        report["estimate"] = estimate(compiled.as_text(), chip, images)
    report["hbm_gib"] = gib | {"available": chip.hbm_gib, "fits": fits}
    return report | {"compile_seconds": round(time.monotonic() - start, 1)}


_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.-]+) \(.*\{$")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_CALL = re.compile(r" (?:call\(.*\bto_apply|while\(.*\bcondition=%?([\w.-]+), body)=%?([\w.-]+)")


def estimate(program: str, chip: Chip, images: int) -> dict:
    """The compiler's estimate of a step's time, from the text of a compiled TPU program.

    The sum of the cycles that it writes beside every fusion, convolution and copy that the step
    waits for, at the chip's clock; the body of a loop counts as often as the loop runs.
    """
    computations: dict[str, list[str]] = collections.defaultdict(list)
    name = ""
    for line in program.splitlines():
        if header := _COMPUTATION.match(line):
            name = header[1] or header[2]
        computations[name].append(line)
    cycles: collections.Counter[str] = collections.Counter()

    def run(computation: str, times: int) -> None:
        for line in computations[computation]:
            if found := _CYCLES.search(line):
                cycles[_operation(line)] += times * int(found[1])
            if call := _CALL.search(line):
                # JAX's loops count from 0 by 1 to the one constant of their condition.
                condition = "\n".join(computations[call[1]]) if call[1] else ""
                trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
                trips = trips or re.search(r" constant\((\d+)\)", condition)
                run(call[2], times * int(trips[1] if trips else 1))

    run("ENTRY ", 1)
    seconds = cycles.total() / chip.clock_hz
    return {
        "milliseconds": round(1e3 * seconds, 2),
        "images_per_second_per_chip": round(images / seconds, 1),
        "clock_hz": round(chip.clock_hz),
        "top": [[round(n / cycles.total(), 4), name] for name, n in cycles.most_common(10)],
    }


_OTHER_SCOPES = ["", *"train_step shard_map while body closed_call checkpoint".split()]


def _operation(line: str) -> str:
    """JAX's name of an instruction, shortened: "Generator/refine_2/upsample", with its gradient.

    In full "jit(train_step)/shard_map/transpose(jvp(Generator))/refine_2/upsample/conv/add", say.
    """
    name = re.search(r'op_name="([^"]*)"', line)
    *scopes, primitive = re.sub(r"\w+\(|\)", "", name[1] if name else "unnamed").split("/")
    modules = [scope.partition(".")[0] for scope in scopes if scope not in _OTHER_SCOPES]
    return "/".join(list(dict.fromkeys(modules))[:3]) or primitive


# Each is a `jax.named_scope` where the package asks for an exchange: sums for BatchNorm; the
# gradients of parameters and metrics; gathered captions; a caption's sum over all images.
PURPOSES = ("statistics", "gradients", "captions", "softmax")
_COLLECTIVES = "psum pmax pmin all_gather reduce_scatter all_to_all ppermute pbroadcast".split()


def exchanges(jaxpr: Any) -> dict[str, dict[str, int]]:
    """What a step asks the devices to exchange, `{purpose: {"operations", "bytes"}}`.

    An operation's bytes are those of the whole array that each device has before (reduce-scatter)
    or after it (all others). A purpose that is none of `PURPOSES` is "other".
    """
    found: dict = collections.defaultdict(collections.Counter)
    for equation, times in _operations(jaxpr):
        if (name := equation.primitive.name) in _COLLECTIVES:
            scopes = re.findall(r"\w+", str(equation.source_info.name_stack))
            purpose = next((scope for scope in scopes if scope in PURPOSES), "other")
            arrays = equation.invars if name == "reduce_scatter" else equation.outvars
            size = sum(array.aval.size * array.aval.dtype.itemsize for array in arrays)
            found[purpose].update(operations=times, bytes=times * size)
    return found


def _operations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """The innermost operations of a program, each with the number of times that it is run."""
    for equation in jaxpr.eqns:
        inner = list(jaxprs_in_params(equation.params))
        for one in inner:
            yield from _operations(one, times * equation.params.get("length", 1))  # of a scan
        if not inner:
            yield equation, times
