"""`python -m attngan_jax.main` from nothing to the report, on the tiny config, and what follows."""

import json
import logging
import re
import shlex
import shutil
import time

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import attngan_jax
from attngan_jax import configuration
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.sampling.trained_model import TrainedModel
from attngan_jax.workdir import Workdir
from tests import tiny_runs
from tests.faults import damage, results
from tests.made_up_sources import captions_pickle


def read_metrics(workdir):
    return json.loads(Workdir(workdir).metrics.read_text())


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_files_of_the_contract_are_there(tiny_run):
    done, folder, data = tiny_run
    workdir = Workdir(folder)
    config = configuration.load_workdir_config(folder)
    assert config.name == "tiny_birds" and config.data.data_dir == str(data)
    words = workdir.vocabulary.read_text().splitlines()
    assert words[0] == "<end>" and "bird" in words
    for stage in ("damsm", "attngan"):
        assert [name for name in names_in(workdir.stage(stage)) if name.isdigit()] == ["2", "4"]
        events = EventAccumulator(str(workdir.events(stage))).Reload().Tags()["tensors"]
        assert "config" in events
        assert ("samples/8" in events and "samples/16" in events) == (stage == "attngan")
    samples = ["fixed.npz", "step_00000002.npz", "step_00000004.npz"]
    assert names_in(workdir.samples) == samples
    page = workdir.page.read_text()
    assert "<html" in page and f"{read_metrics(folder)['r_precision']['mean']:.1f}" in page
    assert str(folder / "report" / "index.html") in done.stdout
    assert f"-m attngan_jax.sample --workdir {folder}" in done.stdout
    with np.load(workdir.fixed_samples) as fixed:
        own = fixed["captions"][0]  # of the run's test split
    assert shlex.split(done.stdout.splitlines()[-1])[-1] == own
    assert done.stderr.splitlines()[0].endswith(f"tiny_birds, in {folder}; starting")
    for noise in ("checkpoint_manager", "dataset_builder", "oneDNN", "Traceback"):
        assert noise not in done.stderr


def test_metrics_json_holds_the_keys_of_the_contract(tiny_run):
    metrics = read_metrics(tiny_run.workdir)
    keys = "step dataset split r_precision r_precision_real_images attribute_accuracy"
    keys += " inception_score fid reasons wall_seconds"
    assert set(keys.split()) <= metrics.keys()
    assert metrics["step"] == metrics["newest_step"] == 4
    assert (metrics["dataset"], metrics["split"]) == ("procedural_birds", "test")
    assert metrics["settings"]["num_images"] == 30
    for name in ("r_precision", "r_precision_real_images"):
        assert {"mean", "std", "candidates", "num_images", "fold_size"} <= metrics[name].keys()
        assert metrics[name]["candidates"] == 10 and metrics[name]["num_images"] == 30
        assert 0 <= metrics[name]["mean"] <= 100
    independent = metrics["r_precision_independent"]
    assert independent["candidates"] == 10 and 0 <= independent["real_images"] <= 100
    assert metrics["spectrum"].keys() == {"1-4", "5-8", "9-16", "17-24", "25-31"}
    for part in ("head", "body", "wing", "tail", "beak", "eye"):
        assert metrics["part_presence"][part].keys() == {"generated", "real"}
    for name in ("kid_judge", "fid_judge"):
        block = metrics[name]
        assert block["num_images"] == 30 and block["value"] > block["floor"], name
    assert metrics["inception_score"] is None and metrics["fid"] is None
    null = {"inception_score", "inception_score_calibrated", "fid", "kid"}
    assert null == metrics["reasons"].keys()
    assert "convert classifier" in metrics["reasons"]["fid"]
    assert {"prepare", "damsm", "attngan", "evaluate"} == metrics["wall_seconds"].keys()
    assert all(seconds > 0 for seconds in metrics["wall_seconds"].values())


def test_attribute_accuracy_is_the_mean_over_the_plumage(tiny_run):
    accuracy = read_metrics(tiny_run.workdir)["attribute_accuracy"]
    colours = {name: value for name, value in accuracy.items() if name.endswith("_color")}
    plumage = [value for name, value in colours.items() if name != "beak_color"]
    assert len(plumage) == 5 and len(colours) == 6
    assert {"crown_color", "wing_color", "belly_color"} <= colours.keys()
    for mean, key, parts in (
        ("mean", "accuracy", plumage),
        ("chance", "chance", plumage),
        ("mean_with_beak", "accuracy", colours.values()),
    ):
        np.testing.assert_allclose(accuracy[mean], np.mean([part[key] for part in parts]))


def test_metrics_json_says_what_its_numbers_are_of(tiny_run):
    metrics = read_metrics(tiny_run.workdir)
    fid, kid, retrieval = (metrics[name] for name in ("fid_damsm", "kid_damsm", "damsm_retrieval"))
    assert fid["family"] == kid["family"] == "damsm" and fid["value"] > 0
    assert (fid["num_images"], fid["reference_images"]) == (30, 15)
    assert fid["reference"] == "15 test images of procedural_birds"
    assert kid["low"] < kid["value"] < kid["high"]
    assert fid["reference_split"] == "test"
    assert fid["image_size"] == metrics["r_precision"]["image_size"] == 16
    assert metrics["r_precision"]["chosen_by"] is None  # the newest
    assert retrieval["chosen_by"] == "eval/retrieval_r1" and retrieval["step"] in (2, 4)
    for direction in ("image_to_text", "text_to_image"):
        assert retrieval[direction].keys() == {"r1", "r5", "r10", "median_rank"}
    grounding = metrics["grounding"]
    keys = "damsm generator_16 damsm_by_judge judge_pixel_accuracy judge_part_overlap"
    assert grounding.keys() == set(keys.split())
    assert 0 <= grounding["judge_part_overlap"] <= 100
    for name in ("damsm", "generator_16"):
        game = grounding[name]
        assert 0 <= game["mean"] <= 100 and 0 < game["chance"] < 100 and game["count"] > 30
        assert {"crown", "wing", "belly"} < game.keys()


def test_logged_scalars_have_their_names(tiny_run):
    log = Workdir(tiny_run.workdir).metrics_log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    names = {"damsm": set(), "attngan": set(), "eval": set()}
    for line in lines:
        names[line["stage"]] |= line["scalars"].keys()
    losses = "damsm_loss word_loss sentence_loss data_wait_fraction"
    ways, scores = ("image_to_text", "text_to_image"), ("r1", "r5", "r10", "median_rank")
    retrieval = {f"eval/{way}_{score}" for way in ways for score in scores} | {"eval/retrieval_r1"}
    assert names["damsm"] == {f"train/{name}" for name in losses.split()} | retrieval
    of_all = {f"train/{side}_loss_{of}" for side in "dg" for of in ("8", "16", "regions")}
    losses = "damsm_loss kl_loss g_loss data_wait_fraction"
    assert names["attngan"] == {f"train/{name}" for name in losses.split()} | of_all
    steps = [("damsm", 2), ("damsm", 2), ("damsm", 4), ("damsm", 4)]
    steps += [("attngan", 2), ("attngan", 4), ("eval", 4)]
    assert [(line["stage"], line["step"]) for line in lines] == steps


def test_attention_arrays_belong_to_the_words(tiny_run):
    workdir = Workdir(tiny_run.workdir)
    with np.load(workdir.attention) as arrays:
        words, maps = arrays["words"], arrays["attention_16"]
        assert arrays["image_8"].shape == (16, 8, 8, 3)
        assert arrays["image_16"].shape == (16, 16, 16, 3)
        assert maps.shape == (*words.shape, 8, 8)
        np.testing.assert_allclose(maps.sum(1), 1.0, rtol=1e-4)  # over words, at every pixel
        assert np.abs(maps[words == ""]).max() < 1e-6
    with np.load(workdir.damsm_attention) as arrays:
        assert arrays["attention"].shape == (*arrays["words"].shape, 2, 2)
        np.testing.assert_allclose(arrays["attention"].sum((2, 3)), 1.0, rtol=1e-4)


def test_a_second_start_says_that_all_is_done(tiny_run):
    done, workdir, data = tiny_run
    files = {
        path: path.stat().st_mtime_ns
        for stage in ("damsm", "attngan")
        for path in (workdir / stage / "4").rglob("*")
    }
    log = Workdir(workdir).metrics_log.read_bytes(), read_metrics(workdir)
    start = time.monotonic()
    again = tiny_runs.start_main(workdir, data, "--config.log_every_steps=1")  # decides nothing
    seconds = time.monotonic() - start

    assert again.returncode == 0 and again.stdout.endswith(done.stdout[-len("All done") :])
    assert "All done. The report is" in again.stdout
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert log == (Workdir(workdir).metrics_log.read_bytes(), read_metrics(workdir))
    assert seconds < 120  # most of it for imports


def test_a_workdir_of_another_config_is_refused(tiny_run):
    _, workdir, data = tiny_run
    before = Workdir(workdir).config.read_bytes()
    done = tiny_runs.start_main(workdir, data, "--config.attngan.num_train_steps=3")
    difference = "attngan.num_train_steps is 4 there and 3 here"
    refusal = "holds a run of another config"
    tiny_runs.assert_one_line(done, 1, refusal, difference, "--workdir")
    assert Workdir(workdir).config.read_bytes() == before


def test_evaluation_again_on_other_devices_gives_the_same_numbers(tiny_run, tmp_path):
    """The run was scored on one device; here there are four, and the dataset has moved."""
    _, workdir, data = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    shutil.copytree(data, tmp_path / "moved")
    config = json.loads(Workdir(workdir).config.read_text())
    config["data"]["data_dir"] = str(tmp_path / "gone")
    Workdir(tmp_path / "run").config.write_text(json.dumps(config))
    with pytest.raises(UserError, match="gone.*say with --data_dir where it is"):
        suite.evaluate(tmp_path / "run")
    again = suite.evaluate(tmp_path / "run", data_dir=tmp_path / "moved")
    first = read_metrics(workdir)
    for name in ("r_precision", "r_precision_real_images", "damsm_retrieval"):
        assert again[name] == first[name]
    for name in ("fid_damsm", "kid_damsm"):
        np.testing.assert_allclose(again[name]["value"], first[name]["value"], rtol=1e-3)
        assert again[name]["weights_sha256"] == first[name]["weights_sha256"]
    games = again["grounding"], first["grounding"]
    assert games[0]["damsm"] == games[1]["damsm"]
    assert games[0]["generator_16"]["count"] == games[1]["generator_16"]["count"]
    assert abs(again["attribute_accuracy"]["mean"] - first["attribute_accuracy"]["mean"]) < 5
    assert suite.is_finished(tmp_path / "run", 4) and not suite.is_finished(tmp_path / "run", 5)


def test_the_sample_command_writes_images_and_attention(tiny_run, tmp_path):
    captions = "'a red bird with xylophonic wings' 'a bird with a blue belly'"
    done = tiny_runs.start_command(
        f"sample --workdir {tiny_run.workdir} --out {tmp_path} --attention --num_images 2 "
        f"--caption {captions}"
    )
    assert done.returncode == 0, done.stderr
    assert "xylophonic" in done.stderr and "not in the vocabulary" in done.stderr
    images = [f"caption_00{i}_image_{k}" for i in range(2) for k in range(2)]
    written = ["grid.png", *(f"{name}{end}.png" for name in images for end in ("", "_attention"))]
    assert names_in(tmp_path) == sorted(written)
    paths = {str(tmp_path / name) for name in written}
    assert {line.strip() for line in done.stdout.splitlines()} == paths
    first, second, third = (
        np.asarray(Image.open(tmp_path / f"caption_{name}.png").convert("RGB"))
        for name in ("000_image_0", "000_image_1", "001_image_1_attention")
    )
    assert first.shape == (16, 16, 3) and (first != second).any()
    assert third.size > 16 * 16 * 3 * 6  # a map for each word


def test_a_caption_of_unknown_words_is_refused_with_one_line(tiny_run, tmp_path):
    workdir, out = tiny_run.workdir, tmp_path / "out"
    words = "--caption 'xylophonic quixotry'"
    done = tiny_runs.start_command(f"sample --workdir {workdir} --out {out} {words}")
    known = Vocabulary.load(Workdir(workdir).vocabulary).words
    tiny_runs.assert_one_line(done, 1, "has no word that this run knows", known[1])
    assert not out.exists()


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_a_run_without_a_stage_cannot_be_sampled(stage, tiny_run, tmp_path):
    shutil.copytree(tiny_run.workdir, tmp_path / "run", ignore=shutil.ignore_patterns(stage))
    with pytest.raises(UserError, match=f"/{stage} holds no checkpoint: train this stage first"):
        TrainedModel.load(tmp_path / "run")


def test_the_log_is_plain_lines_of_the_package(tiny_run):
    stderr = tiny_run.done.stderr
    assert not re.search(r"^[IWE]\d{4} ", stderr, re.MULTILINE)  # absl's prefix
    steps = r"^{} step 4 of 4: .*loss \d.* \((.* left in all|the time left is not known yet)\)$"
    for stage in (r"DAMSM \(stage 1 of 3\)", r"AttnGAN \(stage 2 of 3\)"):
        assert re.search(steps.format(stage), stderr, re.MULTILINE), stderr
    assert "work unit" not in stderr


def test_an_unfinished_run_says_how_far_it_is(tiny_run, tmp_path, caplog):
    names = shutil.ignore_patterns("report", "samples")
    workdir = shutil.copytree(tiny_run.workdir, tmp_path / "run", ignore=names)
    shutil.rmtree(workdir / "attngan" / "4")
    with caplog.at_level(logging.WARNING):
        assert attngan_jax.load(workdir).step == 2
    assert "is not trained to its end (step 2 of 4, 50 %)" in caplog.text
    shutil.rmtree(workdir / "attngan" / "2")
    with pytest.raises(UserError, match=r"no checkpoint.*\(stage 1.* is at step 4 of 4\)"):
        attngan_jax.load(workdir)


@pytest.mark.slow
def test_an_exported_run_that_is_imported_has_its_scores_and_is_trained_on(tiny_run, tmp_path):
    """All weights out under the original's names and in again, then two more steps of stage 2."""
    _, workdir, data = tiny_run
    files, again = tmp_path / "files", tmp_path / "again"
    exported = tiny_runs.start_command(f"convert export --workdir {workdir} --out {files}")
    assert exported.returncode == 0, exported.stderr
    words = Vocabulary.load(Workdir(workdir).vocabulary).words
    (files / "captions.pickle").write_bytes(captions_pickle(words))
    weights = {"generator": "netG", "discriminator": "netD0"}
    weights |= {name: name for name in ("text_encoder", "image_encoder")}
    imported = tiny_runs.start_command(
        f"convert import --config {tiny_runs.CONFIG} --workdir {again} --step 4 "
        f"--config.data.data_dir={data} --captions {files}/captions.pickle "
        f"--discriminator {files}/netD1.safetensors",
        *(f"--{flag}={files}/{name}.safetensors" for flag, name in weights.items()),
    )
    assert imported.returncode == 0, imported.stderr
    scored = tiny_runs.start_command(f"evaluate --workdir {again}")
    assert scored.returncode == 0, scored.stderr
    first, second = read_metrics(workdir), read_metrics(again)
    assert second["step"] == 4
    for name in ("r_precision", "r_precision_real_images", "fid_damsm"):
        assert second[name] == first[name], name

    trained = tiny_runs.start_main(again, data, "--config.attngan.num_train_steps=6")
    assert trained.returncode == 0, trained.stderr
    assert read_metrics(again)["step"] == 6


def test_a_damaged_checkpoint_and_a_lost_row_come_again(tiny_run, tmp_path):
    """The row of the scores, as a kill loses it just after they are written."""
    workdir = shutil.copytree(tiny_run.workdir, tmp_path / "run")
    damage.flip(max(damage.files_of(workdir, 4, "attngan"), key=lambda file: file.stat().st_size))
    log = workdir / "metrics.jsonl"
    rows = log.read_text().splitlines(keepends=True)
    log.write_text("".join(row for row in rows if '"stage": "eval"' not in row))
    done = tiny_runs.start_main(workdir, tiny_run.data_dir)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "attngan goes on from step 2" in done.stderr
    assert (workdir / "attngan" / "4.damaged").is_dir() and not Workdir(workdir).lock.exists()
    assert results.differences(workdir, tiny_run.workdir, ["damsm/4", "attngan/4"]) == []
