"""Folders and addresses in buckets, one way to both; against a stand-in for Cloud Storage."""

import errno
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attngan_jax import configuration, storage
from attngan_jax.errors import UserError
from attngan_jax.evaluation.follow import scored_steps
from attngan_jax.interop.inception_weights import read_inception_weights
from attngan_jax.interop.state_dict_files import read_state_dict, sha256, write_safetensors
from attngan_jax.reporting import figures, run_files
from attngan_jax.storage import save_arrays
from attngan_jax.training.metric_writer import Metrics
from configs import default
from tests import tiny_runs


def test_a_folder_is_a_plain_path_and_an_address_keeps_its_scheme(tmp_path):
    assert storage.path("runs/a") == pathlib.Path("runs/a")
    assert isinstance(storage.path(tmp_path), pathlib.Path)
    place = storage.path("gs://birds/runs") / "a" / "config.json"
    assert str(place) == os.fspath(place) == "gs://birds/runs/a/config.json"
    assert str(storage.path(place).parent) == "gs://birds/runs/a"


@pytest.mark.parametrize("address", ["s3://birds/run", "http://birds/run", "gs://", "gs:///"])
def test_addresses_of_another_kind_are_refused(address):
    with pytest.raises(UserError, match=f"{address} is an address that nothing here can read"):
        storage.path(address)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(storage.importlib.util, "find_spec", lambda name: None)
    storage._require_packages.cache_clear()
    with pytest.raises(UserError, match="pip install -r requirements-gcs.txt"):
        storage.path("gs://birds/run")
    assert (tiny_runs.ROOT / "requirements-gcs.txt").exists()


def refused(gcs, status):
    gcs.refuse = lambda method, key: status if key == "birds" else None


@pytest.mark.parametrize(
    "address, status, message",
    [
        ("gs://nobirds/run", None, "there is no bucket gs://nobirds: make it"),
        ("gs://birds/run", 403, "gs://birds may not be read .*does not have access.*Storage Admin"),
        ("gs://birds/run", 401, "no usable credentials for gs://birds .*gcloud auth"),
        ("gs://birds/run", 503, "gs://birds cannot be reached .*check the network"),
        ("gs://birds/run", None, None),
    ],
)
def test_a_bucket_out_of_reach_is_one_line_after_one_question(gcs, address, status, message):
    refused(gcs, status)
    if message is None:
        storage.check("workdir", address)
    else:
        with pytest.raises(UserError, match=f"^--workdir: .*{message}"):
            storage.check("workdir", address)
    assert len([path for _, path in gcs.requests if "/o?" in path]) == 1


def test_a_network_that_is_not_there_is_one_line(gcs):
    gcs.close()
    with pytest.raises(UserError, match="gs://birds cannot be reached"):
        storage.check("workdir", "gs://birds/run")


@pytest.mark.parametrize("status", [403, None])
def test_an_upload_is_whole_or_nothing(gcs, status):
    place = storage.path("gs://birds/run/a.txt")
    storage.write_text(place, "old")
    gcs.refuse = lambda method, key: status if method == "POST" else None
    if status:
        with pytest.raises(Exception, match="does not have access") as caught:
            storage.write_text(place, "new")
        assert "Storage Admin" in storage.describe_error(caught.value)
    else:
        storage.write_text(place, "new\né")
    assert gcs.objects == {"birds/run/a.txt": b"old" if status else "new\né".encode()}


def test_errors_that_are_not_of_the_bucket_are_no_trouble_of_it():
    assert storage.describe_error(OSError(errno.ENOSPC, "full")) is None
    assert storage.describe_error(ValueError("a cat ate it")) is None
    assert storage.describe_error(KeyError("no such key in gs://birds/run")) is None
    assert storage.describe_error(FileNotFoundError("gs://birds/run/a")) is None
    tensorstore = ValueError('PERMISSION_DENIED: Error writing "gs://birds/run/damsm/2"')
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = tensorstore
    assert "PERMISSION_DENIED" in storage.describe_error(wrapped)


def test_a_bug_beside_an_error_of_the_bucket_is_no_trouble_of_it(gcs):
    """As where an object that isn't there is asked for, and what comes instead has a fault."""
    from google.api_core.exceptions import NotFound

    for cause in (None, KeyError("another")):
        with pytest.raises(TypeError) as caught:
            try:
                storage.blob(storage.path("gs://birds/run/a")).reload()
            except NotFound:
                raise TypeError("a mistake") from cause
        assert isinstance(caught.value.__context__, NotFound)
        assert storage.describe_error(caught.value) is None
    with pytest.raises(TypeError) as caught:
        try:
            storage.blob(storage.path("gs://birds/run/a")).reload()
        except NotFound:
            len(3)
    assert isinstance(caught.value.__context__, NotFound)
    assert storage.describe_error(caught.value) is None


@pytest.fixture(params=["folder", "bucket"])
def workdir(request, tmp_path):
    """An empty workdir of either kind; the same is asked of both."""
    if request.param == "folder":
        return tmp_path / "run"
    request.getfixturevalue("gcs")
    return storage.path("gs://birds/run")


def test_a_config_and_arrays_and_pictures_come_back(workdir):
    config = default.get_config()
    configuration.save_workdir_config(config, workdir)
    assert configuration.load_workdir_config(workdir).to_dict() == json.loads(
        json.dumps(config.to_dict())
    )
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    save_arrays(workdir / "samples" / "step_00000002.npz", images_4=pixels[None])
    save_arrays(
        workdir / "samples" / "fixed.npz", captions=np.array(["a bird"]), real_images=pixels[None]
    )
    samples = run_files.read_samples(workdir / "samples")
    assert samples.steps == [2]
    np.testing.assert_array_equal(samples.last[4][0], pixels)
    figures.save_png(pixels, workdir / "report" / "a.png")
    assert (workdir / "report" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in storage.walk(workdir)) == [
        "a.png",
        "config.json",
        "fixed.npz",
        "step_00000002.npz",
    ]


def test_two_processes_write_one_log(workdir):
    """The training and `evaluate --follow` beside it."""
    workdir.mkdir(parents=True, exist_ok=True)
    one, other = (storage.Log(workdir / "metrics.jsonl") for _ in range(2))
    one.append("a")
    other.append("b")
    other.append("c")
    one.append("d")
    assert (workdir / "metrics.jsonl").read_text() == "a\nb\nc\nd\n"
    storage.Log(workdir / "metrics.jsonl").append("e")
    assert (workdir / "metrics.jsonl").read_text() == "a\nb\nc\nd\ne\n"


def test_a_line_whose_answer_was_lost_is_not_written_twice(gcs):
    place = storage.path("gs://birds/run/metrics.jsonl")
    log = storage.Log(place)
    log.append("a")
    gcs.put("birds/run/metrics.jsonl", b"a\nb\n")  # as it is when the answer to "b" gets lost
    log.append("b")
    assert place.read_text() == "a\nb\n"


def test_a_log_that_is_written_while_it_is_read_is_read_again(gcs):
    gcs.put("birds/run/metrics.jsonl", b"a\n")
    asked = []

    def between_the_questions(method, key):
        if key.endswith("metrics.jsonl"):
            asked.append(method)
            if len(asked) == 2:  # the first was for the generation, this is for the text
                gcs.put(key, b"a\nb\n")

    gcs.refuse = between_the_questions
    storage.Log(storage.path("gs://birds/run/metrics.jsonl")).append("c")
    assert gcs.objects["birds/run/metrics.jsonl"] == b"a\nb\nc\n"
    assert asked == ["GET"] * 4 + ["POST"]


def test_metrics_are_in_the_bucket_with_their_event_files(gcs, tmp_path, monkeypatch):
    monkeypatch.setattr("attngan_jax.training.metric_writer.COPY_SECONDS", 0.0)
    metrics = Metrics("gs://birds/run", "eval", 4)
    metrics.write(2, {"eval/a": 1.0})
    (name,) = gcs.names("birds/run/eval/events/")
    first = len(gcs.objects[name])
    assert first > 0  # copied while it is being written
    metrics.write(4, {"eval/a": 3.0})
    folder = metrics.event_folder
    metrics.close()
    assert len(gcs.objects[name]) > first and not folder.exists()
    assert scored_steps("gs://birds/run") == {2, 4}
    (tmp_path / "events.out.tfevents").write_bytes(gcs.objects[name])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Tensors("eval/a")] == [2, 4]


def test_compiled_programs_are_kept_in_a_bucket(gcs):
    """`compilation_cache_dir` goes to jax, which goes through the same libraries."""
    program = (
        "import attngan_jax, jax; "
        "jax.config.update('jax_compilation_cache_dir', 'gs://birds/cache'); "
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0); "
        "print(jax.jit(lambda x: x * 3 + 1)(2.0))"
    )
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tiny_runs.ROOT,
            text=True,
            capture_output=True,
            timeout=300,
        )
        assert done.stdout == "7.0\n", done.stderr
    assert any(name.startswith("birds/cache/jit__lambda") for name in gcs.objects)
    reads = [path for _, path in gcs.requests if "alt=media" in path and "jit__lambda" in path]
    assert len(reads) == 1


def test_weights_are_read_from_a_bucket(gcs):
    place = "gs://birds/weights/net.safetensors"
    weights = {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    write_safetensors(place, weights)
    np.testing.assert_array_equal(read_state_dict(place)["conv.weight"], weights["conv.weight"])
    content = gcs.objects["birds/weights/net.safetensors"]
    assert sha256(place) == hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError, match="gs://birds/weights/other.pth cannot be read: No such"):
        read_state_dict("gs://birds/weights/other.pth")
    with pytest.raises(UserError, match="gs://birds/weights/other.pth cannot be read .No such"):
        read_inception_weights("gs://birds/weights/other.pth")
