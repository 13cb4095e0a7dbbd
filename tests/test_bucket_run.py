"""A whole run with its workdir and its data on gs://, a stand-in for Cloud Storage: stopped once,
gone on with, scored, reported, drawn from; with the numbers of the same run in folders."""

import io
import json
import os
import pickle

import jax
import numpy as np
import pytest
from PIL import Image

from attngan_jax import configuration, storage
from attngan_jax.conversion.export_run import export
from attngan_jax.conversion.import_run import write_workdir
from attngan_jax.conversion.original_files import read_original
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.evaluation.follow import follow
from attngan_jax.sampling.sample_captions import draw
from attngan_jax.sampling.trained_model import TrainedModel, load_encoders
from attngan_jax.training import warm_start
from attngan_jax.training.checkpoints import Checkpoints
from tests import fake_gcs, tiny_runs

WORKDIR, DATA = "gs://birds/runs/tiny", "gs://birds/data"


@pytest.fixture(scope="module")
def bucket():
    """The bucket `birds`, for this process and those that it starts."""
    with fake_gcs.serving("birds") as server:
        yield server


@pytest.fixture(scope="module")
def bucket_run(bucket, tmp_path_factory):
    """What `main` said when the bucket refused a file in stage 2, and then when it did not."""
    cache = tmp_path_factory.mktemp("cache")

    def main():
        return tiny_runs.start_main(WORKDIR, DATA, f"--config.data.cache_dir={cache}")

    bucket.refuse = lambda method, key: (
        403 if method == "POST" and key.endswith("samples/step_00000004.npz") else None
    )
    stopped = main()
    then = bucket.names("birds/runs/tiny/")
    bucket.refuse = lambda method, key: None
    return stopped, then, main()


def read(bucket, name):
    return bucket.objects[f"birds/runs/tiny/{name}"]


@pytest.mark.slow
def test_a_bucket_that_refuses_stops_the_run_with_one_line(bucket_run):
    stopped, then, _ = bucket_run
    tiny_runs.assert_one_line(
        stopped,
        1,
        "Google Cloud Storage refused",
        "does not have access",
        "run the same command again",
    )
    assert "birds/runs/tiny/attngan/2/commit_success.txt" in then
    assert not [name for name in then if "attngan/4/" in name or "metrics.json" == name[-12:]]


@pytest.mark.slow
def test_a_run_on_gs_has_the_numbers_of_one_in_folders(bucket, bucket_run, tiny_run):
    _, _, done = bucket_run
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"All done. The report is {WORKDIR}/report/index.html" in done.stdout
    assert "attngan: resuming from step 2" in done.stderr
    here, there = (
        json.loads(text)
        for text in (
            (tiny_run[1] / "report" / "metrics.json").read_text(),
            read(bucket, "report/metrics.json"),
        )
    )
    for metrics in (here, there):
        del metrics["wall_seconds"]
    assert there == here
    log = [json.loads(line) for line in read(bucket, "metrics.jsonl").splitlines()]
    assert [
        (line["stage"], line["step"])
        for line in log
        if "train/g_loss" in line["scalars"] or "train/damsm_loss" in line["scalars"]
    ] == [("damsm", 2), ("damsm", 4), ("attngan", 2), ("attngan", 4), ("attngan", 4)]
    assert log[-1]["stage"] == "eval"


@pytest.mark.slow
def test_all_files_of_a_run_are_in_the_bucket_and_none_here(bucket, bucket_run, tiny_run):
    def names(files):  # Orbax's and TensorFlow's own names are other ones in every run
        return {
            name
            for name in files
            if "/d/" not in name and "events.out" not in name and "/ocdbt.process_0/" not in name
        }

    local = {file.relative_to(tiny_run[1]).as_posix() for file in storage.walk(tiny_run[1])}
    there = {name.removeprefix("birds/runs/tiny/") for name in bucket.names("birds/runs/tiny/")}
    assert names(there) == names(local)
    for stage, starts in (("damsm", 1), ("attngan", 2), ("eval", 1)):
        assert len(bucket.names(f"birds/runs/tiny/{stage}/events/events.out.tfevents")) == starts
    assert bucket.names("birds/data/procedural_birds/")
    assert not [path for path in tiny_runs.ROOT.iterdir() if path.name.startswith("gs:")]
    assert not os.path.exists("/gs")


@pytest.mark.slow
def test_a_run_on_gs_is_scored_again_followed_reported_and_drawn_from(bucket, bucket_run):
    before = json.loads(read(bucket, "report/metrics.json"))
    bucket.delete("birds/runs/tiny/report/metrics.json")
    suite.evaluate(WORKDIR)
    after = json.loads(read(bucket, "report/metrics.json"))
    assert after["r_precision"] == before["r_precision"]
    assert suite.is_finished(WORKDIR, 4) and not list(follow(WORKDIR, seconds=0.1))

    bucket.delete("birds/runs/tiny/report/index.html")
    done = tiny_runs.start_door("report", "--workdir", WORKDIR)
    assert done.stdout.strip() == f"{WORKDIR}/report/index.html", done.stderr
    assert b"<html" in read(bucket, "report/index.html")

    files = draw(WORKDIR, ["a red bird"], "gs://birds/out", attention=True, seed=0, num_images=1)
    assert [path.name for path in files] == [
        "grid.png",
        "caption_000_image_0.png",
        "caption_000_image_0_attention.png",
    ]
    picture = Image.open(io.BytesIO(bucket.objects["birds/out/caption_000_image_0.png"]))
    assert picture.size == (16, 16)


@pytest.mark.slow
def test_weights_leave_for_a_bucket_and_come_back_from_it(bucket, bucket_run):
    place = "gs://birds/exported"
    names = {path.stem: str(path) for path in export(WORKDIR, place)}
    assert bucket.objects["birds/exported/vocabulary.txt"] == read(bucket, "vocabulary.txt")
    words = dict(enumerate(read(bucket, "vocabulary.txt").decode().splitlines()))
    bucket.put(
        "birds/exported/captions.pickle",
        pickle.dumps([[], [], words, {word: i for i, word in words.items()}], 2),
    )
    config = configuration.load_workdir_config(WORKDIR)
    model = read_original(
        config,
        generator=names["netG"],
        text_encoder=names["text_encoder"],
        image_encoder=names["image_encoder"],
        captions=f"{place}/captions.pickle",
        discriminators=[names["netD0"], names["netD1"]],
    )
    write_workdir(config, "gs://birds/imported", model, 4)
    own, imported = (TrainedModel.load(place) for place in (WORKDIR, "gs://birds/imported"))
    assert imported.step == 4 and imported.vocabulary.words == own.vocabulary.words
    jax.tree.map(np.testing.assert_array_equal, imported.variables, own.variables)
    with pytest.raises(UserError, match="gs://birds/imported is not empty"):
        write_workdir(config, "gs://birds/imported", model, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source, target", [("bucket", "bucket"), ("bucket", "folder"), ("folder", "bucket")]
)
def test_stage_1_of_a_run_elsewhere_is_taken(
    source, target, bucket, bucket_run, tiny_run, tmp_path
):
    source = storage.path({"bucket": WORKDIR, "folder": tiny_run[1]}[source])
    target = storage.path({"bucket": f"gs://birds/taken/{source.name}", "folder": tmp_path}[target])
    config = configuration.load_workdir_config(source)
    storage.write_bytes(target / "vocabulary.txt", (source / "vocabulary.txt").read_bytes())
    warm_start.take_damsm(config, target, source)
    assert Checkpoints.steps_in(target, "damsm") == Checkpoints.steps_in(source, "damsm") == [2, 4]
    words = len((source / "vocabulary.txt").read_text().splitlines())
    jax.tree.map(
        np.testing.assert_array_equal,
        *(load_encoders(config, words, place) for place in (target, source)),
    )
    assert str(source) == json.loads((target / "damsm_from.json").read_text())["workdir"]
    assert all(
        json.loads(line)["stage"] == "damsm"
        for line in (target / "metrics.jsonl").read_text().splitlines()
    )
