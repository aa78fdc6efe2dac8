"""The worker processes of a loader, as its own process sees them: started, asked, listened to, ended."""

import os
import pickle
import selectors
import signal
import time
import warnings
from collections import deque

from ._transport import Line, Reader
from .worker import pair, work

_KEPT = 16  # slots beyond those under way that a program may hold before batches are copied
_LOOK_AROUND = 1.0
_PATIENCE = 2.0  # seconds that a worker has to end by itself


class _Member:
    """A worker: its process, its line, the batches that it was asked for and those that have come."""

    def __init__(self, process, line, prefetch):
        self.process, self.line = process, line
        self.reader = Reader(line, prefetch + _KEPT)
        self.asked = 0
        self.arrived = deque()


class Pool:
    """Workers 0 to `count` - 1."""

    def __init__(self, context, reading, count, init, prefetch):
        self.owner = os.getpid()
        self.members = []
        self.epoch = 0
        self._selector = selectors.DefaultSelector()
        others = []
        forks = context.get_start_method() == "fork"
        try:
            for number in range(count):
                ours, theirs = pair()
                others.append(ours)
                arguments = (reading, number, count, init, theirs, others if forks else [])
                process = context.Process(target=work, args=arguments, daemon=True, name=f"pydiff.data worker {number}")
                try:
                    with warnings.catch_warnings():  # the core makes its threads anew after a fork
                        warnings.filterwarnings("ignore", ".*multi-threaded, use of fork.*", DeprecationWarning)
                        process.start()
                finally:
                    theirs.close()
                member = _Member(process, Line(ours), prefetch)
                self.members.append(member)
                self._selector.register(ours, selectors.EVENT_READ, member)
                self._selector.register(process.sentinel, selectors.EVENT_READ, None)
        except BaseException:
            for sock in others[len(self.members) :]:
                sock.close()
            self.close()
            raise

    def start(self, base_seed, states):
        """Begin an epoch: what was asked for before is forgotten."""
        self.epoch += 1
        for member, state in zip(self.members, states):
            member.asked = 0
            for _, told, _, _ in (message for _, message in member.arrived):
                member.reader.skip(told)
            member.arrived.clear()
            member.line.post(pickle.dumps(("start", self.epoch, base_seed, state)))

    def ask(self, number, indices):
        """Ask worker `number` for a batch."""
        member = self.members[number]
        member.asked += 1
        member.line.post(pickle.dumps(("fetch", self.epoch, indices, member.reader.take_freed())))

    def take(self, number, timeout):
        """The oldest answer of worker `number`, of any that has one if None: (number, head, batch, streams, state).

        Raises RuntimeError where a worker has died, and after `timeout` seconds, if that is not 0.
        """
        end = time.monotonic() + timeout if timeout else None
        while True:
            for k in range(len(self.members)) if number is None else (number,):
                member = self.members[k]
                if member.arrived:
                    (head, streams, state), (_, told, stream, places) = member.arrived.popleft()
                    member.asked -= 1
                    return k, head, member.reader.loads(told, stream, places), streams, state
            left = _LOOK_AROUND if end is None else min(_LOOK_AROUND, end - time.monotonic())
            if left <= 0:
                who = "any worker" if number is None else self._name(number)
                raise RuntimeError(
                    f"[DataLoader] no batch came in time; got {timeout} s of waiting for {who}; "
                    "try a longer timeout, or timeout=0 to wait for ever"
                )
            self._listen(left, number)

    def _name(self, number):
        return f"worker {number} (process {self.members[number].process.pid})"

    def _listen(self, seconds, wanted):
        """Wait for messages and take them; an error where a worker is dead and what is wanted has not come."""
        for member in self.members:
            wants = selectors.EVENT_READ | (selectors.EVENT_WRITE if member.line.pending else 0)
            if self._selector.get_key(member.line.sock).events != wants:
                self._selector.modify(member.line.sock, wants, member)
        ready = self._selector.select(seconds)
        suspicious = not ready
        for key, _ in ready:
            if key.data is None:
                suspicious = True
                continue
            self._receive(key.data)
            suspicious = suspicious or key.data.line.closed
        if suspicious:
            self._check(wanted)

    def _receive(self, member):
        member.line.flush()
        for message in map(pickle.loads, member.line.receive()):
            head, epoch, streams, state, *content = message
            if epoch == self.epoch:
                member.arrived.append(((head, streams, state), (None, *content)))
            else:
                member.reader.skip(content[0])

    def _check(self, wanted):
        for number, member in enumerate(self.members):
            if member.line.closed:
                member.process.join(_PATIENCE)
            if member.line.closed or not member.process.is_alive():
                self._receive(member)  # what it sent before
                if any(m.arrived for m in (self.members if wanted is None else self.members[wanted : wanted + 1])):
                    return
                raise RuntimeError(
                    f"[DataLoader] {self._name(number)} died; got {_ending(member.process.exitcode)}; "
                    "try fewer workers or smaller batches if memory ran out, num_workers=0 to see what fails"
                )

    def close(self):
        """End all workers: their lines are cut, and who does not end after a while is made to. Idle in a forked child."""
        if os.getpid() != self.owner:
            return
        members, self.members = self.members, []
        for member in members:
            member.line.cut()
        end = time.monotonic() + _PATIENCE
        for member in members:
            member.process.join(max(end - time.monotonic(), 0))
        for stop in ("terminate", "kill"):
            slow = [member.process for member in members if member.process.is_alive()]
            for process in slow:
                getattr(process, stop)()
            for process in slow:
                process.join(1)
        self._selector.close()
        for member in members:
            member.line.close()
            member.process.close()


def _ending(code):
    if code is None:
        return "no exit status, its line is closed"
    if code >= 0:
        return f"exit status {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
