"""The exceptions for a user's mistake and for a graceful shutdown."""


class UserError(Exception):
    """A problem outside the program: bad input, a missing file, a full disk.

    The message is one line that says what is wrong, where, and what to do. The commands print it
    on stderr and exit with code 1. A traceback means a bug in the program.
    """


class Stopped(Exception):
    """Graceful shutdown: the run was told to stop and has saved itself.

    The message is one line that says where it stopped. The commands print it, add that the same
    command resumes the run, and exit with code 0.
    """
