"""How every `python -m attngan_jax.NAME` starts and ends: flags, exit codes, one-line errors."""

import errno
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging

from attngan_jax.errors import UserError

DONE, FAILED, WRONG_FLAGS = 0, 1, 2


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Parses the flags and calls `main(argv)`; never returns.

    Exit codes: 0 done, 1 failed with one line on stderr, 2 wrong flags.
    """
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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _say(f"the disk is full ({error.filename or 'while writing'}): free some space and "
                    "run the same command again; what was finished is kept", FAILED)
    except KeyboardInterrupt:
        return _say("stopped; run the same command again to go on", 130)
    return DONE


def _returning_none(main):
    def call(argv):
        main(argv)

    return call


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """Flags from `argv`; what goes wrong in a config file or an override is a `UserError`."""
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold("info")
    try:
        return flags.FLAGS(argv)
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"a --config override does not fit the config: {_first_line(error)} "
                        "(configs/default.py explains every key)") from error
    except (FileNotFoundError, ImportError, SyntaxError) as error:
        raise UserError(f"--config cannot be read: {_first_line(error)}") from error
    except flags.IllegalFlagValueError as error:
        if "config" not in str(error):
            raise
        raise UserError(_first_line(error)) from error


def _first_line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(text).split())


def _say(message, code: int) -> int:
    print(f"error: {_first_line(message)}", file=sys.stderr)
    return code


def no_arguments(argv: Sequence[str]) -> None:
    """Refuses words that belong to no flag."""
    if len(argv) > 1:
        raise flags.Error(f"what is {argv[1]!r}? every argument starts with --")
