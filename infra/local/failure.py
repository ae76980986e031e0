"""What is shown to the user instead of a traceback."""


class Failure(Exception):
    """Something that the user can act on; the message says how."""
