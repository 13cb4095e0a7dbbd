"""Exit codes and one-line errors of `python -m attngan_jax.NAME`, before any work begins."""

import errno
import os
import platform
from unittest import mock

import pytest
from absl import flags

from attngan_jax import cli
from attngan_jax.errors import Stopped, UserError
from tests import tiny_runs

BIRDS = "--config=configs/procedural_birds.py"


WRONG_CONFIGS = {  # flags and parts of the line
    f"{BIRDS} --config.nope=1": ["no config key nope", "closest is --config."],
    f"{BIRDS} --config.damsm.batchsize=3": [
        "no config key damsm.batchsize",
        "--config.damsm.batch_size",
    ],
    f"{BIRDS} --config.seed abc": ["--config.seed=abc", "invalid literal"],
    "--config=missing.py": ["no config file missing.py", "configs/procedural_birds.py"],
    "--config=configs/ablation.py:nope": ["no variant 'nope'", "lambda_5"],
    "--config=requirements.txt": ["requirements.txt does not give a config"],
    "--config=attngan_jax/errors.py": ["does not give a config", "get_config"],
}


@pytest.mark.parametrize("flags, parts", WRONG_CONFIGS.items())
def test_a_config_that_is_wrong_gets_one_line(flags, parts, tmp_path):
    done = tiny_runs.start_command(f"main {flags} --workdir {tmp_path}/run")
    tiny_runs.assert_one_line(done, 1, *parts)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


SAMPLE = "sample --workdir=w --out=o"


@pytest.mark.parametrize(
    "command, part",
    [
        ("main", "--config"),
        ("report", "--workdir is missing: Folder of the run."),
        (f"main {BIRDS} --nope", "nope"),
        (f"main {BIRDS} word", "word"),
        (f"prepare {BIRDS} --flagfile=/dev/zero", "flagfile"),
        (SAMPLE, "either --caption or --captions"),
        (f"{SAMPLE} --captions=f --caption=c", "either --caption or"),
        (f"{SAMPLE} --caption=c --num_images=0", "--num_images=0"),
        (f"{SAMPLE} --caption=c --seed=-1", "--seed=-1"),
        ("convert --workdir=w", "convert import"),
        (f"compile_check {BIRDS}", "--topology"),
        (f"train_judges {BIRDS}", "--out"),
    ],
)
def test_wrong_flags_end_with_2(command, part):
    tiny_runs.assert_one_line(tiny_runs.start_command(command), 2, part)


@pytest.mark.parametrize("name", ["report", "evaluate"])
def test_a_workdir_that_is_none_gets_one_line(name, tmp_path):
    done = tiny_runs.start_command(name, "--workdir", tmp_path)
    tiny_runs.assert_one_line(done, 1, f"{tmp_path} is no workdir of a run", "--workdir")


def test_a_device_that_is_not_there_gets_one_line(tmp_path):
    flags = ["--config", tiny_runs.CONFIG, "--workdir", tmp_path / "run"]
    run = ("-m", "attngan_jax.main", *flags)
    done = tiny_runs.start_python(*run, JAX_PLATFORMS="cuda")
    tiny_runs.assert_one_line(done, 1, "JAX_PLATFORMS=cuda", "docs/devices.md", "unset")
    assert not (tmp_path / "run").exists()


def test_an_old_python_gets_one_line():
    code = "import sys; sys.version_info = (3, 10, 4); import attngan_jax"
    done = tiny_runs.start_python("-c", code)
    tiny_runs.assert_one_line(done, 1, "needs Python 3.11 or later, and this is 3.10")


def test_programs_are_kept_in_the_users_folder_or_where_the_user_says(monkeypatch, tmp_path):
    names = ["JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"]
    for name in [*names, "JAX_ENABLE_COMPILATION_CACHE"]:
        monkeypatch.setenv(name, "")  # so that both are as they were afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    cli.keep_programs()
    assert [os.environ[name] for name in names] == [f"{tmp_path}/.cache/attngan_jax", "0.5"]
    assert "JAX_ENABLE_COMPILATION_CACHE" not in os.environ
    monkeypatch.setenv(names[0], "")
    cli.keep_programs()
    assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_what_a_step_frees_stays_with_the_process_whatever_its_size():
    # Larger than what glibc would map by itself, and than what it would keep; in a thread, as XLA's
    # are, and no page is touched.
    program = """if True:
        import ctypes, threading
        from attngan_jax import cli
        def mebibytes():
            return [int(l.split()[1]) >> 10 for l in open("/proc/self/status") if "VmData" in l][0]
        def use():
            block = libc.malloc(ctypes.c_size_t(3 << 30))
            print(bool(block), mebibytes())
            libc.free(block)
        cli._keep_freed_memory()
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        print(mebibytes())"""
    done = tiny_runs.start_python("-c", program)
    assert done.returncode == 0, done.stderr
    found, during, after = done.stdout.split()
    if found == "False":
        pytest.skip("3 GiB of address space are not to be had here")
    assert int(during) > 3 << 10 and int(after) > 3 << 10


def test_help_is_no_failure():
    done = tiny_runs.start_command("main", "--help")
    assert done.returncode == 0 and "--workdir" in done.stdout


@pytest.fixture
def ends(monkeypatch, capsys):
    """The exit code and stderr of a command whose main raises the given error."""

    def run(error):
        monkeypatch.setattr(cli.app, "run", lambda main, flags_parser: main(["command"]))
        with pytest.raises(SystemExit) as stop:
            cli.run(mock.Mock(side_effect=error))
        return stop.value.code, capsys.readouterr().err

    return run


def test_every_end_has_its_code(ends):
    assert ends(None) == (0, "")
    said = "error: a cat ate it: buy another\n"
    assert ends(UserError("a cat ate it:\n buy another")) == (1, said)
    assert ends(flags.Error("no such flag")) == (2, "error: no such flag\n")
    said = "stopped at 3; run the same command again to go on\n"
    assert ends(Stopped("stopped at 3")) == (0, said)
    code, said = ends(KeyboardInterrupt())
    assert code == 1 and "go on" in said


WRAPPED = ValueError("could not write the array")
WRAPPED.__cause__ = RuntimeError(f"RESOURCE_EXHAUSTED: {os.strerror(errno.ENOSPC)}")
FORBIDDEN = "Forbidden: https://storage.googleapis.com/b/birds/o/config.json"
FULL = "error: the disk is full"


@pytest.mark.parametrize(
    "error, start, part",
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/w/config.json"), FULL, ""),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), FULL, ""),
        (WRAPPED, FULL, ""),
        (OSError(FORBIDDEN), "", "Forbidden"),
    ],
)
def test_a_full_disk_and_a_bucket_that_refuses_get_one_line(ends, error, start, part):
    code, said = ends(error)
    assert code == 1 and said.count("\n") == 1
    assert said.startswith(start) and part in said and "run the same command again" in said


@pytest.mark.parametrize(
    "error, part",
    [
        (OSError(errno.EIO, os.strerror(errno.EIO), "/w/damsm/4"), "/w/damsm/4 cannot be read or"),
        (
            RuntimeError("Corrupted Riegeli/records file: chunk"),
            "records of the dataset are damaged",
        ),
        (MemoryError("Unable to allocate 1.5 TiB for an array"), "(asked for 1.5 TiB)"),
    ],
)
def test_failing_disks_and_want_of_memory_get_one_line(ends, error, part):
    code, said = ends(error)
    assert code == 1 and said.count("\n") == 1 and said.startswith("error: ") and part in said


def test_mistakes_of_the_program_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(cli.app, "run", lambda main, flags_parser: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda argv: None)


KEYS = "data.data_dir compilation_cache_dir image_encoder.weights".split()
KEYS += ["eval.inception_score_weights", "eval.fid_weights"]


@pytest.mark.parametrize(
    "flag, address, parts",
    [
        *(
            (flag, "gs://nobirds/run", [f"{flag}: there is no bucket gs://nobirds"])
            for flag in ("--workdir", "--damsm_from", *(f"--config.{key}" for key in KEYS))
        ),
        ("--config.compilation_cache_dir", "s3://birds/c", ["compilation_cache_dir: s3://birds/c"]),
        ("--workdir", "s3://b/run", ["--workdir: s3://b/run is an address", "gs://BUCKET/"]),
        ("--config.data.data_dir", "http://b/data", ["--config.data.data_dir: http://b/data"]),
        ("--config.data.source", "gs://b/cub", ["--config.data.source is gs://b/cub", "copy"]),
    ],
)
def test_an_address_that_will_not_do_gets_one_line_at_once(flag, address, parts, gcs):
    done = tiny_runs.start_command("main", "--config", tiny_runs.CONFIG, f"{flag}={address}")
    tiny_runs.assert_one_line(done, 1, *parts)
    assert len(done.stderr.splitlines()) == 1
    assert not list(tiny_runs.ROOT.glob("*:")) and not gcs.objects


@pytest.mark.parametrize("key", ["inception_score_weights", "fid_weights"])
def test_evaluate_asks_for_its_weights_at_once(key, tmp_path, gcs):
    done = tiny_runs.start_command(f"evaluate --workdir {tmp_path} --eval.{key}=gs://nobirds/x")
    tiny_runs.assert_one_line(done, 1, f"--eval.{key}: there is no bucket gs://nobirds")
