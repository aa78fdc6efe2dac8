"""The functions that the core has itself, under their names and second names.

A module of its own, since many of the names (`max`, `all`, `abs` …) are also Python's.
"""

from . import _C

_INTERNAL = {"strong_mul", "half_gt"}  # for derivative rules
OF_SPECIAL = set("digamma erfcx erfinv i0 i0e i1 i1e lgamma log_ndtr ndtr ndtri sinc".split())  # pydiff.special has them
CORE = [
    row["name"]
    for row in _C.op_table()
    if row["family"] == "elementwise" and hasattr(_C, row["name"]) and row["name"] not in _INTERNAL | OF_SPECIAL
]
CORE += (
    "all amax amin any argmax argmin broadcast_to cat chunk clamp clip clone cumsum empty flatten flip from_numpy full "
    "full_like log_softmax masked_fill matmul mean narrow ones "
    "ones_like permute reshape scatter_add select softmax split squeeze stack std sum swapaxes t tensor "
    "transpose unbind unsqueeze var zeros zeros_like"
).split()
for _name in CORE:
    globals()[_name] = getattr(_C, _name)

# Second names: NumPy's, and PyTorch's own synonyms. (`equal` is PyTorch's, one truth value.)
ALIASES = {
    "abs": ("absolute",),
    "acos": ("arccos",),
    "acosh": ("arccosh",),
    "asin": ("arcsin",),
    "asinh": ("arcsinh",),
    "atan": ("arctan",),
    "atan2": ("arctan2",),
    "atanh": ("arctanh",),
    "bitwise_left_shift": ("left_shift",),
    "bitwise_not": ("invert",),
    "bitwise_right_shift": ("right_shift",),
    "cat": ("concatenate", "concat"),
    "div": ("divide", "true_divide"),
    "ge": ("greater_equal",),
    "gt": ("greater",),
    "le": ("less_equal",),
    "lt": ("less",),
    "mul": ("multiply",),
    "ne": ("not_equal",),
    "neg": ("negative",),
    "pow": ("power",),
    "sign": ("sgn",),
    "sub": ("subtract",),
    "trunc": ("fix",),
}
for _name, _others in ALIASES.items():
    for _other in _others:
        globals()[_other] = globals()[_name]

__all__ = [*CORE, *(other for others in ALIASES.values() for other in others)]
