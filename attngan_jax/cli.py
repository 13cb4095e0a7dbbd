"""How every `python -m attngan_jax.NAME` starts and ends: flags, exit codes, one-line errors."""

import ctypes
import difflib
import errno
import glob
import os
import pathlib
import platform
import re
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from attngan_jax import WITHOUT_TPU, configuration, console, plain_files, storage
from attngan_jax.configs import default
from attngan_jax.errors import Stopped, UserError

DONE, FAILED, WRONG_FLAGS = 0, 1, 2
EVALUATION_OUTPUTS = ("save_images", "save_fid_reference")
_UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}
_UNUSABLE |= {errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT}
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_MOST = 1_000  # characters of a line that are kept at either end of it

CONFIGS = pathlib.Path(__file__).parent / "configs"

flags.disclaim_key_flags()  # those of define_process_flags belong to the command that calls it
# absl would read the files of --flagfile, whatever they are, before there is anybody to explain it.
vars(flags.FLAGS)["read_flags_from_files"] = lambda argv, force_gnu=True: argv


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Parses the flags and calls `main(argv)`; never returns.

    Exit codes: 0 done, 1 failed with one line on stderr, 2 wrong flags.
    """
    console.prepare_streams()
    console.end_at_sigterm()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or TensorFlow logs a line when imported
    if not glob.glob("/dev/accel*") and not os.path.exists("/dev/vfio"):
        for variable, value in WITHOUT_TPU.items():  # or libtpu, where installed, looks for a TPU
            os.environ.setdefault(variable, value)
    _keep_freed_memory()
    sys.exit(_run(main))


def keep_programs() -> None:
    """Has jax, not imported yet, keep what it compiles where training keeps it by default.

    Not where a workdir's config says: it may be somebody else's, and what lies there is run.
    `JAX_COMPILATION_CACHE_DIR` names another folder, or "" for none.
    """
    folder = os.path.expanduser(default.get_config().compilation_cache_dir)
    folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    if not folder or not storage.is_writable(storage.path(folder)):
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"


def _keep_freed_memory() -> None:
    """Has glibc keep what XLA's CPU steps free, for the next step, in place of the kernel.

    Blocks as large as activations are otherwise mapped, zeroed and given back in every step: a
    quarter of its CPU time. The process then has room for two or three times a step's temporaries.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        TRIM_THRESHOLD, TOP_PAD, MMAP_MAX, ARENA_MAX = -1, -2, -4, -8
        mallopt(MMAP_MAX, 0)  # no block has a mapping of its own, however large
        mallopt(TRIM_THRESHOLD, -1)  # what is freed stays
        mallopt(TOP_PAD, 1 << 26)
        mallopt(ARENA_MAX, 1)  # the other arenas' heaps hold no more than 64 MiB, and map the rest


def _run(main: Callable[[Sequence[str]], None]) -> int:
    def call(argv):
        main(argv)  # without its result, which app.run would take for an exit code
        sys.stdout.flush()  # an error now is explained; one at the end of the process is not

    try:
        app.run(call, flags_parser=_parse_flags)
    except SystemExit as stop:  # how app.run returns
        return stop.code if isinstance(stop.code, int) else DONE
    except flags.Error as error:
        return _fail(_explain_flag(error), WRONG_FLAGS)
    except Stopped as stop:
        print(f"{stop}; run the same command again to go on", file=sys.stderr)
        return DONE
    except KeyboardInterrupt:
        return _fail("stopped; run the same command again to go on")
    except Exception as error:
        if message := _explain(error):
            return _fail(message)
        raise
    return DONE


def _explain(error: Exception) -> str | None:
    """One line for an error that a user can fix; None for the program's own mistakes."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, plain_files.RefusedFile):
        return f"{error.filename} is not read ({error.strerror}): give a file that is whole"
    if isinstance(error, OSError) and error.errno in _UNUSABLE:
        return (
            f"{error.filename or 'a file'} cannot be used ({error.strerror}): choose another "
            "folder, or change its permissions"
        )
    if isinstance(error, OSError) and error.errno == errno.EIO:
        where = error.filename or "a file"
        return f"{where} cannot be read or written ({error.strerror}): the disk may be failing"
    if isinstance(error, RuntimeError) and "Riegeli" in str(error):
        remedy = "run the same command, or prepare, again: it finds the file and makes it anew"
        return f"the records of the dataset are damaged ({_one_line(error)[:200]}): {remedy}"
    if _disk_is_full(error):
        where = getattr(error, "filename", None) or "while writing"
        return (
            f"the disk is full ({where}): free some space and run the same command again; what "
            "was finished is kept"
        )
    return (
        _describe_missing_device(error) or _describe_memory(error) or storage.describe_error(error)
    )


def _describe_memory(error: Exception) -> str | None:
    """One line where a command, other than a training or its scores, lacked memory."""
    if not isinstance(error, MemoryError | RuntimeError):
        return None
    from attngan_jax.training.out_of_memory import describe

    why = describe(error)
    return why and f"not enough memory ({why}): give it less to do at once, or use a larger device"


def _describe_missing_device(error: Exception) -> str | None:
    """One line where JAX found nothing to compute on: it fails with an assertion, or an essay."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or pathlib.PurePath(frames[-1].filename).name != "xla_bridge.py":
        return None
    reason = f" ({_one_line(error)[:300]})" if str(error) else ""
    asked = f" of JAX_PLATFORMS={wanted}" if (wanted := os.environ.get("JAX_PLATFORMS")) else ""
    return (
        f"JAX finds no device{asked} on this machine{reason}: install JAX for that device "
        "(docs/devices.md), or unset JAX_PLATFORMS to use what there is"
    )


def _explain_flag(error: flags.Error) -> object:
    """What is wrong with the flags; of one that is missing, what it is for."""
    missing = re.match(r"flag --(\w+)=None: Flag --\1 must have a value", str(error))
    return f"--{missing[1]} is missing: {flags.FLAGS[missing[1]].help}" if missing else error


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether `error`, or what caused it, is a full disk; not every library keeps the number."""
    while error is not None:
        if getattr(error, "errno", None) in _DISK_FULL or os.strerror(errno.ENOSPC) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: object, code: int = FAILED) -> int:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return code


def _one_line(message: object) -> str:
    text = " ".join(str(message).split())
    return text if len(text) <= 2 * _MOST else f"{text[:_MOST]} ... {text[-_MOST:]}"


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Flags from `argv`; what goes wrong in a config file or an override is a `UserError`."""
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold("info")
    logging.get_absl_handler().addFilter(console.is_worth_logging)
    logging.get_absl_handler().setFormatter(console.PlainLines())
    try:
        rest = flags.FLAGS(_with_config_found(argv))
        if "config" in flags.FLAGS and flags.FLAGS["config"].present:
            flags.FLAGS.config.lock()  # a file that could not be read raises only when it is used
            configuration.check_paths(configuration.flatten(flags.FLAGS.config.to_dict()))
        if "eval" in flags.FLAGS:
            configuration.check_paths(flags.FLAGS.eval.to_dict(), "eval.")
        given = flags.FLAGS.flag_values_dict()
        for name in ("workdir", "damsm_from", "data_dir", "out", *EVALUATION_OUTPUTS):
            storage.check_is_reachable(name, given.get(name))
        for name in ("source", "runs"):
            storage.check_is_local(name, given.get(name))
        return rest
    except (UserError, plain_files.RefusedFile):
        raise
    except SystemExit as stop:
        raise SystemExit(DONE) from stop  # after --help, for which absl has 1
    except Exception as error:
        # A flag without its value is a wrong flag, a config that can't be had a mistake in it.
        of_config = str(error).startswith("flag --config") and "=None:" not in str(error)
        if not of_config if isinstance(error, flags.Error) else _disk_is_full(error):
            raise
        raise UserError(_explain_config(argv, error)) from error


def find_config(path: str) -> str:
    """A config file: a file that is there, or one of this package, as `cub` or `configs/cub.py`.

    What follows a colon, an argument of the file's `get_config`, is kept.
    """
    file, colon, argument = os.path.expanduser(path).partition(":")
    if os.path.exists(file) and not os.path.isdir(file):
        plain_files.check_plain(file, plain_files.MAX_JSON_BYTES)
    packaged = CONFIGS / f"{file.removeprefix('configs/').removesuffix('.py')}.py"
    if not os.path.isfile(file) and packaged.parent == CONFIGS and packaged.is_file():
        return f"{packaged}{colon}{argument}"
    return f"{file}{colon}{argument}"


def _with_config_found(argv: Sequence[str]) -> list[str]:
    """The arguments, --config with the path of its file."""
    found = [*argv[:1]]
    for before, word in zip(argv, argv[1:]):
        flag, _, value = word.rpartition("=") if word.startswith("-") else (before, "", word)
        is_config = re.fullmatch("--?config", flag)
        found.append(word.removesuffix(value) + find_config(value) if is_config else word)
    return found


def _explain_config(argv: Sequence[str], error: Exception) -> str:
    """What is wrong with the --config file of `argv` or its overrides, now that they failed."""
    given: dict[str, str] = {}
    for word, after in zip(argv[1:], [*argv[2:], ""]):
        name, equals, value = word.partition("=")
        if name.startswith("-"):
            name = name.lstrip("-").replace("noconfig.", "config.")
            given[name] = value if equals else after
    if "config" not in given:
        return _one_line(error)
    path, colon, argument = given.pop("config").partition(":")
    path = find_config(path)
    if not os.path.isfile(path):
        known = ", ".join(f"configs/{file.name}" for file in sorted(CONFIGS.glob("[a-z]*.py")))
        return f"there is no config file {path}: give one of your own, or one of {known}"
    try:
        config = runpy.run_path(path)["get_config"](*[argument] * bool(colon))
        keys = configuration.flatten(config.to_dict())
    except Exception as cause:
        return (
            f"the config file {path} does not give a config ({type(cause).__name__}: "
            f"{_one_line(cause)}): it needs a get_config() that returns one"
        )
    for flag in given:
        key = flag.removeprefix("config.")
        if key != flag and not any(f"{known}.".startswith(f"{key}.") for known in keys):
            (closest,) = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
            return (
                f"there is no config key {key}; the closest is --config.{closest} "
                "(configs/default.py explains every key)"
            )
    return f"{_one_line(error)} (configs/default.py explains every key)"


def no_arguments(argv: Sequence[str]) -> None:
    """Refuses words that belong to no flag."""
    if len(argv) > 1:
        raise flags.Error(f"what is {argv[1]!r}? every argument starts with --")


def define_process_flags() -> None:
    """The flags of a command that several processes run together, for `join_processes`."""
    flags.DEFINE_bool(
        "distributed", False, "Whether processes find each other: on TPU pods, Slurm."
    )
    flags.DEFINE_string(
        "coordinator", None, "HOST:PORT of process 0, where there are several on CPUs or GPUs."
    )
    flags.DEFINE_integer("num_processes", None, "How many there are.", 1)
    flags.DEFINE_integer("process_index", None, "Which one this is, from 0.", 0)


def join_processes() -> None:
    """Joins this process to the others of its run, if its flags name others."""
    from attngan_jax.training import multihost  # heavy: after the flags are right

    given = flags.FLAGS
    addresses = (given.coordinator, given.num_processes, given.process_index)
    if given.distributed or addresses != (None, None, None):
        multihost.initialise(*addresses)
