"""Errors that a user's input can cause. The command line prints them as one line and exits with code 2.

Every message says what is wrong with which file or option, and what would be accepted.
"""


class InputError(ValueError):
    """Something the user gave (an option, a file, a configuration) cannot be used."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder that the user named does not exist."""

    def __str__(self):
        # OSError would format its arguments as an errno tuple.
        return str(self.args[0]) if self.args else ""


class NonFiniteError(InputError, ArithmeticError):
    """A computation gave NaN or infinity, so that its result is worthless."""
