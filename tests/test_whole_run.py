"""`python -m attngan_jax.main` from nothing to the report, on the tiny config, and what follows."""

import json
import pickle
import re
import shutil
import time

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attngan_jax import configuration
from attngan_jax.data.vocabulary import Vocabulary
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.sampling.trained_model import TrainedModel
from tests import tiny_runs

FOLD = {"mean", "std", "candidates", "num_images", "fold_size"}


def read_metrics(workdir):
    return json.loads((workdir / "report" / "metrics.json").read_text())


def test_the_files_of_the_contract_are_there(tiny_run):
    done, workdir, data = tiny_run
    config = configuration.load_workdir_config(workdir)
    assert config.name == "tiny_birds" and config.data.data_dir == str(data)
    words = (workdir / "vocabulary.txt").read_text().splitlines()
    assert words[0] == "<end>" and "bird" in words
    for stage in ("damsm", "attngan"):
        assert sorted(path.name for path in (workdir / stage).glob("[0-9]*")) == ["2", "4"]
        events = EventAccumulator(str(workdir / stage / "events")).Reload().Tags()["tensors"]
        assert "config" in events
        assert ("samples/8" in events and "samples/16" in events) == (stage == "attngan")
    assert sorted(path.name for path in (workdir / "samples").iterdir()) == [
        "fixed.npz",
        "step_00000002.npz",
        "step_00000004.npz",
    ]
    page = (workdir / "report" / "index.html").read_text()
    assert "<html" in page and f"{read_metrics(workdir)['r_precision']['mean']:.1f}" in page
    assert str(workdir / "report" / "index.html") in done.stdout
    assert f"-m attngan_jax.sample --workdir {workdir}" in done.stdout
    for noise in ("checkpoint_manager", "dataset_builder", "oneDNN", "Traceback"):
        assert noise not in done.stderr


def test_metrics_json_holds_the_keys_of_the_contract(tiny_run):
    _, workdir, _ = tiny_run
    metrics = read_metrics(workdir)
    assert {
        "step",
        "dataset",
        "split",
        "r_precision",
        "r_precision_real_images",
        "attribute_accuracy",
        "inception_score",
        "fid",
        "reasons",
        "wall_seconds",
    } <= metrics.keys()
    assert metrics["step"] == 4
    assert (metrics["dataset"], metrics["split"]) == ("procedural_birds", "test")
    for name in ("r_precision", "r_precision_real_images"):
        assert FOLD <= metrics[name].keys()
        assert metrics[name]["candidates"] == 10 and metrics[name]["num_images"] == 30
        assert 0 <= metrics[name]["mean"] <= 100
    accuracy = metrics["attribute_accuracy"]
    colours = {name: value for name, value in accuracy.items() if name.endswith("_color")}
    plumage = [value for name, value in colours.items() if name != "beak_color"]
    assert len(plumage) == 5 and len(colours) == 6
    np.testing.assert_allclose(accuracy["mean"], np.mean([c["accuracy"] for c in plumage]))
    np.testing.assert_allclose(accuracy["chance"], np.mean([c["chance"] for c in plumage]))
    np.testing.assert_allclose(
        accuracy["mean_with_beak"], np.mean([c["accuracy"] for c in colours.values()])
    )
    assert {"crown_color", "wing_color", "belly_color"} <= accuracy.keys()
    assert metrics["inception_score"] is None and metrics["fid"] is None
    assert {"inception_score", "fid", "kid"} == metrics["reasons"].keys()
    assert "convert classifier" in metrics["reasons"]["fid"]
    fid, kid = metrics["fid_damsm"], metrics["kid_damsm"]
    assert fid["family"] == kid["family"] == "damsm" and fid["value"] > 0
    assert (fid["num_images"], fid["reference_images"]) == (30, 15)
    assert fid["reference"] == "15 test images of procedural_birds"
    assert kid["low"] < kid["value"] < kid["high"]
    assert fid["reference_split"] == "test"
    assert fid["image_size"] == metrics["r_precision"]["image_size"] == 16
    assert metrics["r_precision"]["chosen_by"] is None  # the newest
    assert metrics["damsm_retrieval"]["chosen_by"] == "eval/retrieval_r1"
    assert metrics["damsm_retrieval"]["step"] in (2, 4)
    for direction in ("image_to_text", "text_to_image"):
        assert metrics["damsm_retrieval"][direction].keys() == {"r1", "r5", "r10", "median_rank"}
    assert metrics["grounding"].keys() == {
        "damsm",
        "generator_16",
        "damsm_by_judge",
        "judge_pixel_accuracy",
        "judge_part_overlap",
    }
    assert 0 <= metrics["grounding"]["judge_part_overlap"] <= 100
    for name in ("damsm", "generator_16"):
        game = metrics["grounding"][name]
        assert 0 <= game["mean"] <= 100 and 0 < game["chance"] < 100 and game["count"] > 30
        assert {"crown", "wing", "belly"} < game.keys()
    assert metrics["settings"]["num_images"] == 30 and metrics["newest_step"] == 4
    assert {"prepare", "damsm", "attngan", "evaluate"} == metrics["wall_seconds"].keys()
    assert all(seconds > 0 for seconds in metrics["wall_seconds"].values())


def test_logged_scalars_have_their_names(tiny_run):
    _, workdir, _ = tiny_run
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    names = {
        stage: {name for line in lines if line["stage"] == stage for name in line["scalars"]}
        for stage in ("damsm", "attngan")
    }
    assert names == {
        "damsm": {
            "train/damsm_loss",
            "train/word_loss",
            "train/sentence_loss",
            "train/data_wait_fraction",
            "eval/retrieval_r1",
            *(
                f"eval/{direction}_{name}"
                for direction in ("image_to_text", "text_to_image")
                for name in ("r1", "r5", "r10", "median_rank")
            ),
        },
        "attngan": {
            "train/d_loss_8",
            "train/d_loss_16",
            "train/g_loss_8",
            "train/g_loss_16",
            "train/damsm_loss",
            "train/kl_loss",
            "train/g_loss",
            "train/data_wait_fraction",
        },
    }
    assert [(line["stage"], line["step"]) for line in lines] == [
        ("damsm", 2),
        ("damsm", 2),
        ("damsm", 4),
        ("damsm", 4),
        ("attngan", 2),
        ("attngan", 4),
        ("eval", 4),
    ]


def test_attention_arrays_are_those_of_the_words(tiny_run):
    _, workdir, _ = tiny_run
    with np.load(workdir / "report" / "attention.npz") as arrays:
        words, maps = arrays["words"], arrays["attention_16"]
        assert arrays["image_8"].shape == (16, 8, 8, 3)
        assert arrays["image_16"].shape == (16, 16, 16, 3)
        assert maps.shape == (*words.shape, 8, 8)
        np.testing.assert_allclose(maps.sum(1), 1.0, rtol=1e-4)  # over words, at every pixel
        assert np.abs(maps[words == ""]).max() < 1e-6
    with np.load(workdir / "report" / "damsm_attention.npz") as arrays:
        assert arrays["attention"].shape == (*arrays["words"].shape, 2, 2)
        np.testing.assert_allclose(arrays["attention"].sum((2, 3)), 1.0, rtol=1e-4)


def test_a_second_start_says_that_all_is_done(tiny_run):
    done, workdir, data = tiny_run
    files = {
        path: path.stat().st_mtime_ns
        for stage in ("damsm", "attngan")
        for path in (workdir / stage / "4").rglob("*")
    }
    log = (workdir / "metrics.jsonl").read_bytes(), read_metrics(workdir)
    start = time.monotonic()
    again = tiny_runs.start_main(workdir, data, "--config.log_every_steps=1")  # a free key
    seconds = time.monotonic() - start

    assert again.returncode == 0 and again.stdout.endswith(done.stdout[-len("All done") :])
    assert "All done. The report is" in again.stdout
    assert files == {path: path.stat().st_mtime_ns for path in files}
    assert log == ((workdir / "metrics.jsonl").read_bytes(), read_metrics(workdir))
    assert seconds < 120  # of which most is importing


def test_a_workdir_of_another_config_is_refused(tiny_run):
    _, workdir, data = tiny_run
    before = configuration.config_path(workdir).read_bytes()
    done = tiny_runs.start_main(workdir, data, "--config.attngan.num_train_steps=5")
    tiny_runs.assert_one_line(
        done,
        1,
        "holds a run of another config",
        "attngan.num_train_steps is 4 there and 5 here",
        "--workdir",
    )
    assert configuration.config_path(workdir).read_bytes() == before


def test_evaluation_again_on_other_devices_gives_the_same_numbers(tiny_run, tmp_path):
    """The run was scored on one device; here there are four."""
    _, workdir, _ = tiny_run
    shutil.copytree(workdir, tmp_path / "run")
    again = suite.evaluate(tmp_path / "run")
    first = read_metrics(workdir)
    for name in ("r_precision", "r_precision_real_images", "damsm_retrieval"):
        assert again[name] == first[name]
    for name in ("fid_damsm", "kid_damsm"):
        np.testing.assert_allclose(again[name]["value"], first[name]["value"], rtol=1e-3)
        assert again[name]["weights_sha256"] == first[name]["weights_sha256"]
    for name in ("damsm", "generator_16"):
        assert again["grounding"][name]["count"] == first["grounding"][name]["count"]
    assert again["grounding"]["damsm"] == first["grounding"]["damsm"]
    assert abs(again["attribute_accuracy"]["mean"] - first["attribute_accuracy"]["mean"]) < 5
    assert suite.is_finished(tmp_path / "run", 4) and not suite.is_finished(tmp_path / "run", 5)


def test_the_sample_door_draws_what_it_is_told(tiny_run, tmp_path):
    _, workdir, _ = tiny_run
    done = tiny_runs.start_door(
        "sample",
        "--workdir",
        workdir,
        "--out",
        tmp_path,
        "--attention",
        "--num_images",
        2,
        "--caption",
        "a red bird with xylophonic wings",
        "a bird with a blue belly",
    )
    assert done.returncode == 0, done.stderr
    assert "xylophonic" in done.stderr and "not in the vocabulary" in done.stderr
    written = ["grid.png"] + [
        f"caption_00{i}_image_{k}{kind}.png"
        for i in range(2)
        for k in range(2)
        for kind in ("", "_attention")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(written)
    assert {line.strip() for line in done.stdout.splitlines()} == {
        str(tmp_path / name) for name in written
    }
    pictures = {name: np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in written}
    assert pictures["caption_000_image_0.png"].shape == (16, 16, 3)
    assert (pictures["caption_000_image_0.png"] != pictures["caption_000_image_1.png"]).any()
    assert pictures["caption_001_image_1_attention.png"].size > 16 * 16 * 3 * 6  # one a word


def test_a_caption_of_unknown_words_ends_the_sample_door_with_one_line(tiny_run, tmp_path):
    _, workdir, _ = tiny_run
    done = tiny_runs.start_door(
        "sample",
        "--workdir",
        workdir,
        "--out",
        tmp_path / "out",
        "--caption",
        "xylophonic quixotry",
    )
    words = Vocabulary.load(workdir / "vocabulary.txt").words
    tiny_runs.assert_one_line(done, 1, "has no word that this run knows", words[1])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["damsm", "attngan"])
def test_a_run_without_a_stage_cannot_be_sampled(stage, tiny_run, tmp_path):
    _, workdir, _ = tiny_run
    shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns(stage))
    with pytest.raises(UserError, match=f"/{stage} holds no checkpoint: train this stage first"):
        TrainedModel.load(tmp_path / "run")


def test_only_the_package_speaks(tiny_run):
    done, _, _ = tiny_run
    sources = set(re.findall(r"^I\d{4} \S+ +\d+ (\S+\.py):\d+\]", done.stderr, re.MULTILINE))
    assert sources <= {
        "experiment.py",
        "loop.py",
        "metrics.py",
        "suite.py",
        "page.py",
        "samples.py",
        "datasets.py",
        "local.py",
        "attention_arrays.py",
    }, sources
    assert re.search(r"damsm|attngan", done.stderr)


def test_an_exported_run_that_is_imported_has_its_scores_and_goes_on(tiny_run, tmp_path):
    """All weights out under the original's names and in again, then two more steps of stage 2."""
    _, workdir, data = tiny_run
    files, again = tmp_path / "files", tmp_path / "again"
    assert (
        tiny_runs.start_door("convert", "export", "--workdir", workdir, "--out", files).returncode
        == 0
    )
    words = dict(enumerate(Vocabulary.load(workdir / "vocabulary.txt").words))
    captions = [[], [], words, {word: i for i, word in words.items()}]
    (files / "captions.pickle").write_bytes(pickle.dumps(captions, 2))
    steps = "--config.attngan.num_train_steps=6"
    imported = tiny_runs.start_door(
        "convert",
        "import",
        "--config",
        tiny_runs.CONFIG,
        "--workdir",
        again,
        f"--config.data.data_dir={data}",
        f"--config.compilation_cache_dir={tiny_runs.CACHE}",
        steps,
        "--generator",
        files / "netG.safetensors",
        "--text_encoder",
        files / "text_encoder.safetensors",
        "--image_encoder",
        files / "image_encoder.safetensors",
        "--discriminator",
        files / "netD0.safetensors",
        "--discriminator",
        files / "netD1.safetensors",
        "--captions",
        files / "captions.pickle",
        "--step",
        4,
    )
    assert imported.returncode == 0, imported.stderr
    scored = tiny_runs.start_door("evaluate", "--workdir", again)
    assert scored.returncode == 0, scored.stderr
    first, second = read_metrics(workdir), read_metrics(again)
    assert second["step"] == 4
    for name in ("r_precision", "r_precision_real_images", "fid_damsm"):
        assert second[name] == first[name], name

    trained = tiny_runs.start_main(again, data, steps)
    assert trained.returncode == 0, trained.stderr
    assert read_metrics(again)["step"] == 6
