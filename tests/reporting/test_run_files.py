"""What is read of a workdir, whole or in the making."""

import json

import numpy as np
import pytest
from synthetic_run import CAPTIONS, SIZES, STEPS, WORDS, entry, pictures, write_log

from attngan_jax.errors import UserError
from attngan_jax.reporting import run_files


def test_the_last_line_of_a_step_wins_and_steps_are_sorted(unfinished):
    write_log(
        unfinished,
        [
            entry(10, "damsm", loss=1.0),
            entry(30, "damsm", loss=3.0),
            entry(20, "damsm", loss=2.0),
            entry(30, "damsm", loss=9.0),
        ],
    )
    series = run_files.read_scalars(unfinished / "metrics.jsonl")["damsm"]["train/loss"]
    np.testing.assert_array_equal(series.steps, [10, 20, 30])
    np.testing.assert_array_equal(series.values, [1.0, 2.0, 9.0])


def test_stages_are_kept_apart_and_non_finite_values_left_out(unfinished):
    write_log(
        unfinished,
        [
            entry(10, "damsm", damsm_loss=1.0),
            entry(10, "attngan", damsm_loss=7.0),
            entry(20, "attngan", damsm_loss=float("nan")),
        ],
    )
    scalars = run_files.read_scalars(unfinished / "metrics.jsonl")
    assert scalars["damsm"]["train/damsm_loss"].values.tolist() == [1.0]
    assert scalars["attngan"]["train/damsm_loss"].values.tolist() == [7.0]


def test_an_unfinished_last_line_is_passed_over_but_no_other(unfinished):
    log = unfinished / "metrics.jsonl"
    log.write_text(entry(10, "damsm", loss=1.0) + "\n" + entry(20, "damsm", loss=2.0)[:25])
    assert run_files.read_scalars(log)["damsm"]["train/loss"].steps.tolist() == [10]
    log.write_text("rubbish\n" + entry(10, "damsm", loss=1.0) + "\n")
    with pytest.raises(UserError, match="line 1"):
        run_files.read_scalars(log)


def test_samples_of_every_step_and_every_stage_of_the_last(finished):
    samples = run_files.read_samples(finished / "samples")
    last = np.load(finished / "samples" / f"step_{STEPS[-1]:08d}.npz")
    first = np.load(finished / "samples" / f"step_{STEPS[0]:08d}.npz")
    assert samples.steps == list(STEPS) and samples.captions == CAPTIONS
    assert list(samples.last) == list(SIZES)
    np.testing.assert_array_equal(samples.over_time[0], first["images_16"])
    np.testing.assert_array_equal(samples.last[4], last["images_4"])


def test_a_long_time_line_is_thinned_with_both_ends_kept(finished):
    images = {f"images_{size}": pictures(np.random.default_rng(1), size) for size in SIZES}
    for step in range(400, 5001, 100):
        np.savez(finished / "samples" / f"step_{step:08d}.npz", **images)
    steps = run_files.read_samples(finished / "samples").steps
    assert len(steps) == run_files.MAX_TIMELINE_STEPS
    assert steps[0] == 100 and steps[-1] == 5000 and steps == sorted(set(steps))


def test_attention_drops_the_padding_and_sorts_the_stages(finished):
    attention = run_files.read_attention(finished / "report" / "attention.npz")
    assert attention.words == WORDS
    assert list(attention.images) == list(SIZES) and list(attention.maps) == list(SIZES[1:])
    damsm = run_files.read_damsm_attention(finished / "report" / "damsm_attention.npz")
    assert damsm.images[16].shape == (3, 16, 16, 3) and damsm.maps[16].shape == (3, 6, 4, 4)


def test_a_run_with_nothing_but_a_config(unfinished):
    run = run_files.read_run(unfinished)
    assert run.config["seed"] == 7
    assert run.scalars == {} and run.wall_seconds == {}
    assert run.metrics is None and run.samples is None and run.num_words is None
    assert run.attention is None and run.damsm_attention is None


def test_wall_seconds_come_from_the_run_until_it_is_evaluated(unfinished):
    (unfinished / "wall_seconds.json").write_text(json.dumps({"prepare": 3.5}))
    assert run_files.read_run(unfinished).wall_seconds == {"prepare": 3.5}


def test_broken_files_are_named(finished):
    broken = finished / "report" / "attention.npz"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(UserError, match="attention.npz"):
        run_files.read_run(finished)
    broken.unlink()
    (finished / "report" / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="metrics.json"):
        run_files.read_run(finished)


def test_no_run_there(tmp_path):
    with pytest.raises(UserError, match="config.json"):
        run_files.read_run(tmp_path)


def test_arrays_of_objects_are_refused(finished):
    np.savez(
        finished / "samples" / "fixed.npz",
        captions=np.array([{}], object),
        real_images=np.zeros((1, 4, 4, 3), np.uint8),
    )
    with pytest.raises(UserError, match="fixed.npz"):
        run_files.read_run(finished)
