"""When to stop."""

import math

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Tells when a metric has not improved for a while.

    Arguments:
        patience: how many values in a row may be no improvement before it is enough.
        min_delta: by how much a value has to be better than the best one before it; 0 or more.
        mode: "min" where less is better, "max" where more is.

    Called with each value; True says stop. NaN is no improvement. `best` is the best value, `waited` the number of values
    since. `state_dict()` and `load_state_dict()` let `Checkpoint` keep it.

    >>> import pydiff as pd
    >>> stopping = pd.train.EarlyStopping(patience=1, mode="max")
    >>> [stopping(accuracy) for accuracy in (0.5, 0.7, 0.6)], stopping.best
    ([False, False, True], 0.7)
    """

    def __init__(self, patience=10, min_delta=0.0, mode="min"):
        if mode not in ("min", "max"):
            raise ValueError(f"[EarlyStopping] mode is 'min' or 'max'; got {mode!r}; try 'min'")
        if not (isinstance(patience, int) and patience >= 1):
            raise ValueError(f"[EarlyStopping] patience is a whole number, 1 or more; got {patience!r}; try 10")
        if not min_delta >= 0:
            raise ValueError(f"[EarlyStopping] min_delta is 0 or more; got {min_delta!r}; try 0.0")
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.best, self.waited = None, 0

    def __call__(self, value):
        value = float(value)
        if not math.isnan(value) and (self.best is None or self._gain(value) > self.min_delta):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.waited >= self.patience

    def _gain(self, value):
        return value - self.best if self.mode == "max" else self.best - value

    def state_dict(self):
        """What it remembers."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict):
        """Go on where `state_dict` was taken."""
        self.best, self.waited = state_dict["best"], state_dict["waited"]
