"""The error that the user is told instead of a traceback."""


class Refused(Exception):
    """The reason why something is not done. Its text says what to do about it."""
