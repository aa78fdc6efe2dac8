"""Helpers of training and of modules: sequences of several lengths."""

from . import rnn

__all__ = ["rnn"]
