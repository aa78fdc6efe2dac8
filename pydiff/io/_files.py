"""Files: mapped for reading, and replaced as a whole when written."""

import contextlib
import mmap
import os
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Sink", "contents", "replaced", "sync_folder"]

_BATCH = 64 << 20  # bytes
_NORESERVE = 0x4000 if sys.platform == "linux" else 0


def contents(source, mapped=True):
    """(bytes of a file as a memoryview, name for errors). `source`: a path, or an object with `read`.

    The mapping is private: whatever is written into it stays in this process's memory and never reaches the file.
    """
    if hasattr(source, "read"):
        return memoryview(source.read()).cast("B"), "the open file"
    path = os.fspath(source)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if mapped and size:
                return memoryview(_mapping(file.fileno(), size)), path
            return memoryview(file.read()), path
    except FileNotFoundError:
        raise FileNotFoundError(f"[load] there is no such file; got {path}; try the path that save() was given") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"[load] a folder is no file; got {path}; try the path of a file in it") from None


def _mapping(fd, size):
    if os.name != "posix":
        return mmap.mmap(fd, size, access=mmap.ACCESS_COPY)
    # Nothing is written as a rule, so no swap is set aside: a file may be larger than the memory.
    flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", _NORESERVE)
    return mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)


class Sink:
    """What tensors are written to. Tests put a failing one in its place."""

    def __init__(self, fd):
        self._file = os.fdopen(fd, "wb", buffering=1 << 20)
        self.seek, self.tell = self._file.seek, self._file.tell
        self._pool = self._sync = None
        self._dirty = 0

    def write(self, data):
        """Write bytes; every so many the disk is asked to begin, beside what follows."""
        self._file.write(data)
        self._dirty += memoryview(data).nbytes
        if self._dirty >= _BATCH and (self._sync is None or self._sync.done()):
            if self._sync is not None:
                self._sync.result()  # an error of the disk is told once, to whoever asked first
            self._pool = self._pool or ThreadPoolExecutor(1)
            self._sync = self._pool.submit(os.fsync, self._file.fileno())
            self._dirty = 0

    def finish(self):
        """All bytes are on the disk."""
        self._file.flush()
        self._rest()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self):
        """Close, whatever becomes of the bytes."""
        with contextlib.suppress(OSError):
            self._rest()
        with contextlib.suppress(OSError):
            self._file.close()

    def _rest(self):
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            self._sync.result()


@contextlib.contextmanager
def replaced(path):
    """`with replaced(path) as sink`: the file at `path` becomes what was written, at once, at the end.

    Until then it is written under another name in the same folder; if anything fails that one is removed and what was at
    `path` is as before. Raises OSError, in the form of all errors, where the disk is full or cannot be written.
    """
    path = os.fspath(path)
    if os.path.islink(path):
        path = os.path.realpath(path)
    folder, name = os.path.split(path)
    temporary, sink = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.part"), None
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with contextlib.suppress(OSError):
            os.chmod(temporary, os.stat(path).st_mode & 0o777)
        sink = Sink(fd)
        yield sink
        sink.finish()
        os.replace(temporary, path)
    except BaseException as error:
        if sink is not None:
            sink.abandon()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if not isinstance(error, OSError) or str(error).startswith("[save]"):
            raise
        raise _told(error, path) from None
    sync_folder(folder)


def _told(error, path):
    if isinstance(error, FileNotFoundError):
        text = f"[save] there is no such folder; got {path}; try os.makedirs() first"
    else:
        what = "the file cannot be written, and what was there before is untouched"
        text = f"[save] {what}; got {error.strerror or error} for {path}; try another disk"
    new = type(error)(text)
    new.errno = error.errno
    return new


def sync_folder(folder):
    """A rename in the folder is on the disk."""
    if os.name != "posix":
        return
    fd = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError:  # file systems that have no such thing
        pass
    finally:
        os.close(fd)
