"""Datasets in files: NumPy's, CSV and Parquet tables through the user's own pandas or pyarrow, folders of images through Pillow."""

import importlib
import os
from pathlib import Path

import numpy as np

import pydiff

from .dataset import Dataset, _rows

__all__ = ["ArrayDataset", "ImageFolder", "read_csv", "read_parquet"]

_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def _needed(op, *packages):
    """The first of the packages that is installed."""
    for package in packages:
        try:
            return importlib.import_module(package)
        except ImportError:
            continue
    wanted = " or ".join(package.partition(".")[0] for package in packages)
    install = {"PIL": "pillow"}.get(packages[0], packages[0].partition(".")[0])
    raise ImportError(f"[{op}] {wanted} is needed; got no such package; try pip install {install}")


class ArrayDataset(Dataset):
    """Samples that are the rows of arrays in files, which are mapped into memory: only what is read is loaded.

    Arguments:
        *files: `.npy` files, each an array; sample k is the tuple of their rows k, of one file the row itself. Or one `.npz`
            file; sample k is then a dict of the rows. A compressed `.npz` cannot be mapped and is read as a whole.
            Arrays are taken too.

    Raises ValueError where the first sizes differ, OSError where a file cannot be read.

    >>> import os, tempfile, numpy as np, pydiff as pd
    >>> folder = tempfile.TemporaryDirectory()
    >>> file = os.path.join(folder.name, "x.npy")
    >>> np.save(file, np.arange(6.0).reshape(3, 2))
    >>> pd.data.ArrayDataset(file)[2].tolist()
    [4.0, 5.0]
    >>> folder.cleanup()
    """

    def __init__(self, *files):
        self.files = files
        self._open()

    def _open(self):
        self._names = None
        self.arrays = []
        for file in self.files:
            if isinstance(file, (str, os.PathLike)) and str(file).endswith(".npz"):
                if len(self.files) > 1:
                    raise ValueError(f"[ArrayDataset] an .npz file comes alone; got {len(self.files)} files; try one of them")
                archive = _mapped_npz(file)
                self._names = list(archive)
                self.arrays = list(archive.values())
            elif isinstance(file, (str, os.PathLike)):
                self.arrays.append(np.load(file, mmap_mode="r", allow_pickle=False))
            else:
                self.arrays.append(np.asarray(file))
        sizes = [len(array) if array.ndim else None for array in self.arrays]
        if len(set(sizes)) != 1 or sizes[0] is None:
            shapes = [array.shape for array in self.arrays]
            raise ValueError(f"[ArrayDataset] the first sizes are not one; got {shapes}; try arrays of one length")

    def __getstate__(self):  # a mapped array would be pickled as a whole
        return {"files": self.files}

    def __setstate__(self, state):
        self.__init__(*state["files"])

    def __len__(self):
        return len(self.arrays[0])

    def _made(self, parts):
        if self._names is not None:
            return dict(zip(self._names, parts))
        return parts[0] if len(parts) == 1 else tuple(parts)

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"[ArrayDataset] the index is out of range; got {index} of {len(self)}; try 0")
        return self._made([np.asarray(array[index]) for array in self.arrays])

    def _collated(self, indices):
        made = self._made([_rows(array, indices) for array in self.arrays])
        return list(made) if isinstance(made, tuple) else made


def _mapped_npz(file):
    """The arrays of an archive by name, mapped where they are stored as they are."""
    import zipfile

    found = {}
    with zipfile.ZipFile(file) as archive, open(file, "rb") as raw:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.compress_type != zipfile.ZIP_STORED:
                with np.load(file, allow_pickle=False) as whole:
                    found[name] = whole[name]
                continue
            # The local header: 30 bytes, two of whose fields are the lengths of the name and of what follows it.
            raw.seek(info.header_offset + 26)
            lengths = np.frombuffer(raw.read(4), "<u2")
            raw.seek(info.header_offset + 30 + int(lengths.sum()))
            version = np.lib.format.read_magic(raw)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            shape, fortran, dtype = read(raw)
            if dtype.hasobject:
                raise ValueError(f"[ArrayDataset] an array of Python objects; got {name!r} in {file}; try an array of numbers")
            order = "F" if fortran else "C"
            found[name] = (
                np.memmap(file, dtype, "r", raw.tell(), shape, order) if np.prod(shape, dtype=int) else np.empty(shape, dtype)
            )
    return found


# ---- tables


def read_csv(file, columns=None, **options):
    """A table of a CSV file as a dict: columns of numbers as tensors, others as lists.

    Arguments:
        file: a path or an open file.
        columns: the names of the columns that are wanted; all if None.
        **options: handed on to `pandas.read_csv`, or, where only pyarrow is installed, to `pyarrow.csv.read_csv`.

    Raises ImportError where neither is installed, ValueError for a column that is not there.

        table = pd.data.read_csv("prices.csv")
        data = pd.data.TensorDataset(table["area"], table["price"])
    """
    library = _needed("read_csv", "pandas", "pyarrow.csv")
    return _columns("read_csv", library.read_csv(file, **options), columns)


def read_parquet(file, columns=None, **options):
    """A table of a Parquet file as a dict: columns of numbers as tensors, others as lists.

    Arguments:
        file: a path or an open file.
        columns: the names of the columns that are read; all if None.
        **options: handed on to `pyarrow.parquet.read_table`, or, where only pandas is installed, to `pandas.read_parquet`.

    Raises ImportError where neither is installed, ValueError for a column that is not there.
    """
    library = _needed("read_parquet", "pyarrow.parquet", "pandas")
    read = library.read_parquet if library.__name__ == "pandas" else library.read_table
    try:
        table = read(file, columns=columns, **options)
    except (KeyError, ValueError) as error:
        if columns is None:
            raise
        told = f"[read_parquet] the columns cannot be read; got {columns} ({str(error).splitlines()[0]}); try columns=None"
        raise ValueError(told) from error
    return _columns("read_parquet", table, columns)


def _columns(op, table, wanted):
    names = list(getattr(table, "column_names", None) or table.columns)
    unknown = [name for name in wanted or () if name not in names]
    if unknown:
        raise ValueError(f"[{op}] no such column; got {unknown[0]!r}; try one of {', '.join(map(repr, names[:20]))}")
    return {name: _column(table[name]) for name in wanted or names}


def _column(column):
    array = np.asarray(column)  # missing numbers are NaN
    if array.dtype.kind in "biuf":
        return pydiff.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))
    return array.tolist()


# ---- images


class ImageFolder(Dataset):
    """Images in folders, one folder a class: `root/cat/1.png`, `root/dog/2.jpg`. A sample is (image, class number).

    Arguments:
        root: the folder; classes are its folders, sorted by name.
        transform: called with the image, a uint8 tensor `(channels, height, width)` on the CPU.
        target_transform: called with the number of the class.
        loader: reads a path; Pillow and "RGB" if None.
        is_valid_file: of a path, whether it is taken; those with an image's ending if None.
        mode: of Pillow, to which images are converted: "RGB", or "L" for one channel.

    `classes`, `class_to_idx` and `samples`, a list of (path, class number), are as in torchvision, whose images are Pillow's
    own where no transform makes tensors. Raises FileNotFoundError where there are no classes or no images, ImportError without
    Pillow; a file that is no image is a ValueError with its path when it is read.
    """

    def __init__(self, root, transform=None, target_transform=None, loader=None, is_valid_file=None, mode="RGB"):
        self.root = root
        self.transform = transform
        self.target_transform = target_transform
        self.loader = loader
        self.mode = mode
        valid = is_valid_file or (lambda path: path.lower().endswith(_ENDINGS))
        self.classes = sorted(entry.name for entry in Path(root).iterdir() if entry.is_dir())
        if not self.classes:
            raise FileNotFoundError(f"[ImageFolder] there are no folders of classes; got {root}; try the folder above")
        self.class_to_idx = {name: k for k, name in enumerate(self.classes)}
        self.samples = []
        for name, number in self.class_to_idx.items():
            for folder, _, files in sorted(os.walk(os.path.join(root, name), followlinks=True)):
                paths = [os.path.join(folder, file) for file in sorted(files)]
                self.samples += [(path, number) for path in paths if valid(path)]
        if not self.samples:
            raise FileNotFoundError(f"[ImageFolder] there are no images; got {root}; try files with {', '.join(_ENDINGS[:3])}")
        self.targets = [number for _, number in self.samples]
        if loader is None:
            _needed("ImageFolder", "PIL")

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, number = self.samples[index]
        image = self._read(path) if self.loader is None else self.loader(path)
        if self.transform is not None:
            image = self.transform(image)
        return image, number if self.target_transform is None else self.target_transform(number)

    def _read(self, path):
        Image = _needed("ImageFolder", "PIL.Image")
        try:
            with Image.open(path) as picture:
                array = np.array(picture.convert(self.mode))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"[ImageFolder] this is no image; got {path}: {error}; try removing the file") from error
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        return pydiff.from_numpy(np.ascontiguousarray(array))
