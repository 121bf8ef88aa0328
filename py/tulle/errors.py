"""The one exception that tulle raises for bad files, bad inputs and unsupported models."""


class TulleError(Exception):
    """One message that says what is wrong, where, and what to do about it."""


class Unsupported(Exception):
    """The reason why tulle cannot run an operator of a model file: readers collect them for one TulleError."""
