"""Transforms: against PyTorch's functions and `colorsys`, per sample in a batch, reproducible, differentiable."""

import colorsys
import math

import numpy as np
import pytest

import pydiff as pd
from pydiff.data import transforms as T
from pydiff.data.transforms import geometry, image
from pydiff.testing import check_grads


def seeded(seed=0):
    return pd.Generator().manual_seed(seed)


@pytest.fixture
def pictures(rng):
    return rng.random((4, 3, 9, 12)).astype(np.float32)


RANDOM = {
    "RandomCrop": lambda g: T.RandomCrop((5, 6), padding=1, generator=g),
    "RandomResizedCrop": lambda g: T.RandomResizedCrop((4, 5), generator=g),
    "RandomHorizontalFlip": lambda g: T.RandomHorizontalFlip(generator=g),
    "RandomVerticalFlip": lambda g: T.RandomVerticalFlip(generator=g),
    "ColorJitter": lambda g: T.ColorJitter(0.4, 0.4, 0.4, 0.2, generator=g),
    "RandomGrayscale": lambda g: T.RandomGrayscale(0.5, generator=g),
    "RandomErasing": lambda g: T.RandomErasing(0.9, value=0.5, generator=g),
    "GaussianBlur": lambda g: T.GaussianBlur((3, 5), generator=g),
    "GaussianNoise": lambda g: T.GaussianNoise(generator=g),
    "RandomRotation": lambda g: T.RandomRotation(80, "bilinear", generator=g),
    "RandomAffine": lambda g: T.RandomAffine(20, (0.2, 0.2), (0.7, 1.3), 10, "bilinear", generator=g),
    "RandomApply": lambda g: T.RandomApply([T.Lambda(lambda x: 1 - x)], generator=g),
    "AddNoise": lambda g: T.AddNoise(0.2, relative=True, generator=g),
    "TimeShift": lambda g: T.TimeShift(3, generator=g),
    "RandomMask": lambda g: T.RandomMask(0.4, generator=g),
}


@pytest.mark.smoke
@pytest.mark.parametrize("name", RANDOM)
def test_each_sample_has_draws_of_its_own(name, pictures):
    one = np.repeat(pictures[:1], 6, 0)
    x = pd.tensor(one)
    y = RANDOM[name](seeded())(x)
    assert y.device == x.device and y.dtype == x.dtype
    assert len({s.tobytes() for s in y.numpy()}) > 1  # the same picture, changed in several ways
    assert pd.equal(y, RANDOM[name](seeded())(x)) and not pd.equal(y, RANDOM[name](seeded(1))(x))
    pd.manual_seed(3)
    default = RANDOM[name](None)(x)
    pd.manual_seed(3)
    assert pd.equal(default, RANDOM[name](None)(x))
    single = RANDOM[name](seeded())(x[0])  # without a batch too, and with two batch axes
    assert single.ndim == 3
    assert tuple(RANDOM[name](seeded())(x.reshape(2, 3, 3, 9, 12)).shape) == (2, 3, *y.shape[1:])


@pytest.mark.parametrize("name", sorted(set(RANDOM) - {"RandomMask"}))
def test_derivatives(name):
    x = pd.tensor(np.random.default_rng(0).random((2, 3, 7, 7)) * 0.8 + 0.1, dtype=pd.float64)
    check_grads(lambda x: RANDOM[name](seeded())(x), modes=("rev",))(x)


def test_whole_numbers_stay_whole(rng):
    x = pd.tensor(rng.integers(0, 256, (2, 3, 9, 12), dtype=np.uint8))
    for name in set(RANDOM) - {"GaussianNoise", "AddNoise", "RandomApply"}:
        y = RANDOM[name](seeded())(x)
        assert y.dtype == pd.uint8, name
        z = RANDOM[name](seeded())(x.to(pd.float32) / 255) * 255
        if name not in ("RandomErasing", "RandomMask"):
            # A grey level an operation, of which ColorJitter has four that amplify each other's.
            assert (y.to(pd.float32) - z).abs().max().item() < (8 if name == "ColorJitter" else 1.01), name


# ---- geometry


@pytest.mark.parametrize("size, shape", [((5, 7), (5, 7)), (6, (6, 8)), (20, (20, 26)), ((30, 5), (30, 5))])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_resize(torch, pictures, size, shape, mode):
    ours = T.Resize(size, mode)(pd.tensor(pictures))
    antialias = mode != "nearest"
    theirs = torch.nn.functional.interpolate(torch.tensor(pictures), shape, mode=mode, antialias=antialias)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-6)
    assert tuple(T.Resize(6, max_size=7)(pd.tensor(pictures)).shape[-2:]) == (5, 7)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (3, 10), (12, 3)])
def test_resized_crops(torch, pictures, antialias, size):
    boxes = np.array([[1, 2, 6, 7], [0, 0, 9, 12], [3, 5, 2, 1], [2, 0, 5, 11]])
    columns = [pd.tensor(boxes[:, k].astype(np.float32)) for k in range(4)]
    ours = geometry.resized_crop(pd.tensor(pictures), *columns, size, antialias)
    for x, (top, left, height, width), mine in zip(pictures, boxes, ours.numpy()):
        part = torch.tensor(x[None, :, top : top + height, left : left + width])
        theirs = torch.nn.functional.interpolate(part, size, mode="bilinear", antialias=antialias)
        np.testing.assert_allclose(mine, theirs[0].numpy(), atol=2e-6)
    top, left, height, width = (v.numpy() for v in T.RandomResizedCrop(3, (0.1, 2.0)).boxes(pd.zeros(500, 3, 9, 12)))
    assert (top >= 0).all() and (left >= 0).all() and (top + height <= 9).all() and (left + width <= 12).all()
    assert len(set(top)) > 3 and len(set(left)) > 3 and height.min() >= 1


def test_crops_are_parts(pictures):
    x = np.arange(9 * 12, dtype=np.float32).reshape(1, 1, 9, 12)
    crops = T.RandomCrop((4, 5), generator=seeded())(pd.tensor(np.repeat(x, 300, 0))).numpy()[:, 0]
    places = set()
    for crop in crops:
        top, left = divmod(int(crop[0, 0]), 12)
        np.testing.assert_array_equal(crop, x[0, 0, top : top + 4, left : left + 5])
        places.add((top, left))
    assert {t for t, _ in places} == set(range(6)) and {l for _, l in places} == set(range(8))
    assert tuple(T.RandomCrop(20, pad_if_needed=True)(pd.tensor(pictures)).shape[-2:]) == (20, 20)
    np.testing.assert_array_equal(T.CenterCrop((5, 4))(pd.tensor(pictures)).numpy(), pictures[..., 2:7, 4:8])
    assert T.CenterCrop(20)(pd.tensor(pictures)).sum().item() == pytest.approx(pictures.sum(), rel=1e-5)


@pytest.mark.parametrize("mode, name", [("constant", "constant"), ("edge", "edge"), ("reflect", "reflect")])
@pytest.mark.parametrize("padding, sides", [(2, (2, 2, 2, 2)), ((1, 2), (1, 2, 1, 2)), ((1, 2, 3, 4), (1, 2, 3, 4))])
def test_pad(pictures, mode, name, padding, sides):
    left, top, right, bottom = sides
    expected = np.pad(pictures, ((0, 0), (0, 0), (top, bottom), (left, right)), name)
    np.testing.assert_array_equal(T.Pad(padding, padding_mode=mode)(pd.tensor(pictures)).numpy(), expected)


def test_flips(pictures):
    for transform, axis in ((T.RandomHorizontalFlip, -1), (T.RandomVerticalFlip, -2)):
        np.testing.assert_array_equal(transform(1.0)(pd.tensor(pictures)).numpy(), np.flip(pictures, axis))
        np.testing.assert_array_equal(transform(0.0)(pd.tensor(pictures)).numpy(), pictures)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("angle, shift, scale, shear, center, fill", [
    (30, (0, 0), 1.0, (0, 0), None, 0), (0, (2, -1), 1.0, (0, 0), None, 0.25), (20, (1, 2), 1.3, (10, 5), None, 0),
    (-40, (0, 0), 0.8, (0, 12), (2, 3), 0.5),
])  # fmt: skip
def test_affine(torch, pictures, mode, angle, shift, scale, shear, center, fill):
    """Against the map in pixels, made by NumPy: new = T C R S C^-1 old."""
    one = lambda v: pd.full((4,), float(v))  # noqa: E731
    ours = geometry._affine("x", pd.tensor(pictures), one(angle), [one(v) for v in shift], one(scale), tuple(map(one, shear)),
                            center, mode, fill)  # fmt: skip
    height, width = pictures.shape[-2:]
    r, sx, sy = np.radians([angle, *shear])
    # Rotation and shear as torchvision documents them: R(angle) · ShearY · ShearX, times the scale.
    rotation = np.array([[math.cos(r), -math.sin(r)], [math.sin(r), math.cos(r)]])
    forward = scale * rotation @ [[1, 0], [-math.tan(sy), 1]] @ [[1, -math.tan(sx)], [0, 1]]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    about = middle if center is None else np.array(center) - 0.5
    y, x = np.mgrid[:height, :width]
    source = np.einsum("ij,jhw->ihw", np.linalg.inv(forward), np.stack([x, y]) - (about + shift)[:, None, None])
    source = source + about[:, None, None]
    grid = np.stack([(source[0] + 0.5) * 2 / width - 1, (source[1] + 0.5) * 2 / height - 1], -1)
    grid = torch.tensor(np.broadcast_to(grid, (4, height, width, 2)).copy())
    sample = lambda z: torch.nn.functional.grid_sample(z, grid, mode, align_corners=False)  # noqa: E731
    theirs = sample(torch.tensor(pictures).double())
    theirs = theirs + fill * (1 - sample(torch.ones(4, 3, height, width, dtype=torch.float64)))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=2e-5)


def test_rotation_by_a_right_angle(rng):
    x = rng.random((2, 3, 6, 6)).astype(np.float32)
    ours = T.RandomRotation((90, 90))(pd.tensor(x))
    np.testing.assert_array_equal(ours.numpy(), np.rot90(x, 1, (-2, -1)))


# ---- colour


def factor(v, n=4):
    return pd.full((n, 1, 1, 1), float(v))


def test_colours_by_their_formulas(pictures):
    x = pd.tensor(pictures)
    luma = np.einsum("nchw,c->nhw", pictures, [0.2989, 0.587, 0.114])[:, None]
    mean = luma.mean((-3, -2, -1), keepdims=True)
    for name, other in (("brightness", 0), ("contrast", mean), ("saturation", luma)):
        for f in (0.0, 0.6, 1.0, 1.7):
            expected = np.clip(f * pictures + (1 - f) * other, 0, 1)
            np.testing.assert_allclose(image.adjust(name, x, factor(f)).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(T.Grayscale(3)(x).numpy(), np.repeat(luma, 3, 1), atol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.21, -0.3, 0.5])
def test_hue(pictures, shift):
    pictures[0, :, 0, 0] = 0.5  # gray has no hue
    pictures[0, :, 0, 1] = 0
    ours = image.adjust("hue", pd.tensor(pictures), factor(shift)).numpy()
    for x, y in zip(np.moveaxis(pictures, 1, -1).reshape(-1, 3), np.moveaxis(ours, 1, -1).reshape(-1, 3)):
        h, s, v = colorsys.rgb_to_hsv(*x.astype(float))
        np.testing.assert_allclose(y, colorsys.hsv_to_rgb((h + shift) % 1, s, v), atol=3e-6)


def test_blur(torch, pictures):
    ours = T.GaussianBlur((3, 5), 0.7)(pd.tensor(pictures))
    row, column = (np.exp(-0.5 * (np.arange(-k, k + 1) / 0.7) ** 2) for k in (1, 2))
    kernel = np.outer(row / row.sum(), column / column.sum())
    padded = np.pad(pictures, ((0, 0), (0, 0), (1, 1), (2, 2)), "reflect").astype(np.float64)
    theirs = torch.nn.functional.conv2d(torch.tensor(padded.reshape(12, 1, 11, 16)), torch.tensor(kernel[None, None]))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy().reshape(pictures.shape), atol=1e-6)


def test_erasing():
    x = pd.ones(400, 2, 20, 30)
    y = T.RandomErasing(0.5, (0.1, 0.2), (0.5, 2.0), value=[3.0, 4.0], generator=seeded())(x).numpy()
    erased = (y != 1).reshape(400, -1).any(1)
    assert 150 < erased.sum() < 250
    for sample in y[erased]:
        hole = sample[0] == 3
        assert (sample[1] == np.where(hole, 4, 1)).all()
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns and 0.08 < hole.mean() < 0.23
    assert T.RandomErasing(1.0, value="random")(x).std().item() > 0.05


def test_types(rng):
    u = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    x = T.ToTensor()(u.transpose(1, 2, 0))
    np.testing.assert_allclose(x.numpy(), u / np.float32(255), rtol=1e-7)
    np.testing.assert_array_equal(T.ToDtype(pd.uint8, scale=True)(x).numpy(), u)  # there and back
    np.testing.assert_array_equal(T.ToDtype(pd.int16, scale=True)(pd.tensor(u)).numpy(), u.astype(np.int16) * 128)
    assert T.ConvertImageDtype(pd.float64)(pd.tensor(u)).dtype == pd.float64
    assert tuple(T.ToImage()(u[0]).shape) == (1, 4, 5)
    normal = T.Normalize([0.5, 0.4, 0.3], [0.1, 0.2, 0.3])(x)
    expected = (x.numpy() - np.array([0.5, 0.4, 0.3])[:, None, None]) / np.array([0.1, 0.2, 0.3])[:, None, None]
    np.testing.assert_allclose(normal.numpy(), expected, rtol=1e-5, atol=1e-6)


# ---- mixing


@pytest.mark.parametrize("kind", [T.MixUp, T.CutMix])
def test_mixing(kind, rng):
    n = 64
    x = np.zeros((n, 1, 12, 10), np.float32) + np.arange(n, dtype=np.float32)[:, None, None, None]
    images, labels = kind(num_classes=n, generator=seeded())(pd.tensor(x), pd.arange(n))
    share = labels.numpy()[np.arange(n), np.arange(n)]
    np.testing.assert_allclose(labels.numpy().sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(labels.numpy()[np.arange(n), np.arange(n) - 1], 1 - share, atol=1e-6)
    expected = share * np.arange(n) + (1 - share) * np.roll(np.arange(n), 1)
    np.testing.assert_allclose(images.numpy().mean((1, 2, 3)), expected, atol=2e-5)  # labels are in the shares of the pixels
    assert len(set(share.tolist())) > 20
    if kind is T.CutMix:
        assert np.isin(images.numpy()[5], [4, 5]).all()
    again = kind(generator=seeded())(pd.tensor(x), pd.nn.functional.one_hot(pd.arange(n)))
    assert pd.equal(again[1], labels) and pd.equal(again[0], images)


# ---- sequences


def test_sequences():
    lists = [pd.ones(3, 2), pd.ones(5, 2), pd.ones(1, 2)]
    batch = T.PadSequence(multiple=4, value=7)(lists)
    assert tuple(batch.shape) == (3, 8, 2) and batch[2, 1:].min().item() == 7 and batch[1, :5].max().item() == 1
    assert tuple(T.PadSequence(6)(lists[0]).shape) == (6, 2)
    assert T.Truncate(2, end=True)(pd.arange(5)).tolist() == [3, 4] == T.Truncate(2, end=True)([0, 1, 2, 3, 4])
    x = pd.arange(1, 41).reshape(4, 10)
    masked, mask = T.RandomMask(0.5, value=99, keep=(3, 4), return_mask=True, generator=seeded())(x)
    assert pd.equal(masked == 99, mask) and not mask[0, 2:4].any().item() and 8 < mask.sum().item() < 32
    moved = T.TimeShift(4, value=-1, generator=seeded())(pd.arange(10).expand(200, 10)).numpy()
    shifts = set()
    for row in moved:
        shift = next(k for k in range(-4, 5) if (row == [j - k if 0 <= j - k < 10 else -1 for j in range(10)]).all())
        shifts.add(shift)
    assert shifts == set(range(-4, 5))
    wrapped = T.TimeShift(4, wrap=True, dim=1, generator=seeded())(pd.arange(20).reshape(1, 10, 2).expand(50, 10, 2)).numpy()
    assert all(sorted(row[:, 0]) == list(range(0, 20, 2)) for row in wrapped)


def test_in_workers_and_in_a_model():
    transform = T.Compose([T.ToDtype(pd.float32, scale=True), T.RandomHorizontalFlip(), T.Normalize([0.5], [0.5])])
    data = [np.full((1, 4, 4), k, np.uint8) for k in range(8)]

    def collate(samples):
        return transform(pd.data.default_collate(samples))

    loader = pd.data.DataLoader(data, 4, num_workers=1, collate_fn=collate, multiprocessing_context="fork")
    batches = pd.cat(list(loader))
    np.testing.assert_allclose(batches.numpy()[:, 0, 0, 0], np.arange(8) / 127.5 - 1, atol=1e-6)
    assert isinstance(transform, pd.nn.Module) and "Normalize" in repr(transform)


ERRORS = {
    "Compose": lambda: T.Compose([3]),
    "Lambda": lambda: T.Lambda(3),
    "Normalize": lambda: T.Normalize([0.5, 0.5], [1, 1])(pd.ones(3, 2, 2)),
    "ToImage": lambda: T.ToImage()("picture"),
    "Grayscale": lambda: T.Grayscale(2),
    "ColorJitter": lambda: T.ColorJitter(hue=0.6),
    "GaussianBlur": lambda: T.GaussianBlur(4),
    "RandomErasing": lambda: T.RandomErasing(scale=(0.5, 0.1)),
    "Resize": lambda: T.Resize(0),
    "Pad": lambda: T.Pad(-1),
    "RandomCrop": lambda: T.RandomCrop(9)(pd.ones(1, 4, 4)),
    "RandomResizedCrop": lambda: T.RandomResizedCrop(9, scale=(0, 1)),
    "RandomHorizontalFlip": lambda: T.RandomHorizontalFlip(2),
    "RandomVerticalFlip": lambda: T.RandomVerticalFlip()(pd.ones(3)),
    "RandomRotation": lambda: T.RandomRotation(10, expand=True),
    "RandomAffine": lambda: T.RandomAffine(10, interpolation="cubic"),
    "MixUp": lambda: T.MixUp()(pd.ones(2, 1, 2, 2), pd.tensor([0, 1])),
    "CutMix": lambda: T.CutMix(alpha=0),
    "PadSequence": lambda: T.PadSequence(2)(pd.ones(3)),
    "Truncate": lambda: T.Truncate(0),
    "RandomMask": lambda: T.RandomMask(1.5),
    "AddNoise": lambda: T.AddNoise()(pd.arange(3)),
    "TimeShift": lambda: T.TimeShift(-1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    with pytest.raises((TypeError, ValueError), match=rf"^\[{name}\] .*; got .*; try ") as found:
        ERRORS[name]()
    assert str(found.value).isascii()
