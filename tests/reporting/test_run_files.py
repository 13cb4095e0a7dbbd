"""What is read from a workdir, complete or not."""

import json

import numpy as np
import pytest
from synthetic_run import CAPTIONS, SIZES, STEPS, WORDS, entry, write_log, write_samples

from attngan_jax.errors import UserError
from attngan_jax.reporting import run_files


def test_of_finite_values_the_last_of_a_step_counts_in_each_stage(unfinished):
    logged = [(10, 1.0), (30, 3.0), (20, 2.0), (30, 9.0), (40, float("nan"))]
    lines = [entry(step, "damsm", loss=value) for step, value in logged]
    write_log(unfinished, [*lines, entry(10, "attngan", loss=7.0)])
    scalars = run_files.read_scalars(unfinished / "metrics.jsonl")
    damsm, attngan = scalars["damsm"]["train/loss"], scalars["attngan"]["train/loss"]
    np.testing.assert_array_equal(damsm.steps, [10, 20, 30])
    np.testing.assert_array_equal(damsm.values, [1.0, 2.0, 9.0])
    assert attngan.steps.tolist() == [10] and attngan.values.tolist() == [7.0]


def test_only_the_last_line_may_be_incomplete(unfinished):
    log = unfinished / "metrics.jsonl"
    log.write_text(entry(10, "damsm", loss=1.0) + "\n" + entry(20, "damsm", loss=2.0)[:25])
    assert run_files.read_scalars(log)["damsm"]["train/loss"].steps.tolist() == [10]
    log.write_text("rubbish\n" + entry(10, "damsm", loss=1.0) + "\n")
    with pytest.raises(UserError, match="line 1"):
        run_files.read_scalars(log)


def test_samples_of_every_step_and_every_stage_of_the_last(finished):
    samples = run_files.read_samples(finished)
    first, last = (np.load(finished / "samples" / f"step_{STEPS[k]:08d}.npz") for k in (0, -1))
    assert samples.steps == list(STEPS) and samples.captions == CAPTIONS
    assert list(samples.last) == list(SIZES)
    np.testing.assert_array_equal(samples.over_time[0], first["images_16"])
    np.testing.assert_array_equal(samples.last[4], last["images_4"])


def test_a_long_training_is_thinned_with_both_ends_kept(finished):
    sizes = dict.fromkeys(range(400, 5001, 100), SIZES)
    write_samples(finished, sizes, np.random.default_rng(1))
    (finished / "samples" / "step_final.npz").write_bytes(b"not by a run")
    steps = run_files.read_samples(finished).steps
    assert len(steps) == run_files.MAX_SAMPLE_STEPS
    assert steps[0] == 100 and steps[-1] == 5000 and steps == sorted(set(steps))


def test_attention_has_no_padding_and_sorted_stages(finished):
    run = run_files.read_run(finished)
    assert run.attention.words == WORDS and run.damsm_attention.words == WORDS
    assert list(run.attention.images) == list(SIZES)
    assert list(run.attention.maps) == list(SIZES[1:])
    assert run.damsm_attention.images[16].shape == (3, 16, 16, 3)
    assert run.damsm_attention.maps[16].shape == (3, 6, 4, 4)


@pytest.mark.parametrize("name", ["interpolations", "explorations"])  # the second in older workdirs
def test_interpolations_by_kind(finished, name):
    folder = finished / "report"
    (folder / "interpolations.npz").rename(folder / f"{name}.npz")
    strips = run_files.read_run(finished).interpolations
    assert list(strips) == ["captions", "noise", "swap"]
    ((title, cells),) = strips["swap"]
    assert title == "a […] bird" and [label for label, _ in cells] == ["red", "green", "blue"]
    np.testing.assert_array_equal(cells[1][1], np.load(folder / f"{name}.npz")["images"][2, 1])


def test_a_run_with_nothing_but_a_config(unfinished):
    run = run_files.read_run(unfinished)
    assert run.config["seed"] == 7 and run.num_words == 0
    assert run.scalars == run.wall_seconds == run.interpolations == {}
    assert run.metrics is run.samples is run.attention is run.damsm_attention is None
    (unfinished / "wall_seconds.json").write_text(json.dumps({"prepare": 3.5}))
    assert run_files.read_run(unfinished).wall_seconds == {"prepare": 3.5}


@pytest.mark.parametrize("name", ["report/attention.npz", "report/metrics.json", "config.json"])
def test_a_broken_file_is_named(finished, name):
    (finished / name).write_bytes((finished / name).read_bytes()[:20])
    with pytest.raises(UserError, match=name):
        run_files.read_run(finished)


def test_no_config_a_missing_array_and_arrays_of_objects_are_named(finished):
    np.savez(finished / "report" / "damsm_attention.npz", words=[["a"]], captions=["a"])
    with pytest.raises(UserError, match="damsm_attention.npz lacks image, attention: remove it"):
        run_files.read_run(finished)
    fixed = {"captions": np.array([{}], object), "real_images": np.zeros((1, 4, 4, 3), np.uint8)}
    np.savez(finished / "samples" / "fixed.npz", **fixed)
    with pytest.raises(UserError, match="fixed.npz"):
        run_files.read_run(finished)
    (finished / "config.json").unlink()
    with pytest.raises(UserError, match="it has no config.json"):
        run_files.read_run(finished)
