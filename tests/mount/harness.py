"""What the suites share: a mount as an object, and the repositories that it can be of.

A Mount runs `scifs mount -f` with folders of its own for cache, state and configuration, waits until the kernel has it, and at
the end unmounts it, waits for the process and reads its log: a wrong exit status or a sanitizer's report is an error.
"""
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/servers'))
from girder_sample import noise  # noqa: E402

BUILD = TOP / os.environ.get('SCIFS_BUILD', 'build')
SCIFS = BUILD / 'src/scifs'
PATIENCE = 120                  # seconds: what is waited for comes at once on an idle machine
REPORT = re.compile(r'ERROR: (Address|Leak|Thread)Sanitizer|: runtime error: ')
libc = ctypes.CDLL(None)
live = []                       # mounts whose process runs, for conftest's watchdog


def wait_for(condition, what='that', seconds=PATIENCE):
    """The first true value of condition(); an AssertionError that names `what` when it does not come."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f'waited {seconds} s in vain: {what}'
        time.sleep(0.02)


def run(*command, check=True, timeout=PATIENCE, **kw):
    """A program's standard output as text; its standard error is part of the failure."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors='surrogateescape', timeout=timeout,
                          stdin=subprocess.DEVNULL, **kw)
    if check:
        assert done.returncode == 0, f'{command}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}'
        return done.stdout
    return done


def die_with_parent():
    libc.prctl(1, signal.SIGTERM)


def lack_of_fuse():
    """Why this machine cannot mount, or None."""
    return None if os.access('/dev/fuse', os.R_OK | os.W_OK) else 'this machine has no /dev/fuse that may be used'


class Mount:
    """mount.path is the mount point; mount / 'a/b' a path in it; mount.log the log so far."""

    def __init__(self, source, *options, env=None, home=None, log_level='info'):
        """`options` are words of -o ("ttl=1s"). `home` (a Path) holds cache, state and configuration; by default it is the mount's
        own and ends with it."""
        self.source, self.options, self.env = source, list(options), dict(env or {})
        self.folder = Path(tempfile.mkdtemp(prefix='scifs-mount-'))
        self.path = self.folder / 'mnt'
        self.path.mkdir()
        self.home = home or self.folder / 'home'
        self.log_file = self.folder / 'log'
        self.log_level = log_level
        self.process = None

    def __truediv__(self, name):
        return self.path / name

    def environ(self):
        """The environment of scifs: nothing of the developer's own configuration."""
        env = {k: os.environ[k] for k in ('PATH', 'HOME', 'LANG', 'TMPDIR') if k in os.environ}
        for name in ('CACHE', 'CONFIG', 'STATE'):
            env[f'XDG_{name}_HOME'] = str(self.home / name.lower())
        env.update(ASAN_OPTIONS='detect_leaks=1:abort_on_error=0', UBSAN_OPTIONS='print_stacktrace=1:halt_on_error=1', **self.env)
        return env

    @property
    def log(self):
        return self.log_file.read_text(errors='replace') if self.log_file.exists() else ''

    def mounted(self):
        return any(line.split()[4] == str(self.path) for line in open('/proc/self/mountinfo'))

    def start(self):
        self.home.mkdir(parents=True, exist_ok=True)
        command = [str(SCIFS), 'mount', '-f', self.source, str(self.path), '-o', ','.join([f'log_level={self.log_level}', *self.options])]
        with open(self.log_file, 'ab') as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=self.environ(),
                                            preexec_fn=die_with_parent)
        live.append(self)
        try:
            wait_for(lambda: self.process.poll() is not None or self.mounted(), f'{self.source} is mounted')
            assert self.process.poll() is None, f'scifs ended with status {self.process.returncode}:\n{self.log[-3000:]}'
        except BaseException:
            self.clear()
            raise
        return self

    def clear(self):
        """Leave nothing behind, whatever state it is in. True if nothing had to be forced."""
        clean = True
        if self.mounted():
            clean = False
            if os.geteuid() == 0:
                subprocess.run(['umount', '-l', str(self.path)], capture_output=True, timeout=PATIENCE)
            else:
                subprocess.run(['fusermount3', '-uz', str(self.path)], capture_output=True, timeout=PATIENCE)
        if self.process and self.process.poll() is None:
            clean = False
            self.process.kill()
            self.process.wait()
        if self in live:
            live.remove(self)
        if not self.mounted():
            shutil.rmtree(self.folder, ignore_errors=True)
        return clean

    def stop(self):
        """Unmount as a user does, and judge how it ended."""
        umount = run(SCIFS, 'umount', self.path, check=False, env=self.environ())
        try:
            if umount.returncode == 0:
                self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        log, status = self.log, self.process.poll()
        clean = self.clear()
        assert not REPORT.search(log), f'a sanitizer reports:\n{log[-6000:]}'
        assert clean and umount.returncode == 0, f'unmounting failed: {umount.stderr}\n{log[-3000:]}'
        assert status == 0, f'scifs ended with status {status}:\n{log[-3000:]}'

    def remount(self):
        """The same again, over the same home."""
        again = Mount(self.source, *self.options, env=self.env, home=self.home, log_level=self.log_level)
        kept = again.folder.parent / (again.folder.name + '-home')
        if self.home == self.folder / 'home':           # it would go with the old mount
            shutil.move(self.home, kept)
            again.home = again.folder / 'home'
        self.stop()
        if kept.exists():
            shutil.move(kept, again.home)
        return again.start()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind:
            self.clear()
        else:
            self.stop()

    # ---- what it says of itself ----

    def control(self, name, directory=''):
        return (self.path / directory / '.scifs' / name).read_text()

    def status(self):
        return json.loads(self.control('status.json'))

    def stats(self):
        """.scifs/stats as a dict of numbers."""
        return {line.split()[0]: float(line.split()[1]) for line in self.control('stats').splitlines() if not line.startswith('#')}

    def errors(self, directory=''):
        return [json.loads(line) for line in self.control('errors', directory).splitlines()]


class Repo:
    """A repository that can be mounted. All paths are from the mount's root.

    name            "memory", "girder5" or "girder3"
    source, env     what `scifs mount` wants
    top             the folder that holds the sample's files
    files           path -> bytes of every plain file below top: the witness
    text, empty, one, small, odd, big, deep, folder     paths: a table; 0 bytes; 1 byte; 4 KiB; 100,003 bytes; 5 MiB and 7; three or more
                    folders down; a folder with a metadata document of its own
    """
    server = None


class MemoryRepo(Repo):
    name, source, env, top = 'memory', 'memory:', {}, ''
    text, empty, one, small = 'tables/planets.csv', 'empty.dat', 'images/one.dat', 'images/noise-4k.dat'
    odd, big, deep, folder = 'images/noise-odd.dat', 'images/noise-5m.dat', 'nested/a/b/c/deep.txt', 'tables'
    text_meta = {'title': 'The planets', 'source.contact.room': '4.11', 'rows': '8'}

    def __init__(self):
        # The texts are those of src/backend/memory/sample.c; the noise is told by a formula.
        self.files = {
            self.empty: b'', self.one: noise(11, 1), self.small: noise(12, 4096), self.odd: noise(13, 100003),
            'images/noise-1m.dat': noise(14, 1 << 20), self.big: noise(15, (5 << 20) + 7),
            'images/no-digest.dat': noise(16, 200 << 10), self.deep: b'Four folders down.\n',
            'nested/not public/notes.txt': b'Who mounted this may read it, others may not.\n',
            self.text: b'name,mass_1e24kg,diameter_km,distance_1e6km,orbit_days,moons\n'
                       b'Mercury,0.330,4879,57.9,88.0,0\nVenus,4.87,12104,108.2,224.7,0\nEarth,5.97,12756,149.6,365.2,1\n'
                       b'Mars,0.642,6792,228.0,687.0,2\nJupiter,1898,142984,778.5,4331,95\nSaturn,568,120536,1432.0,10747,146\n'
                       b'Uranus,86.8,51118,2867.0,30589,28\nNeptune,102,49528,4515.0,59800,16\n',
        }


class OnGirder:
    """What `scifs mount` wants of self.server, a running Girder."""

    @property
    def source(self):
        return f'girder+{self.server.url}'

    @property
    def env(self):
        return {'SCIFS_API_KEY': self.server.api_key}


class GirderRepo(OnGirder, Repo):
    """`server` is the running Girder, `ids` what the sample has, `client` the official client: it put `files` into `fetched`."""
    top = 'collection/Sample/Data'
    text_meta = {'title': 'The planets', 'source.contact.room': '4.11', 'rows': '6'}

    def __init__(self, name, server, ids, fetched: Path):
        import girder_client
        self.name, self.server, self.ids = name, server, ids
        self.client = girder_client.GirderClient(apiUrl=server.api)
        self.client.authenticate(apiKey=server.api_key)
        self.fetched = fetched
        self.client.downloadFolderRecursive(ids['data'], str(fetched))
        self.files = {f'{self.top}/{p.relative_to(fetched)}': p.read_bytes() for p in fetched.rglob('*') if p.is_file()}
        for role, path in (('text', 'planets.csv'), ('empty', 'empty.dat'), ('one', 'one.dat'), ('small', 'noise-4k.dat'),
                           ('odd', 'noise-odd.dat'), ('big', 'noise-5m.dat'), ('deep', 'a/b/c/deep.txt')):
            setattr(self, role, f'{self.top}/{path}')
        self.folder = self.top


def sha512(data) -> str:
    return hashlib.sha512(data).hexdigest()


def tree(folder: Path) -> dict:
    """Path -> sha512 of each file, "" of each directory: two equal ones are equal trees."""
    found = {}
    for where, dirs, names in os.walk(os.fsencode(folder)):
        for name in dirs:
            found[os.path.relpath(os.path.join(where, name), os.fsencode(folder))] = ''
        for name in names:
            path = os.path.join(where, name)
            with open(path, 'rb') as f:
                found[os.path.relpath(path, os.fsencode(folder))] = sha512(f.read())
    return found
