"""Compiling for a TPU that isn't there."""

import json
import re

import pytest

from attngan_jax.errors import UserError
from attngan_jax.training import ahead_of_time
from tests.tiny_runs import CONFIG, ROOT, assert_one_line, start_command

needs_libtpu = pytest.mark.skipif(
    not ahead_of_time.libtpu_is_installed(),
    reason="libtpu is not installed: pip install -r "
    "requirements-tpu.txt, for Linux on x86_64 (launch/test.sh does it)",
)


@pytest.fixture(scope="module")
def report():
    done = start_command(
        "compile_check",
        "--config",
        CONFIG,
        "--topology",
        "v5e:2x2",
        "--per_device_batch",
        "2",
        "--vocabulary_size",
        "50",
        "--config.compute_dtype=bfloat16",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@needs_libtpu
def test_the_report_says_what_was_compiled(report):
    assert (report["config"], report["topology"], report["chips"]) == ("tiny_birds", "v5e:2x2", 4)
    assert report["compute_dtype"] == "bfloat16"
    assert report["assumed"]["hbm_gib"] == 16 and report["versions"]["libtpu"]
    assert set(report["stages"]) == {"damsm", "attngan"}


@needs_libtpu
@pytest.mark.parametrize("stage", ("damsm", "attngan"))
def test_both_stages_fit_and_send_no_more_than_they_ask_for(report, stage):
    numbers = report["stages"][stage]
    assert numbers["global_batch"] == 8 and numbers["compile_seconds"] > 0
    memory = numbers["hbm_gib"]
    assert memory["fits"] and 0 < memory["arguments"] <= memory["total"] < memory["available"] == 16
    assert set(numbers["collectives"]) <= {"all-reduce", "all-gather", "reduce-scatter"}
    asked, sent = (
        sum(entry["bytes"] for entry in numbers[key].values())
        for key in ("exchanged_for", "collectives")
    )
    assert 0.95 * asked < sent <= asked  # the compiler adds none, and drops only repetitions
    assert set(numbers["exchanged_for"]) == {"gradients", "statistics", "captions", "softmax"}


@needs_libtpu
def test_the_roofline_is_the_slowest_part(report):
    numbers = report["stages"]["attngan"]
    roofline, assumed = numbers["roofline"], report["assumed"]
    seconds = numbers["memory_bytes_per_image"] / assumed["hbm_bytes_per_second"]
    assert seconds > numbers["flops_per_image"] / assumed["flops_per_second"]
    assert roofline["bound_by"] == "memory"
    assert roofline["images_per_second_per_chip"] == pytest.approx(1 / seconds, rel=1e-3)


@needs_libtpu
def test_a_batch_that_the_chips_do_not_divide(tiny_config):
    tiny_config.attngan.batch_size = 6
    with pytest.raises(UserError, match="config.attngan.batch_size is 6, which 4 devices"):
        ahead_of_time.compile_check(tiny_config, "v5e:2x2")


@pytest.mark.parametrize("name", ("v5e", "2x4", "v5e:2", "v5e:two", "h100:2x4"))
def test_a_topology_that_is_none(name):
    with pytest.raises(UserError, match=f"{name!r} is no topology: give one of v4, v5e, v5p, v6e"):
        ahead_of_time.topology_devices(name)


@needs_libtpu
def test_a_topology_that_does_not_exist():
    with pytest.raises(UserError, match="libtpu knows no topology v5e:3x9"):
        ahead_of_time.topology_devices("v5e:3x9")


def test_without_libtpu_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(ahead_of_time, "libtpu_is_installed", lambda: False)
    with pytest.raises(UserError, match="pip install -r requirements-tpu.txt"):
        ahead_of_time.topology_devices("v5e:2x4")


def test_the_door_asks_for_a_topology():
    assert_one_line(start_command("compile_check", "--config", CONFIG), 2, "--topology")


def test_a_program_that_does_not_fit_is_reported():
    message = (
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
        "space hbm. Used 23.25G of 15.75G hbm. Exceeded hbm capacity by 7.50G."
    )
    used = ahead_of_time._USED.search(message)
    assert ahead_of_time._too_much(used, ahead_of_time.CHIPS["v5e"]) == {
        "arguments": None,
        "temporaries": None,
        "total": 23.25,
        "available": 16,
        "fits": False,
    }


def test_the_interconnect_bounds_a_step_that_sends_much():
    chip = ahead_of_time.Chip(16, flops=1e12, hbm_bytes=1e9, ici_bytes=1e6)
    sent = {"all-reduce": {"operations": 1, "bytes": 4_000_000}}
    found = ahead_of_time.roofline(1e9, 1e6, sent, chip, num_chips=4, images=2)
    # Both ways of a ring of four: 2 x 3/4 of 4 MB at 1 MB/s, for two images.
    assert found == {
        "images_per_second_per_chip": 0.3,
        "bound_by": "interconnect",
        "microseconds_per_image": {
            "compute": 1000.0,
            "memory": 1000.0,
            "interconnect": 3_000_000.0,
        },
    }


def test_the_compiler_is_the_one_that_jax_names():
    requirement = (ROOT / "requirements-tpu.txt").read_text()
    assert re.search(r"^jax\[tpu\]>=0.10,<0.12;.*linux", requirement, re.MULTILINE)
