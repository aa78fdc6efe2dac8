"""ADBench's hand tracking: distances of points from a posed, skinned hand, and their Jacobian by its 26 parameters."""

import os
from pathlib import Path

import numpy as np

from ._adbench import cut, numbers
from ._problem import Problem, function_alone, torch_style

BONES, VERTICES, POINTS, PARAMETERS = 22, 544, 100, 26
PARENTS = [-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19, 0]


def _model():
    """Of each bone its 4 x 4 placement in its parent's frame and the inverse of that in the world; of each vertex its place
    at rest (homogeneous) and its weight at each bone."""
    if "ADBENCH" not in os.environ:
        rng = np.random.default_rng(0)
        relative = np.tile(np.eye(4), (BONES, 1, 1))
        relative[:, :3, :3], relative[:, :3, 3] = (
            np.linalg.qr(rng.standard_normal((BONES, 3, 3)))[0],
            rng.normal(0, 0.03, (BONES, 3)),
        )
        absolute = []
        for parent, own in zip(PARENTS, relative):
            absolute.append(own if parent < 0 else absolute[parent] @ own)
        weights = rng.dirichlet(np.full(BONES, 0.1), VERTICES).T
        return (
            relative,
            np.linalg.inv(absolute),
            np.append(rng.normal(0, 0.1, (3, VERTICES)), np.ones((1, VERTICES)), 0),
            weights,
        )
    folder = Path(os.environ["ADBENCH"]) / "hand/simple_small/model"
    bones = [line.split(":") for line in (folder / "bones.txt").read_text().split()]
    assert [int(b[1]) for b in bones] == PARENTS
    relative, inverse = np.array([b[2:34] for b in bones], float).reshape(BONES, 2, 4, 4).swapaxes(0, 1)
    rest, weights = np.ones((4, VERTICES)), np.zeros((BONES, VERTICES))
    for k, line in enumerate((folder / "vertices.txt").read_text().split()):
        fields = line.split(":")  # place, normal, texture, how many bones, then bone and weight of each
        rest[:3, k] = [float(x) for x in fields[:3]]
        for bone, weight in zip(fields[9::2], fields[10::2]):
            weights[int(bone), k] = float(weight)
    return relative, inverse, rest, weights


def _data():
    relative, inverse, rest, weights = _model()
    flat = numbers("hand/simple_small/hand1_t26_c100.txt", skip=2)
    if flat is None:
        rng = np.random.default_rng(1)
        seen = np.column_stack([rng.integers(0, VERTICES, POINTS), rng.normal(0, 0.1, (POINTS, 3))])
        flat = np.append(seen.ravel(), rng.normal(0, 0.3, PARAMETERS))
    seen, theta = cut(flat, (POINTS, 4), (PARAMETERS,))
    which = seen[:, 0].astype(np.int64)
    return theta, relative, inverse, rest[:, which], weights[:, which], seen[:, 1:].T


def _angles():
    """Which of (the parameters, 0) each bone's three angles are: two for a finger's first joint, one for the next two."""
    place, at = np.full((BONES, 3), PARAMETERS), 6
    for finger in range(5):
        for joint in (2, 3, 4):
            for axis in range(2 if joint == 2 else 1):
                place[4 * finger + joint, axis], at = at, at + 1
    assert at == PARAMETERS
    return place


def _matrix(stack, rows):
    """(…, 3, 3) of three rows of three."""
    return stack([stack(row, -1) for row in rows], -2)


def _turns(library, stack, angles):
    """Rz Ry Rx of the angles about x, z and y."""
    cx, cz, cy = (library.cos(angles[:, k]) for k in range(3))
    sx, sz, sy = (library.sin(angles[:, k]) for k in range(3))
    return _matrix(stack, [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ])  # fmt: skip


def _turn_about(library, stack, rotation):
    """The matrix of a rotation vector (Rodrigues)."""
    angle = library.sqrt((rotation * rotation).sum())
    x, y, z = (rotation[k] / angle for k in range(3))
    c, s = library.cos(angle), library.sin(angle)
    return _matrix(stack, [
        [c + x * x * (1 - c), x * y * (1 - c) - z * s, x * z * (1 - c) + y * s],
        [x * y * (1 - c) + z * s, c + y * y * (1 - c), y * z * (1 - c) - x * s],
        [x * z * (1 - c) - y * s, z * y * (1 - c) + x * s, c + z * z * (1 - c)],
    ])  # fmt: skip


def _errors(library, stack, join, relative, inverse, rest, weights, seen, which, nothing):
    def errors(theta):
        turns = _turns(library, stack, join([theta, nothing])[which])
        own = join([relative[:, :, :3] @ turns, relative[:, :, 3:]], 2)
        placed = []
        for parent, bone in zip(PARENTS, own):
            placed.append(bone if parent < 0 else placed[parent] @ bone)
        moves = (stack(placed, 0) @ inverse)[:, :3]
        skinned = library.einsum("bij,jn,bn->in", moves, rest, weights)
        return (seen - _turn_about(library, stack, theta[:3]) @ skinned - theta[3:6, None]).T.reshape(-1)

    return errors


def _build(library, compiler, derivative=True):
    theta, *constants = (library.tensor(a) for a in _data())
    which, nothing = library.tensor(_angles()), library.zeros(1, dtype=library.float64)
    errors = _errors(library, library.stack, library.cat, *constants, which, nothing)

    @compiler
    def both(theta):
        return errors(theta), library.func.jacfwd(errors)(theta)

    return (lambda: list(both(theta))) if derivative else (lambda: errors(theta))


def _jax():
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    theta, *constants = (jnp.asarray(a) for a in _data())
    errors = _errors(jnp, jnp.stack, jnp.concatenate, *constants, jnp.asarray(_angles()), jnp.zeros(1))
    both = jax.jit(lambda theta: (errors(theta), jax.jacfwd(errors)(theta)))
    return lambda: [np.asarray(x) for x in both(theta)]


PROBLEM = Problem(
    name="hand",
    what=f"ADBench's hand tracking, {POINTS} points, residuals and Jacobian by {PARAMETERS} parameters",
    makers={**torch_style(_build), "JAX jit": _jax},
    alone=function_alone(_build),
    flops=2 * PARAMETERS * (BONES * (2 * 64 + 36) + 12 * BONES * POINTS),
    small=True,
    tolerance=1e-8,
    real="float64",
)
