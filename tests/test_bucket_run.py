"""A whole run with its workdir and data in a fake Cloud Storage: stopped once, resumed, scored,
reported and sampled, with the numbers of the same run in folders."""

import io
import json
import os

import jax
import numpy as np
import pytest
from PIL import Image

from attngan_jax import configuration, storage
from attngan_jax.conversion.export_run import export
from attngan_jax.conversion.import_run import read_original, write_workdir
from attngan_jax.errors import UserError
from attngan_jax.evaluation import suite
from attngan_jax.evaluation.suite import follow
from attngan_jax.sampling.sample_captions import sample
from attngan_jax.sampling.trained_model import TrainedModel, load_encoders
from attngan_jax.training import warm_start
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.workdir import Workdir
from tests import fake_gcs, tiny_runs
from tests.made_up_sources import captions_pickle

pytestmark = pytest.mark.slow
NAME = "birds/runs/tiny"
PLACES = ("bucket", "bucket"), ("bucket", "folder"), ("folder", "bucket")
WORKDIR, DATA = f"gs://{NAME}", "gs://birds/data"


@pytest.fixture(scope="module")
def bucket():
    """The bucket `birds`, for this process and those that it starts."""
    with fake_gcs.serving("birds") as server:
        yield server


@pytest.fixture(scope="module")
def bucket_run(bucket, tmp_path_factory):
    """The end of `main` when the bucket refused a file in stage 2, what there was, and its next."""
    cache = f"--config.data.cache_dir={tmp_path_factory.mktemp('cache')}"
    file = f"{NAME}/samples/step_00000004.npz"
    bucket.refuse = lambda method, key: 403 if (method, key) == ("POST", file) else None
    stopped = tiny_runs.start_main(WORKDIR, DATA, cache)
    names = bucket.names(f"{NAME}/")
    bucket.refuse = lambda method, key: None
    return stopped, names, tiny_runs.start_main(WORKDIR, DATA, cache)


def read(bucket, name):
    return bucket.objects[f"{NAME}/{name}"]


def test_a_bucket_that_refuses_stops_the_run_with_one_line(bucket_run):
    stopped, names, _ = bucket_run
    parts = ("Google Cloud Storage refused", "does not have access", "run the same command again")
    tiny_runs.assert_one_line(stopped, 1, *parts)
    assert f"{NAME}/attngan/2/commit_success.txt" in names
    assert not [name for name in names if "attngan/4/" in name or name.endswith("metrics.json")]


def test_a_run_on_gs_has_the_numbers_of_one_in_folders(bucket, bucket_run, tiny_run):
    _, _, done = bucket_run
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"All done. The report is {WORKDIR}/report/index.html" in done.stdout
    assert "attngan: resuming from step 2" in done.stderr
    in_folders = json.loads(Workdir(tiny_run.workdir).metrics.read_text())
    in_bucket = json.loads(read(bucket, "report/metrics.json"))
    del in_folders["wall_seconds"], in_bucket["wall_seconds"]
    assert in_bucket == in_folders
    log = [json.loads(line) for line in read(bucket, "metrics.jsonl").splitlines()]
    losses = {"train/g_loss", "train/damsm_loss"}
    steps = [("damsm", 2), ("damsm", 4), ("attngan", 2), ("attngan", 4)]  # each once
    assert [(x["stage"], x["step"]) for x in log if losses & x["scalars"].keys()] == steps
    assert log[-1]["stage"] == "eval"


def test_all_files_of_a_run_are_in_the_bucket_and_none_here(bucket, bucket_run, tiny_run):
    def stable(names):  # names of Orbax and TensorFlow that differ between runs are left out
        changing = ("/d/", "events.out", "/ocdbt.process_0/")
        return {name for name in names if not any(part in name for part in changing)}

    files = storage.walk(tiny_run.workdir)
    in_folder = {file.relative_to(tiny_run.workdir).as_posix() for file in files}
    in_bucket = {name.removeprefix(f"{NAME}/") for name in bucket.names(f"{NAME}/")}
    assert stable(in_bucket) == stable(in_folder)
    for stage, starts in (("damsm", 1), ("attngan", 2), ("eval", 1)):
        assert len(bucket.names(f"{NAME}/{stage}/events/events.out.tfevents")) == starts
    assert bucket.names("birds/data/procedural_birds/")
    assert not list(tiny_runs.ROOT.glob("gs:*")) and not os.path.exists("/gs")


def test_a_run_on_gs_is_scored_again_followed_reported_and_sampled(bucket, bucket_run):
    before = json.loads(read(bucket, "report/metrics.json"))
    bucket.delete(f"{NAME}/report/metrics.json")
    suite.evaluate(WORKDIR)
    after = json.loads(read(bucket, "report/metrics.json"))
    assert after["r_precision"] == before["r_precision"]
    assert suite.is_finished(WORKDIR, 4) and not list(follow(WORKDIR, seconds=0.1))

    bucket.delete(f"{NAME}/report/index.html")
    done = tiny_runs.start_command(f"report --workdir {WORKDIR}")
    assert done.stdout.strip() == f"{WORKDIR}/report/index.html", done.stderr
    assert b"<html" in read(bucket, "report/index.html")

    files = sample(WORKDIR, ["a red bird"], "gs://birds/out", attention=True, seed=0, num_images=1)
    names = [f"caption_000_image_0{end}.png" for end in ("", "_attention")]
    assert [path.name for path in files] == ["grid.png", *names]
    picture = Image.open(io.BytesIO(bucket.objects["birds/out/caption_000_image_0.png"]))
    assert picture.size == (16, 16)


def test_weights_are_exported_to_a_bucket_and_imported_from_it(bucket, bucket_run):
    files, again = "gs://birds/exported", "gs://birds/imported"
    names = {path.stem: str(path) for path in export(WORKDIR, files)}
    assert bucket.objects["birds/exported/vocabulary.txt"] == read(bucket, "vocabulary.txt")
    words = read(bucket, "vocabulary.txt").decode().splitlines()
    bucket.put("birds/exported/captions.pickle", captions_pickle(words))
    config = configuration.load_workdir_config(WORKDIR)
    paths = {name: names[name] for name in ("text_encoder", "image_encoder")}
    paths |= {"generator": names["netG"], "discriminators": [names["netD0"], names["netD1"]]}
    model = read_original(config, captions=f"{files}/captions.pickle", **paths)
    write_workdir(config, again, model, 4)
    own, imported = TrainedModel.load(WORKDIR), TrainedModel.load(again)
    assert imported.step == 4 and imported.vocabulary.words == own.vocabulary.words
    jax.tree.map(np.testing.assert_array_equal, imported.variables, own.variables)
    saved = TrainedModel.load(files)  # the model folder that export wrote, too
    jax.tree.map(np.testing.assert_array_equal, saved.variables, own.variables)
    with pytest.raises(UserError, match=f"{again} is not empty"):
        write_workdir(config, again, model, 4)


@pytest.mark.parametrize("source, target", PLACES)
def test_stage_1_of_a_run_elsewhere_is_taken(source, target, bucket_run, tiny_run, tmp_path):
    source = storage.path({"bucket": WORKDIR, "folder": tiny_run.workdir}[source])
    target = storage.path({"bucket": f"gs://birds/taken/{source.name}", "folder": tmp_path}[target])
    config = configuration.load_workdir_config(source)
    old, new = Workdir(source), Workdir(target)
    storage.write_bytes(new.vocabulary, old.vocabulary.read_bytes())
    warm_start.take_damsm(config, target, source)
    assert Checkpoints.steps_in(target, "damsm") == Checkpoints.steps_in(source, "damsm") == [2, 4]
    words = len(old.vocabulary.read_text().splitlines())
    encoders = [load_encoders(config, words, folder) for folder in (target, source)]
    jax.tree.map(np.testing.assert_array_equal, *encoders)
    assert str(source) == json.loads(new.damsm_from.read_text())["workdir"]
    log = map(json.loads, new.metrics_log.read_text().splitlines())
    assert {line["stage"] for line in log} == {"damsm"}
