"""What a user's mistake raises, and what an orderly stop raises."""


class UserError(Exception):
    """A mistake or a lack outside the program: bad input, a missing file, a full disk.

    The message is one line that says what is wrong, where, and what to do. The doors print it
    on stderr and exit with code 1; a traceback is for our mistakes only.
    """


class Stopped(Exception):
    """The run was told to stop and has saved itself; the same command goes on.

    The message is one line that says where it stopped. The doors print it and exit with code 0.
    """
