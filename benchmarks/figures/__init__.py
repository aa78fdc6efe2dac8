"""The figures by name, in the order of the table. Each is a function without arguments that returns a Result."""

from .bf16_product import bf16_product
from .convolutions import convolutions
from .data_loader import data_loader
from .first_call import first_call
from .half import half
from .import_time import import_time
from .load_file import load_file
from .memory import memory
from .optimizer_step import optimizer_step
from .record import record
from .save_file import save_file

FIGURES = {
    f.__name__: f
    for f in (
        record,
        half,
        bf16_product,
        convolutions,
        optimizer_step,
        data_loader,
        first_call,
        import_time,
        memory,
        load_file,
        save_file,
    )  # fmt: skip
}
