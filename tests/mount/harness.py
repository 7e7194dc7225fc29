"""What the suites share: a mount as an object, and the repositories that it can be of.

A Mount runs `scifs mount -f` with folders of its own for cache, state and configuration, waits until the kernel has it, and at
the end unmounts it, waits for the process and reads its log: a wrong exit status or a sanitizer's report is an error. It may end
and begin again at the same place (again()), also by being killed (crash()): what it kept for itself is there, or all but the cache.
"""
import contextlib
import ctypes
import errno
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
DONE, USAGE, REACH, MOUNT, LEFT = 0, 1, 2, 3, 4         # exit status
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


def errno_of(call, *args, **kw):
    """The errno with which this fails; an AssertionError when it does not."""
    try:
        call(*args, **kw)
    except OSError as e:
        return e.errno
    raise AssertionError('it does not fail')


@contextlib.contextmanager
def fails(*numbers):
    """What is done in here fails with one of these numbers."""
    wanted = ', '.join(errno.errorcode[n] for n in numbers)
    try:
        yield
    except OSError as e:
        assert e.errno in numbers, f'{e}, not {wanted}'
    else:
        raise AssertionError(f'it does not fail with {wanted}')


def or_not(call, *args):
    """What it gives, or None where a thing went, or was replaced, between two steps of the call: others have just changed it."""
    try:
        return call(*args)
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        return None


def put(path, text, flags=os.O_CREAT | os.O_TRUNC):
    """One write(2) and a close: what fails in either, fails. A value that is no text is written as JSON."""
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.write(fd, (text if isinstance(text, str) else json.dumps(text)).encode())
    finally:
        os.close(fd)


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

    def __init__(self, source, *options, env=None, home=None, log_level='info', program=None):
        """`options` are words of -o ("ttl=1s"). `home` (a Path) holds cache, state and configuration; by default it is the mount's
        own and ends with it."""
        self.source, self.options, self.env, self.program = source, list(options), dict(env or {}), program or SCIFS
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
        command = [str(self.program), 'mount', '-f', self.source, str(self.path), '-o', ','.join([f'log_level={self.log_level}', *self.options])]
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

    def detach(self):
        """Neither mount nor process is left; the folder is. True if nothing had to be forced."""
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
        return clean

    def clear(self):
        """Leave nothing behind, whatever state it is in. True if nothing had to be forced."""
        clean = self.detach()
        if not self.mounted():
            shutil.rmtree(self.folder, ignore_errors=True)
        return clean

    def end(self, status=DONE):
        """Unmount as a user does, and judge how it ended: `status` LEFT when uploads are to be left. Folder and home stay."""
        umount = self.scifs('umount', self.path, check=False)
        try:
            if umount.returncode in (DONE, LEFT):
                self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        log, ended = self.log, self.process.poll()
        clean = self.detach()
        assert not REPORT.search(log), f'a sanitizer reports:\n{log[-6000:]}'
        assert clean and umount.returncode == status, f'unmounting: status {umount.returncode}: {umount.stderr}\n{log[-3000:]}'
        assert ended == status, f'scifs ended with status {ended}:\n{log[-3000:]}'

    def stop(self, status=DONE):
        """The same, and nothing stays."""
        try:
            self.end(status)
        finally:
            self.clear()

    def again(self, cache=True, status=DONE):
        """Unmount as a user does, if that is still to be done, and mount the same at the same place, over the same home; without what
        was cached unless `cache`."""
        if self in live:
            self.end(status)
        if not cache:
            shutil.rmtree(self.home / 'cache', ignore_errors=True)
        return self.start()

    def crash(self):
        """What a power cut leaves: the process is gone at once, and nobody tidied up. again() goes on from there."""
        self.process.kill()
        self.process.wait()
        self.fell()

    def fell(self):
        """The process has died by itself: let go of what is left of the mount."""
        self.process.wait(PATIENCE)
        self.detach()
        assert not REPORT.search(self.log), f'a sanitizer reports:\n{self.log[-6000:]}'

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind:
            self.clear()
        else:
            self.stop()

    # ---- what it owes ----

    def scifs(self, *words, **kw):
        """A command of the same user."""
        return run(self.program, *words, env=self.environ(), **kw)

    def sync(self, path=''):
        """All that was closed is at the server, or an AssertionError with what `scifs sync` says."""
        return self.scifs('sync', self.path / path)

    def uploads(self):
        """.scifs/uploads.json: what is owed, and how it is with it."""
        return json.loads(self.control('uploads.json'))

    def upload(self, name):
        """The one that is owed under this name, or None."""
        found = [u for u in self.uploads() if u['name'] == name]
        assert len(found) <= 1, found
        return found[0] if found else None

    def refused(self, name):
        """Wait until this upload was refused, and give it."""
        return wait_for(lambda: (u := self.upload(name)) and u['state'] == 'refused' and u, f'{name} is refused; {self.uploads()}')

    def retry(self, name):
        """The user's word on a refused one: once more."""
        self.scifs('uploads', 'retry', self.path, str(self.upload(name)['id']))

    def drop(self, name):
        """The user's word: never mind."""
        self.scifs('uploads', 'drop', '--yes', self.path, str(self.upload(name)['id']))

    def give_up(self):
        """What a test before left owed is not the next one's matter."""
        if self.uploads():
            self.scifs('uploads', 'drop', '--yes', self.path, 'all', check=False)

    def settle(self, seconds=PATIENCE):
        """Wait, without asking for it, until nothing is owed."""
        wait_for(lambda: not self.uploads(), 'nothing is owed', seconds)

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


class ReductRepo:
    """`server` is the running ReductStore, `records` what the sample has ((bucket, entry) -> its Records), `witness` the official
    client. The tree that a mount shows of it is told by the tests of the mount."""

    def __init__(self, name, server, records, witness):
        self.name, self.server, self.records, self.witness = name, server, records, witness

    @property
    def source(self):
        return f'reduct+{self.server.url}'

    @property
    def env(self):
        return {'SCIFS_TOKEN': self.server.token}


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


def remote(girder, folder, kind='folder') -> dict:
    """What a folder of a Girder has, by its own account: path -> sha512 of each file, "" of each folder. An item is what the official
    client makes of it: a file when it has one of its own name, else a directory. A name that is there twice is a failure."""
    found = {}

    def put(path, value):
        assert path not in found, f'{path} is there twice'
        found[path] = value

    def look(folder, kind, where):
        for f in girder.server.rest('GET', 'folder', {'parentType': kind, 'parentId': folder, 'limit': '0'}):
            put(where + f['name'], '')
            look(f['_id'], 'folder', where + f['name'] + '/')
        for i in girder.server.rest('GET', 'item', {'folderId': folder, 'limit': '0'}) if kind == 'folder' else []:
            files = girder.server.rest('GET', f'item/{i["_id"]}/files', {'limit': '0'})
            path = where + i['name']
            if len(files) != 1 or files[0]['name'] != i['name']:
                put(path, '')
                path += '/'
            else:
                path = path[:-len(i['name'])]
            for f in files:
                # An empty file is given no checksum by 3.2.
                put(path + f['name'], f['linkUrl'] if f.get('linkUrl') else f.get('sha512') or (not f['size'] and sha512(b'')))
    look(folder, kind, '')
    return found
