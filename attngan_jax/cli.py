"""How every `python -m attngan_jax.NAME` starts and ends: flags, exit codes, one-line errors."""

import difflib
import errno
import glob
import logging as pylogging
import os
import re
import runpy
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from attngan_jax import WITHOUT_TPU, configuration, storage
from attngan_jax.errors import Stopped, UserError

DONE, FAILED, WRONG_FLAGS = 0, 1, 2
_EVAL_WEIGHTS = ("inception_score_weights", "fid_weights")
_UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)

flags.disclaim_key_flags()  # those of define_process_flags belong to the door that calls it


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Parses the flags and calls `main(argv)`; never returns.

    Exit codes: 0 done, 1 failed with one line on stderr, 2 wrong flags.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or TensorFlow speaks of it when loaded
    if not glob.glob("/dev/accel*") and not os.path.exists("/dev/vfio"):
        for variable, value in WITHOUT_TPU.items():  # or libtpu, where installed, speaks
            os.environ.setdefault(variable, value)
    sys.exit(_run(main))


def _run(main: Callable[[Sequence[str]], None]) -> int:
    try:
        app.run(_returning_none(main), flags_parser=_parse_flags)
    except SystemExit as stop:  # app.run ends this way, with main's result
        return stop.code if isinstance(stop.code, int) else DONE
    except flags.Error as error:
        return _say(error, WRONG_FLAGS)
    except UserError as error:
        return _say(error, FAILED)
    except Stopped as stop:
        print(f"{stop}; run the same command again to go on", file=sys.stderr)
        return DONE
    except KeyboardInterrupt:
        return _say("stopped; run the same command again to go on", FAILED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNUSABLE:
            return _say(
                f"{error.filename or 'a file'} cannot be used ({error.strerror}): choose "
                "another folder, or mend its permissions",
                FAILED,
            )
        said = storage.describe_error(error)
        if said:
            return _say(said, FAILED)
        if not _disk_is_full(error):
            raise
        where = getattr(error, "filename", None) or "while writing"
        return _say(
            f"the disk is full ({where}): free some space and run the same command again; "
            "what was finished is kept",
            FAILED,
        )
    return DONE


def _returning_none(main):
    def call(argv):
        main(argv)

    return call


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Flags from `argv`; what goes wrong in a config file or an override is a `UserError`."""
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold("info")
    logging.get_absl_handler().addFilter(_is_worth_saying)
    try:
        rest = flags.FLAGS(argv)
        if "config" in flags.FLAGS and flags.FLAGS["config"].present:
            flags.FLAGS.config.lock()  # a file that could not be read raises only when it is used
            _check_places(
                "config.",
                configuration.flatten(flags.FLAGS.config.to_dict()),
                (
                    "data.data_dir",
                    "compilation_cache_dir",
                    "image_encoder.weights",
                    *(f"eval.{key}" for key in _EVAL_WEIGHTS),
                ),
                ("data.source", "data.cache_dir"),
            )
        if "eval" in flags.FLAGS:
            _check_places("eval.", flags.FLAGS.eval.to_dict(), _EVAL_WEIGHTS, ())
        _check_places(
            "",
            flags.FLAGS.flag_values_dict(),
            ("workdir", "damsm_from", "data_dir", "out"),
            ("source", "runs"),
        )
        return rest
    except UserError:
        raise
    except SystemExit as stop:
        raise SystemExit(DONE) from stop  # after --help, for which absl has 1
    except flags.Error as error:
        if not str(error).startswith("flag --config") or "=None:" in str(error):
            raise
        raise UserError(_explain_config(argv, error)) from error
    except Exception as error:
        if _disk_is_full(error):
            raise
        raise UserError(_explain_config(argv, error)) from error


def _check_places(prefix: str, values: dict, anywhere: Sequence[str], here: Sequence[str]) -> None:
    """Before the work begins: what may lie in a bucket is in one that can be reached."""
    for name in anywhere:
        storage.check(prefix + name, values.get(name))
    for name in here:
        storage.check_is_folder(prefix + name, values.get(name))


def _is_worth_saying(record) -> bool:
    """Warnings, the package's own information, and CLU's line of rate and time left.

    Orbax and TFDS tell of every step they take. What a library logs with a traceback it also
    raises, and that is where it is dealt with.
    """
    clu_progress = os.path.join("clu", "platform", "local.py")
    if os.path.dirname(__file__) in record.pathname or record.pathname.endswith(clu_progress):
        return True
    return (
        record.levelno > pylogging.INFO
        and not record.exc_info
        and "tensorflow_datasets" not in record.pathname
    )


def _explain_config(argv: Sequence[str], error: Exception) -> str:
    """What is wrong with the --config file of `argv` or its overrides, now that they failed."""
    line = " ".join(argv[1:])
    path = re.search(r"(?:^| )--?config[= ](\S+)", line)
    if not path:
        return _one_line(error)
    path, colon, argument = path[1].partition(":")
    if not os.path.isfile(path):
        return f"there is no config file {path}: name one, such as configs/procedural_birds.py"
    try:
        keys = configuration.flatten(
            runpy.run_path(path)["get_config"](*[argument] * bool(colon)).to_dict()
        )
    except Exception as cause:
        return (
            f"the config file {path} does not give a config ({type(cause).__name__}: "
            f"{_one_line(cause)}): it needs a get_config() that returns one"
        )
    for key in re.findall(r"(?:^| )--?(?:no)?config\.([^\s=]+)", line):
        if key not in keys and not any(known.startswith(f"{key}.") for known in keys):
            (closest,) = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
            return (
                f"there is no config key {key}; the closest is --config.{closest} "
                "(configs/default.py explains every key)"
            )
    return f"{_one_line(error)} (configs/default.py explains every key)"


def _disk_is_full(error: BaseException | None) -> bool:
    """Whether `error`, or what caused it, is a full disk; not every library keeps the number."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(
            errno.ENOSPC
        ) in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _one_line(error) -> str:
    return " ".join(str(error).split())


def _say(message, code: int) -> int:
    print(f"error: {_one_line(message)}", file=sys.stderr)
    return code


def no_arguments(argv: Sequence[str]) -> None:
    """Refuses words that belong to no flag."""
    if len(argv) > 1:
        raise flags.Error(f"what is {argv[1]!r}? every argument starts with --")


def define_process_flags() -> None:
    """The flags of a door that several processes go through together, for `join_processes`."""
    flags.DEFINE_bool(
        "distributed",
        False,
        "Whether this is one of several processes that find each other: on a TPU pod, under Slurm.",
    )
    flags.DEFINE_string(
        "coordinator", None, "HOST:PORT of process 0, where there are several on CPUs or GPUs."
    )
    flags.DEFINE_integer("num_processes", None, "How many there are.", 1)
    flags.DEFINE_integer("process_index", None, "Which one this is, from 0.", 0)


def join_processes() -> None:
    """Joins this process to the others of its run, if its flags speak of others."""
    from attngan_jax.training import multihost

    given = flags.FLAGS
    addresses = (given.coordinator, given.num_processes, given.process_index)
    if given.distributed or addresses != (None, None, None):
        multihost.initialise(*addresses)
