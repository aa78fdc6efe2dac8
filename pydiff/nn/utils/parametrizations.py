"""Parametrizations that are ready: weight norm, spectral norm, orthogonal matrices."""

import pydiff

from .. import functional as F
from ..module import Module
from . import _spectral
from .parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _weight(name, module, tensor_name):
    found = getattr(module, tensor_name, None)
    if found is None:
        names = [n for n, _ in module.named_parameters(recurse=False)]
        raise ValueError(
            f"[{name}] {type(module).__name__} has no such tensor; got {tensor_name!r}; try one of {names or 'another module'}"
        )
    return found


# ---- weight norm


def norm_except(v, dim):
    """The length of v along all axes but `dim`, which is kept with the others of size 1; of all of v for dim -1."""
    if dim == -1:
        return pydiff.linalg.vector_norm(v)
    return pydiff.linalg.vector_norm(v, dim=tuple(k for k in range(v.ndim) if k != dim % v.ndim), keepdim=True)


class _WeightNorm(Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return weight_v * (weight_g / norm_except(weight_v, self.dim))

    def right_inverse(self, weight):
        return norm_except(weight, self.dim), weight.detach().clone()


def weight_norm(module, name="weight", dim=0):
    """Parametrize a weight by its length g, `original0`, and its direction v, `original1`: w = g v / ‖v‖.

    Arguments:
        module: what has the weight; it is returned.
        name: of the weight.
        dim: the axis along which lengths differ; None for one length.

    States of the older `pydiff.nn.utils.weight_norm` (`weight_g`, `weight_v`) load too. Salimans and Kingma,
    arXiv:1602.07868. Raises ValueError where there is no such tensor.

    >>> import pydiff as pd
    >>> layer = pd.nn.utils.parametrizations.weight_norm(pd.nn.Linear(20, 40))
    >>> tuple(layer.parametrizations.weight.original0.shape), tuple(layer.parametrizations.weight.original1.shape)
    ((40, 1), (40, 20))
    """
    _weight("weight_norm", module, name)
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module.register_load_state_dict_pre_hook(_OldKeys(name))
    return module


class _OldKeys:
    """Gives g and v of an older state their new names."""

    def __init__(self, name):
        self.name = name

    def __call__(self, module, state, prefix, metadata, strict, missing, unexpected, messages):
        old = [f"{prefix}{self.name}_{which}" for which in "gv"]
        if all(key in state for key in old):
            for k, key in enumerate(old):
                state[f"{prefix}parametrizations.{self.name}.original{k}"] = state.pop(key)


# ---- spectral norm


class _SpectralNorm(Module):
    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        _spectral.check_times("spectral_norm", n_power_iterations)
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(f"[spectral_norm] axis out of range; got {dim} for shape {tuple(weight.shape)}; try 0")
        self.dim = dim % weight.ndim
        self.eps = eps
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = _spectral.as_matrix(weight.detach(), self.dim)
            u, v = _spectral.start(matrix, eps)
            self.register_buffer("_u", u)
            self.register_buffer("_v", v)
            _spectral.iterate(matrix, u, v, 15, eps)  # near the first singular vectors from the start

    def forward(self, weight):
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = _spectral.as_matrix(weight, self.dim)
        if self.training:
            _spectral.iterate(matrix, self._u, self._v, self.n_power_iterations, self.eps)
        return weight / _spectral.sigma(matrix, self._u, self._v)

    def right_inverse(self, value):
        return value


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Parametrize a weight so that its largest singular value is 1, as far as power iteration has come.

    Arguments:
        module: what has the weight; it is returned.
        name: of the weight, which is taken as a matrix `(size of dim, the rest)`.
        n_power_iterations: steps at each use in training.
        eps: the least length that is divided by.
        dim: by default 1 for transposed convolutions, else 0.

    Miyato et al., arXiv:1802.05957. Raises ValueError for a tensor or a number that is not there.

    >>> import pydiff as pd
    >>> layer = pd.nn.utils.parametrizations.spectral_norm(pd.nn.Linear(4, 3), n_power_iterations=50)
    >>> round(pd.linalg.matrix_norm(layer.weight, 2).item(), 3)
    1.0
    """
    weight = _weight("spectral_norm", module, name)
    dim = _spectral.default_axis(module) if dim is None else dim
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


# ---- orthogonal matrices


class _Orthogonal(Module):
    """Q as a function of any matrix X: expm(A), the Cayley map of A, or a product of reflections, times a base."""

    def __init__(self, weight, orthogonal_map, use_trivialization):
        super().__init__()
        self.shape = tuple(weight.shape)
        self.orthogonal_map = orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X):
        turned = X.shape[-2] < X.shape[-1]
        X = X.mT if turned else X
        Q = self._reflections(X) if self.orthogonal_map == "householder" else self._of_skew(X)
        if self.use_trivialization:
            Q = self.base @ Q
        return Q.mT if turned else Q

    def _of_skew(self, X):
        n, k = X.shape[-2:]
        X = X.tril()
        if n != k:
            X = pydiff.cat([X, X.new_zeros(*X.shape[:-2], n, n - k)], -1)
        A = X - X.mT
        if self.orthogonal_map == "matrix_exp":
            Q = pydiff.linalg.matrix_exp(A)
        else:
            one = pydiff.eye(n, dtype=A.dtype, device=A.device)
            Q = pydiff.linalg.solve(one - A / 2, one + A / 2)
        return Q[..., :k]

    def _reflections(self, X):
        A = X.tril(-1)
        tau = 2 / (1 + (A * A).sum(-2))
        # The diagonal holds signs, which are not trained.
        return pydiff.linalg.householder_product(A, tau) * _diagonal(X).detach().trunc().unsqueeze(-2)

    def right_inverse(self, Q):
        if tuple(Q.shape) != self.shape:
            raise ValueError(f"[orthogonal] the matrix has its shape; got {tuple(Q.shape)} for {self.shape}; try that shape")
        turned = Q.shape[-2] < Q.shape[-1]
        tall = Q.mT if turned else Q
        n, k = tall.shape[-2:]
        if not self.use_trivialization:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    f"[orthogonal] {self.orthogonal_map} is not undone; got an assignment; try use_trivialization=True"
                )
            A, tau = pydiff.geqrf(tall)
            # Q = H_1 … H_k D: R's diagonal is made positive, and a reflection that is not used has tau 0.
            signs = pydiff.sign(_diagonal(A)) * pydiff.where(tau == 0, -1, 1)
            eye = pydiff.eye(n, k, dtype=A.dtype, device=A.device)
            A = A.tril(-1) + eye * signs.unsqueeze(-2)
            return A.mT if turned else A
        if n != k:
            tall = pydiff.cat([tall, pydiff.randn(*tall.shape[:-2], n, n - k, dtype=Q.dtype, device=Q.device)], -1)
        if n != k or not _is_orthogonal(tall):
            tall = _nearest(tall)
        self.base = tall.detach().clone()
        # With minus one on the diagonal the product of reflections, and both other maps, give the base itself.
        return -pydiff.eye(*Q.shape[-2:], dtype=Q.dtype, device=Q.device).expand(Q.shape).clone()


def _diagonal(X):
    return X.diagonal(dim1=-2, dim2=-1)


def _is_orthogonal(Q):
    n = Q.shape[-1]
    eps = 10 * n * (1.2e-7 if Q.dtype == pydiff.float32 else 2.3e-16)
    one = pydiff.eye(n, dtype=Q.dtype, device=Q.device)
    return bool(((Q.mT @ Q - one).abs() < eps).all())


def _nearest(X):
    """The orthogonal factor of X = Q R with a positive diagonal of R."""
    Q, R = pydiff.linalg.qr(X)
    return Q * pydiff.sign(_diagonal(R)).unsqueeze(-2)


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Parametrize a matrix, or a batch of them, so that its columns (of a wide one, its rows) are orthonormal.

    Arguments:
        module: what has the matrix; it is returned.
        name: of the matrix `(*, n, k)`.
        orthogonal_map: 'matrix_exp' or 'cayley', of a skew matrix, or 'householder', a product of reflections. By default
            'matrix_exp' for square matrices, 'householder' for others.
        use_trivialization: whether there is a buffer `base`, so that the parameters are coordinates around the present
            matrix, to which then may be assigned. Lezcano-Casado, arXiv:1909.09501.

    Raises ValueError for a tensor that is no matrix and an unknown map.

    >>> import pydiff as pd
    >>> layer = pd.nn.utils.parametrizations.orthogonal(pd.nn.Linear(4, 4))
    >>> bool(((layer.weight @ layer.weight.T - pd.eye(4)).abs() < 1e-5).all())
    True
    """
    weight = _weight("orthogonal", module, name)
    if weight.ndim < 2:
        raise ValueError(f"[orthogonal] a matrix is wanted; got shape {tuple(weight.shape)}; try a weight of two axes")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f"[orthogonal] unknown orthogonal_map; got {orthogonal_map!r}; try 'matrix_exp', 'cayley' or 'householder'"
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)
