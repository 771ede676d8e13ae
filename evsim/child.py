"""Starts the process in which libhdf5 reads a file (`evsim.hdf5_child`), talks to it, and tells how it ended."""

from __future__ import annotations

import faulthandler
import gc
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("hdf5_child.py")
MOST_HANDLES = 1 << 16
"""File descriptors that a forked child closes."""

FAILED = 3
"""Exit code of a forked child that could not begin."""


class Child:
    """A process that reads one file.

    It is forked where this process has no second thread, which costs next to nothing; else started anew, for a thread
    may hold any lock at the moment of a fork. Windows has no sockets to hand on: there a thread reads the file.

    Parameters
    ----------
    path
        The file to read.
    """

    def __init__(self, path: Path) -> None:
        self._owner = os.getpid()
        self._code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._socket, theirs = socket.socketpair()
        if in_thread():
            from evsim import hdf5_child

            threading.Thread(target=hdf5_child.serve_here, args=(theirs, os.fspath(path)), daemon=True).start()
            return
        with _above_streams(theirs) as theirs:
            if may_fork():
                self._pid = _fork(theirs, os.fspath(path))
            else:
                self._process = _start(theirs, os.fspath(path))
                self._pid = self._process.pid

    def send(self, request: dict[str, Any]) -> None:
        """Send a request; OSError if the child is gone."""
        text = json.dumps(request).encode()
        self._socket.sendall(struct.pack("<I", len(text)) + text)

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """Return the child's next message, None if it is gone; TimeoutError if none comes in time."""
        self._socket.settimeout(seconds)
        head = self.body(4, shared=False)
        body = head and self.body(struct.unpack("<I", head)[0], shared=False)
        message: dict[str, Any] | None = json.loads(bytes(body)) if body else None
        return message

    def body(self, size: int, *, shared: bool) -> bytearray | mmap.mmap | None:
        """Return the bytes of an array; if `shared`, in memory that the child made; None if the child is gone."""
        if shared:
            _, handles, _, _ = socket.recv_fds(self._socket, 1, 1)
            if not handles:
                return None
            try:
                return mmap.mmap(handles[0], size)
            finally:
                os.close(handles[0])
        body = bytearray(size)
        left = memoryview(body)
        while left:
            number = self._socket.recv_into(left)
            if not number:
                return None
            left = left[number:]
        return body

    def end(self, *, crashed: bool = False) -> int:
        """End the process and return its exit code, negative for a signal; one that `crashed` ends by itself."""
        if self._code is None and os.getpid() == self._owner:
            self._socket.close()
            if not self._pid:
                return 0
            if not crashed:
                os.kill(self._pid, signal.SIGKILL)
            if self._process is not None:
                self._code = self._process.wait()
            else:
                try:
                    self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
                except ChildProcessError:  # whoever runs evsim waits for all processes himself
                    self._code = 1
        return self._code or 0


def in_thread() -> bool:
    """Whether this system can give a socket to no other process."""
    return os.name == "nt"


def may_fork() -> bool:
    """Whether a fork is safe here: no thread of Python's beside this one, no system whose libraries forbid it."""
    return sys.platform == "linux" and threading.active_count() == 1


def _above_streams(connection: socket.socket) -> socket.socket:
    """Return a socket whose number is not that of a standard stream, which this process may have closed."""
    if connection.fileno() > 2:
        return connection
    import fcntl

    with connection:
        return socket.socket(fileno=fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


def _fork(connection: socket.socket, path: str) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of OpenBLAS's threads, which it stops for a fork
        pid = os.fork()
    if pid:
        return pid
    code = FAILED
    try:
        gc.disable()  # what this process inherited is not its own to clean up
        faulthandler.disable()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        handle = connection.fileno()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        os.closerange(3, handle)
        os.closerange(handle + 1, MOST_HANDLES)
        from evsim import hdf5_child

        hdf5_child.main(connection.detach(), path)
        code = 0
    finally:
        os._exit(code)


def _start(connection: socket.socket, path: str) -> subprocess.Popen[bytes]:
    handle = connection.fileno()
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-P", str(SCRIPT), str(handle), path],
        pass_fds=[handle],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": paths},
    )
