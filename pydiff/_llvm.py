"""Native code for fused kernels: LLVM IR in, the address of a function out.

The core prints a kernel as LLVM IR (``csrc/fuse/llvm.cpp``) and asks for its compilation; until it is
there, and wherever llvmlite is not installed, the block interpreter computes the same bits.

Environment:

``PYDIFF_JIT``
    ``off``, ``background`` (default) or ``blocking`` (a kernel is compiled before its first use).
``PYDIFF_CACHE_DIR``
    Folder of compiled kernels, ``~/.cache/pydiff`` by default. An empty value keeps none.
``PYDIFF_DEBUG``
    From 1 on, says what the disk cache could not do; from 2 on, what each compilation took.
"""

import atexit
import hashlib
import os
import sys
import threading
import time
import warnings

MODES = ("off", "background", "blocking")
CACHE_BYTES = 512 << 20

_MAGIC = b"pydiffk1"


def _debug(level, text):
    try:
        wanted = int(os.environ.get("PYDIFF_DEBUG", "0") or 0)
    except ValueError:
        wanted = 0
    if wanted >= level:
        print(f"pydiff: {text}", file=sys.stderr)


def mode():
    """The mode that ``PYDIFF_JIT`` asks for."""
    value = os.environ.get("PYDIFF_JIT", "background").lower() or "background"
    if value not in MODES:
        raise ValueError(f"[PYDIFF_JIT] unknown mode; got {value!r}; try one of {', '.join(MODES)}")
    return value


class DiskCache:
    """Blobs by key in one folder: ``magic, sha256(blob), blob``.

    Nothing here raises for want of a folder, of space or of an intact file: a cache may always be empty.
    Parameters: `folder`, where the files lie (created when first written to); `limit`, in bytes, above
    which the files that were used longest ago are removed.
    """

    def __init__(self, folder, limit=CACHE_BYTES):
        self.folder = folder
        self.limit = limit
        self._written = None  # bytes written since the folder was last measured
        self._complained = False

    @classmethod
    def from_environment(cls, kind="llvm"):
        folder = os.environ.get("PYDIFF_CACHE_DIR")
        if folder is None:
            folder = os.path.join(os.path.expanduser("~"), ".cache", "pydiff")
        return cls(os.path.join(folder, kind)) if folder else None

    def _path(self, key):
        return os.path.join(self.folder, key + ".o")

    def _complain(self, what, error):
        if not self._complained:
            self._complained = True
            _debug(1, f"kernel cache: cannot {what} {self.folder}: {error}")

    def get(self, key):
        """The blob stored under `key`, or None."""
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain("read", error)
            return None
        blob = data[len(_MAGIC) + 32 :]
        if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : len(_MAGIC) + 32] != hashlib.sha256(blob).digest():
            _debug(1, f"kernel cache: {path} is damaged, compiling again")
            return None
        try:
            os.utime(path)
        except OSError:
            pass
        return blob

    def put(self, key, blob):
        """Stores `blob` under `key`; another process sees all of it or nothing."""
        path = self._path(key)
        part = f"{path}.{os.getpid()}.{threading.get_ident()}.part"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            try:
                with open(part, "wb") as file:
                    file.write(_MAGIC + hashlib.sha256(blob).digest() + blob)
                os.replace(part, path)
            except OSError:
                if os.path.exists(part):
                    os.unlink(part)
                raise
            if self._written is None or self._written + len(blob) > self.limit // 16:
                self._prune()
                self._written = 0
            self._written += len(blob)
        except OSError as error:
            self._complain("write", error)

    def _prune(self):
        files = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    info = entry.stat()
                except OSError:
                    continue
                files.append((info.st_mtime, info.st_size, entry.path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.limit:
                break
            try:
                os.unlink(path)
            except OSError:
                continue
            total -= size


class Compiler:
    """llvmlite behind one function. Raises ImportError where llvmlite is missing or too old.

    The compiler keeps all its code, so an address is good for as long as the compiler lives. `cpu` and
    `features` are LLVM's names of the machine to compile for, by default this one.
    """

    def __init__(self, cache=None, opt=2, cpu=None, features=None):
        import llvmlite
        import llvmlite.binding as llvm

        if llvm.llvm_version_info[0] < 19:
            raise ImportError(f"llvmlite {llvmlite.__version__} is too old for pydiff's kernels")
        self._llvm = llvm
        self.cache = cache
        self.lock = threading.RLock()
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        if sys.platform == "linux":
            try:  # fma() and the like on a CPU without them
                llvm.load_library_permanently("libm.so.6")
            except RuntimeError:
                pass
        cpu = cpu or llvm.get_host_cpu_name()
        features = llvm.get_host_cpu_features().flatten() if features is None else features
        target = llvm.Target.from_default_triple()

        # Each object is linked on its own and in one piece, so the small code model serves, a symbol that is
        # missing is an exception, and kernels of one name do not meet.
        self._machine = target.create_target_machine(cpu=cpu, features=features, opt=opt, reloc="pic", codemodel="small")
        self._jit = llvm.create_lljit_compiler(use_jit_link=True, suppress_errors=True)
        self._salt = "\n".join([llvmlite.__version__, str(llvm.llvm_version_info), cpu, features, f"O{opt}"]).encode()
        self._linked = {}  # key -> tracker, which keeps the code

    def key(self, ir):
        return hashlib.sha256(self._salt + b"\0" + ir.encode()).hexdigest()

    def assembly(self, ir):
        """The machine code of `ir` as text."""
        return self._machine.emit_assembly(self._llvm.parse_assembly(ir))

    def compile(self, name, ir):
        """The address of function `name` of the module `ir`. Raises RuntimeError where LLVM rejects it."""
        with self.lock:
            key = self.key(ir)
            linked = self._linked.get(key)
            if linked is not None:
                return linked[name]
            start = time.perf_counter()
            blob = self.cache.get(key) if self.cache else None
            found = blob is not None
            if not found:
                module = self._llvm.parse_assembly(ir)
                module.verify()
                blob = self._machine.emit_object(module)
            library = self._llvm.JITLibraryBuilder().add_object_img(blob).export_symbol(name).add_current_process()
            linked = self._linked[key] = library.link(self._jit, key)
            took = (time.perf_counter() - start) * 1e3
            _debug(2, f"{'loaded' if found else 'compiled'} {name} in {took:.1f} ms")
            if not found and self.cache:
                self.cache.put(key, blob)
            return linked[name]


_GRACE = 0.05  # seconds that the first kernel waits for its compiler


class Service:
    """Serves the core's requests for compilation (``csrc/base/host.h`` says what each of them is).

    `core` offers ``set_jit(mode, start, compile_now)``, ``jit_take()``, ``jit_finish(id, address)``,
    ``jit_stop()`` and ``jit_after_fork()``.
    """

    def __init__(self, core):
        self._core = core
        self._compiler = None
        self._missing = False
        self._warned = set()
        self._thread = None
        self._stopped = False
        self._leave = threading.Event()
        self._guard = threading.Lock()
        self._busy = threading.RLock()  # held while llvmlite works, and by a fork

    def install(self):
        self._core.set_jit(mode(), self.start, self.compile_now)
        atexit.register(self.stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._busy.acquire, after_in_parent=self._busy.release, after_in_child=self._after_fork)

    def compiler(self):
        """The compiler, made when first asked for; None where llvmlite is missing."""
        if self._compiler is None and not self._missing:
            try:
                self._compiler = Compiler(DiskCache.from_environment())
            except ImportError as error:
                self._missing = True
                _debug(1, f"no compiled kernels: {error}")
        return self._compiler

    def start(self):
        """Called by the core when its queue gets work: makes sure that a thread serves it."""
        with self._guard:
            if self._stopped or self._missing:
                return False
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="pydiff-compile", daemon=True)
                self._thread.start()
            return True

    def compile_now(self, name, ir, error):
        """The address of a kernel, compiled in this thread, or 0 where it cannot be."""
        try:
            with self._busy:
                if error:
                    raise RuntimeError(error)
                compiler = self.compiler()
                return compiler.compile(name, ir) if compiler else 0
        except Exception as failure:  # whatever went wrong, the interpreter computes the same
            self._warn(name, failure)
            return 0

    def _warn(self, name, failure):
        if name not in self._warned:
            self._warned.add(name)
            text = f"[jit] kernel {name} was not compiled and runs interpreted: {failure}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _serve(self):
        if self._compiler is None:  # importing llvmlite would take the GIL from the program's first call
            self._leave.wait(_GRACE)
        while True:
            job = self._core.jit_take()
            if job is None:
                return
            ticket, name, ir, error = job
            address = 0
            try:
                address = self.compile_now(name, ir, error)
            finally:  # a warning may have been made an error
                self._core.jit_finish(ticket, address)

    def stop(self):
        """Ends the thread: no Python code runs in it once the interpreter is going down."""
        with self._guard:
            self._stopped = True
            thread, self._thread = self._thread, None
        self._leave.set()
        if thread is not None:
            self._core.jit_stop()
            thread.join()

    def _after_fork(self):
        self._busy.release()  # taken before the fork by the one thread that the child has
        self._guard, self._leave = threading.Lock(), threading.Event()
        self._thread = None
        self._core.jit_after_fork()


def install(core):
    """Connects the core with this service. Imports nothing: llvmlite is loaded when a kernel is wanted."""
    service = Service(core)
    service.install()
    return service
