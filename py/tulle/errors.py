"""The one exception that tulle raises for bad files, bad inputs and unsupported models."""


class TulleError(Exception):
    """What was wrong, where, and what to do about it, in one message."""
