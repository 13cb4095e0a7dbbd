"""Folders and addresses in buckets, accessed in the same way; against a fake Cloud Storage."""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import pathlib

import numpy as np
import pytest
from google.api_core.exceptions import NotFound
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attngan_jax import configuration, storage
from attngan_jax.errors import UserError
from attngan_jax.evaluation.suite import scored_steps
from attngan_jax.interop.inception_weights import read_inception_weights
from attngan_jax.interop.state_dict_files import read_state_dict, sha256, write_safetensors
from attngan_jax.log_file import Log
from attngan_jax.reporting import figures, run_files
from attngan_jax.training.metric_writer import Metrics
from attngan_jax.workdir import Workdir
from configs import default
from tests import tiny_runs

NO_ERROR = contextlib.nullcontext()


def test_a_folder_is_a_plain_path_and_an_address_keeps_its_scheme(tmp_path):
    assert storage.path("runs/a") == pathlib.Path("runs/a")
    assert isinstance(storage.path(tmp_path), pathlib.Path)
    path = storage.path("gs://birds/runs") / "a" / "config.json"
    assert str(path) == os.fspath(path) == "gs://birds/runs/a/config.json"
    assert str(storage.path(path).parent) == "gs://birds/runs/a"


@pytest.mark.parametrize("address", ["s3://birds/run", "http://birds/run", "gs://", "gs:///"])
def test_addresses_with_another_scheme_are_refused(address):
    with pytest.raises(UserError, match=f"{address} is an address that nothing here can read"):
        storage.path(address)


@pytest.mark.parametrize("package", ["gcsfs", "google-cloud-storage"])
def test_a_missing_package_is_named(package, monkeypatch):
    def version(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    storage._require_packages.cache_clear()
    with pytest.raises(UserError, match=f"{package}, .*pip install -r requirements-gcs.txt"):
        storage.path("gs://birds/run")
    assert f"\n{package}>=" in (tiny_runs.ROOT / "requirements-gcs.txt").read_text()


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
def test_an_unreachable_bucket_is_one_line_after_one_request(gcs, address, status, message):
    gcs.refuse = lambda method, key: status if key == "birds" else None
    with pytest.raises(UserError, match=f"^--workdir: .*{message}") if message else NO_ERROR:
        storage.check_is_reachable("workdir", address)
    assert len([path for _, path in gcs.requests if "/o?" in path]) == 1


def test_a_missing_network_is_one_line(gcs):
    gcs.close()
    with pytest.raises(UserError, match="gs://birds cannot be reached"):
        storage.check_is_reachable("workdir", "gs://birds/run")


def test_an_upload_is_whole_or_nothing(gcs):
    path = storage.path("gs://birds/run/a.txt")
    storage.write_text(path, "new\né")
    gcs.refuse = lambda method, key: 403 if method == "POST" else None
    with pytest.raises(Exception, match="does not have access") as caught:
        storage.write_text(path, "newer")
    assert "Storage Admin" in storage.describe_error(caught.value)
    assert gcs.objects == {"birds/run/a.txt": "new\né".encode()}


def test_only_errors_of_the_store_are_described():
    assert storage.describe_error(OSError(errno.ENOSPC, "full")) is None
    assert storage.describe_error(ValueError("a cat ate it")) is None
    assert storage.describe_error(KeyError("no such key in gs://birds/run")) is None
    assert storage.describe_error(FileNotFoundError("gs://birds/run/a")) is None
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = ValueError('PERMISSION_DENIED: Error writing "gs://birds/run/damsm/2"')
    assert "PERMISSION_DENIED" in storage.describe_error(wrapped)


def bug(cause):
    raise TypeError("a mistake") from cause


@pytest.mark.parametrize("handle", [lambda: bug(None), lambda: bug(KeyError("a")), lambda: len(3)])
def test_a_bug_while_an_error_of_the_store_is_handled_is_no_error_of_it(gcs, handle):
    """For example where a missing object is looked for, and the code for that case has a bug."""
    with pytest.raises(TypeError) as caught:
        try:
            storage.blob("gs://birds/run/a").reload()
        except NotFound:
            handle()
    assert isinstance(caught.value.__context__, NotFound)
    assert storage.describe_error(caught.value) is None


@pytest.fixture(params=["folder", "bucket"])
def workdir(request, tmp_path):
    """An empty workdir of either kind."""
    if request.param == "folder":
        return tmp_path / "run"
    request.getfixturevalue("gcs")
    return storage.path("gs://birds/run")


def test_a_config_and_arrays_and_images_are_read_back(workdir):
    config = default.get_config()
    configuration.save_workdir_config(config, workdir)
    read = configuration.load_workdir_config(workdir)
    assert read.to_dict() == json.loads(json.dumps(config.to_dict()))
    pixels, here = np.arange(48, dtype=np.uint8).reshape(4, 4, 3), Workdir(workdir)
    storage.save_arrays(here.samples / "step_00000002.npz", images_4=pixels[None])
    captions = np.array(["a bird"])
    storage.save_arrays(here.fixed_samples, captions=captions, real_images=pixels[None])
    samples = run_files.read_samples(workdir)
    assert samples.steps == [2]
    np.testing.assert_array_equal(samples.last[4][0], pixels)
    figures.save_png(pixels, here.report / "a.png")
    assert (here.report / "a.png").read_bytes().startswith(b"\x89PNG")
    names = sorted(path.name for path in storage.walk(workdir))
    assert names == ["a.png", "config.json", "fixed.npz", "step_00000002.npz"]


def test_two_processes_write_one_log(workdir):
    """Training, and `evaluate --follow` beside it."""
    workdir.mkdir(parents=True, exist_ok=True)
    one, other = (Log(workdir / "metrics.jsonl") for _ in range(2))
    for log, line in ((one, "a"), (other, "b"), (other, "c"), (one, "d")):
        log.append(line)
    Log(workdir / "metrics.jsonl").append("e")
    assert (workdir / "metrics.jsonl").read_text() == "a\nb\nc\nd\ne\n"


def test_a_bucket_gets_no_more_of_a_log_than_its_new_line(gcs):
    log = Log(storage.path("gs://birds/log"))
    for number in range(40):
        log.append(f"{number:0100}")
    assert gcs.objects["birds/log"].decode().split() == [f"{n:0100}" for n in range(40)]
    assert list(gcs.objects) == ["birds/log"]
    assert gcs.received < 40 * 3000  # all of it each time: 83 kB of content alone


def test_a_line_whose_response_was_lost_is_not_written_twice(gcs):
    for before in (b"", b"a\n"):
        gcs.put("birds/log", before)
        log = Log(storage.path("gs://birds/log"))
        gcs.put("birds/log", before + b"b\n")  # as it is when the response to "b" gets lost
        log.append("b")
        assert gcs.objects["birds/log"] == before + b"b\n"


def test_a_log_that_another_process_writes_meanwhile_or_removes(gcs):
    gcs.put("birds/log", b"a\n")
    log = Log(storage.path("gs://birds/log"))
    gcs.put("birds/log", b"a\nb\n")
    log.append("c")
    assert gcs.objects["birds/log"] == b"a\nb\nc\n"
    gcs.delete("birds/log")
    log.append("d")
    assert gcs.objects == {"birds/log": b"d\n"}


def test_lines_are_kept_or_removed_and_others_may_write_on(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    one, other = (Log(workdir / "metrics.jsonl") for _ in range(2))
    for line in "abcd":
        other.append(line)
    one.keep_lines(lambda line: line != b"c\n")
    other.append("e")
    one.append("f")
    assert (workdir / "metrics.jsonl").read_text() == "a\nb\nd\ne\nf\n"


def test_metrics_are_in_the_bucket_with_their_event_files(gcs, tmp_path, monkeypatch):
    monkeypatch.setattr("attngan_jax.training.metric_writer.COPY_SECONDS", 0.0)
    metrics = Metrics("gs://birds/run", "eval")
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
        assert tiny_runs.start_python("-c", program).stdout == "7.0\n"
    assert any(name.startswith("birds/cache/jit__lambda") for name in gcs.objects)
    reads = [path for _, path in gcs.requests if "alt=media" in path and "jit__lambda" in path]
    assert len(reads) == 1


def test_weights_are_read_from_a_bucket(gcs):
    path, missing = "gs://birds/weights/net.safetensors", "gs://birds/weights/other.pth"
    weights = {"conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    write_safetensors(path, weights)
    np.testing.assert_array_equal(read_state_dict(path)["conv.weight"], weights["conv.weight"])
    content = gcs.objects["birds/weights/net.safetensors"]
    assert sha256(path) == hashlib.sha256(content).hexdigest()
    with pytest.raises(UserError, match=f"{missing} cannot be read: No such"):
        read_state_dict(missing)
    with pytest.raises(UserError, match=f"{missing} cannot be read .No such"):
        read_inception_weights(missing)
