"""Errors of files, in the form of all others."""

__all__ = ["bad", "is_told", "short"]


def short(value, most=60):
    """The value as an error shows it: whatever a file says, one line of at most `most` characters."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, Exception) else _shown(value, most)
    text = text[: most * 2].encode("unicode_escape").decode("ascii")
    return text if len(text) <= most else text[: most - 3] + "..."


def _shown(value, most):
    if isinstance(value, (list, tuple, dict)) and len(value) > 8:
        return f"{type(value).__name__} of {len(value)}"
    if type(value) is int and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return repr(value)


def bad(where, what, got, advice):
    """Raise the ValueError of a file that is not sound."""
    raise ValueError(f"[load] {what}; got {got} in {short(str(where), 200)}; try {advice}")


def is_told(error):
    """Whether an error is one of `bad` already."""
    return isinstance(error, ValueError) and str(error).startswith("[load] ")
