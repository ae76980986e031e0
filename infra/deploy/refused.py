"""What the user is told instead of a traceback."""


class Refused(Exception):
    """Why something is not done, and what to do about it."""
