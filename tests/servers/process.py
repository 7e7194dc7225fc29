"""What the servers share: processes that die with the one that started them, and the error of a request."""
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_SECONDS = 120             # generous: a busy machine
libc = ctypes.CDLL(None)


def die_with_parent():
    libc.prctl(1, signal.SIGKILL)       # PR_SET_PDEATHSIG; what servers keep survives a kill


def free_port() -> int:
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def spawn(command, log, folder, env=None):
    """Start it in `folder`; what it says is added to `log`."""
    with open(log, 'ab') as out:
        return subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env,
                                cwd=folder, preexec_fn=die_with_parent, start_new_session=True)


def wait_ready(process, ready, log):
    """True when it is ready, False when it ended (the port was taken meanwhile, say)."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            return False
        if ready():
            return True
        time.sleep(0.05)
    raise RuntimeError(f'{process.args[0]} does not answer: see {log}')


def end(process, how=signal.SIGTERM):
    """Whatever state it is in, and None will do: afterwards it is gone."""
    if not process or process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def hand_out(file, **values):
    """Write what a caller needs to know, secrets among it: whole, or not at all."""
    with open(os.open(file + '.new', os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w') as f:
        json.dump({**values, 'pid': os.getpid()}, f)
    os.rename(file + '.new', file)


def tidy_on_sigterm():
    """SIGTERM ends this program as an exception does, tidying up; a second one (timeout(1) sends two) does not stop that."""
    def leave(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)


def until_interrupted(process, log):
    """A person has it now. That it ends by itself is an error."""
    try:
        process.wait()
        sys.exit(f'{process.args[0]} has ended by itself: see {log}')
    except KeyboardInterrupt:
        pass


class RestError(Exception):
    def __init__(self, status, body, what):
        super().__init__(f'{what}: {status} {body[:300]!r}')
        self.status, self.body = status, body


class Server:
    """One server over one data folder. What inherits has start(), which sets `server`, and may raise; stop() never leaves a process
    behind."""
    VERSIONS = ()
    server = None               # its process

    def __init__(self, name, version, folder, environ):
        if version not in self.VERSIONS:
            raise ValueError(f'{version}: one of {", ".join(self.VERSIONS)}')
        self.version, self.environ = version, dict(environ or {})
        self.own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix=f'scifs-{name}-{version}-'))
        self.log = self.folder / f'{name}.log'

    def pause(self):
        """From now on it accepts connections and says nothing."""
        self.server.send_signal(signal.SIGSTOP)

    def cont(self):
        self.server.send_signal(signal.SIGCONT)

    def kill(self):
        """From now on connections are refused. start() starts it again over the same data, on the same port."""
        end(self.server, signal.SIGKILL)
        self.server = None

    def restart(self):
        end(self.server)
        self.server = None
        self.start()

    def end_all(self, how):
        end(self.server, how)
        self.server = None

    def stop(self):
        self.end_all(signal.SIGKILL if self.own_folder else signal.SIGTERM)     # what is thrown away need not be tidied
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
