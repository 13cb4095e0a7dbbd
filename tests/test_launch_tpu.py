"""launch/tpu and launch/gke, with stand-ins for gcloud, xpk and docker that note their calls."""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tarfile

import pytest

from tests.tiny_runs import ROOT

SCRIPTS = sorted((ROOT / "launch").rglob("*.sh"))
STAND_IN = """#!/usr/bin/env python3
import json, os, shutil, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + "\\n")
if "scp" in sys.argv and "--recurse" not in sys.argv:
    source, = [word for word in sys.argv if word.endswith(".tar.gz")]
    shutil.copy(source, os.environ["CALLS"] + ".tar.gz")
sys.exit(int(os.environ.get("FAILS", "0")))
"""
TPU = {"ZONE": "us-west4-a", "NAME": "birds"}
WHERE = ["--zone=us-west4-a"]


@pytest.fixture
def start(tmp_path):
    """Runs a script of launch/ and returns what it said and how it called gcloud and others."""
    for name in ("gcloud", "xpk", "docker", "kubectl"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(STAND_IN)
        path.chmod(0o755)
    calls = tmp_path / "calls"

    def run(script, *arguments, **variables):
        calls.write_text("")
        done = subprocess.run(
            ["bash", str(ROOT / "launch" / script), *arguments],
            cwd=tmp_path,
            env={
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                "CALLS": str(calls),
                "HOME": str(tmp_path),
            }
            | variables,
            capture_output=True,
            text=True,
        )
        return done, [json.loads(line) for line in calls.read_text().splitlines()]

    return run


CREATE = ["gcloud", "compute", "tpus", "tpu-vm", "create", "birds"]
QUEUE = ["gcloud", "compute", "tpus", "queued-resources", "create", "birds"]


@pytest.mark.parametrize(
    "variables, call",
    [
        ({}, [*CREATE, *WHERE, "--accelerator-type=v5litepod-8", "--version=v2-alpha-tpuv5-lite"]),
        (
            {"TYPE": "v4-32", "PROJECT": "mine"},
            [
                *CREATE,
                *WHERE,
                "--project=mine",
                "--accelerator-type=v4-32",
                "--version=tpu-ubuntu2204-base",
            ],
        ),
        (
            {"TYPE": "v6e-16", "MODE": "queued", "VALID": "6h"},
            [
                *QUEUE,
                *WHERE,
                "--node-id=birds",
                "--accelerator-type=v6e-16",
                "--runtime-version=v2-alpha-tpuv6e",
                "--valid-until-duration=6h",
            ],
        ),
        (
            {"TYPE": "v5p-8", "MODE": "spot"},
            [
                *QUEUE,
                *WHERE,
                "--node-id=birds",
                "--accelerator-type=v5p-8",
                "--runtime-version=v2-alpha-tpuv5",
                "--spot",
            ],
        ),
        (
            {"RUNTIME": "another"},
            [*CREATE, *WHERE, "--accelerator-type=v5litepod-8", "--version=another"],
        ),
    ],
)
def test_create(start, variables, call):
    done, calls = start("tpu/create.sh", **TPU | {"TYPE": "v5litepod-8"} | variables)
    assert done.returncode == 0, done.stderr
    assert calls == [call]


def test_setup_sends_what_is_committed_and_brings_python(start, tmp_path):
    done, calls = start("tpu/setup.sh", **TPU)
    assert done.returncode == 0, done.stderr
    (*copy, archive, target, zone, workers), (*ssh, ssh_zone, everywhere, command) = calls
    assert copy == ["gcloud", "compute", "tpus", "tpu-vm", "scp"]
    assert archive.endswith("/attngan_jax.tar.gz") and not pathlib.Path(archive).exists()
    assert [target, zone, workers] == ["birds:", *WHERE, "--worker=all"]
    assert ssh == ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "birds"]
    assert [ssh_zone, everywhere] == [*WHERE, "--worker=all"]
    with tarfile.open(tmp_path / "calls.tar.gz") as sent:
        assert {
            "attngan_jax/requirements-tpu.txt",
            "attngan_jax/requirements-gcs.txt",
            "attngan_jax/launch/environment.sh",
            "attngan_jax/launch/tpu/logs.sh",
            "attngan_jax/attngan_jax/main.py",
        } <= set(sent.getnames())
    shell = command.removeprefix("--command=")
    for part in (
        "tar -xzf attngan_jax.tar.gz",
        "uv python install --quiet 3.11",
        "launch/environment.sh requirements.txt requirements-gcs.txt requirements-tpu.txt",
    ):
        assert part in shell
    assert subprocess.run(["bash", "-n", "-c", shell]).returncode == 0


def test_run_starts_main_on_every_worker(start, tmp_path):
    done, calls = start(
        "tpu/run.sh",
        "--config",
        "configs/cub.py",
        "--config.name=my birds",
        **TPU,
        WORKDIR="bucket/runs/cub",
    )
    assert done.returncode == 0, done.stderr
    ((*ssh, command),) = calls
    assert ssh[-2:] == [*WHERE, "--worker=all"]

    # And there: a home folder with the project, whose Python notes its arguments.
    project = tmp_path / "attngan_jax"
    shutil.copytree(ROOT / "launch", project / "launch")
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "bin" / "gcloud", python)
    calls = tmp_path / "there"
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "WORKER": "3",
    }
    shell = command.removeprefix("--command=").removesuffix(" >/dev/null 2>&1 </dev/null &")
    subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=environment, check=True)
    (main,) = [json.loads(line) for line in calls.read_text().splitlines()]
    assert main == [
        "python",
        "-m",
        "attngan_jax.main",
        "--distributed",
        "--workdir",
        "bucket/runs/cub",
        "--config",
        "configs/cub.py",
        "--config.name=my birds",
    ]
    assert (project / "bucket" / "runs" / "cub" / "logs" / "worker-3.log").exists()


def test_run_comes_back_while_the_workers_work(start, tmp_path):
    """ssh waits for all who hold its output, so nobody but the log may hold it."""
    _, ((*_, command),) = start("tpu/run.sh", "--config", "c.py", **TPU, WORKDIR="runs/r")
    project = tmp_path / "attngan_jax"
    shutil.copytree(ROOT / "launch", project / "launch")
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nsleep 40\n")
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", command.removeprefix("--command=")],
        cwd=tmp_path,
        capture_output=True,
        timeout=30,
        env=os.environ | {"WORKER": "0"},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_setup_mounts_a_bucket(start):
    done, calls = start("tpu/setup.sh", **TPU, BUCKET="gs://my-birds")
    assert done.returncode == 0, done.stderr
    shell = calls[2][-1].removeprefix("--command=")
    assert calls[2][-2] == "--worker=all" and shell.endswith(
        "gcsfuse --implicit-dirs --rename-dir-limit=1000000 my-birds bucket"
    )
    assert "signed-by=$key" in shell and subprocess.run(["bash", "-n", "-c", shell]).returncode == 0


SSH = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", "birds", *WHERE]
SCP = ["gcloud", "compute", "tpus", "tpu-vm", "scp", "--recurse"]


@pytest.mark.parametrize(
    "script, variables, calls",
    [
        (
            "follow",
            {"WORKDIR": "bucket/runs/cub"},
            [
                [
                    *SSH,
                    "--worker=0",
                    "--command=cd attngan_jax && tail -n 200 -F bucket/runs/cub/logs/worker-0.log",
                ]
            ],
        ),
        (
            "follow",
            {"WORKDIR": "/mnt/my runs", "WORKER": "2"},
            [
                [
                    *SSH,
                    "--worker=2",
                    r"--command=cd attngan_jax && tail -n 200 -F /mnt/my\ runs/logs/worker-2.log",
                ]
            ],
        ),
        (
            "follow",
            {"WORKDIR": "gs://bucket/runs/cub"},
            [
                [
                    *SSH,
                    "--worker=0",
                    "--command=cd attngan_jax && tail -n 200 -F logs/bucket/runs/cub/worker-0.log",
                ]
            ],
        ),
        (
            "fetch",
            {"WORKDIR": "gs://bucket/runs/cub/", "TO": "here/cub"},
            [["gcloud", "storage", "rsync", "--recursive", "gs://bucket/runs/cub", "here/cub"]],
        ),
        (
            "fetch",
            {"WORKDIR": "runs/cub", "TO": "here/cub"},
            [[*SCP, "birds:attngan_jax/runs/cub", "here/cub", *WHERE, "--worker=0"]],
        ),
        (
            "fetch",
            {"WORKDIR": "/mnt/cub", "TO": "here/cub"},
            [[*SCP, "birds:/mnt/cub", "here/cub", *WHERE, "--worker=0"]],
        ),
        (
            "delete",
            {},
            [["gcloud", "compute", "tpus", "tpu-vm", "delete", "birds", *WHERE, "--quiet"]],
        ),
        (
            "delete",
            {"MODE": "spot"},
            [
                [
                    "gcloud",
                    "compute",
                    "tpus",
                    "queued-resources",
                    "delete",
                    "birds",
                    *WHERE,
                    "--force",
                    "--quiet",
                ]
            ],
        ),
    ],
)
def test_follow_fetch_delete(start, tmp_path, script, variables, calls):
    if "TO" in variables:
        variables = variables | {"TO": str(tmp_path / variables["TO"])}
        calls = [[word.replace("here/cub", variables["TO"]) for word in call] for call in calls]
    done, made = start(f"tpu/{script}.sh", **TPU, **variables)
    assert done.returncode == 0, done.stderr
    assert made == calls


CLUSTER = {
    "CLUSTER": "birds",
    "ZONE": "us-west4-a",
    "TYPE": "v5litepod-16",
    "IMAGE": "docker.pkg.dev/me/birds",
    "BUCKET": "my-birds",
}
XPK = ["--cluster=birds", *WHERE]


@pytest.mark.parametrize(
    "arguments, variables, calls",
    [
        (
            ["cluster"],
            {"MODE": "spot"},
            [
                [
                    "xpk",
                    "cluster",
                    "create",
                    *XPK,
                    "--tpu-type=v5litepod-16",
                    "--num-slices=1",
                    "--spot",
                    "--enable-gcsfuse-csi-driver",
                ],
                [
                    "xpk",
                    "storage",
                    "attach",
                    "bucket",
                    *XPK,
                    "--type=gcsfuse",
                    "--bucket=my-birds",
                    "--mount-point=/bucket",
                    "--readonly=false",
                    "--size=1",
                    "--auto-mount=true",
                ],
            ],
        ),
        (
            ["cluster"],
            {"BUCKET": ""},
            [
                [
                    "xpk",
                    "cluster",
                    "create",
                    *XPK,
                    "--tpu-type=v5litepod-16",
                    "--num-slices=1",
                    "--on-demand",
                ]
            ],
        ),
        (
            ["image"],
            {},
            [
                [
                    "docker",
                    "build",
                    "--file",
                    "launch/gke/Dockerfile",
                    "--tag",
                    "docker.pkg.dev/me/birds",
                    ".",
                ],
                ["docker", "push", "docker.pkg.dev/me/birds"],
            ],
        ),
        (
            ["run", "--config", "configs/cub.py"],
            {},
            [
                [
                    "xpk",
                    "workload",
                    "create",
                    *XPK,
                    "--workload=attngan",
                    "--tpu-type=v5litepod-16",
                    "--num-slices=1",
                    "--docker-image=docker.pkg.dev/me/birds",
                    "--command",
                    "python -m attngan_jax.main --distributed --workdir /bucket/runs/attngan --config "
                    "configs/cub.py",
                ]
            ],
        ),
        (
            ["run", "--config", "configs/cub.py"],
            {"BUCKET": "", "WORKDIR": "gs://my-birds/cub"},
            [
                [
                    "xpk",
                    "workload",
                    "create",
                    *XPK,
                    "--workload=attngan",
                    "--tpu-type=v5litepod-16",
                    "--num-slices=1",
                    "--docker-image=docker.pkg.dev/me/birds",
                    "--command",
                    "python -m attngan_jax.main --distributed --workdir gs://my-birds/cub --config "
                    "configs/cub.py",
                ]
            ],
        ),
        (
            ["follow"],
            {},
            [
                [
                    "kubectl",
                    "logs",
                    "--follow",
                    "--selector="
                    "jobset.sigs.k8s.io/jobset-name=attngan,"
                    "batch.kubernetes.io/job-completion-index=0",
                ]
            ],
        ),
        (["stop"], {}, [["xpk", "workload", "delete", *XPK, "--workload=attngan"]]),
        (["delete"], {"PROJECT": "mine"}, [["xpk", "cluster", "delete", *XPK, "--project=mine"]]),
    ],
)
def test_gke(start, arguments, variables, calls):
    done, made = start("gke/xpk.sh", *arguments, **CLUSTER | variables)
    assert done.returncode == 0, done.stderr
    assert made == calls
    dry, none = start("gke/xpk.sh", "--dry-run", *arguments, **CLUSTER | variables)
    assert none == [] and [shlex.split(line) for line in dry.stdout.splitlines()] == calls


def test_the_image_holds_what_it_copies():
    lines = (ROOT / "launch" / "gke" / "Dockerfile").read_text().splitlines()
    kept = (ROOT / "launch" / "gke" / "Dockerfile.dockerignore").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY"):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists() and f"!{source}" in kept


@pytest.mark.parametrize("script", ("create", "setup", "run", "follow", "fetch", "delete"))
def test_a_dry_run_prints_the_very_commands_and_carries_out_none(start, script):
    variables = TPU | {"TYPE": "v5litepod-8", "WORKDIR": "gs://bucket/runs/cub"}
    if script == "fetch":
        variables["TO"] = str(ROOT / "runs" / "not made")
    arguments = ["--config", "configs/cub.py"] if script == "run" else []
    dry, none = start(f"tpu/{script}.sh", "--dry-run", *arguments, **variables)
    assert dry.returncode == 0 and none == [], dry.stderr
    assert not (ROOT / "runs" / "not made").exists()
    printed = [shlex.split(line) for line in dry.stdout.splitlines()]
    if script == "fetch":  # carried out elsewhere, above
        assert printed[-1][:3] == ["gcloud", "storage", "rsync"]
        return
    _, calls = start(f"tpu/{script}.sh", *arguments, **variables)
    printed = [words for words in printed if words[0] == "gcloud"]
    assert [_without_archive(words) for words in printed] == list(map(_without_archive, calls))


def _without_archive(words):
    return [word for word in words if not word.endswith(".tar.gz")]


@pytest.mark.parametrize(
    "script, variables, arguments, part",
    [
        ("tpu/create.sh", {}, [], "say where the TPU is"),
        ("tpu/create.sh", TPU, [], "say which TPU"),
        (
            "tpu/create.sh",
            TPU | {"TYPE": "v4-8", "MODE": "free"},
            [],
            "MODE is on-demand, queued or",
        ),
        ("tpu/delete.sh", TPU | {"MODE": "free"}, [], "MODE is on-demand, queued or"),
        ("tpu/delete.sh", TPU, ["birds"], "what is 'birds'?"),
        ("tpu/run.sh", TPU, ["--config", "c.py"], "WORKDIR="),
        ("tpu/run.sh", TPU | {"WORKDIR": "gs://b/c"}, [], "--config configs/cub.py"),
        ("tpu/follow.sh", TPU, [], "say which run"),
        ("tpu/fetch.sh", TPU, [], "say which run"),
        ("gke/xpk.sh", {"ZONE": "z"}, ["stop"], "CLUSTER is missing"),
        ("gke/xpk.sh", {"ZONE": "z", "CLUSTER": "c"}, ["image"], "IMAGE is missing"),
        (
            "gke/xpk.sh",
            {"ZONE": "z", "CLUSTER": "c", "TYPE": "t", "IMAGE": "i"},
            ["run"],
            "WORKDIR is missing",
        ),
        ("gke/xpk.sh", {"ZONE": "z", "CLUSTER": "c"}, [], "say what to do"),
        ("devices.sh", {}, ["many"], "say on how many devices"),
        ("processes.sh", {}, ["2", "--config", "c.py"], "say where the run is"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_called(
    start, script, variables, arguments, part
):
    done, calls = start(script, *arguments, **variables)
    assert done.returncode == 2 and calls == []
    assert done.stderr.startswith("error: ") and part in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_call_that_fails_ends_the_script(start):
    done, calls = start("tpu/setup.sh", **TPU, FAILS="1")
    assert done.returncode == 1 and len(calls) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_scripts_document_their_variables(script):
    text = script.read_text()
    head = text[: text.index("\nset -eu")] if "\nset -eu" in text else text
    for variable in (
        "TYPE",
        "MODE",
        "RUNTIME",
        "VALID",
        "WORKDIR",
        "WORKER",
        "TO",
        "CLUSTER",
        "IMAGE",
        "DEVICES",
        "PORT",
        "NAME",
    ):
        if f'"${{{variable}:' in text or f"${{{variable}:=" in text:
            assert f"{variable} " in head or f"{variable}," in head, variable


@pytest.mark.skipif(
    not shutil.which("shellcheck"),
    reason="shellcheck is not installed (Debian: apt install shellcheck)",
)
def test_shellcheck_has_nothing_to_say():
    done = subprocess.run(
        ["shellcheck", "-x", *map(str, SCRIPTS)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
