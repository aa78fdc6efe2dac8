"""Nested containers of tensors ("pytrees"): tuples, lists, dicts, named tuples.

Everything else is a leaf; None is an empty container. The leaves of a dict come in the order of its sorted keys, so that two
dicts that differ in order alone correspond; a dict that is put together has the order of the one it is made after.
"""

from collections import defaultdict

__all__ = ["tree_flatten", "tree_leaves", "tree_map", "tree_unflatten"]

_LEAF = object()


class _Keys(list):
    """Keys of a dict in the order of the leaves. What does not count in comparisons: `given`, the dict's own order, and
    `factory`, what a `defaultdict` makes for a key that is missing.
    """


def tree_flatten(tree):
    """(leaves, structure): the leaves in order, and what `tree_unflatten` puts them back into.

    >>> import pydiff as pd
    >>> leaves, structure = pd.tree.tree_flatten({"a": 1, "b": (2, [3])})
    >>> leaves, pd.tree.tree_unflatten(structure, [4, 5, 6])
    ([1, 2, 3], {'a': 4, 'b': (5, [6])})
    """
    leaves = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree, leaves):
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind, None, [_flatten(item, leaves) for item in tree]
    if tree is None:
        return None, None, ()
    if isinstance(tree, dict):
        keys = _Keys(tree)
        keys.given = list(tree)
        keys.factory = getattr(tree, "default_factory", None)
        try:
            keys.sort()
        except TypeError:
            pass  # keys that do not compare keep the order of insertion
        return kind, keys, [_flatten(tree[key], leaves) for key in keys]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return kind, "fields", [_flatten(item, leaves) for item in tree]
    leaves.append(tree)
    return _LEAF


def tree_unflatten(structure, leaves):
    """The container of `structure` with these leaves."""
    return _unflatten(structure, iter(leaves))


def _unflatten(structure, leaves):
    if structure is _LEAF:
        return next(leaves)
    kind, keys, children = structure
    if kind is None:
        return None
    items = [_unflatten(child, leaves) for child in children]
    if keys is None:
        return kind(items)
    if keys == "fields":
        return kind(*items)
    result = dict(zip(keys, items))
    result = {key: result[key] for key in keys.given}
    if issubclass(kind, defaultdict):
        return kind(keys.factory, result)
    return result if kind is dict else kind(result)


def tree_leaves(tree):
    """The leaves in order.

    >>> import pydiff as pd
    >>> pd.tree.tree_leaves((1, [2, None]))
    [1, 2]
    """
    return tree_flatten(tree)[0]


def tree_map(function, tree, *rest):
    """`function` on each leaf (and on the leaves at the same place of the other trees).

    >>> import pydiff as pd
    >>> pd.tree.tree_map(lambda a, b: a + b, (1, [2]), (10, [20]))
    (11, [22])
    """
    leaves, structure = tree_flatten(tree)
    others = []
    for other in rest:
        other_leaves, other_structure = tree_flatten(other)
        check_same(structure, other_structure, "tree_map")
        others.append(other_leaves)
    return tree_unflatten(structure, [function(*items) for items in zip(leaves, *others)])


def check_same(a, b, op):
    """Raise ValueError unless two structures are equal."""
    if a != b:
        raise ValueError(f"[{op}] the containers differ; got {_show(a)} and {_show(b)}; try containers of one structure")


def _show(structure):
    return str(tree_unflatten(structure, _Stars()))


class _Star:
    def __repr__(self):
        return "*"


class _Stars:
    def __iter__(self):
        return self

    def __next__(self):
        return _Star()


def broadcast_prefix(prefix, tree, op):
    """`prefix`, a tree whose leaves may stand for whole subtrees, as one leaf for each of `tree`'s.

    Leaves of the prefix are integers or None.
    """
    out = []
    _spread(prefix, tree, out, op)
    return out


def _spread(prefix, tree, out, op):
    if prefix is None or isinstance(prefix, int):
        out.extend([prefix] * len(tree_leaves(tree)))
        return
    if isinstance(prefix, dict) and isinstance(tree, dict) and set(prefix) == set(tree):
        _, keys, _ = tree_flatten(tree)[1]
        for key in keys:
            _spread(prefix[key], tree[key], out, op)
        return
    if isinstance(prefix, (tuple, list)) and isinstance(tree, (tuple, list)) and len(prefix) == len(tree):
        for p, t in zip(prefix, tree):
            _spread(p, t, out, op)
        return
    raise ValueError(
        f"[{op}] the axes do not match the arguments; got {prefix!r} for {type(tree).__name__}; "
        "try an integer, None, or a container like the arguments'"
    )
