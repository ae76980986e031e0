"""The error that the user is told instead of a traceback."""


class Failure(Exception):
    """A fault that the user can mend. Its text says how."""
