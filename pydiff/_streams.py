"""CUDA streams and events, and the calling thread's choice of device and stream: `pydiff.cuda` gives them to the user.

The current device is CUDA's own, of each thread, which CuPy and PyTorch share. The current stream of a device is pydiff's,
of each thread. All work that pydiff gives a device is in one order, whatever streams it goes to (csrc/device/cuda/order.h).
"""

import threading

from . import _C
from ._core import flush
from ._dtypes import device as _device

_thread = threading.local()  # .streams: the Stream that is current on a device, by index; what is current lives


def index_of(device):
    """The index of a CUDA device: an int, a name or an object with one, None for the current device."""
    if device is None:
        return _C.cuda_current_device()
    if isinstance(device, int):
        return device
    device = _device(device)
    if device.type != "cuda":
        raise ValueError(f"[cuda] not a CUDA device; got {str(device)!r}; try 'cuda:0'")
    return device.index


def current_device():
    """The index of the device that "cuda" means on this thread; 0 at first.

    It is CUDA's own notion: what CuPy or PyTorch choose on this thread holds here, and the other way round.

    >>> from pydiff import cuda
    >>> not cuda.is_available() or cuda.current_device() in range(cuda.device_count())
    True
    """
    return _C.cuda_current_device()


def set_device(device):
    """Let "cuda" mean this device on the calling thread: an index, a name or a `pydiff.device`."""
    _C.cuda_set_current_device(index_of(device))


class device:
    """`with pydiff.cuda.device(1):` "cuda" means that device inside, on the calling thread.

    Arguments:
        device: an index, a name or a `pydiff.device`; None or -1 changes nothing.
    """

    def __init__(self, device):
        self.index = None if device is None or device == -1 else index_of(device)
        self._before = []

    def __enter__(self):
        self._before.append(_C.cuda_current_device())
        if self.index is not None:
            _C.cuda_set_current_device(self.index)

    def __exit__(self, *exception):
        before = self._before.pop()
        if self.index is not None:
            _C.cuda_set_current_device(before)


class Event:
    """A point in the order of a device's work, to wait for or to measure between.

    Arguments:
        enable_timing: whether `elapsed_time` will be asked.
        blocking: whether `synchronize` lets the CPU do other work meanwhile, which takes a little longer to notice the end.

    It belongs to the device on whose stream it is first recorded.

    >>> from pydiff import cuda
    >>> if cuda.is_available():
    ...     begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    ...     begin.record()
    ...     end.record()
    ...     end.synchronize()
    ...     milliseconds = begin.elapsed_time(end)
    """

    __slots__ = ("_blocking", "_handle", "_index", "_timing", "__weakref__")

    def __init__(self, enable_timing=False, blocking=False):
        self._timing, self._blocking = bool(enable_timing), bool(blocking)
        self._handle = self._index = None

    @property
    def device(self):
        """The device on which it was recorded; None before."""
        return None if self._index is None else _device("cuda", self._index)

    @property
    def cuda_event(self):
        """The driver's handle; 0 before it is recorded."""
        return self._handle or 0

    def record(self, stream=None):
        """Mark the end of all work that pydiff has given the stream's device so far; what is pending is computed first.

        Arguments:
            stream: of pydiff or of another library; None is the current stream.
        """
        stream = current_stream() if stream is None else as_stream(stream, "Event.record")
        flush()
        self._record(stream, True)

    def _record(self, stream, everything):
        index = stream.device.index
        if self._index not in (None, index):
            raise RuntimeError(
                f"[Event.record] an event belongs to one device; got a stream of cuda:{index} for an event of "
                f"cuda:{self._index}; try a new event"
            )
        if self._handle is None:
            self._handle, self._index = _C.cuda_new_event(index, self._timing, self._blocking), index
        _C.cuda_record_event(index, self._handle, stream.cuda_stream, everything)

    def wait(self, stream=None):
        """Let later work of a stream start after this event; the caller does not wait. None: the current stream."""
        stream = current_stream() if stream is None else as_stream(stream, "Event.wait")
        stream.wait_event(self)

    def query(self):
        """Whether the work before it is done. True where it was not recorded."""
        return self._handle is None or _C.cuda_event_done(self._index, self._handle)

    def synchronize(self):
        """Wait until the work before it is done."""
        if self._handle is not None:
            _C.cuda_synchronize_event(self._index, self._handle)
            _C.check_errors()

    def elapsed_time(self, end_event):
        """Milliseconds between this event and a later one of the same device; both are done."""
        for event in (self, end_event):
            if not event._timing:
                raise RuntimeError(
                    "[Event.elapsed_time] an event does not measure time; got Event(); try Event(enable_timing=True)"
                )
            if not event.query():
                raise RuntimeError("[Event.elapsed_time] the work is not done; got an event under way; try .synchronize()")
            if event._handle is None:
                raise RuntimeError("[Event.elapsed_time] an event was not recorded; got no time; try .record()")
        if self._index != end_event._index:
            raise RuntimeError(
                f"[Event.elapsed_time] events of different devices; got cuda:{self._index} and cuda:{end_event._index}; "
                "try two events of one device"
            )
        return _C.cuda_elapsed(self._index, self._handle, end_event._handle)

    def __repr__(self):
        return f"<pydiff.cuda.Event of {self.device or 'no device yet'}>"

    def __del__(self, free=_C.cuda_free_event):
        if getattr(self, "_handle", None) is not None:
            free(self._index, self._handle)


class _AnyStream:
    """What streams of pydiff and of other libraries have in common."""

    __slots__ = ("_handle", "_index", "__weakref__")

    @property
    def device(self):
        """The device whose work it orders."""
        return _device("cuda", self._index)

    @property
    def cuda_stream(self):
        """The driver's handle; 0 is the default stream."""
        return self._handle

    def __cuda_stream__(self):
        """(0, handle): the protocol by which other libraries take a stream."""
        return 0, self._handle

    def query(self):
        """Whether all that the stream was given is done."""
        return _C.cuda_stream_done(self._index, self._handle)

    def synchronize(self):
        """Compute what is pending, and wait until all that pydiff has given the device, and others this stream, is done."""
        flush()
        _C.cuda_let_follow(self._index, self._handle)
        _C.cuda_synchronize_stream(self._index, self._handle)
        _C.check_errors()

    def record_event(self, event=None):
        """Record an event on this stream (a new one where none is given); returns it."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event):
        """Let later work of this stream start after an event; the caller does not wait."""
        if event._handle is not None:
            _C.cuda_wait_event(self._index, event._handle, self._handle)

    def wait_stream(self, stream):
        """Let later work of this stream start after what another stream, of any library, has been given so far."""
        event = Event()
        event._record(as_stream(stream, "wait_stream"), False)
        self.wait_event(event)

    def __eq__(self, other):
        return (self._handle, self._index) == (other._handle, other._index) if isinstance(other, _AnyStream) else NotImplemented

    def __hash__(self):
        return hash((self._handle, self._index))

    def __repr__(self):
        return f"<pydiff.cuda.{type(self).__name__} {self._handle:#x} of cuda:{self._index}>"


class Stream(_AnyStream):
    """A stream of its own on a device, for `with pydiff.cuda.stream(s):`.

    Arguments:
        device: None is the current device.

    Work of pydiff on one device is in one order on all streams, so values made on one can be used on another at once, and
    two streams of pydiff do not overlap. What overlaps is the work of other libraries.

    >>> from pydiff import cuda
    >>> if cuda.is_available():
    ...     s = cuda.Stream()
    ...     with cuda.stream(s):
    ...         assert cuda.current_stream() == s
    """

    __slots__ = ()

    def __init__(self, device=None):
        self._index = index_of(device)
        self._handle = _C.cuda_new_stream(self._index)

    def __del__(self, free=_C.cuda_free_stream):
        if getattr(self, "_handle", None) is not None:
            free(self._index, self._handle)


class ExternalStream(_AnyStream):
    """A stream that another library made.

    Arguments:
        stream: the driver's handle (CuPy's `.ptr`, PyTorch's `.cuda_stream`), or an object with `__cuda_stream__`, which
            is kept alive. Its owner must not destroy a stream that is current.
        device: where the handle is 0, the device of the default stream; otherwise found from the stream.
    """

    __slots__ = ("_owner",)

    def __init__(self, stream, device=None):
        self._owner, handle = stream, stream
        if hasattr(stream, "__cuda_stream__"):
            told = stream.__cuda_stream__
            version, handle = told() if callable(told) else told
            if version != 0:
                raise RuntimeError(
                    f"[ExternalStream] unknown version of __cuda_stream__; got {version}; try the stream's handle"
                )
        if not isinstance(handle, int):
            raise TypeError(
                f"[ExternalStream] not a stream; got {type(stream).__name__}; try an object with __cuda_stream__ or a handle"
            )
        self._handle = 0 if handle == 1 else handle  # 1 is another name of the default stream
        self._index = index_of(device) if self._handle == 0 else _C.cuda_stream_device(self._handle)
        if device is not None and index_of(device) != self._index:
            raise RuntimeError(
                f"[ExternalStream] the stream belongs to another device; got cuda:{self._index} for {device}; "
                f"try device={self._index}"
            )


def as_stream(stream, op):
    """A Stream or ExternalStream of what a user gave."""
    if isinstance(stream, _AnyStream):
        return stream
    if not hasattr(stream, "__cuda_stream__"):
        raise TypeError(
            f"[{op}] not a stream; got {type(stream).__name__}; try pydiff.cuda.ExternalStream(handle), or an object with "
            "__cuda_stream__"
        )
    return ExternalStream(stream)


def default_stream(device=None):
    """The default stream of a device (None: the current one), on which work goes unless another stream is chosen."""
    return ExternalStream(0, index_of(device))


def current_stream(device=None):
    """The stream of a device (None: the current one) to which this thread's work goes."""
    index = index_of(device)
    chosen = getattr(_thread, "streams", {}).get(index)
    handle = _C.cuda_current_stream(index)
    return chosen if chosen is not None and chosen._handle == handle else ExternalStream(handle, index)


def set_stream(stream):
    """Make a stream, of pydiff or of another library, the calling thread's current one of its device."""
    stream = as_stream(stream, "set_stream")
    if not hasattr(_thread, "streams"):
        _thread.streams = {}
    _C.cuda_set_current_stream(stream._index, stream._handle)
    _thread.streams[stream._index] = stream


class stream:
    """`with pydiff.cuda.stream(s):` work that is done inside goes to `s`, and "cuda" means its device.

    Arguments:
        stream: a `Stream`, or any object with `__cuda_stream__`: CuPy's, PyTorch's, Numba's. None changes nothing.

    Of the calling thread only. A value is computed on the stream that is current when it is needed, not on the one that was
    current when it was recorded. Inside, work waits for what went to the stream before; after the end, for what went to it
    inside.
    """

    def __init__(self, stream):
        self.stream = None if stream is None else as_stream(stream, "stream")
        self._before = []

    def __enter__(self):
        if self.stream is not None:
            self._before.append((_C.cuda_current_device(), current_stream(self.stream.device)))
            _C.cuda_set_current_device(self.stream._index)
            set_stream(self.stream)
        return self.stream

    def __exit__(self, *exception):
        if self.stream is not None:
            index, before = self._before.pop()
            set_stream(before)
            _C.cuda_set_current_device(index)
