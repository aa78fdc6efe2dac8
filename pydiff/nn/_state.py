"""Loading a state into a module: which key goes where, and the report of what did not fit."""

import re
from collections import namedtuple

import pydiff
from pydiff import Tensor

from .parameter import Parameter, is_lazy


class IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    """What `load_state_dict` returns: the pair (missing_keys, unexpected_keys), printed as a table.

    `wrong_shapes` has triples (key, shape in the state, shape in the module); it has entries only on the error that
    `load_state_dict` raises, as `error.report`. `loaded` counts the keys that fit, `shapes` has the shape of each
    missing or unexpected key. `renamed` has pairs (saved key, module key), those that a `rename` changed.
    """

    def __new__(cls, missing_keys, unexpected_keys, wrong_shapes=(), loaded=0, shapes=None, renamed=()):
        self = super().__new__(cls, missing_keys, unexpected_keys)
        self.wrong_shapes = list(wrong_shapes)
        self.loaded = loaded
        self.shapes = dict(shapes or {})
        self.renamed = list(renamed)
        return self

    def __reduce__(self):
        return type(self), (*self, self.wrong_shapes, self.loaded, self.shapes, self.renamed)

    def __repr__(self):
        if not (self.missing_keys or self.unexpected_keys or self.wrong_shapes):
            return "<All keys matched successfully>"
        rows = [("missing", key, self.shapes.get(key, "")) for key in self.missing_keys]
        rows += [("unexpected", key, self.shapes.get(key, "")) for key in self.unexpected_keys]
        rows += [("wrong shape", key, f"{ours} for {theirs}") for key, ours, theirs in self.wrong_shapes]
        widths = [max(len(row[k]) for row in rows) for k in (0, 1)]
        head = (
            f"{self.loaded} keys fit, {len(self.missing_keys)} missing, {len(self.unexpected_keys)} unexpected, "
            f"{len(self.wrong_shapes)} of a wrong shape"
        )
        lines = [f"{what:<{widths[0]}}  {key:<{widths[1]}}  {shape}".rstrip() for what, key, shape in rows]
        return "\n".join([head, *lines])

    __str__ = __repr__


def renamed(state, rename):
    """(state with its new keys, pairs of keys that changed), by the `rename` of `load_state_dict`."""
    change = rename if callable(rename) else _by_table(rename)
    result, pairs, origin = {}, [], {}
    for key, value in state.items():
        new = change(key)
        if new is None:
            continue
        if new in result:
            raise ValueError(
                f"[load_state_dict] two saved keys get the same name; got {origin[new]!r} and {key!r}, both {new!r}; "
                "try a rename that keeps them apart"
            )
        result[new] = value
        origin[new] = key
        if new != key:
            pairs.append((key, new))
    return result, pairs


def _by_table(table):
    if not hasattr(table, "items"):
        raise TypeError(
            f"[load_state_dict] rename is a function or a dict; got {type(table).__name__}; try rename={{'module.': ''}}"
        )

    def change(key):
        for old, new in table.items():
            if isinstance(old, re.Pattern):
                found = old.search(key)
                if found and new is None:
                    return None
                key = old.sub(new, key) if found else key
            elif key.startswith(old):
                if new is None:
                    return None
                key = new + key[len(old) :]
        return key

    return change


def load(module, state, strict, assign, rename):
    """`Module.load_state_dict`; see there."""
    if not hasattr(state, "items"):
        raise TypeError(
            f"[load_state_dict] a state is a mapping from key to tensor; got {type(state).__name__}; try module.state_dict()"
        )
    metadata = getattr(state, "_metadata", None) or {}
    state, pairs = (dict(state), []) if rename is None else renamed(state, rename)
    everywhere = list(module.named_modules(remove_duplicate=False))
    missing, unexpected, messages = _before(everywhere, state, metadata)
    slots, extras = {}, {}
    for path, child in everywhere:
        prefix = f"{path}." if path else ""
        for name, tensor in child._own_state():
            slots[prefix + name] = (child, name, tensor)
        if child._has_extra_state("set_extra_state"):
            extras[prefix + "_extra_state"] = child
    values = {key: value if isinstance(value, Tensor) else pydiff.tensor(value) for key, value in state.items() if key in slots}
    missing += [key for key in [*slots, *extras] if key not in state]
    unexpected += [key for key in state if key not in slots and key not in extras]
    wrong = [
        (key, _shape_of(values[key]), _shape_of(tensor))
        for key, (_, _, tensor) in slots.items()
        if key in values and values[key].shape != tensor.shape
    ]
    shapes = {key: str(_shape_of(slots[key][2])) for key in missing if key in slots}
    shapes.update({key: str(_shape_of(state[key])) for key in unexpected if hasattr(state.get(key), "shape")})
    report = IncompatibleKeys(missing, unexpected, wrong, len(values) - len(wrong), shapes, pairs)
    if wrong or messages or (strict and (missing or unexpected)):
        _refuse(module, report, strict, messages, state)
    with pydiff.no_grad():
        for key, value in values.items():
            _put(*slots[key], value, assign)
    for key, child in extras.items():
        if key in state:
            child.set_extra_state(state[key])
    _after(module, report)
    if strict and (report.missing_keys or report.unexpected_keys):  # a hook may have added some, or cleared them
        _refuse(module, report, strict, [], state)
    return report


def _shape_of(tensor):
    return "(unknown)" if is_lazy(tensor) else tuple(tensor.shape)


def _before(everywhere, state, metadata):
    """What modules and their hooks report before loading; they may change the state.

    As in PyTorch they are told strict=True, always.
    """
    missing, unexpected, messages = [], [], []
    for path, child in everywhere:
        prefix = f"{path}." if path else ""
        child._load_from_state_dict(state, prefix, dict(metadata.get(path, {})), True, missing, unexpected, messages)
    return missing, unexpected, messages


def _after(module, report):
    """The hooks after loading, children before their parents."""
    for child in module._modules.values():
        if child is not None:
            _after(child, report)
    for hook in module._state_hooks_of("after load"):
        hook(module, report)


def _put(module, name, tensor, value, assign):
    if not assign:
        tensor.copy_(value)
    elif isinstance(tensor, Parameter):
        if not isinstance(value, Parameter):
            value = Parameter(value, tensor.requires_grad)
        setattr(module, name, value.requires_grad_(tensor.requires_grad))
    else:
        setattr(module, name, value)


def _advice(missing, unexpected, state):
    """What to do where the whole state stands under a prefix, or inside a checkpoint; None elsewhere."""
    if not missing or not unexpected:
        return None
    for key in unexpected:
        inner = state.get(key)
        if hasattr(inner, "items") and set(missing) <= set(inner):
            return f"load_state_dict(state[{key!r}])"
    pairs = [(missing, unexpected, "{%r: ''}")]
    if len(unexpected) == len(state):
        pairs.append((unexpected, missing, "{'': %r}"))
    for these, those, table in pairs:
        for key in those:
            prefix = key.removesuffix(these[0])
            if prefix != key and {prefix + k for k in these} <= set(those):
                return f"rename={table % prefix}"
    return None


def _refuse(module, report, strict, messages, state):
    missing, unexpected = (report.missing_keys, report.unexpected_keys) if strict else ([], [])
    wrong = [f"{key} {ours} for {theirs}" for key, ours, theirs in report.wrong_shapes]
    found = [
        f"{what}: {', '.join(keys)}"
        for what, keys in (("missing keys", missing), ("unexpected keys", unexpected), ("wrong shapes", wrong))
        if keys
    ]
    advice = _advice(missing, unexpected, state) or "strict=False to load the keys that match"
    if wrong:
        advice = "a module built with the sizes of the state" + (f", and {advice}" if missing or unexpected else "")
    error = RuntimeError(
        f"[load_state_dict] the state does not fit {type(module).__name__}; got {'; '.join(found + messages)}; try {advice}"
    )
    error.report = report
    raise error
