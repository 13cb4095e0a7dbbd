"""launch/tpu and launch/gke, with fakes of gcloud, xpk, docker and kubectl that log their calls."""

import json
import pathlib
import shlex
import shutil
import subprocess
import tarfile

import pytest

from tests import launching
from tests.tiny_runs import ROOT

SCRIPTS = sorted((ROOT / "launch").rglob("*.sh"))
FAKES = ("gcloud", "xpk", "docker", "kubectl")
FAKE = """#!/usr/bin/env python3
import json, os, shutil, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if "scp" in sys.argv and "--recurse" not in sys.argv:
    source, = [word for word in sys.argv if word.endswith(".tar.gz")]
    shutil.copy(source, os.environ["CALLS"] + ".tar.gz")
sys.exit(int(os.environ.get("FAILS", "0")))
"""
NO_SHELLCHECK = "shellcheck is not installed (Debian: apt install shellcheck)"
ZONE = "ZONE=us-west4-a"
TPU = f"{ZONE} NAME=birds"
VM = "gcloud compute tpus tpu-vm"
QUEUE = "gcloud compute tpus queued-resources"
AT = "--zone=us-west4-a"
SSH = f"{VM} ssh birds {AT}"
IMAGE = "docker.pkg.dev/me/birds"
GKE = f"CLUSTER=birds {ZONE} TYPE=v5litepod-16 IMAGE={IMAGE}"
CLUSTER = f"--cluster=birds {AT}"
WORKLOAD = rf"""xpk workload create {CLUSTER} --workload=attngan --tpu-type=v5litepod-16 \
    --num-slices=1 --docker-image={IMAGE} --command"""
# What a user types, and the calls that follow from it. HERE is a folder of the test's.
TRANSCRIPTS = rf"""
$ {TPU} TYPE=v5litepod-8 bash launch/tpu/create.sh
{VM} create birds {AT} --accelerator-type=v5litepod-8 --version=v2-alpha-tpuv5-lite
$ {TPU} TYPE=v4-32 PROJECT=mine bash launch/tpu/create.sh
{VM} create birds {AT} --project=mine --accelerator-type=v4-32 --version=tpu-ubuntu2204-base
$ {TPU} TYPE=v6e-16 MODE=queued VALID=6h bash launch/tpu/create.sh
{QUEUE} create birds {AT} --node-id=birds --accelerator-type=v6e-16 \
    --runtime-version=v2-alpha-tpuv6e --valid-until-duration=6h
$ {TPU} TYPE=v5p-8 MODE=spot bash launch/tpu/create.sh
{QUEUE} create birds {AT} --node-id=birds --accelerator-type=v5p-8 \
    --runtime-version=v2-alpha-tpuv5 --spot
$ {TPU} TYPE=v5litepod-8 RUNTIME=another bash launch/tpu/create.sh
{VM} create birds {AT} --accelerator-type=v5litepod-8 --version=another
$ {TPU} WORKDIR='gs://bucket/my runs' bash launch/tpu/run.sh --config c.py '--config.name=my birds'
{SSH} --worker=all '--command=cd attngan_jax || exit 1; WORKDIR=gs://bucket/my\ runs \
nohup bash launch/tpu/worker.sh --config c.py --config.name=my\ birds >/dev/null 2>&1 </dev/null &'
$ {TPU} WORKDIR=bucket/runs/cub bash launch/tpu/follow.sh
{SSH} --worker=0 '--command=cd attngan_jax && tail -n 200 -F bucket/runs/cub/logs/worker-0.log'
$ {TPU} WORKDIR='/mnt/my runs' WORKER=2 bash launch/tpu/follow.sh
{SSH} --worker=2 '--command=cd attngan_jax && tail -n 200 -F /mnt/my\ runs/logs/worker-2.log'
$ {TPU} WORKDIR=gs://bucket/runs/cub bash launch/tpu/follow.sh
{SSH} --worker=0 \
    '--command=cd attngan_jax && tail -n 200 -F logs/bucket/runs/cub/worker-0.log'
$ {TPU} WORKDIR=gs://bucket/runs/cub/ TO=HERE/cub bash launch/tpu/fetch.sh
gcloud storage rsync --recursive gs://bucket/runs/cub HERE/cub
$ {TPU} WORKDIR=runs/cub TO=HERE/cub bash launch/tpu/fetch.sh
{VM} scp --recurse birds:attngan_jax/runs/cub HERE/cub {AT} --worker=0
$ {TPU} WORKDIR=/mnt/cub TO=HERE/cub bash launch/tpu/fetch.sh
{VM} scp --recurse birds:/mnt/cub HERE/cub {AT} --worker=0
$ {TPU} bash launch/tpu/delete.sh
{VM} delete birds {AT} --quiet
$ {TPU} MODE=spot bash launch/tpu/delete.sh
{QUEUE} delete birds {AT} --force --quiet
$ {GKE} BUCKET=my-birds MODE=spot bash launch/gke/xpk.sh cluster
xpk cluster create {CLUSTER} --tpu-type=v5litepod-16 --num-slices=1 --spot \
    --enable-gcsfuse-csi-driver
xpk storage attach bucket {CLUSTER} --type=gcsfuse --bucket=my-birds --mount-point=/bucket \
    --readonly=false --size=1 --auto-mount=true
$ {GKE} bash launch/gke/xpk.sh cluster
xpk cluster create {CLUSTER} --tpu-type=v5litepod-16 --num-slices=1 --on-demand
$ {GKE} bash launch/gke/xpk.sh image
docker build --file launch/gke/Dockerfile --tag {IMAGE} .
docker push {IMAGE}
$ {GKE} BUCKET=my-birds bash launch/gke/xpk.sh run --config configs/cub.py
{WORKLOAD} 'python -m attngan_jax.main --distributed --workdir /bucket/runs/attngan \
--config configs/cub.py'
$ {GKE} WORKDIR=gs://my-birds/cub bash launch/gke/xpk.sh run --config configs/cub.py
{WORKLOAD} 'python -m attngan_jax.main --distributed --workdir gs://my-birds/cub \
--config configs/cub.py'
$ {GKE} bash launch/gke/xpk.sh follow
kubectl logs --follow --selector=jobset.sigs.k8s.io/jobset-name=attngan,\
batch.kubernetes.io/job-completion-index=0
$ {GKE} bash launch/gke/xpk.sh stop
xpk workload delete {CLUSTER} --workload=attngan
$ {GKE} PROJECT=mine bash launch/gke/xpk.sh delete
xpk cluster delete {CLUSTER} --project=mine
""".strip().split("\n$ ")


@pytest.fixture
def start(tmp_path):
    """Runs a command from another folder; returns its end and the calls of the fake programs."""
    for name in FAKES:
        launching.write_program(tmp_path / "bin" / name, FAKE)
    calls = tmp_path / "calls"

    def run(command):
        calls.write_text("")
        settings = {"CALLS": str(calls), "HOME": str(tmp_path)}
        done = launching.run(command, ROOT, tmp_path, tmp_path / "bin", **settings)
        return done, [json.loads(line) for line in calls.read_text().splitlines()]

    return run


def printed(dry_run):
    """The calls of the fake programs that a dry run printed."""
    commands = [shlex.split(line) for line in dry_run.stdout.splitlines()]
    assert {words[0] for words in commands} <= {*FAKES, "#", "git", "mkdir"}
    return [words for words in commands if words[0] in FAKES]


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda text: text.partition("\n")[0])
def test_a_script_makes_these_calls_and_a_dry_run_prints_them(start, tmp_path, transcript):
    transcript = transcript.replace("HERE", str(tmp_path)).replace("\\\n", "")
    command, *lines = transcript.removeprefix("$ ").splitlines()
    expected = [shlex.split(line) for line in lines]
    dry, none = start(command.replace(".sh", ".sh --dry-run", 1))
    assert dry.returncode == 0 and none == [], dry.stderr
    assert printed(dry) == expected and not (tmp_path / "cub").exists()
    done, calls = start(command)
    assert done.returncode == 0, done.stderr
    assert calls == expected


def test_setup_sends_what_is_committed_and_installs_python(start, tmp_path):
    dry, none = start(f"{TPU} bash launch/tpu/setup.sh --dry-run")
    assert dry.returncode == 0 and none == [], dry.stderr
    done, calls = start(f"{TPU} bash launch/tpu/setup.sh")
    assert done.returncode == 0, done.stderr
    (*_, archive, _, _, _), (*_, command) = calls
    assert archive.endswith("/attngan_jax.tar.gz") and not pathlib.Path(archive).exists()
    assert calls == [
        shlex.split(f"{VM} scp {archive} birds: {AT} --worker=all"),
        shlex.split(f"{SSH} --worker=all {shlex.quote(command)}"),
    ]
    (*_, other, _, _, _), _ = printed(dry)
    assert [[archive if word == other else word for word in call] for call in printed(dry)] == calls
    with tarfile.open(tmp_path / "calls.tar.gz") as sent:
        names = "requirements-tpu.txt requirements-gcs.txt launch/environment.sh launch/tpu/logs.sh"
        names = {*names.split(), "attngan_jax/main.py"}
        assert {f"attngan_jax/{name}" for name in names} <= set(sent.getnames())
    script = command.removeprefix("--command=")
    for part in (
        "tar -xzf attngan_jax.tar.gz",
        "uv python install --quiet 3.12",
        "launch/environment.sh requirements.txt requirements-gcs.txt requirements-tpu.txt",
    ):
        assert part in script
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0


def test_setup_mounts_a_bucket(start):
    done, calls = start(f"{TPU} BUCKET=gs://my-birds bash launch/tpu/setup.sh")
    assert done.returncode == 0, done.stderr
    *_, workers, command = calls[2]
    mount = "gcsfuse --implicit-dirs --rename-dir-limit=1000000 my-birds bucket"
    assert workers == "--worker=all" and command.endswith(mount) and "signed-by=$key" in command
    script = command.removeprefix("--command=")
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0


def test_what_run_sends_starts_main_on_a_worker(start, tmp_path):
    flags = "--config configs/cub.py '--config.name=my birds'"
    _, ((*_, command),) = start(f"{TPU} WORKDIR=bucket/runs/cub bash launch/tpu/run.sh {flags}")
    project = launching.copy_project(tmp_path / "attngan_jax", FAKE)  # in a worker's home
    calls = tmp_path / "there"
    script = command.removeprefix("--command=").removesuffix(" >/dev/null 2>&1 </dev/null &")
    done = launching.run(script, cwd=tmp_path, CALLS=str(calls), WORKER="3")
    assert done.returncode == 0, done.stderr
    main = "python -m attngan_jax.main --distributed --workdir bucket/runs/cub"
    assert json.loads(calls.read_text()) == shlex.split(f"{main} {flags}")
    assert (project / "bucket/runs/cub/logs/worker-3.log").exists()


def test_run_returns_while_the_workers_work(start, tmp_path):
    """ssh waits for every process that holds its output: only the log may hold a worker's."""
    _, ((*_, command),) = start(f"{TPU} WORKDIR=runs/r bash launch/tpu/run.sh --config c.py")
    launching.copy_project(tmp_path / "attngan_jax", "#!/bin/sh\nsleep 40\n")
    script = command.removeprefix("--command=")
    run = ["bash", "-c", f"export WORKER=0; {script}"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_image_holds_what_it_copies():
    lines = (ROOT / "launch" / "gke" / "Dockerfile").read_text().splitlines()
    kept = (ROOT / "launch" / "gke" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists() and f"!{source}" in kept


@pytest.mark.parametrize(
    "command, part",
    [
        ("bash launch/tpu/create.sh", "say where the TPU is"),
        (f"{TPU} bash launch/tpu/create.sh", "say which TPU"),
        (f"{TPU} TYPE=v4-8 MODE=free bash launch/tpu/create.sh", "MODE is on-demand, queued or"),
        (f"{TPU} MODE=free bash launch/tpu/delete.sh", "MODE is on-demand, queued or"),
        (f"{TPU} bash launch/tpu/delete.sh birds", "what is 'birds'?"),
        (f"{TPU} bash launch/tpu/run.sh --config c.py", "WORKDIR="),
        (f"{TPU} WORKDIR=gs://b/c bash launch/tpu/run.sh", "--config configs/cub.py"),
        (f"{TPU} bash launch/tpu/follow.sh", "say which run"),
        (f"{TPU} bash launch/tpu/fetch.sh", "say which run"),
        ("ZONE=z bash launch/gke/xpk.sh stop", "CLUSTER is missing"),
        ("ZONE=z CLUSTER=c bash launch/gke/xpk.sh image", "IMAGE is missing"),
        (f"{GKE} bash launch/gke/xpk.sh run", "WORKDIR is missing"),
        ("ZONE=z CLUSTER=c bash launch/gke/xpk.sh", "say what to do"),
        ("bash launch/devices.sh many", "say on how many devices"),
        ("bash launch/processes.sh 2 --config c.py", "say where the run is"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_called(start, command, part):
    done, calls = start(command)
    assert done.returncode == 2 and calls == []
    assert done.stderr.startswith("error: ") and part in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_call_that_fails_ends_the_script(start):
    done, calls = start(f"{TPU} FAILS=1 bash launch/tpu/setup.sh")
    assert done.returncode == 1 and len(calls) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_document_their_variables(script):
    text = script.read_text()
    head = text.partition("\nset -eu")[0]
    names = "TYPE MODE RUNTIME VALID WORKDIR WORKER TO CLUSTER IMAGE DEVICES PORT NAME"
    for variable in names.split():
        if f'"${{{variable}:' in text or f"${{{variable}:=" in text:
            assert f"{variable} " in head or f"{variable}," in head, variable


@pytest.mark.skipif(not shutil.which("shellcheck"), reason=NO_SHELLCHECK)
def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(["shellcheck", "-x", *SCRIPTS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
