"""The workloads by name, in the order of the table. Each is a function without arguments that returns a Result."""

from .data_loader import data_loader
from .first_call import first_call
from .gelu import gelu
from .half import half
from .import_time import import_time
from .load_file import load_file
from .memory import memory
from .optimizer_step import optimizer_step
from .record import record
from .save_file import save_file
from .small_ops import small_ops
from .train_step import train_step

WORKLOADS = {
    w.__name__: w
    for w in (
        record,
        small_ops,
        gelu,
        half,
        train_step,
        optimizer_step,
        data_loader,
        first_call,
        import_time,
        memory,
        load_file,
        save_file,
    )  # fmt: skip
}
