"""One sequence of operations, played in a folder of a mount and in one of the local disk: after each of them both must be alike.

An operation is a tuple, its name first; `operations()` draws them for hypothesis, `Pair.play()` carries one out. A path in it is what it
says, or FILE:N or DIR:N, the N-th file or directory that is there then: most operations find something to do. What a call gives (its
value, or its errno) is compared, and then everything that can be seen: names, kinds, sizes, modes, bytes, and times that were set.
"""
import errno
import os
import stat
import time
from pathlib import Path

from girder_sample import noise
from harness import wait_for
from hypothesis import strategies as st

OLD = 1_300_000_000             # s; times that are set lie here, so that they are told from those of a write
SLOTS = 3                       # files that may be open at once
PATHS = ['a', 'b', 'c.txt', 'd', 'e', 'd/a', 'd/b', 'd/e', 'd/e/a', 'e/a', 'd/f.part', '.g.swp']
SIZES = [0, 1, 3, 100, 4096, 5000, 70_000]


def operations():
    name, slot, size, seed = st.sampled_from(PATHS), st.integers(0, SLOTS - 1), st.sampled_from(SIZES), st.integers(0, 9)
    file = st.one_of(*[st.integers(0, 9).map('FILE:{}'.format)] * 3, name)
    folder = st.one_of(st.integers(0, 3).map('DIR:{}'.format), name)
    any_ = st.one_of(file, folder)

    def op(word, *args):
        return st.tuples(st.just(word), *args)
    often = [
        op('write', file, size, size, seed),                    # at, length
        op('write', name, size, size, seed),
        op('append', file, size, seed),
        op('replace', file, size, seed),
        op('rename', file, name),
        op('rename', file, file),
        op('unlink', file),
        op('open', slot, file, st.sampled_from(['r', 'r+', 'r+', 'a'])),
        op('pwrite', slot, size, size, seed),
        op('ftruncate', slot, size),
    ]
    seldom = [
        op('mkdir', name),
        op('rmdir', folder),
        op('rename', any_, any_),
        op('create', name),
        op('exclusive', name),
        op('truncate', file, size),
        op('pread', slot, size, size),
        op('close', slot),
        op('fsync', slot),
        op('utime', any_, st.integers(0, 999)),
        op('chmod', any_, st.sampled_from([0o600, 0o640, 0o644])),
        op('sync'),
        op('settle'),
    ]
    rare = [op('remount', st.booleans())]                       # with what is cached, or without
    return st.lists(st.one_of(*often, *often, *seldom, *rare), min_size=20, max_size=40)


class Side:
    """One of the two folders, and what is open there."""

    def __init__(self, top: Path):
        self.top = top
        self.files = [None] * SLOTS

    def path(self, name):
        kind, _, n = name.partition(':')
        if not n:
            return self.top / name
        found = sorted(p for p in self.top.rglob('*') if p.is_dir() == (kind == 'DIR'))
        return found[int(n) % len(found)] if found else self.top / 'nothing'

    def close_all(self):
        for slot in range(SLOTS):
            self.close(slot)

    # ---- the operations; each raises OSError or gives what is to be compared ----

    def write(self, name, at, n, seed):
        fd = os.open(self.path(name), os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            return os.pwrite(fd, noise(seed, n), at)
        finally:
            os.close(fd)

    def append(self, name, n, seed):
        with open(self.path(name), 'ab', buffering=0) as f:
            return f.write(noise(seed, n))

    def replace(self, name, n, seed):
        with open(self.path(name), 'wb', buffering=0) as f:
            return f.write(noise(seed, n))

    def create(self, name):
        os.close(os.open(self.path(name), os.O_CREAT | os.O_RDONLY, 0o644))

    def exclusive(self, name):
        os.close(os.open(self.path(name), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))

    def truncate(self, name, size):
        os.truncate(self.path(name), size)

    def rename(self, old, new):
        os.rename(self.path(old), self.path(new))

    def unlink(self, name):
        os.unlink(self.path(name))

    def mkdir(self, name):
        os.mkdir(self.path(name))

    def rmdir(self, name):
        os.rmdir(self.path(name))

    def utime(self, name, t):
        os.utime(self.path(name), (OLD + t, OLD + t))

    def chmod(self, name, mode):
        os.chmod(self.path(name), mode | (0o111 & mode >> 2 if self.path(name).is_dir() else 0))

    def open(self, slot, name, mode):
        self.close(slot)
        self.files[slot] = open(self.path(name), mode + 'b', buffering=0)

    def handle(self, slot):
        """The next one that is open; when there is none, a file's."""
        for n in range(slot, slot + SLOTS):
            if self.files[n % SLOTS]:
                return self.files[n % SLOTS].fileno()
        self.open(slot, f'FILE:{slot}', 'r+')
        return self.files[slot].fileno()

    def pwrite(self, slot, at, n, seed):
        return os.pwrite(self.handle(slot), noise(seed, n), at)

    def pread(self, slot, at, n):
        return os.pread(self.handle(slot), n, at)

    def ftruncate(self, slot, size):
        os.ftruncate(self.handle(slot), size)

    def fsync(self, slot):
        os.fsync(self.handle(slot))

    def close(self, slot):
        f, self.files[slot] = self.files[slot], None
        if f:
            f.close()

    # ---- what can be seen ----

    def look(self):
        found = {}
        for where, dirs, names in os.walk(self.top):
            for name in dirs + names:
                path = Path(where) / name
                s = path.lstat()
                set_time = int(s.st_mtime) if s.st_mtime < OLD + 1000 else 'now' if abs(s.st_mtime - time.time()) < 3600 else s.st_mtime
                if stat.S_ISDIR(s.st_mode):
                    found[str(path.relative_to(self.top))] = 'directory', oct(s.st_mode)
                else:
                    found[str(path.relative_to(self.top))] = s.st_size, oct(s.st_mode), set_time, path.read_bytes()
        opened = []
        for f in self.files:
            size = os.fstat(f.fileno()).st_size if f else None
            opened.append((size, os.pread(f.fileno(), size, 0) if f and f.readable() else None))
        return found, opened


class Pair:
    def __init__(self, mount, folder: str, local: Path):
        self.mount = mount
        self.there, self.here = Side(mount / folder), Side(local)
        for side in (self.there, self.here):
            for name in ('', 'd', 'e', 'd/e'):
                (side.top / name).mkdir()
            for n, name in enumerate(('a', 'b', 'd/a', 'd/e/a')):
                (side.top / name).write_bytes(noise(n, SIZES[-1 - n]))

    def both(self, name, args):
        results = []
        for side in (self.here, self.there):
            try:
                results.append(getattr(side, name)(*args))
            except OSError as e:
                results.append(errno.errorcode[e.errno])
        assert results[1] == results[0], f'{(name, *args)}: {results[1]!r}, not {results[0]!r}'

    def play(self, operation):
        name, *args = operation
        if name == 'sync':
            self.mount.sync()
        elif name == 'settle':
            wait_for(lambda: all(u['state'] in ('held', 'draft') for u in self.mount.uploads()), 'what is closed has been sent')
        elif name == 'remount':
            self.there.close_all()
            self.here.close_all()
            self.mount.again(cache=args[0])
        else:
            self.both(name, args)
        want, seen = self.here.look(), self.there.look()
        assert seen == want, f'after {operation}: {difference(seen, want)}'

    def close(self):
        self.there.close_all()
        self.here.close_all()


def short(value):
    return repr(value)[:200]


def difference(seen, want):
    """What to look at, without the bytes."""
    words = [f'{name} is {short(seen[0].get(name))}, not {short(want[0].get(name))}'
             for name in sorted(seen[0].keys() | want[0].keys()) if seen[0].get(name) != want[0].get(name)]
    words += [f'open file {n} is {short(a)}, not {short(b)}' for n, (a, b) in enumerate(zip(seen[1], want[1])) if a != b]
    return '; '.join(words)
