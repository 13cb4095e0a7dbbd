"""Compiling for a TPU that is not there."""

import importlib.util
import json
import re
import types

import jax
import pytest

from attngan_jax.errors import UserError
from attngan_jax.training import ahead_of_time
from tests.tiny_runs import CONFIG, ROOT, start_command

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="libtpu is not installed: pip install -r requirements-tpu.txt, for Linux on x86_64 "
    "(launch/test.sh does it)",
)


@pytest.fixture(scope="module")
def report():
    flags = "--topology v5e:2x2 --per_device_batch 2 --vocabulary_size 50".split()
    dtype = "--config.compute_dtype=bfloat16"
    done = start_command("compile_check", "--config", CONFIG, *flags, dtype)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_libtpu
@pytest.mark.slow
def test_the_report_says_what_was_compiled(report):
    names = ("config", "topology", "chips", "compute_dtype")
    assert [report[name] for name in names] == ["tiny_birds", "v5e:2x2", 4, "bfloat16"]
    assert report["assumed"]["hbm_gib"] == 16 and report["versions"]["libtpu"]
    assert set(report["stages"]) == {"damsm", "attngan"}


@needs_libtpu
@pytest.mark.parametrize("stage", ("damsm", "attngan"))
def test_both_stages_fit_and_have_an_estimate(report, stage):
    numbers = report["stages"][stage]
    assert numbers["global_batch"] == 8 and numbers["compile_seconds"] > 0
    memory = numbers["hbm_gib"]
    assert memory["fits"] and 0 < memory["arguments"] <= memory["total"] < memory["available"] == 16
    assert set(numbers["exchanged_for"]) == {"gradients", "statistics", "captions", "softmax"}
    assert numbers["flops_per_image"] > 0
    estimate = numbers["estimate"]
    speed = 2 / (estimate["milliseconds"] / 1000)
    assert estimate["images_per_second_per_chip"] == pytest.approx(speed, rel=0.02)
    assert estimate["clock_hz"] == pytest.approx(1.5e9, rel=0.01)
    shares, names = zip(*estimate["top"])
    assert len(shares) == 10 and list(shares) == sorted(shares, reverse=True) and sum(shares) < 1
    modules = "ImageEncoder|TextEncoder|damsm_loss|optimizer|(Packed)?Generator|Discriminator"
    assert sum(bool(re.match(modules, name)) for name in names) >= 7, names


def instruction(operation, cycles, name=None):
    """A line of a program as the TPU's compiler writes it, shortened."""
    metadata = f'metadata={{op_name="jit(train_step)/shard_map/{name}"}}, ' if name else ""
    config = f'backend_config={{"window_config":{{"estimated_cycles":"{cycles}"}}}}'
    return f"  %x = f32[8]{{0}} {operation}, {metadata}{config}"


FIRST_CONV = "transpose(jvp(Discriminator))/Discriminator.features/down_0/conv/mul"
PRODUCT = "transpose(jvp(TextEncoder))/forward/while/body/closed_call/dot_general"
PROGRAM = f"""HloModule jit_step, entry_computation_layout={{(f32[8]{{0}})->f32[8]{{0}}}}

%fused (p: f32[8]) -> f32[8] {{
{instruction("add(%p, %p)", 1)}
}}

%inner_body (i: (s32[], f32[8])) -> (s32[], f32[8]) {{
{instruction("fusion(%a), kind=kLoop, calls=%fused", 7, PRODUCT)}
}}

%five (i: (s32[], f32[8])) -> pred[] {{
  %limit = s32[]{{:T(128)}} constant(5), metadata={{op_name="jit(train_step)/shard_map"}}
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}}

%outer_body (o: (s32[])) -> (s32[]) {{
  %loop = (s32[], f32[8]{{0}}) while(%t), condition=%five, body=%inner_body
{instruction("copy(%a)", 10)}
}}

%unknown (i: (s32[])) -> pred[] {{
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}}

%called (i: (s32[])) -> (s32[]) {{
{instruction("convolution(%a, %b)", 300, "jvp(Generator)/refine_2/upsample/conv/convolve")}
}}

ENTRY %main (p0: f32[8]) -> f32[8] {{
  %outer = (s32[]) while(%t), condition=%unknown, body=%outer_body, \
backend_config={{"known_trip_count":{{"n":"3"}}}}
  %once = (s32[]) while(%t), condition=%unknown, body=%called
  %call.1 = f32[8]{{0}} call(%p0), to_apply=%called
{instruction("fusion(%p), kind=kLoop, calls=%fused", 65, FIRST_CONV)}
}}
"""


def test_the_estimate_is_the_sum_of_cycles_with_loops_as_often_as_they_run():
    chip = ahead_of_time.CHIPS["v5e"]
    found = ahead_of_time.estimate(PROGRAM, chip, images=4)
    parts = {
        "Generator/refine_2/upsample": 2 * 300,
        "TextEncoder/forward": 3 * 5 * 7,
        "Discriminator/down_0/conv": 65,
        "unnamed": 3 * 10,
    }
    cycles = sum(parts.values())
    assert found["top"] == [[round(part / cycles, 4), name] for name, part in parts.items()]
    tiny = chip._replace(flops=cycles * 100 * 4 * 128 * 128 * 2)  # a step takes 10 ms
    found = ahead_of_time.estimate(PROGRAM, tiny, images=4)
    assert (found["milliseconds"], found["images_per_second_per_chip"]) == (10.0, 400.0)
    assert found["clock_hz"] == cycles * 100


CLOCKS = {"v4": 1.05, "v5e": 1.5, "v5p": 1.75, "v6e": 1.75, "tpu7x": 2.2}


@pytest.mark.parametrize("kind, ghz", CLOCKS.items())
def test_clocks(kind, ghz):
    assert ahead_of_time.CHIPS[kind].clock_hz == pytest.approx(ghz * 1e9, rel=0.005)


@pytest.mark.parametrize("name", ("v5e", "2x4", "v5e:2", "v5e:two", "h100:2x4"))
def test_a_topology_that_is_none(name):
    with pytest.raises(UserError, match=f"{name!r} is no topology: give one of v4, v5e, v5p, v6e"):
        ahead_of_time.topology_devices(name)


@needs_libtpu
def test_a_topology_that_does_not_exist():
    with pytest.raises(UserError, match="libtpu knows no topology v5e:3x9"):
        ahead_of_time.topology_devices("v5e:3x9")


def test_without_libtpu_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install -r requirements-tpu.txt"):
        ahead_of_time.topology_devices("v5e:2x4")


def failing_step(message):
    """A step that the compiler refuses."""

    def compile():
        raise jax.errors.JaxRuntimeError(message)

    lowered, jaxpr = types.SimpleNamespace(compile=compile), jax.make_jaxpr(lambda: 1)()
    traced = types.SimpleNamespace(jaxpr=jaxpr, lower=lambda: lowered)
    return types.SimpleNamespace(trace=lambda: traced)


def test_a_program_that_does_not_fit_is_reported_and_one_that_is_refused_an_error():
    chip = ahead_of_time.CHIPS["v5e"]
    step = failing_step(
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
        "space hbm. Used 23.25G of 15.75G hbm. Exceeded hbm capacity by 7.50G."
    )
    report = ahead_of_time.check_step(step, (), chip, 1)
    unknown = {"arguments": None, "temporaries": None}
    assert report["hbm_gib"] == unknown | {"total": 23.25, "available": 16, "fits": False}
    assert "estimate" not in report and report["compile_seconds"] >= 0
    with pytest.raises(UserError, match="the TPU's compiler refuses the step: INTERNAL: a b"):
        ahead_of_time.check_step(failing_step("INTERNAL: a\n b"), (), chip, 1)


def test_the_compiler_is_the_one_that_jax_names():
    requirement = (ROOT / "requirements-tpu.txt").read_text()
    assert re.search(r"^jax\[tpu\]>=0.10,<0.13;.*linux", requirement, re.MULTILINE)
