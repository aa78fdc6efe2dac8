"""Parameters with elements set to zero for good: by size, at random, whole channels, or by a mask.

A pruned `weight` is a product of the parameter `weight_orig` and the buffer `weight_mask`, computed anew before each
forward pass. Pruning again multiplies masks: amounts count among the elements, or channels, that are left.
"""

from abc import ABC, abstractmethod

import pydiff

from ..parameter import Parameter

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
    "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
    "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove",
]  # fmt: skip


class BasePruningMethod(ABC):
    """What makes masks. A subclass defines `compute_mask`, and `PRUNING_TYPE`: where its amounts are counted.

    'unstructured': among the elements that are left; 'structured': among the channels along its `dim` that are left;
    'global': in the whole tensor. It is registered as a hook before the forward pass.

    >>> import pydiff as pd
    >>> class Negative(pd.nn.utils.prune.BasePruningMethod):
    ...     PRUNING_TYPE = "unstructured"
    ...     def compute_mask(self, t, default_mask):
    ...         return default_mask * (t >= 0)
    >>> Negative().prune(pd.tensor([1.0, -1.0])).tolist()
    [1.0, -0.0]
    """

    PRUNING_TYPE = "unstructured"
    _tensor_name = None

    def __call__(self, module, inputs):
        setattr(module, self._tensor_name, self.apply_mask(module))

    @property
    def computes(self):
        """The name of the tensor that it computes."""
        return self._tensor_name

    def restore(self, module):
        """Compute the tensor in a copy of the module."""
        self(module, ())

    @abstractmethod
    def compute_mask(self, t, default_mask):
        """The mask, shaped as `t`, of ones and zeros, for scores `t` where `default_mask` is the mask so far."""

    def apply_mask(self, module):
        """The original times the mask."""
        original = getattr(module, self._tensor_name + "_orig")
        return getattr(module, self._tensor_name + "_mask").to(original.dtype) * original

    @classmethod
    def apply(cls, module, name, *args, importance_scores=None, **kwargs):
        """Prune `module.<name>` by a method made with the other arguments; returns the method.

        `importance_scores`, shaped as the tensor, decide in the place of its values. Raises ValueError where the tensor
        or the scores do not fit; nothing is then changed.
        """
        tensor = getattr(module, name, None)
        if tensor is None:
            raise ValueError(f"[prune] {type(module).__name__} has no tensor {name!r}; got None; try the name of a parameter")
        if importance_scores is not None and importance_scores.shape != tensor.shape:
            raise ValueError(
                f"[prune] scores are shaped as the tensor; got {tuple(importance_scores.shape)} for {tuple(tensor.shape)}; "
                "try scores of that shape"
            )
        method = cls(*args, **kwargs)
        method._tensor_name = name
        key, before = _found(module, name)
        if before is not None:
            together = PruningContainer(*(before if isinstance(before, PruningContainer) else (before,)))
            together.add_pruning_method(method)
            method = together
        mask = getattr(module, name + "_mask") if before is not None else pydiff.ones_like(tensor).detach()
        with pydiff.no_grad():
            scores = tensor if importance_scores is None else importance_scores
            mask = method.compute_mask(scores.detach(), mask).to(tensor.dtype)
        if before is None:
            delattr(module, name)
            module.register_parameter(name + "_orig", tensor)
            module.register_buffer(name + "_mask", mask)
        else:
            del module._hooks[key]
            setattr(module, name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t, default_mask=None, importance_scores=None):
        """A pruned copy of a tensor."""
        scores = t if importance_scores is None else importance_scores
        return t * self.compute_mask(scores, pydiff.ones_like(t) if default_mask is None else default_mask)

    def remove(self, module):
        """Make the pruned tensor an ordinary parameter, zeros included."""
        name = self._tensor_name
        original = getattr(module, name + "_orig")
        with pydiff.no_grad():
            original.data = self.apply_mask(module).detach()
        for gone in (name, name + "_orig", name + "_mask"):
            delattr(module, gone)
        module.register_parameter(name, original if isinstance(original, Parameter) else Parameter(original))


def _found(module, name):
    """(key, method) of the pruning of a tensor; (None, None) without."""
    for key, hook in module._hooks.items():
        if isinstance(hook.function, BasePruningMethod) and hook.function._tensor_name == name:
            return key, hook.function
    return None, None


class PruningContainer(BasePruningMethod):
    """Methods that pruned one tensor one after the other; the last one computes a mask where those before left something.

    >>> import pydiff as pd
    >>> layer = pd.nn.Linear(4, 4)
    >>> for _ in range(2):
    ...     _ = pd.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    >>> layer.weight_mask.sum().item()
    4.0
    """

    def __init__(self, *args):
        self._methods = []
        for method in args:
            self._tensor_name = method._tensor_name if self._tensor_name is None else self._tensor_name
            self.add_pruning_method(method)

    def add_pruning_method(self, method):
        """Add a method for the same tensor; raises TypeError for what is none, ValueError for that of another tensor."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"[prune] a pruning method is wanted; got {type(method).__name__}; try L1Unstructured(0.5)")
        if method._tensor_name != self._tensor_name:
            raise ValueError(
                f"[prune] methods are of one tensor; got {method._tensor_name!r} for {self._tensor_name!r}; try another container"
            )
        self._methods.append(method)

    def __len__(self):
        return len(self._methods)

    def __iter__(self):
        return iter(self._methods)

    def __getitem__(self, index):
        return self._methods[index]

    def compute_mask(self, t, default_mask):
        method = self._methods[-1]
        if method.PRUNING_TYPE == "unstructured":
            left = default_mask == 1
            part = method.compute_mask(t[left], default_mask[left])
            mask = default_mask.clone()
            mask[left] = part.to(mask.dtype)
            return mask
        if method.PRUNING_TYPE == "structured":
            dim = method.dim % t.ndim
            left = (default_mask != 0).movedim(dim, 0).reshape(t.shape[dim], -1).any(1).nonzero().reshape(-1)
            part = method.compute_mask(t.index_select(dim, left), default_mask.index_select(dim, left))
            return default_mask.index_copy(dim, left, part.to(default_mask.dtype))
        return method.compute_mask(t, default_mask) * default_mask


# ---- how much


def _check_amount(amount):
    whole = isinstance(amount, int) and not isinstance(amount, bool)
    if not (whole and amount >= 0 or isinstance(amount, float) and 0.0 <= amount <= 1.0):
        raise ValueError(
            f"[prune] an amount is a share from 0.0 to 1.0, or a number of elements; got {amount!r}; try amount=0.3"
        )


def _count(amount, size):
    if isinstance(amount, float):
        return round(amount * size)
    if amount > size:
        raise ValueError(f"[prune] more is pruned than there is; got {amount} of {size}; try amount={size}")
    return amount


def _without(mask, scores, count):
    """The mask with zeros at the `count` smallest scores."""
    if not count:
        return mask.clone()
    places = scores.reshape(-1).topk(count, largest=False).indices
    return mask.reshape(-1).index_fill(0, places, 0).reshape(mask.shape)


# ---- methods


class Identity(BasePruningMethod):
    """Prunes nothing: the tensor gets its mask of ones.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.Identity().prune(pd.ones(2)).tolist()
    [1.0, 1.0]
    """

    def compute_mask(self, t, default_mask):
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prunes elements at random: `amount` of them, a share or a number.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.RandomUnstructured(0.5).prune(pd.ones(4)).sum().item()
    2.0
    """

    def __init__(self, amount):
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t, default_mask):
        return _without(default_mask, pydiff.rand(t.shape, device=t.device), _count(self.amount, t.numel()))


class L1Unstructured(BasePruningMethod):
    """Prunes the elements of the smallest absolute values: `amount` of them, a share or a number.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.L1Unstructured(1).prune(pd.tensor([3.0, -1.0, 2.0])).tolist()
    [3.0, -0.0, 2.0]
    """

    def __init__(self, amount):
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t, default_mask):
        return _without(default_mask, t.abs(), _count(self.amount, t.numel()))


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"

    def compute_mask(self, t, default_mask):
        if t.ndim < 2:
            raise ValueError(f"[prune] channels are of two axes at least; got shape {tuple(t.shape)}; try l1_unstructured")
        if not -t.ndim <= self.dim < t.ndim:
            raise IndexError(f"[prune] axis out of range; got {self.dim} for {t.ndim} dimensions; try dim=0")
        dim = self.dim % t.ndim
        count = _count(self.amount, t.shape[dim])
        kept = _without(default_mask.new_ones(t.shape[dim]), self._scores(t, dim), count)
        return default_mask * kept.reshape([-1 if k == dim else 1 for k in range(t.ndim)])


class RandomStructured(_Structured):
    """Prunes channels along `dim` at random: `amount` of them, a share or a number.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.RandomStructured(0.5, dim=0).prune(pd.ones(4, 3)).sum().item()
    6.0
    """

    def __init__(self, amount, dim=-1):
        _check_amount(amount)
        self.amount = amount
        self.dim = dim

    def _scores(self, t, dim):
        return pydiff.rand(t.shape[dim], device=t.device)


class LnStructured(_Structured):
    """Prunes the channels along `dim` of the smallest n-norms: `amount` of them, a share or a number.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.LnStructured(1, 2, dim=0).prune(pd.tensor([[1.0, 1.0], [2.0, 2.0]])).tolist()
    [[0.0, 0.0], [2.0, 2.0]]
    """

    def __init__(self, amount, n, dim=-1):
        _check_amount(amount)
        self.amount = amount
        self.n = n
        self.dim = dim

    def _scores(self, t, dim):
        return pydiff.norm(t, self.n, [k for k in range(t.ndim) if k != dim])


class CustomFromMask(BasePruningMethod):
    """Prunes where a given mask is zero.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.CustomFromMask(pd.tensor([1, 0])).prune(pd.ones(2)).tolist()
    [1.0, 0.0]
    """

    PRUNING_TYPE = "global"

    def __init__(self, mask):
        self.mask = mask

    def compute_mask(self, t, default_mask):
        if self.mask.shape != default_mask.shape:
            raise ValueError(
                f"[prune] a mask is shaped as the tensor; got {tuple(self.mask.shape)} for {tuple(default_mask.shape)}; "
                "try a mask of that shape"
            )
        return default_mask * self.mask.to(default_mask.dtype)


# ---- functions


def identity(module, name):
    """Give a tensor of the module a mask of ones; returns the module.

    >>> import pydiff as pd
    >>> list(pd.nn.utils.prune.identity(pd.nn.Linear(2, 2), "weight").state_dict())
    ['bias', 'weight_orig', 'weight_mask']
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module, name, amount):
    """Prune elements of a tensor of the module at random; returns the module.

    Arguments:
        amount: a share from 0.0 to 1.0, or a number of elements.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.random_unstructured(pd.nn.Linear(2, 2), "weight", 1).weight_mask.sum().item()
    3.0
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module, name, amount, importance_scores=None):
    """Prune the smallest elements, or those of the smallest scores, of a tensor of the module; returns the module.

    Arguments:
        amount: a share from 0.0 to 1.0, or a number of elements.
        importance_scores: shaped as the tensor.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.l1_unstructured(pd.nn.Linear(2, 2), "weight", 0.5).weight_mask.sum().item()
    2.0
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module, name, amount, dim):
    """Prune channels along `dim` of a tensor of the module at random; returns the module.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.random_structured(pd.nn.Linear(3, 2), "weight", 1, 1).weight_mask.sum().item()
    4.0
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module, name, amount, n, dim, importance_scores=None):
    """Prune the channels along `dim` of the smallest n-norms; returns the module.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.ln_structured(pd.nn.Linear(3, 2), "weight", 1, n=2, dim=1).weight_mask.sum().item()
    4.0
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module, name, mask):
    """Prune a tensor of the module where `mask` is zero; returns the module.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.custom_from_mask(pd.nn.Linear(2, 2), "bias", pd.tensor([0, 1])).bias_mask.tolist()
    [0.0, 1.0]
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs):
    """Prune several tensors as if they were one.

    Arguments:
        parameters: pairs of module and name.
        pruning_method: a class of 'unstructured' methods; it is made with `kwargs`.
        importance_scores: a dict from such a pair to scores.

    Raises TypeError for other classes and what are no pairs.

    >>> import pydiff as pd
    >>> a, b = pd.nn.Linear(2, 2), pd.nn.Linear(2, 2)
    >>> P = pd.nn.utils.prune
    >>> P.global_unstructured([(a, "weight"), (b, "weight")], pruning_method=P.L1Unstructured, amount=3)
    >>> (a.weight_mask.sum() + b.weight_mask.sum()).item()
    5.0
    """
    parameters, scores = list(parameters), dict(importance_scores or {})
    if not parameters or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in parameters):
        raise TypeError("[prune] pairs of module and name are wanted; got others, or none; try [(layer, 'weight')]")
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(f"[prune] the method is unstructured; got {method.PRUNING_TYPE!r}; try L1Unstructured")
    tensors = [getattr(module, name).detach() for module, name in parameters]
    masks = [getattr(module, name + "_mask", None) for module, name in parameters]
    masks = [pydiff.ones_like(t) if mask is None else mask for t, mask in zip(tensors, masks, strict=True)]
    chosen = [scores.get(pair, t) for pair, t in zip(parameters, tensors, strict=True)]
    together = PruningContainer(method)
    flat = (pydiff.cat([t.reshape(-1) for t in some]) for some in (chosen, masks))
    parts = together.compute_mask(*flat).split([t.numel() for t in tensors])
    for (module, name), tensor, part in zip(parameters, tensors, parts, strict=True):
        custom_from_mask(module, name, part.reshape(tensor.shape))


def remove(module, name):
    """Make a pruned tensor an ordinary parameter, which keeps its zeros; returns the module.

    Raises ValueError where it is not pruned.

    >>> import pydiff as pd
    >>> P = pd.nn.utils.prune
    >>> list(P.remove(P.identity(pd.nn.Linear(2, 2), "weight"), "weight").state_dict())
    ['bias', 'weight']
    """
    key, method = _found(module, name)
    if method is None:
        raise ValueError(
            f"[prune] {type(module).__name__} has no such pruned tensor; got {name!r}; try the name that was pruned"
        )
    method.remove(module)
    del module._hooks[key]
    return module


def is_pruned(module):
    """Whether a tensor of the module, or of one below it, is pruned.

    >>> import pydiff as pd
    >>> pd.nn.utils.prune.is_pruned(pd.nn.Linear(2, 2))
    False
    """
    return any(isinstance(h.function, BasePruningMethod) for child in module.modules() for h in child._hooks.values())
