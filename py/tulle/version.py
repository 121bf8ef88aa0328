"""The version of tulle. It stands here so that what writes it into files need not import the whole package."""

__version__ = "0.1.0"
