"""Exit codes and one-line errors of `python -m attngan_jax.NAME`, before any work begins."""

import errno
import os

import pytest
from absl import flags

from attngan_jax import cli
from attngan_jax.errors import Stopped, UserError
from tests import tiny_runs

BIRDS = "--config=configs/procedural_birds.py"


@pytest.mark.parametrize(
    "arguments, parts",
    [
        ([BIRDS, "--config.nope=1"], ["no config key nope", "closest is --config."]),
        (
            [BIRDS, "--config.damsm.batchsize=3"],
            ["no config key damsm.batchsize", "--config.damsm.batch_size"],
        ),
        (
            ["--config", "configs/procedural_birds.py", "--config.seed", "abc"],
            ["--config.seed=abc", "invalid literal"],
        ),
        (["--config=missing.py"], ["no config file missing.py", "configs/procedural_birds.py"]),
        (["--config=configs/ablation.py:nope"], ["no variant 'nope'", "lambda_5"]),
        (["--config=requirements.txt"], ["requirements.txt does not give a config"]),
        (["--config=attngan_jax/errors.py"], ["does not give a config", "get_config"]),
    ],
)
def test_a_config_that_is_wrong_gets_one_line(arguments, parts, tmp_path):
    done = tiny_runs.start_command("main", *arguments, "--workdir", tmp_path / "run")
    tiny_runs.assert_one_line(done, 1, *parts)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name, arguments, part",
    [
        ("main", [], "--config"),
        ("main", [BIRDS, "--nope"], "nope"),
        ("main", [BIRDS, "word"], "word"),
        ("sample", ["--workdir=w", "--out=o"], "either --caption or --captions"),
        (
            "sample",
            ["--workdir=w", "--out=o", "--captions=f", "--caption=c"],
            "either --caption or",
        ),
        ("sample", ["--workdir=w", "--out=o", "--caption=c", "--num_images=0"], "--num_images=0"),
        ("sample", ["--workdir=w", "--out=o", "--caption=c", "--seed=-1"], "--seed=-1"),
        ("convert", ["--workdir=w"], "convert import"),
    ],
)
def test_wrong_flags_end_with_2(name, arguments, part):
    tiny_runs.assert_one_line(tiny_runs.start_command(name, *arguments), 2, part)


@pytest.mark.parametrize("name", ["report", "evaluate"])
def test_a_workdir_that_is_none_gets_one_line(name, tmp_path):
    done = tiny_runs.start_command(name, "--workdir", tmp_path)
    tiny_runs.assert_one_line(done, 1, f"{tmp_path} is no workdir of a run", "--workdir")


def test_help_is_no_failure():
    done = tiny_runs.start_command("main", "--help")
    assert done.returncode == 0 and "--workdir" in done.stdout


@pytest.fixture
def ends(monkeypatch, capsys):
    """The exit code and stderr of a command whose main raises the given error."""

    def run(error):
        def app_run(main, flags_parser):
            main(["command"])

        def main(argv):
            if error is not None:
                raise error

        monkeypatch.setattr(cli.app, "run", app_run)
        with pytest.raises(SystemExit) as stop:
            cli.run(main)
        return stop.value.code, capsys.readouterr().err

    return run


def test_every_end_has_its_code(ends):
    assert ends(None) == (0, "")
    assert ends(UserError("a cat ate it:\n buy another")) == (
        1,
        "error: a cat ate it: buy another\n",
    )
    assert ends(flags.Error("no such flag")) == (2, "error: no such flag\n")
    assert ends(Stopped("stopped at 3")) == (
        0,
        "stopped at 3; run the same command again to go on\n",
    )
    code, said = ends(KeyboardInterrupt())
    assert code == 1 and "go on" in said


def caused_by_a_full_disk():
    error = ValueError("could not write the array")
    error.__cause__ = RuntimeError(f"RESOURCE_EXHAUSTED: {os.strerror(errno.ENOSPC)}")
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/w/config.json"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        caused_by_a_full_disk(),
    ],
)
def test_a_full_disk_gets_one_line(ends, error):
    code, said = ends(error)
    assert code == 1 and said.count("\n") == 1
    assert said.startswith("error: the disk is full") and "run the same command again" in said


def test_mistakes_of_the_program_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(cli.app, "run", lambda main, flags_parser: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda argv: None)


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (("--workdir", "gs://nobirds/run"), ("--workdir: there is no bucket gs://nobirds",)),
        (("--damsm_from", "gs://nobirds/run"), ("--damsm_from: there is no bucket gs://nobirds",)),
        (
            ("--config.data.data_dir=gs://nobirds/data",),
            ("--config.data.data_dir: there is no bucket gs://nobirds",),
        ),
        *(
            (
                (f"--config.{key}=gs://nobirds/x",),
                (f"--config.{key}: there is no bucket gs://nobirds",),
            )
            for key in (
                "compilation_cache_dir",
                "image_encoder.weights",
                "eval.inception_score_weights",
                "eval.fid_weights",
            )
        ),
        (
            ("--config.compilation_cache_dir=s3://birds/c",),
            ("compilation_cache_dir: s3://birds/c",),
        ),
        (
            ("--workdir", "s3://birds/run"),
            ("--workdir: s3://birds/run is an address", "gs://BUCKET/"),
        ),
        (
            ("--config.data.data_dir=http://birds/data",),
            ("--config.data.data_dir: http://birds/data",),
        ),
        (
            ("--config.data.source=gs://birds/cub",),
            ("--config.data.source is gs://birds/cub", "copy"),
        ),
    ],
)
def test_an_address_that_will_not_do_gets_one_line_at_once(arguments, parts, gcs):
    done = tiny_runs.start_command("main", "--config", tiny_runs.CONFIG, *arguments)
    tiny_runs.assert_one_line(done, 1, *parts)
    assert len(done.stderr.splitlines()) == 1
    assert not list(tiny_runs.ROOT.glob("*:")) and not gcs.objects


@pytest.mark.parametrize("key", ["inception_score_weights", "fid_weights"])
def test_evaluate_asks_for_its_weights_at_once(key, tmp_path, gcs):
    done = tiny_runs.start_command(f"evaluate --workdir {tmp_path} --eval.{key}=gs://nobirds/x")
    tiny_runs.assert_one_line(done, 1, f"--eval.{key}: there is no bucket gs://nobirds")


def test_a_bucket_that_refuses_in_the_middle_gets_one_line(ends):
    code, said = ends(OSError("Forbidden: https://storage.googleapis.com/b/birds/o/config.json"))
    assert code == 1 and said.count("\n") == 1
    assert "Forbidden" in said and "run the same command again" in said
