"""How batches pass between processes: short messages through a socket, arrays through memory that both map.

Shared memory has no name (`memfd_create`, or a file that is deleted as soon as it is open): its descriptor goes along with the
message that first speaks of it. So nothing can be left behind, whichever process dies. A piece of it, a *slot*, holds one
batch and goes back to its worker when the receiver's last array of it is gone.

    worker   pickle(batch) ──► stream + buffers     buffers ──► slot k     (stream, k, places) ──► socket
    loader   socket ──► (stream, k, places)         unpickle(stream, buffers = views of slot k)
"""

import array
import collections
import mmap
import os
import pickle
import socket
import struct
import tempfile
import weakref

import numpy as np

import pydiff

_LENGTH = struct.Struct("!Q")
_ALIGN = 64
_INLINE = 8192  # bytes of a batch that go through the socket: a slot would not be faster
_PAGE = mmap.PAGESIZE
_AT_ONCE = 1 << 18
_DESCRIPTOR = array.array("i").itemsize


class Line:
    """One end of a socket: whole messages, each any bytes, and descriptors that go along.

    `post` never waits: what the socket does not take is kept for `flush`. So two ends that both send cannot block each other.
    """

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock = sock
        self.closed = False
        self.descriptors = collections.deque()
        self._out = bytearray()
        self._in = bytearray()

    def fileno(self):
        return self.sock.fileno()

    @property
    def pending(self):
        """Whether something is left for `flush`."""
        return bool(self._out)

    def post(self, message):
        self._out += _LENGTH.pack(len(message))
        self._out += message
        self.flush()

    def flush(self):
        try:
            while self._out:
                del self._out[: self.sock.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:  # nobody is there; the sentinel tells who died
            self._out.clear()

    def send(self, message, descriptor=None):
        """Send a message and wait until it has gone."""
        self.sock.setblocking(True)
        data = memoryview(_LENGTH.pack(len(message)) + message)
        if descriptor is not None:
            data = data[socket.send_fds(self.sock, [data], [descriptor]) :]
        self.sock.sendall(data)

    def receive(self):
        """The messages that have come whole; `closed` is then whether the other end is gone."""
        while True:
            try:
                # Not socket.recv_fds, which drops the flags.
                data, sent, _, _ = self.sock.recvmsg(_AT_ONCE, socket.CMSG_LEN(8 * _DESCRIPTOR), socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data, sent = b"", ()
            for level, kind, bits in sent:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self.descriptors.extend(array.array("i", bits[: len(bits) - len(bits) % _DESCRIPTOR]))
            if not data:
                self.closed = True
                break
            self._in += data
        messages = []
        while len(self._in) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._in)[0]
            if len(self._in) < end:
                break
            messages.append(bytes(self._in[_LENGTH.size : end]))
            del self._in[:end]
        return messages

    def cut(self):
        """End the connection, whoever else has its descriptors."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end is gone

    def close(self):
        self.sock.close()
        while self.descriptors:
            os.close(self.descriptors.popleft())


# ---- pickles whose arrays are apart


def _share(array, dtype):
    """A tensor of an array's memory."""
    if dtype == "bfloat16":
        return pydiff.from_numpy(array).view(pydiff.bfloat16)
    return pydiff.from_numpy(array)


class _Pickler(pickle.Pickler):
    """Tensors on the CPU are pickled as arrays, which are taken over without a copy; gradients stay behind."""

    def reducer_override(self, value):
        if type(value) is not pydiff.Tensor or value.device.type != "cpu":
            return NotImplemented
        value = value.detach()
        if value.dtype.name == "bfloat16":
            return _share, (value.contiguous().view(pydiff.int16).numpy(), "bfloat16")
        return _share, (np.ascontiguousarray(value.numpy()).reshape(value.shape), "")


class _Bytes(bytearray):
    """What a pickler writes to."""

    write = bytearray.extend


def dumps(value):
    """(stream, buffers) of a value."""
    stream, buffers = _Bytes(), []
    _Pickler(stream, 5, buffer_callback=buffers.append).dump(value)
    return bytes(stream), [buffer.raw() for buffer in buffers]


# ---- slots


def _unnamed(size):
    """The descriptor of new shared memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pydiff-data", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class Writer:
    """The worker's side: its slots, and which are free."""

    def __init__(self, line):
        self._line = line
        self._slots = {}
        self._free = set()
        self._made = 0

    def give_back(self, slots):
        """The receiver has done with these."""
        self._free.update(slots)

    def send(self, head, stream, buffers):
        """Send a message `head` (a tuple) with a pickle; large things by way of a slot."""
        total = sum(buffer.nbytes for buffer in buffers)
        if len(stream) + total <= _INLINE:
            self._line.send(pickle.dumps((*head, None, stream, [bytes(buffer) for buffer in buffers])))
            return
        parts = [*buffers, stream] if len(stream) > _INLINE else buffers
        places, end = [], 0
        for part in parts:
            size = len(part) if part is stream else part.nbytes
            places.append((end, size))
            end += -(-size // _ALIGN) * _ALIGN
        slot, descriptor, dropped = self._take(max(end, 1))
        memory = self._slots[slot]
        for part, (start, size) in zip(parts, places):
            memory[start : start + size] = part
        told = (slot, len(memory), descriptor is not None, dropped, parts is not buffers)
        try:
            self._line.send(pickle.dumps((*head, told, b"" if parts is not buffers else stream, places)), descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _take(self, size):
        """(slot, descriptor where it is new, slots that are no more): the smallest that is free and large enough."""
        fits = [slot for slot in self._free if len(self._slots[slot]) >= size]
        if fits:
            slot = min(fits, key=lambda slot: len(self._slots[slot]))
            self._free.discard(slot)
            return slot, None, ()
        dropped = tuple(self._free)  # too small; batches are of one size mostly
        for slot in dropped:
            self._slots.pop(slot).close()
        self._free.clear()
        size = -(-(size + size // 8) // _PAGE) * _PAGE
        descriptor = _unnamed(size)
        slot, self._made = self._made, self._made + 1
        self._slots[slot] = mmap.mmap(descriptor, size)
        return slot, descriptor, dropped


class Reader:
    """The loader's side of one worker's slots.

    Of more than `most` slots in use at a time the contents are copied: a program may keep every batch, but descriptors are few.
    """

    def __init__(self, line, most):
        self._line = line
        self._most = most
        self._slots = {}
        self._lent = {}
        self._freed = collections.deque()  # appended to wherever the last array dies

    def take_freed(self):
        """The slots that can be given back."""
        freed = []
        while self._freed:
            freed.append(self._freed.popleft())
            self._lent.pop(freed[-1], None)
        return freed

    def loads(self, told, stream, places):
        """What `Writer.send` sent."""
        if told is None:
            return pickle.loads(stream, buffers=[bytearray(part) for part in places])
        slot, size, new, dropped, with_stream = told
        for k in dropped:
            del self._slots[k]
        if new:
            descriptor = self._line.descriptors.popleft()
            try:
                self._slots[slot] = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        owner = np.frombuffer(self._slots[slot], np.uint8)
        copied = len(self._lent) - len(self._freed) >= self._most
        if with_stream:
            start, size = places.pop()
            stream = owner[start : start + size].tobytes()
        buffers = [owner[start : start + size] for start, size in places]
        if copied or not buffers:
            buffers = [buffer.copy() for buffer in buffers]
            self._freed.append(slot)
        else:
            freed = self._freed
            self._lent[slot] = weakref.ref(owner, lambda _: freed.append(slot))
        return pickle.loads(stream, buffers=buffers)

    def skip(self, told):
        """Take note of a message whose batch nobody wants any more."""
        if told is not None:
            self.loads((*told[:4], False), pickle.dumps(None), [])
