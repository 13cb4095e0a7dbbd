"""Several processes are one run: the same examples, the same losses, one stop for all."""

import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from PIL import Image

from attngan_jax.data import datasets
from attngan_jax.errors import Stopped, UserError
from attngan_jax.evaluation import suite
from attngan_jax.sampling.trained_model import load_encoders
from attngan_jax.training import loop, multihost, parallel
from attngan_jax.training.attngan_task import AttnganTask
from attngan_jax.training.checkpoints import Checkpoints
from attngan_jax.training.damsm_task import DamsmTask
from attngan_jax.workdir import Workdir
from tests import tiny_runs
from tests.same_metrics import assert_same_metrics
from tests.training import one_device

STEPS = {"damsm": 3, "attngan": 14}
COMPARED = 3  # steps of a resumed run; rounding grows in a GAN
SETTINGS = {"log_every_steps": 1, "generator.single_image": True}
SETTINGS |= {f"{stage}.num_train_steps": count for stage, count in STEPS.items()}
SETTINGS |= {f"attngan.{name}_every_steps": 1000 for name in ("checkpoint", "sample")}


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def start(commands, path, num_devices):
    """Processes of `python -m MODULE ...`; what number k says goes to the file PATH.k.log."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(num_devices)}
    processes, options = [], dict(cwd=tiny_runs.ROOT, env=environment, stderr=subprocess.STDOUT)
    for k, command in enumerate(commands):
        command = [sys.executable, "-m", *map(str, command)]
        with open(f"{path}.{k}.log", "w", encoding="utf-8") as log:
            processes.append(subprocess.Popen(command, stdout=log, **options))
    return processes


def flags_of(num_processes):
    """By which each process finds the others."""
    run = (f"--coordinator=localhost:{free_port()}", f"--num_processes={num_processes}")
    return [(*run, f"--process_index={k}") for k in range(num_processes)]


def start_main(workdir, data_dir, num_processes, num_devices, seconds=0.0):
    """The processes of one run of `main`, which also record their batches."""
    settings = {"data.data_dir": data_dir} | SETTINGS
    arguments = [f"--config={tiny_runs.CONFIG}", f"--workdir={workdir}"]
    arguments += [f"--config.{key}={value}" for key, value in settings.items()]
    commands = [
        ("tests.training.recorded_main", f"{workdir}.{k}.records", seconds, *flags, *arguments)
        for k, flags in enumerate(flags_of(num_processes))
    ]
    return start(commands, workdir, num_devices)


def finish(processes, path):
    """What each process said, once all have ended with 0."""
    try:
        codes = [process.wait(timeout=800) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [pathlib.Path(f"{path}.{k}.log").read_text() for k in range(len(processes))]
    assert codes == [0] * len(processes), "\n".join(text[-2000:] for text in said)
    return said


def losses(workdir, stage, name="train/damsm_loss"):
    """step -> scalars of a stage, where `name` is among them."""
    lines = map(json.loads, Workdir(workdir).metrics_log.read_text().splitlines())
    lines = [line for line in lines if line["stage"] == stage and name in line["scalars"]]
    return {line["step"]: line["scalars"] for line in lines}


def records(workdir, stage, num_processes):
    """The records of each global batch, the processes' shares concatenated."""
    shares = []
    for k in range(num_processes):
        lines = pathlib.Path(f"{workdir}.{k}.records").read_text().splitlines()
        shares.append([index for of, index in map(json.loads, lines) if of == stage])
    return [sum(share, []) for share in zip(*shares)]


@pytest.fixture
def config(tiny_config):
    tiny_config.update_from_flattened_dict(SETTINGS)
    return tiny_config


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, tiny_data_dir):
    """A run on two processes of two devices, stopped by SIGTERM to the second one."""
    workdir = tmp_path_factory.mktemp("hosts") / "run"
    processes = start_main(workdir, tiny_data_dir, 2, 2, seconds=1.0)
    while not (Workdir(workdir).metrics_log.exists() and len(losses(workdir, "attngan")) >= 2):
        assert all(process.poll() is None for process in processes), finish(processes, workdir)
        time.sleep(0.2)
    processes[1].send_signal(signal.SIGTERM)
    return workdir, finish(processes, workdir)


@pytest.mark.slow
def test_sigterm_to_one_process_stops_all_after_the_same_step(stopped):
    workdir, said = stopped
    step, logged = Checkpoints.steps_in(workdir, "attngan")[-1], losses(workdir, "attngan")
    line = f"stopped by SIGTERM after step {step} of stage attngan, which is saved; run the same "
    assert all(line + "command again" in text for text in said) and step == max(logged), said
    assert "Traceback" not in "".join(said)


@pytest.mark.slow
def test_one_process_trains_on_the_same_examples_with_the_same_losses(stopped, tmp_path, config):
    """Stage 1 from its start; stage 2 from where the two processes stopped."""
    workdir, _ = stopped
    dataset = datasets.load(config)
    damsm = DamsmTask(config, len(dataset.vocabulary))
    expected = [b["index"].tolist() for b in one_device.batches(damsm, dataset, STEPS["damsm"])]
    assert records(workdir, "damsm", 2)[: STEPS["damsm"]] == expected
    loop.train(damsm, dataset, tmp_path)
    assert_same_losses(losses(tmp_path, "damsm"), losses(workdir, "damsm"), (1, 2, 3))


@pytest.mark.slow
def test_it_resumes_on_one_process_or_on_four(stopped, tmp_path, tiny_data_dir, config):
    workdir, _ = stopped
    begun = max(losses(workdir, "attngan"))
    one, four = (shutil.copytree(workdir, tmp_path / name) for name in ("one", "four"))
    said = finish(start_main(four, tiny_data_dir, 4, 1), four)
    assert "All done. The report is" in said[0]
    assert not any("All done" in text or "batches" in text for text in said[1:])
    assert_scores_do_not_depend_on_processes(four, tmp_path)
    dataset = datasets.load(config)
    words = len(dataset.vocabulary)
    task = AttnganTask(config, words)
    config.attngan.num_train_steps = begun + COMPARED
    loop.train(task, dataset, one, frozen=load_encoders(config, words, one))

    steps = range(begun + 1, begun + COMPARED + 1)
    assert_same_losses(losses(one, "attngan"), losses(four, "attngan"), steps)
    expected = [b["index"].tolist() for b in one_device.batches(task, dataset, STEPS["attngan"])]
    assert records(workdir, "attngan", 2)[:begun] == expected[:begun]
    assert records(four, "attngan", 4)[: STEPS["attngan"] - begun] == expected[begun:]


def assert_scores_do_not_depend_on_processes(workdir, folder):
    """Scores a run again that four processes of a device have scored, and keeps the images."""
    ignored = shutil.ignore_patterns("report", "reference")
    here, two = (shutil.copytree(workdir, folder / f"{n} again", ignore=ignored) for n in (1, 2))
    images = [folder / f"images by {n}" for n in (1, 2)]
    arguments = ("attngan_jax.evaluate", f"--workdir={two}", f"--save_images={images[1]}")
    said = finish(start([(*arguments, *flags) for flags in flags_of(2)], two, 2), two)
    assert "The report is" in said[0] and "R-precision" in Workdir(two).page.read_text()
    assert not any("step 14" in text or "batches" in text for text in said[1:])
    assert_same_metrics(metrics(workdir), metrics(two))
    again = suite.evaluate(here, save_images=images[0])  # one process of four devices
    assert_same_metrics(metrics(workdir), again)
    manifests = [json.loads((one / "manifest.json").read_text()) for one in images]
    assert manifests[0]["complete"] and manifests[0]["images"] == manifests[1]["images"]
    for entry in manifests[0]["images"]:
        one, other = (np.asarray(Image.open(i / entry["file"]), int) for i in images)
        assert np.abs(one - other).max() <= 1  # of 255 levels: rounding


def metrics(workdir):
    """The recorded scores of a run, which are once in the log of scalars as well."""
    assert list(losses(workdir, "eval", "eval/r_precision"))[-1] == STEPS["attngan"]
    assert list(Workdir(workdir).reference.glob("damsm-*.npz"))
    return json.loads(Workdir(workdir).metrics.read_text())


def assert_same_losses(ones, others, steps):
    for step in steps:
        for scalars in (ones[step], others[step]):
            del scalars["train/data_wait_fraction"]
        assert ones[step] == pytest.approx(others[step], rel=1e-3), step


@pytest.mark.parametrize("number, name", [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_to_a_single_process(
    number, name, tiny_config, tiny_dataset, tmp_path, monkeypatch
):
    batches = itertools.count()

    def shard_batch(batch, mesh, original=parallel.shard_batch):
        if next(batches) == 2:  # the second one made ahead, during the first step or the second
            os.kill(os.getpid(), number)
        return original(batch, mesh)

    def train(num_train_steps):
        tiny_config.damsm.num_train_steps = num_train_steps
        task, _ = one_device.make_task("damsm", tiny_config, tiny_dataset)
        return loop.train(task, tiny_dataset, tmp_path)

    monkeypatch.setattr(parallel, "shard_batch", shard_batch)
    tiny_config.damsm.checkpoint_every_steps = 50
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:  # pytest itself runs in the background of a script
        pytest.skip("this process ignores the signal")
    with pytest.raises(Stopped) as stopped:
        train(50)
    assert signal.getsignal(number) is before
    (step,) = Checkpoints.steps_in(tmp_path, "damsm")
    assert f"stopped by {name} after step {step} of stage damsm" in str(stopped.value)
    assert step in range(1, 5)
    assert int(train(step + 1).step) == step + 1


def test_a_second_ctrl_c_ends_at_once_whatever_the_main_thread_does():
    code = "import signal, time; from attngan_jax.training.multihost import stop_signal\n"
    code += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as on a terminal
    code += "with stop_signal() as reason: print('ready', flush=True); time.sleep(300)"
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tiny_runs.ROOT)
    with subprocess.Popen([sys.executable, "-c", code], **options) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            told = process.stderr.readline() + process.stderr.readline()
            assert "saving after this step" in told and process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 1
            assert "stopped at once: the last checkpoint is kept" in process.stderr.read()
        finally:
            process.kill()


def test_who_gets_no_signal_and_what_is_ignored_stays_so():
    asked = []

    def in_a_thread():
        with multihost.stop_signal() as reason:
            asked.append(reason())

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with multihost.stop_signal() as reason:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            asked.append(reason())
    finally:
        signal.signal(signal.SIGINT, before)
    assert asked == ["", ""]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("localhost:1", 2, None), "--process_index belong together"),
        ((None, 2, 0), "belong together: give all three, or --distributed alone"),
        (("localhost:1", 2, 2), "--process_index is 2 of --num_processes=2"),
    ],
)
def test_processes_that_are_told_too_little_say_so(arguments, message):
    with pytest.raises(UserError, match=message):
        multihost.initialise(*arguments)


def test_processes_agree_and_fail_together(tmp_path):
    address, count, path = f"localhost:{free_port()}", 3, tmp_path / "together"
    module = "tests.training.together"
    commands = [(module, address, count, k, f"{path}.{k}.json") for k in range(count)]
    finish(start(commands, path, 2), path)
    said = [json.loads(pathlib.Path(f"{path}.{k}.json").read_text()) for k in range(count)]

    def of_all(name):
        return [outcomes[name] for outcomes in said]

    assert of_all("own") == [[k, True] for k in range(count)]
    assert of_all("first_alone") == [[0, True], None, None]
    assert of_all("told") == 3 * [{"steps": [0, None], "é": "ü"}]
    assert of_all("told_again") == 3 * [[True, [0]]]  # msgpack has no tuples
    stopped_by = "UserError: process {} has stopped: see the last line of its log".format
    assert of_all("second_fails") == [stopped_by(1), "OSError: no room for 1", stopped_by(1)]
    for name in ("first_fails", "telling_fails"):
        assert of_all(name) == ["OSError: no room for 0", stopped_by(0), stopped_by(0)]
    assert of_all("after") == 3 * ["still together"]
    third = float(np.float32(1 / 3))
    assert of_all("received") == 3 * [[3 * [[third, third]], 5]]
    assert of_all("total") == 3 * [pytest.approx(10)] and of_all("devices") == 3 * [6]


def test_a_single_process_is_the_first_and_never_waits():
    assert multihost.is_first() and multihost.index_and_count() == (0, 1)
    assert multihost.on_first(multihost.is_alone, "test") is False
    assert multihost.on_each(multihost.is_alone, "test") is False
    assert multihost.from_first(lambda: {"a": [1, None]}, "test") == {"a": [1, None]}
    with multihost.first_goes_first("test"):
        assert parallel.make_mesh().size == jax.device_count()
