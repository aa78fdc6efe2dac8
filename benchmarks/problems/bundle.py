"""ADBench's bundle adjustment: reprojection errors of points seen by cameras, and their sparse Jacobian."""

import numpy as np

from ._adbench import cut, numbers
from ._problem import Problem, function_alone, torch_style

CAMERAS, POINTS, SEEN = 49, 7776, 31843


def _data():
    flat = numbers("ba/ba1_n49_m7776_p31843.txt", skip=3)
    rng = np.random.default_rng(0)
    if flat is None:
        flat = np.array([0.1, -0.2, 0.1, 0.5, 1.2, 0.2, 500.0, 1.0, -2.0, 0.01, 0.001, 0.3, 0.4, 0.9, 0.5, 2.0, 3.0])
    camera, point, weight, feature = cut(flat, (11,), (3,), (1,), (2,))

    def tiled(row, count):
        return row * (1 + 0.01 * rng.standard_normal((count, row.size)))

    which = np.stack([rng.integers(0, CAMERAS, SEEN), rng.integers(0, POINTS, SEEN)])
    return tiled(camera, CAMERAS), tiled(point, POINTS), tiled(weight, SEEN), tiled(feature, SEEN), which


def _cross(a, b):
    (a0, a1, a2), (b0, b1, b2) = a, b
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


def _project(library, camera, point):
    """Pixel coordinates (u, v) of a point; a camera is its 11 numbers and a point its 3."""
    rotation, centre, (focal, u0, v0, k1, k2) = camera[:3], camera[3:6], camera[6:]
    x = [p - c for p, c in zip(point, centre)]
    square = rotation[0] * rotation[0] + rotation[1] * rotation[1] + rotation[2] * rotation[2]
    angle = library.sqrt(square)
    cosine, sine = library.cos(angle), library.sin(angle)
    axis = [r / angle for r in rotation]
    across = _cross(axis, x)
    along = (axis[0] * x[0] + axis[1] * x[1] + axis[2] * x[2]) * (1 - cosine)
    x, y, z = (p * cosine + q * sine + w * along for p, q, w in zip(x, across, axis))
    x, y = x / z, y / z
    far = x * x + y * y
    bent = 1 + k1 * far + k2 * far * far
    return x * bent * focal + u0, y * bent * focal + v0


def _build(library, compiler, derivative=True):
    cameras, points, weights, features, which = (library.tensor(a) for a in _data())

    @compiler
    def residuals(cameras, points, weights):
        u, v = _project(library, cameras.unbind(1), points.unbind(1))
        w = weights[:, 0]
        return w * (u - features[:, 0]), w * (v - features[:, 1]), 1 - w * w

    def step():
        # One row an observation, so that each row of the result depends on one row of the inputs.
        inputs = [cameras[which[0]], points[which[1]], weights]
        inputs = [x.detach().requires_grad_(derivative) for x in inputs]
        results = residuals(*inputs)
        if not derivative:
            return list(results)
        rows = []
        for k, result in enumerate(results):
            needed = inputs if k < 2 else inputs[2:]
            rows += library.autograd.grad(result.sum(), needed, retain_graph=k < 2)
        return [*results, *rows]

    return step


def _jax():
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    cameras, points, weights, features, which = (jnp.asarray(a) for a in _data())

    def residuals(inputs, feature):
        camera, point, (w,) = inputs
        u, v = _project(jnp, camera, point)
        return w * (u - feature[0]), w * (v - feature[1])

    def each(inputs, feature):
        values, back = jax.vjp(lambda inputs: residuals(inputs, feature), inputs)
        return values, back((1.0, 0.0))[0], back((0.0, 1.0))[0]

    @jax.jit
    def both(cameras, points, weights):
        (u, v), of_u, of_v = jax.vmap(each)((cameras[which[0]], points[which[1]], weights), features)
        return u, v, 1 - weights[:, 0] ** 2, *of_u, *of_v, -2 * weights

    return lambda: [np.asarray(x) for x in both(cameras, points, weights)]


PROBLEM = Problem(
    name="bundle",
    what=f"ADBench's bundle adjustment ba1, {SEEN} observations, residuals and Jacobian",
    makers={**torch_style(_build), "JAX jit": _jax},
    alone=function_alone(_build),
    bytes=8 * SEEN * (3 + 2 * 15 + 1 + 3),
    tolerance=1e-8,
    real="float64",
)
