"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """A mistake or a lack outside the program: bad input, a missing file, a full disk.

    The message is one line that says what is wrong, where, and what to do. The doors print it
    on stderr and exit with code 1; a traceback is for our mistakes only.
    """
