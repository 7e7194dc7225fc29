"""What is written in a mount: there at once, at the repository soon, and as POSIX says; memory: is the repository.

`yard` keeps what it is given in a folder (store=), and `yard.there(folder)` is what a second mount of the same, which believes
nothing for longer than a moment, has of it. Tests that want a repository to behave badly mount memory: with words of its own.
"""
import contextlib
import ctypes
import errno
import mmap
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from girder_sample import noise
from harness import LEFT, PATIENCE, Mount, fails, run, tree, wait_for

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2              # of renameat2(2)
PUNCH_HOLE, KEEP_SIZE = 2, 1            # of fallocate(2)
OLD = 1_400_000_000                     # a time in 2014, in s
LATER = 'quiet=1h'                      # nothing is sent unless somebody asks for it
SOON = 'quiet=20ms'


class Yard:
    def __init__(self, store: Path):
        self.source = f'memory:?store={store}'
        self.m = Mount(self.source, SOON, 'upload_retry=50ms')
        # It has a state of its own, so that it is no part of what the first one owes.
        self.witness = Mount(self.source, 'ro', 'cache=none', 'ttl=10ms', 'list_ttl=10ms', 'negative_ttl=10ms', 'soft_wait=10s')

    def there(self, here: Path) -> dict:
        return tree(self.witness / here.relative_to(self.m.path))

    def arrived(self, here: Path):
        """All that was closed has been sent, and is what is to be seen here."""
        self.m.sync()
        want = tree(here)
        wait_for(lambda: self.there(here) == want, f'{here} has arrived')
        return want


@pytest.fixture(scope='module')
def yard(fuse, tmp_path_factory):
    y = Yard(tmp_path_factory.mktemp('store'))
    with y.m, y.witness:
        yield y


@pytest.fixture
def here(yard, request):
    """A folder of this test's own."""
    folder = yard.m / request.node.name.replace('/', ' ')
    folder.mkdir()
    return folder


@pytest.fixture(scope='module')
def lazy_mount(fuse):
    with Mount('memory:', LATER) as m:
        yield m


@pytest.fixture
def lazy(lazy_mount, request):
    """A mount that sends nothing by itself; lazy.here is a folder of this test's own in it."""
    lazy_mount.here = lazy_mount / request.node.name.replace('/', ' ')
    lazy_mount.here.mkdir()
    yield lazy_mount
    shutil.rmtree(lazy_mount.here)


@pytest.fixture(params=['owed', 'landed'])
def made(request, yard, here):
    """made(name, content): a file that the repository has not heard of, or one that it has."""
    if request.param == 'landed':
        def make(name, content=b''):
            (here / name).write_bytes(content)
            yard.m.sync()
            return here / name
        yield make
        return
    with Mount('memory:', LATER) as m:
        def make(name, content=b''):
            (m / name).write_bytes(content)
            return m / name
        yield make


def rename2(old, new, flags):
    if libc.syscall(316, -100, os.fsencode(old), -100, os.fsencode(new), flags) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def state(path):
    return os.getxattr(path, 'user.scifs.state').decode().split()[0]


# ---- contents ----

def test_a_new_file_is_there_at_once_and_arrives(yard, here):
    with open(here / 'a.txt', 'wb') as f:
        f.write(b'one\n')
        f.flush()
        before = time.time()
        # Another process, while it is open: name, size, time, bytes.
        script = ('import os, sys; s = os.stat(sys.argv[1]); '
                  'print(os.listdir(os.path.dirname(sys.argv[1])), s.st_size, s.st_mtime, open(sys.argv[1]).read())')
        names, size, mtime, text = run(sys.executable, '-c', script, here / 'a.txt').split()
        assert (names, size, text) == ("['a.txt']", '4', 'one') and abs(float(mtime) - before) < 60
        f.write(b'two\n')
    assert (here / 'a.txt').read_bytes() == b'one\ntwo\n'
    assert list(yard.arrived(here)) == [b'a.txt']


def test_empty_files_arrive_too(yard, here):
    for name in 'abc':
        (here / name).touch()
    assert len(yard.arrived(here)) == 3


def test_random_writes_are_what_a_local_file_would_have(made):
    rng = random.Random(7)
    model = bytearray(noise(1, 300_000))
    path = made('f', bytes(model))
    with open(path, 'r+b', buffering=0) as f:
        for n in range(150):
            at, data = rng.randrange(400_000), noise(n, rng.choice([1, 100, 5000, 70_000]))
            if n % 3:
                assert os.pwrite(f.fileno(), data, at) == len(data)
                model.extend(bytes(max(0, at - len(model))))
                model[at:at + len(data)] = data
            else:
                assert os.pread(f.fileno(), len(data), at) == bytes(model[at:at + len(data)])
    assert path.read_bytes() == bytes(model)


def test_a_landed_file_is_changed_in_the_middle(yard, here):
    content = noise(5, 5_000_000)
    (here / 'f').write_bytes(content)
    yard.m.sync()
    yard.m.again(cache=False)                   # nothing of it is here
    with open(here / 'f', 'r+b') as f:
        f.seek(2_000_000)
        f.write(b'changed')
    assert (here / 'f').read_bytes() == content[:2_000_000] + b'changed' + content[2_000_007:]
    yard.arrived(here)


def test_appends_of_several_processes_are_all_there(yard, here):
    (here / 'log').write_bytes(b'begun\n')
    script = ('import os, sys; f = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n'
              'for n in range(50): os.write(f, f"{sys.argv[2]} {n} {chr(97 + n % 26) * 300}\\n".encode())')
    writers = [subprocess.Popen([sys.executable, '-c', script, str(here / 'log'), str(w)]) for w in range(4)]
    assert [w.wait(PATIENCE) for w in writers] == [0] * 4
    lines = (here / 'log').read_text().splitlines()
    assert lines[0] == 'begun'
    assert sorted(lines[1:]) == sorted(f'{w} {n} {chr(97 + n % 26) * 300}' for w in range(4) for n in range(50))
    yard.arrived(here)


def test_o_trunc_and_o_excl(made):
    path = made('f', b'long content')
    with fails(errno.EEXIST):
        os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with open(path, 'wb') as f:
        assert path.stat().st_size == 0
        f.write(b'short')
    assert path.read_bytes() == b'short'
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
    assert path.stat().st_size == 0
    os.close(os.open(path.with_name('g'), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644))
    with fails(errno.EEXIST):
        os.open(path.with_name('g'), os.O_CREAT | os.O_EXCL | os.O_RDWR)


def test_truncate_cuts_and_fills_with_zeros(made):
    path = made('f', b'0123456789')
    os.truncate(path, 4)
    assert path.read_bytes() == b'0123'
    os.truncate(path, 8)
    assert path.read_bytes() == b'0123\0\0\0\0'
    with open(path, 'r+b') as f:
        os.ftruncate(f.fileno(), 6)
        assert os.fstat(f.fileno()).st_size == 6
        os.ftruncate(f.fileno(), 100_000)
        assert os.pread(f.fileno(), 10, 99_995) == bytes(5)
    assert path.read_bytes() == b'0123' + bytes(99_996)
    os.truncate(path, 0)
    assert path.read_bytes() == b''


def test_truncated_content_does_not_come_back(yard, here):
    (here / 'f').write_bytes(b'x' * 100_000)
    yard.m.sync()
    os.truncate(here / 'f', 10)
    os.truncate(here / 'f', 50_000)
    assert (here / 'f').read_bytes() == b'x' * 10 + bytes(49_990)
    yard.arrived(here)


def test_holes_are_zeros_and_can_be_looked_for(yard, here):
    with open(here / 'f', 'wb', buffering=0) as f:
        f.write(b'begin')
        os.pwrite(f.fileno(), b'end', 8 << 20)
        hole = os.lseek(f.fileno(), 0, os.SEEK_HOLE)
        assert 5 <= hole <= 8 << 20
        assert hole <= os.lseek(f.fileno(), hole, os.SEEK_DATA) <= 8 << 20
        assert os.lseek(f.fileno(), 8 << 20, os.SEEK_HOLE) == (8 << 20) + 3
        with fails(errno.ENXIO):
            os.lseek(f.fileno(), (8 << 20) + 3, os.SEEK_DATA)
    assert (here / 'f').read_bytes() == b'begin' + bytes((8 << 20) - 5) + b'end'
    yard.arrived(here)


def test_a_shared_mapping_is_written_through(made):
    path = made('f', b'.' * 10_000)
    with open(path, 'r+b') as f, mmap.mmap(f.fileno(), 0) as view:
        view[5000:5005] = b'mmap!'
        view.flush()
        assert path.read_bytes()[4999:5006] == b'.mmap!.'
        view[0:1] = b'M'
    assert path.read_bytes()[:2] == b'M.'


def test_fallocate_has_mode_0_only(made):
    path = made('f', b'abc')
    with open(path, 'r+b') as f:
        os.posix_fallocate(f.fileno(), 0, 10_000)
        assert os.fstat(f.fileno()).st_size == 10_000
        os.posix_fallocate(f.fileno(), 0, 5)
        assert os.fstat(f.fileno()).st_size == 10_000
        with fails(errno.EOPNOTSUPP):
            fallocate(f.fileno(), PUNCH_HOLE | KEEP_SIZE, 0, 2)
    assert path.read_bytes() == b'abc' + bytes(9_997)


def test_handles_of_one_file_see_each_other(made):
    path = made('f', b'abc')
    with open(path, 'rb', buffering=0) as reader, open(path, 'r+b', buffering=0) as one, open(path, 'r+b', buffering=0) as two:
        os.pwrite(one.fileno(), b'1', 0)
        os.pwrite(two.fileno(), b'2', 1)
        assert os.pread(reader.fileno(), 10, 0) == b'12c'
        one.close()
        os.pwrite(two.fileno(), b'3', 2)
        assert os.pread(reader.fileno(), 10, 0) == b'123' == path.read_bytes()


def test_a_reader_keeps_reading_while_the_file_lands(yard, here):
    with open(here / 'f', 'w+b', buffering=0) as f:
        f.write(b'one')
        os.fsync(f.fileno())
        assert os.pread(f.fileno(), 10, 0) == b'one'
        os.pwrite(f.fileno(), b'two', 0)
        os.fsync(f.fileno())
        assert os.pread(f.fileno(), 10, 0) == b'two' == (here / 'f').read_bytes()
    yard.arrived(here)


def test_what_did_not_change_is_not_sent(yard, here):
    (here / 'f').write_bytes(b'the same')
    yard.m.sync()
    version = os.getxattr(here / 'f', 'user.memory.updated')
    with open(here / 'f', 'r+b') as f:
        f.write(b'the same')
    yard.m.sync()
    assert os.getxattr(here / 'f', 'user.memory.updated') == version


# ---- names ----

def test_directories_are_made_and_removed(yard, here):
    (here / 'a/b').mkdir(parents=True)
    with fails(errno.EEXIST):
        (here / 'a').mkdir()
    (here / 'a/b/f').write_bytes(b'x')
    with fails(errno.ENOTEMPTY):
        (here / 'a/b').rmdir()
    with fails(errno.ENOTDIR):
        (here / 'a/b/f').rmdir()
    with fails(errno.EISDIR):
        (here / 'a').unlink()
    yard.arrived(here)
    (here / 'a/b/f').unlink()
    (here / 'a/b').rmdir()
    assert yard.arrived(here) == {b'a': ''}


def test_a_directory_with_nothing_but_owed_files_is_not_empty(lazy):
    (lazy.here / 'd').mkdir()
    (lazy.here / 'd/f').write_bytes(b'x')
    with fails(errno.ENOTEMPTY):
        (lazy.here / 'd').rmdir()
    assert os.listdir(lazy.here / 'd') == ['f']


def test_rename_moves_and_replaces(made):
    a, b = made('a', b'A'), made('b', b'B')
    a.rename(a.with_name('c'))
    assert not a.exists() and a.with_name('c').read_bytes() == b'A'
    a.with_name('c').rename(b)
    assert b.read_bytes() == b'A' and {'a', 'b', 'c'} & set(os.listdir(b.parent)) == {'b'}
    with fails(errno.ENOENT):
        a.rename(b)


def test_rename_between_owed_and_landed_files(yard, here):
    for n, (old, new) in enumerate([('landed', 'owed'), ('owed', 'landed')]):
        d = here / str(n)
        d.mkdir()
        (d / 'landed').write_bytes(b'landed')
        yard.m.sync()
        (d / 'owed').write_bytes(b'owed')
        (d / old).rename(d / new)
        assert os.listdir(d) == [new] and (d / new).read_bytes() == old.encode()
    yard.arrived(here)


def test_rename_with_flags(made):
    a, b = made('a', b'A'), made('b', b'B')
    with fails(errno.EEXIST):
        rename2(a, b, NOREPLACE)
    with fails(errno.EINVAL):
        rename2(a, b, EXCHANGE)
    rename2(a, a.with_name('c'), NOREPLACE)
    assert a.with_name('c').read_bytes() == b'A' and b.read_bytes() == b'B'


def test_a_file_that_is_replaced_keeps_its_bytes_for_who_has_it_open(made):
    a, b = made('a', b'new'), made('b', b'old')
    with open(b, 'rb', buffering=0) as f:
        assert os.pread(f.fileno(), 2, 0) == b'ol'             # what was never read may be ESTALE: the server has it no more
        a.rename(b)
        assert b.read_bytes() == b'new' and os.pread(f.fileno(), 10, 0) == b'old'


def test_renames_of_directories(yard, here):
    for name in ('full/in', 'empty', 'other/in'):
        (here / name).mkdir(parents=True)
    (here / 'f').touch()
    (here / 'full').rename(here / 'empty')
    assert sorted(os.listdir(here)) == ['empty', 'f', 'other'] and os.listdir(here / 'empty') == ['in']
    with fails(errno.ENOTEMPTY):
        (here / 'empty').rename(here / 'other')
    with fails(errno.ENOTDIR):
        (here / 'empty').rename(here / 'f')
    with fails(errno.EISDIR):
        (here / 'f').rename(here / 'empty')
    with fails(errno.EINVAL):
        (here / 'empty').rename(here / 'empty/in/x')
    yard.arrived(here)


def test_owed_files_follow_their_directory(lazy):
    (lazy.here / 'a/b').mkdir(parents=True)
    for n in range(5):
        (lazy.here / f'a/b/{n}').write_bytes(b'%d' % n)
    (lazy.here / 'a').rename(lazy.here / 'z')
    want = tree(lazy.here)
    assert want.keys() == {b'z', b'z/b', *(b'z/b/%d' % n for n in range(5))}
    lazy.sync()
    assert tree(lazy.here) == want and not lazy.uploads()


def test_names_are_255_bytes_at_most(here):
    (here / ('x' * 255)).write_bytes(b'x')
    with fails(errno.ENAMETOOLONG):
        (here / ('x' * 256)).write_bytes(b'x')
    with fails(errno.ENAMETOOLONG):
        (here / ('x' * 256)).mkdir()


def test_all_that_can_be_a_name_arrives_under_it(yard, here):
    names = [b'two  words', 'grün 日本'.encode(), b'100%', b'a%2Fb', b'-rf', b'~', b'x~12345678.txt', b'\\"$`', b"it's", b'..x']
    for name in names:
        with open(os.fsencode(here) + b'/' + name, 'wb') as f:
            f.write(name)
    assert sorted(os.listdir(os.fsencode(here))) == sorted(names)
    assert sorted(yard.arrived(here)) == sorted(names)
    for name in (b'line\nfeed', b'not \xff utf-8'):             # no server's name would be shown so
        with fails(errno.EINVAL):
            open(os.fsencode(here) + b'/' + name, 'wb')


def test_a_removed_file_keeps_its_bytes_for_who_has_it_open(yard, made):
    path = made('f', b'content')
    with open(path, 'r+b', buffering=0) as f:
        path.unlink()
        assert not path.exists()
        assert os.pread(f.fileno(), 10, 0) == b'content'
        os.pwrite(f.fileno(), b'C', 0)
        assert os.pread(f.fileno(), 10, 0) == b'Content' and os.fstat(f.fileno()).st_size == 7
        path.write_bytes(b'another')                            # of the same name meanwhile
        assert os.pread(f.fileno(), 10, 0) == b'Content'
    assert path.read_bytes() == b'another'


def test_a_name_is_free_though_somebody_has_the_removed_file_open(yard, here):
    for name in 'ab':
        (here / name).write_bytes(b'old')
        yard.m.sync()
        with open(here / name, 'rb', buffering=0) as f:
            assert os.pread(f.fileno(), 10, 0) == b'old'
            (here / name).unlink()
            if name == 'a':
                (here / name).write_bytes(b'new')               # before the old one is gone from the repository
            else:
                (here / 'a').rename(here / name)
            assert list(yard.arrived(here)) == [name.encode()]
            assert os.pread(f.fileno(), 10, 0) == b'old'
        assert (here / name).read_bytes() == b'new'
        assert list(yard.arrived(here)) == [name.encode()]


def test_what_is_removed_before_it_is_sent_never_arrives(lazy):
    (lazy.here / 'f').write_bytes(b'x')
    assert lazy.upload('f')['state'] == 'queued' == state(lazy.here / 'f')
    (lazy.here / 'f').unlink()
    assert not lazy.uploads() and not os.listdir(lazy.here)
    lazy.sync()
    assert not os.listdir(lazy.here)


def test_links_can_be_symbolic_only(yard, here):
    (here / 'f').write_bytes(b'x')
    with fails(errno.EPERM):
        os.link(here / 'f', here / 'g')
    with fails(errno.EPERM):
        os.mkfifo(here / 'p')
    os.symlink('https://example.org/data?id=1', here / 'web')
    assert os.readlink(here / 'web') == 'https://example.org/data?id=1'
    with fails(errno.EEXIST):
        os.symlink('x', here / 'web')
    wait_for(lambda: os.path.islink(yard.witness / here.name / 'web'), 'the link is there')
    (here / 'web').unlink()
    assert os.listdir(here) == ['f']


# ---- half-finished and unwanted names ----

HALF = ['.report.txt.swp', '.data.csv.Ab3xYz', 'big.iso.part', 'notes~', '4913', '.~lock.table.ods#']


def test_half_finished_files_stay_here_until_they_get_their_name(yard, here):
    for name in HALF:
        (here / name).write_bytes(name.encode())
    (here / 'ready').write_bytes(b'x')
    wait_for(lambda: b'ready' in yard.there(here), 'an ordinary one has arrived')
    assert set(yard.there(here)) == {b'ready'}
    wait_for(lambda: {u['name']: u['state'] for u in yard.m.uploads()} == {name: 'held' for name in HALF}, 'the others are held')
    assert [state(here / name) for name in HALF] == ['held'] * len(HALF)
    for n, name in enumerate(HALF):
        (here / name).rename(here / f'real {n}')
    wait_for(lambda: len(yard.there(here)) == len(HALF) + 1, 'they have arrived')
    yard.m.settle()
    assert (yard.witness / here.name / 'real 2').read_bytes() == b'big.iso.part'


def test_sync_sends_half_finished_files_too(yard, here):
    (here / 'a.part').write_bytes(b'x')
    assert list(yard.arrived(here)) == [b'a.part']


def test_fsync_of_a_half_finished_file_waits_for_this_disk_only(here):
    with open(here / '.f.swp', 'wb') as f:
        f.write(b'x')
        f.flush()
        os.fsync(f.fileno())
    assert state(here / '.f.swp') == 'held'
    (here / '.f.swp').unlink()


def test_what_only_a_mac_wants_never_leaves_this_machine(yard, here):
    (here / '._f').write_bytes(b'x')
    (here / '.DS_Store').write_bytes(b'y')
    (here / 'f').write_bytes(b'z')
    assert (here / '._f').read_bytes() == b'x' and sorted(os.listdir(here)) == ['.DS_Store', '._f', 'f']
    yard.m.sync()
    assert set(yard.there(here)) == {b'f'}
    (here / '._f').unlink()
    (here / '.DS_Store').unlink()
    assert os.listdir(here) == ['f']


# ---- times, modes, owners ----

def test_times_that_are_set_stay_over_the_upload_and_a_remount(yard, here):
    (here / 'd').mkdir()
    for name in ('owed', 'landed'):
        if name == 'owed':
            yard.m.sync()
        (here / name).write_bytes(b'x')
    if state(here / 'landed') != 'clean':
        yard.m.sync()
    want = {'owed': OLD * 10**9 + 123456789, 'landed': OLD * 10**9 + 1, 'd': OLD * 10**9}
    for name, ns in want.items():
        os.utime(here / name, ns=(ns, ns))

    def times():
        return {name: (here / name).stat().st_mtime_ns for name in want}
    assert times() == want
    yard.m.sync()
    assert times() == want
    yard.m.again()
    assert times() == want
    yard.m.again(cache=False)
    assert times() == want


def test_the_time_of_a_write_stays_when_it_lands(yard, here):
    (here / 'f').write_bytes(b'x')
    os.utime(here / 'f', (OLD, OLD))
    with open(here / 'f', 'ab') as f:
        f.write(b'y')
    written = (here / 'f').stat()
    assert abs(written.st_mtime - time.time()) < 60
    yard.m.sync()
    assert (here / 'f').stat().st_mtime_ns == written.st_mtime_ns
    yard.m.again()
    now = (here / 'f').stat()
    assert (now.st_mtime_ns, now.st_ino) == (written.st_mtime_ns, written.st_ino)


def test_a_change_of_time_or_mode_sends_no_content(yard, here):
    (here / 'f').write_bytes(b'x')
    yard.m.sync()
    sent = os.getxattr(here / 'f', 'user.memory.updated')
    os.utime(here / 'f', (OLD, OLD))
    (here / 'f').chmod(0o600)
    yard.m.sync()
    assert os.getxattr(here / 'f', 'user.memory.updated') == sent and not yard.m.uploads()


def test_times_and_modes_are_set_of_what_has_landed_while_it_is_open(yard, here):
    with open(here / 'f', 'wb', buffering=0) as f:
        f.write(b'x')
        os.fsync(f.fileno())
        os.utime(here / 'f', (OLD, OLD))
        (here / 'f').chmod(0o600)
        assert (os.fstat(f.fileno()).st_mtime, stat.S_IMODE(os.fstat(f.fileno()).st_mode)) == (OLD, 0o600)
    yard.m.again(cache=False)
    assert ((here / 'f').stat().st_mtime, stat.S_IMODE((here / 'f').stat().st_mode)) == (OLD, 0o600)


def test_modes_are_kept_and_never_wider_than_the_rights(yard, here):
    (here / 'd').mkdir()
    want = {'f': (0o600, 0o600), 'x': (0o755, 0o755), 'wide': (0o777, 0o755), 'ro': (0o444, 0o444), 'd': (0o700, 0o700)}
    for name, (mode, _) in want.items():
        if name != 'd':
            (here / name).write_bytes(b'x')
        (here / name).chmod(mode)

    def modes():
        return {name: stat.S_IMODE((here / name).stat().st_mode) for name in want}
    assert modes() == {name: shown for name, (_, shown) in want.items()}
    yard.m.sync()
    (here / 'd').chmod(0o750)                                   # the repository has them now
    (here / 'f').chmod(0o640)
    want['d'], want['f'] = (0o750, 0o750), (0o640, 0o640)
    assert modes() == {name: shown for name, (_, shown) in want.items()}
    yard.m.again(cache=False)
    assert modes() == {name: shown for name, (_, shown) in want.items()}


def test_a_file_has_one_owner(here):
    (here / 'f').write_bytes(b'x')
    s = (here / 'f').stat()
    os.chown(here / 'f', s.st_uid, s.st_gid)
    os.chown(here / 'f', -1, s.st_gid)
    with fails(errno.EPERM):
        os.chown(here / 'f', s.st_uid + 1, -1)
    with fails(errno.EPERM):
        os.chown(here / 'f', -1, s.st_gid + 1)
    assert ((here / 'f').stat().st_uid, (here / 'f').stat().st_gid) == (s.st_uid, s.st_gid)


# ---- attributes ----

def attributes(path):
    return {n: os.getxattr(path, n) for n in os.listxattr(path) if n.startswith('user.memory.meta.')}


def test_attributes_of_owed_and_landed_files(made):
    path = made('f', b'x')
    name = 'user.memory.meta.'
    os.setxattr(path, name + 'title', b'a title')
    os.setxattr(path, name + 'rows', b'12')
    os.setxattr(path, name + 'gone', b'x')
    os.removexattr(path, name + 'gone')
    want = {name + 'title': b'a title', name + 'rows': b'12'}
    assert attributes(path) == want
    with fails(errno.ENODATA):
        os.removexattr(path, name + 'gone')
    with fails(errno.EEXIST):
        os.setxattr(path, name + 'title', b'x', os.XATTR_CREATE)
    with fails(errno.ENODATA):
        os.setxattr(path, name + 'none', b'x', os.XATTR_REPLACE)
    with fails(errno.ENOTSUP):
        os.setxattr(path, 'user.own', b'x')
    os.setxattr(path, 'user.scifs.id', b'x')                    # a computed one: accepted and left alone
    with open(path, 'rb') as f:
        os.fsync(f.fileno())
    assert attributes(path) == want


def test_attributes_go_along_with_a_new_content(yard, here):
    (here / 'f').write_bytes(b'x')
    os.setxattr(here / 'f', 'user.memory.meta.title', b'new')
    (here / 'd').mkdir()
    os.setxattr(here / 'd', 'user.memory.meta', b'{"of": {"the": "directory"}}')
    yard.m.sync()
    wait_for(lambda: attributes(yard.witness / here.name / 'f') == {'user.memory.meta.title': b'new'}, 'the attribute is there')
    assert attributes(yard.witness / here.name / 'd') == {'user.memory.meta.of.the': b'directory'}


def test_an_attribute_that_is_set_while_the_file_lands_is_kept(fuse):
    """At every moment: it goes along, or is set at the server just after."""
    with Mount('memory:', 'quiet=0', 'ttl=0', 'soft_wait=10s') as m:
        for n in range(60):
            path = m / f'{n}'
            path.write_bytes(b'x')
            os.setxattr(path, 'user.memory.meta.a', b'first')
            for k in range(n % 12):
                os.setxattr(path, f'user.memory.meta.k{k}', b'more')
                assert os.getxattr(path, 'user.memory.meta.a') == b'first'
                assert os.getxattr(path, f'user.memory.meta.k{k}') == b'more'
        m.sync()
        for n in range(60):
            assert len([x for x in os.listxattr(m / f'{n}') if x.startswith('user.memory.meta.')]) == 1 + n % 12


# ---- times that every machine sees ----

FAST = ('mtime=meta', SOON, 'ttl=20ms', 'list_ttl=20ms', 'soft_wait=10s', 'upload_retry=50ms')
FOLLOWS = 'memory.meta.scifs_mtime'


@pytest.fixture
def trio(tmp_path, fuse):
    """Three mounts of one repository, each with a state of its own: two with mtime=meta, and one that knows nothing of it."""
    source = f'memory:?store={tmp_path}/store'
    (tmp_path / 'store').mkdir()
    with Mount(source, *FAST) as a, Mount(source, *FAST) as b, Mount(source, *FAST[1:]) as plain:
        yield a, b, plain


def times(m):
    return {name: os.stat(m / name).st_mtime_ns for name in os.listdir(m.path)}


def test_a_second_rsync_from_another_machine_sends_nothing(trio, data, tmp_path):
    a, b, _ = trio
    data = shutil.copytree(data, tmp_path / 'data')
    for where, dirs, names in os.walk(data):                    # modes are kept by each machine for itself
        for name in names:
            (Path(where) / name).chmod(0o644)
    run('rsync', '-a', f'{data}/', a / 'copy')
    a.sync()
    wait_for(lambda: (b / 'copy').is_dir(), 'the other sees it')
    assert run('rsync', '-ai', f'{data}/', b / 'copy') == ''
    assert b.uploads() == []
    for where, dirs, names in os.walk(data):
        there = b / 'copy' / Path(where).relative_to(data)
        assert {n: os.stat(there / n).st_mtime_ns for n in dirs + names} == {n: os.stat(Path(where) / n).st_mtime_ns for n in dirs + names}


def test_a_time_is_seen_by_all_who_ask_for_it(trio, mount, tmp_path):
    a, b, plain = trio
    (a / 'f').write_bytes(b'one')
    a.sync()
    (a / 'd').mkdir()
    os.utime(a / 'f', ns=(OLD * 10**9 + 123456789, OLD * 10**9 + 123456789))            # at the server already
    os.utime(a / 'd', (OLD, OLD))
    with open(a / 'g', 'wb') as f:                                                      # written, and not yet
        f.write(b'two')
        f.flush()
        os.utime(f.fileno(), ns=(5, -5_500_000_000))                                    # before 1970
    a.sync()
    want = {'f': OLD * 10**9 + 123456789, 'd': OLD * 10**9, 'g': -5_500_000_000}
    reader = mount(f'memory:?store={tmp_path}/store', 'ro', *FAST)
    for m in (a, b, reader):
        wait_for(lambda m=m: {n: t for n, t in times(m).items() if n in want} == want, 'the times are seen')
    assert plain.uploads() == [] and all(times(plain)[n] != want[n] for n in want)
    value = os.getxattr(plain / 'f', f'user.{FOLLOWS}').decode()
    assert re.fullmatch(r'%d\.123456789 made/[0-9a-f]+ \S+' % OLD, value)
    # And again, by the other one, of what it has not written itself.
    os.utime(b / 'f', (OLD + 7, OLD + 7))
    wait_for(lambda: times(a)['f'] == (OLD + 7) * 10**9 and times(reader)['f'] == (OLD + 7) * 10**9, 'the newer time is seen')


def test_the_time_of_other_content_is_not_shown(trio):
    a, b, plain = trio
    (a / 'f').write_bytes(b'one')
    os.utime(a / 'f', (OLD, OLD))
    a.sync()
    wait_for(lambda: (b / 'f').exists() and times(b)['f'] == OLD * 10**9, 'the time is seen')
    wait_for((plain / 'f').exists, 'it is seen')
    (plain / 'f').write_bytes(b'by somebody who knows nothing of it')
    plain.sync()
    for m in (a, b):
        wait_for(lambda m=m: time.time() - 600 < times(m)['f'] / 10**9, 'the new time is seen')
    # A copy that the server makes has the metadata of the first, and a time of its own.
    os.utime(a / 'f', (OLD, OLD))
    run('cp', a / 'f', a / 'copy')
    a.sync()
    for m in (a, b):
        wait_for(lambda m=m: 'copy' in times(m) and times(m)['f'] == OLD * 10**9, 'the copy is seen')
        assert times(m)['copy'] / 10**9 > time.time() - 600


def test_a_time_that_is_set_while_the_file_lands_is_not_lost(trio):
    a, b, _ = trio
    for n in range(60):
        with open(a / f'{n}', 'wb') as f:
            f.write(b'x')
        time.sleep(n % 12 * 0.004)
        os.utime(a / f'{n}', (OLD + n, OLD + n))
    a.sync()
    want = {f'{n}': (OLD + n) * 10**9 for n in range(60)}
    assert {n: times(a)[n] for n in want} == want
    wait_for(lambda: {n: t for n, t in times(b).items() if n in want} == want, 'all times are seen')


# ---- files that stay open ----

OPEN = ('upload_open=200ms', 'upload_retry=50ms')
NOTES = 'nested/not public/notes.txt'             # of the sample, and may be written


@pytest.fixture
def witness(tmp_path, fuse):
    (tmp_path / 'store').mkdir()
    with Mount(f'memory:?store={tmp_path}/store', 'ro', 'cache=none', 'ttl=10ms', 'list_ttl=10ms', 'negative_ttl=10ms', 'soft_wait=10s') as m:
        yield m


def content(path):
    """What a look at it finds now: nothing, where it is not, or is another one by then."""
    try:
        return path.read_bytes()
    except OSError as e:
        assert e.errno in (errno.ENOENT, errno.ESTALE)
        return b''


def test_a_file_that_stays_open_is_sent_as_it_is_then(witness, mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}/store', *OPEN, LATER)
    lines, seen = [], set()
    with open(m / 'log', 'ab', buffering=0) as f:
        end = time.monotonic() + 120
        while len(seen) < 4 and time.monotonic() < end:
            lines.append(b'line %06d, and so that it is longer %s\n' % (len(lines), b'.' * (len(lines) % 97)))
            f.write(lines[-1])
            if (there := content(witness / 'log')):
                assert b''.join(lines).startswith(there) and there.endswith(b'\n')
                seen.add(there)
            time.sleep(0.01)
        assert len(seen) >= 4
        assert (m / 'log').read_bytes() == b''.join(lines)
    m.sync()
    wait_for(lambda: content(witness / 'log') == b''.join(lines), 'all of it is there')
    assert os.listdir(witness.path) == os.listdir(m.path) and m.uploads() == []


def test_who_writes_does_not_wait_for_the_copy_that_is_sent(witness, mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}/store&updelay=2s', *OPEN, LATER)
    with open(m / 'f', 'wb', buffering=0) as f:
        f.write(b'first')
        wait_for(lambda: state(m / 'f') == 'uploading', 'it is sent')
        for n in range(20):
            f.write(b' %d' % n)
        os.pwrite(f.fileno(), b'FIRST', 0)
        assert state(m / 'f') == 'uploading'                    # which nothing of that has stopped
        wait_for(lambda: content(witness / 'f') == b'first', 'the copy is there')
        want = b'FIRST' + b''.join(b' %d' % n for n in range(20))
        assert (m / 'f').read_bytes() == want
        # And from then on it is changed in place, attributes and time with it, cut, and made longer.
        os.setxattr(m / 'f', 'user.memory.meta.a', b'set')
        f.truncate(7)
        f.seek(0, os.SEEK_END)
        f.write(b'end')
        want = want[:7] + b'end'
    os.utime(m / 'f', (OLD, OLD))
    m.sync()
    wait_for(lambda: content(witness / 'f') == want, 'all of it is there')
    assert os.stat(m / 'f').st_mtime == OLD and m.uploads() == [] and len(os.listdir(m.path)) == len(os.listdir(witness.path))
    wait_for(lambda: os.getxattr(witness / 'f', 'user.memory.meta.a') == b'set', 'the attribute is there')


def test_a_file_of_the_server_that_stays_open_is_sent_with_all_of_it(witness, mount, tmp_path):
    """Also the parts that nobody has read here."""
    m = mount(f'memory:?store={tmp_path}/store', *OPEN, LATER)
    with open(witness / NOTES, 'rb') as f:
        before = f.read()
    with open(m / NOTES, 'r+b', buffering=0) as f:
        f.seek(3)
        f.write(b'#')
        want = before[:3] + b'#' + before[4:]
        wait_for(lambda: content(witness / NOTES) == want, 'the change is there')
        f.write(b'##')
        want = want[:4] + b'##' + want[6:]
        wait_for(lambda: content(witness / NOTES) == want, 'the next one is there')
    m.sync()
    assert m.uploads() == [] and content(m / NOTES) == want


@pytest.mark.parametrize('act', ['rename', 'over', 'unlink', 'truncate', 'attribute'])
def test_what_is_done_to_a_file_while_a_copy_of_it_is_sent(witness, mount, tmp_path, act):
    """At every moment: before it is sent, meanwhile, and when it has landed."""
    m = mount(f'memory:?store={tmp_path}/store&updelay=100ms', 'upload_open=60ms', SOON)
    before, want = set(os.listdir(witness.path)), {}
    for n in range(10):
        if act == 'over':
            (m / f'to{n}').write_bytes(b'old')
        with open(m / f'f{n}', 'wb', buffering=0) as f:
            f.write(b'one')
            time.sleep(n * 0.025)
            f.write(b', two')
            if act in ('rename', 'over'):
                os.rename(m / f'f{n}', m / f'to{n}')
            elif act == 'unlink':
                os.unlink(m / f'f{n}')
            elif act == 'truncate':
                f.truncate(2)
                f.seek(2)
            else:
                os.setxattr(m / f'f{n}', 'user.memory.meta.a', b'set')
            f.write(b', three')
        if act != 'unlink':
            want[f'to{n}' if act in ('rename', 'over') else f'f{n}'] = b'on, three' if act == 'truncate' else b'one, two, three'
    m.sync()
    wait_for(lambda: {n: content(witness / n) for n in set(os.listdir(witness.path)) - before} == want, 'it is as it should be')
    assert m.uploads() == [] and set(os.listdir(m.path)) - before == set(want)
    if act == 'attribute':
        assert {os.getxattr(witness / n, 'user.memory.meta.a') for n in want} == {b'set'}


def test_what_was_fsynced_outlives_a_crash_while_a_copy_is_sent(witness, mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}/store&updelay=300ms', *OPEN, LATER, 'fsync=local')
    written = b''
    f = open(m / 'f', 'wb', buffering=0)
    for n in range(40):
        written += b'%d %s\n' % (n, b'x' * 5000)
        os.pwrite(f.fileno(), written, 0)
        os.fsync(f.fileno())
        time.sleep(0.02)
    f.write(b'')
    m.crash()
    with contextlib.suppress(OSError):
        f.close()
    m.start()
    m.sync()
    assert written in [content(m / name) for name in os.listdir(m.path) if name.startswith('f')]


def test_what_stays_open_is_not_sent_without_being_asked_for(witness, mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}/store', SOON)
    with open(m / 'f', 'wb', buffering=0) as f:
        f.write(b'x')
        time.sleep(1.5)
        assert content(witness / 'f') == b'' and state(m / 'f') == 'draft'


# ---- whole trees ----

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A local tree with times, modes, attributes where this disk has them, and a few names."""
    top = tmp_path_factory.mktemp('local') / 'data'
    (top / 'a/b').mkdir(parents=True)
    for n, size in enumerate([0, 1, 5000, 300_000]):
        path = top / ('a' if n % 2 else 'a/b') / f'file {n}.dat'
        path.write_bytes(noise(n, size))
        path.chmod(0o600 if n % 2 else 0o644)
        os.utime(path, (OLD + n, OLD + n))
    os.utime(top / 'a/b', (OLD, OLD))
    os.utime(top / 'a', (OLD, OLD))
    return top


def look(top):
    """What cp -a and rsync -a promise to keep."""
    found = {}
    for where, dirs, names in os.walk(top):
        for name in names + dirs:
            path = Path(where) / name
            s = path.stat()
            found[str(path.relative_to(top))] = (s.st_mode, s.st_mtime, attributes(path), path.read_bytes() if name in names else None)
    return found


@pytest.mark.parametrize('command', [['cp', '-a'], ['rsync', '-aX', '--exclude=nothing']], ids=['cp', 'rsync'])
def test_a_tree_goes_in_and_out_whole(yard, here, mount, data, command):
    if not shutil.which(command[0]):
        pytest.skip(f'{command[0]} is not installed')
    run(*command, data, here)
    for name in ('a', 'a/file 1.dat'):
        os.setxattr(here / 'data' / name, 'user.memory.meta.from', name.encode())
    assert (want := look(here / 'data')).keys() == {str(p.relative_to(data)) for p in data.rglob('*')}
    assert {n: v[:2] for n, v in want.items()} == {n: v[:2] for n, v in look(data).items()}
    yard.arrived(here)
    other = mount('memory:', SOON)
    run(*command, here / 'data', other.path)                    # from one mount to another
    for _ in range(20):                                         # while it lands, too
        assert look(other / 'data') == want
    other.sync()
    assert look(other / 'data') == want
    if command[0] == 'rsync':                                   # nothing is left to send; ids are attributes too, and differ
        lines = run(*command, '-i', f'{here / "data"}/', f'{other / "data"}/').splitlines()
        assert {line.split()[0][2:] for line in lines} <= {'........x'}


def test_many_small_files_arrive(yard, here):
    for n in range(200):
        (here / f'{n:03}').write_bytes(b'%d' % n)
    assert len(yard.arrived(here)) == 200


# ---- rights and room ----

def test_what_may_only_be_read_says_so_at_once(lazy):
    with fails(errno.EACCES):
        open(lazy / 'README.txt', 'ab')
    with fails(errno.EACCES):
        open(lazy / 'tables/new', 'wb')
    with fails(errno.EACCES):
        (lazy / 'tables/new').mkdir()
    with fails(errno.EACCES):
        os.symlink('http://h/x', lazy / 'tables/new')
    with fails(errno.EACCES):
        (lazy / 'tables/planets.csv').unlink()
    with fails(errno.EACCES):
        (lazy / 'tables/planets.csv').rename(lazy.here / 'mine')
    with fails(errno.EACCES):
        os.truncate(lazy / 'README.txt', 0)
    with fails(errno.EACCES):
        os.setxattr(lazy / 'README.txt', 'user.memory.meta.x', b'1')
    assert lazy.uploads() == []


def test_what_may_be_written_in_the_sample_can_be(lazy):
    path = lazy / 'nested/not public/notes.txt'
    path.write_bytes(b'mine')
    with open(path, 'rb') as f:
        os.fsync(f.fileno())
    assert state(path) == 'clean' and path.read_bytes() == b'mine'


def test_a_read_only_mount_is_erofs(mount):
    m = mount('memory:', 'ro')
    with fails(errno.EROFS):
        open(m / 'new', 'wb')
    with fails(errno.EROFS):
        (m / 'new').mkdir()
    with fails(errno.EROFS):
        (m / 'README.txt').unlink()


def test_df_shows_what_may_still_be_written(mount):
    m = mount('memory:', LATER, 'spool_limit=8M')

    def free():
        s = os.statvfs(m.path)
        return s.f_bavail * s.f_frsize
    assert free() == 8 << 20
    (m / 'f').write_bytes(bytes(3 << 20))
    assert 4 << 20 <= free() <= 5 << 20
    m.sync()
    wait_for(lambda: free() == 8 << 20, 'there is room again')


def test_no_room_for_drafts_is_enospc_at_write(mount):
    m = mount('memory:', LATER, 'spool_limit=1M', 'full_wait=100ms')
    with open(m / 'f', 'wb', buffering=0) as f:
        with fails(errno.ENOSPC):
            for n in range(20):
                f.write(bytes(100_000))
        assert 500_000 <= os.fstat(f.fileno()).st_size <= 1 << 20
    (m / 'f').unlink()
    (m / 'g').write_bytes(bytes(900_000))                       # there is room again


def test_a_write_waits_while_the_queue_moves(mount):
    m = mount('memory:?updelay=50ms', SOON, 'spool_limit=1M')
    for n in range(5):
        (m / f'{n}').write_bytes(bytes(700_000))
    m.sync()
    assert {p.name: p.stat().st_size for p in m.path.glob('[0-9]')} == {f'{n}': 700_000 for n in range(5)}


# ---- fsync and close ----

def test_fsync_waits_for_the_server(lazy):
    with open(lazy.here / 'f', 'wb', buffering=0) as f:
        f.write(b'x')
        assert state(lazy.here / 'f') == 'draft'
        os.fsync(f.fileno())
        assert state(lazy.here / 'f') == 'clean' and not lazy.uploads()


def test_fsync_of_a_directory_waits_for_all_below(lazy):
    (lazy.here / 'd').mkdir()
    (lazy.here / 'd/f').write_bytes(b'x')
    fd = os.open(lazy.here, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    assert state(lazy.here / 'd/f') == 'clean'


def test_fsync_local_waits_for_this_disk_only(mount):
    m = mount('memory:', LATER, 'fsync=local')
    with open(m / 'f', 'wb', buffering=0) as f:
        f.write(b'x')
        os.fsync(f.fileno())
        assert m.upload('f') is not None
    (m / 'f').unlink()


def test_fsync_and_close_remote_report_the_servers_error(mount):
    m = mount('memory:?refuse=bad:EACCES', LATER, 'close=remote')
    (m / 'good').write_bytes(b'x')
    assert state(m / 'good') == 'clean'
    fd = os.open(m / 'bad', os.O_CREAT | os.O_WRONLY)
    os.write(fd, b'x')
    with fails(errno.EACCES):
        os.fsync(fd)
    with fails(errno.EACCES):
        os.close(fd)
    assert m.upload('bad')['state'] == 'refused' and (m / 'bad').read_bytes() == b'x'
    m.scifs('uploads', 'drop', '--yes', m.path, 'all')
    assert not m.uploads()


# ---- refusals and conflicts ----

def test_a_refused_upload_is_kept_shown_and_tried_again_by_the_users_word(mount):
    m = mount('memory:?refuse=f:EDQUOT:1&refuse=d:EACCES', SOON)
    (m / 'f').write_bytes(b'keep me')
    (m / 'd').write_bytes(b'drop me')
    u = m.refused('f')
    assert errno.errorcode[abs(u['errno'])] == 'EDQUOT' and u['error']
    m.refused('d')
    assert state(m / 'f') == 'refused' and os.getxattr(m / 'f', 'user.scifs.error')
    assert (m / 'f').read_bytes() == b'keep me'
    assert m.status()['uploads']['refused'] == 2
    assert any(e['errno'] in (errno.EDQUOT, 'EDQUOT') for e in m.errors())
    m.scifs('uploads', 'retry', m.path, u['id'])
    wait_for(lambda: state(m / 'f') == 'clean', 'it has landed')
    m.scifs('uploads', 'drop', '--yes', m.path, m.upload('d')['id'])
    wait_for(lambda: not m.uploads(), 'nothing is owed')
    wait_for(lambda: 'd' not in os.listdir(m.path), 'what was given up is gone')


def test_a_refused_file_lands_under_another_name(mount):
    m = mount('memory:?refuse=bad:EACCES', SOON)
    (m / 'bad').write_bytes(b'x')
    m.refused('bad')
    (m / 'bad').rename(m / 'good')
    m.settle()
    assert state(m / 'good') == 'clean' and (m / 'good').read_bytes() == b'x'


def test_a_used_up_quota_refuses_what_goes_beyond(mount):
    m = mount('memory:?quota=10k', SOON)
    (m / 'a').write_bytes(bytes(8000))
    m.sync()
    (m / 'b').write_bytes(bytes(8000))
    u = m.refused('b')
    (m / 'a').unlink()
    m.scifs('uploads', 'retry', m.path, u['id'])
    m.settle()
    assert (m / 'b').stat().st_size == 8000


def conflicts(folder):
    return sorted(n for n in os.listdir(folder) if '.conflict-' in n)


@pytest.mark.parametrize('word', ['taken', 'moved'])
def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(mount, word):
    m = mount(f'memory:?{word}=f.txt', SOON, 'ttl=50ms', 'list_ttl=50ms')
    if word == 'moved':
        (m / 'f.txt').write_bytes(b'first')
        m.sync()
    (m / 'f.txt').write_bytes(b'mine')
    m.settle()
    (copy,) = wait_for(lambda: conflicts(m.path), 'the copy is there')
    assert copy.startswith('f.conflict-') and copy.endswith('.txt')
    assert (m / copy).read_bytes() == b'mine'
    wait_for(lambda: (m / 'f.txt').read_bytes() == b'somebody else was here\n', 'the other one is what has the name')


# ---- a server that is slow, or breaks off ----

def uploading(m, name):
    return wait_for(lambda: (u := m.upload(name)) and u['state'] == 'uploading', f'{name} is on its way; {m.uploads()}')


def test_what_is_changed_while_it_is_sent_arrives_as_it_is_last(mount):
    m = mount('memory:?updelay=100ms', SOON, 'upload_chunk=64k')
    (m / 'f').write_bytes(noise(1, 1 << 20))
    uploading(m, 'f')
    with open(m / 'f', 'r+b') as f:
        f.write(b'changed')
    want = b'changed' + noise(1, 1 << 20)[7:]
    assert (m / 'f').read_bytes() == want
    uploading(m, 'f')
    (m / 'f').rename(m / 'g')
    (m / 'x').write_bytes(noise(2, 1 << 20))
    uploading(m, 'x')
    (m / 'x').unlink()
    m.sync()
    assert (m / 'g').read_bytes() == want and not (m / 'f').exists() and not (m / 'x').exists()


def test_progress_is_shown(mount):
    m = mount('memory:?updelay=50ms', SOON, 'upload_chunk=64k')
    (m / 'f').write_bytes(noise(1, 1 << 20))
    seen = wait_for(lambda: (u := m.upload('f')) and 0 < u['sent'] < u['size'] and u, 'it is under way')
    assert seen['size'] == 1 << 20
    m.settle()


@pytest.mark.parametrize('words', ['cut=2', 'cut=4', 'lose=2', 'lose=30%25', 'fail=10'], ids=lambda w: w.split('%')[0])
def test_what_breaks_off_is_sent_on_and_arrives_once(mount, tmp_path, words):
    m = mount(f'memory:?store={tmp_path}&{words}', SOON, 'upload_chunk=64k', 'upload_retry=10ms', 'cache=none')
    content = {f'{n}': noise(n, 200_000 + n) for n in range(4)}
    for name, data in content.items():
        wait_for(lambda: try_write(m / name, data), f'{name} can be made')
    m.settle()
    m.stop()
    with Mount(f'memory:?store={tmp_path}', 'ro') as other:
        found = {p.name: p.read_bytes() for p in other.path.glob('[0-9]*')}
        assert found == content and not conflicts(other.path)


def try_write(path, data):
    try:
        path.write_bytes(data)
        return True
    except OSError:
        return False


def test_lanes_send_one_file_of_a_directory_at_a_time(mount):
    m = mount('memory:?lanes=1&updelay=20ms', SOON)
    for n in range(6):
        (m / f'{n}').write_bytes(b'x')
    m.sync()
    landed = sorted(datetime.fromisoformat(os.getxattr(m / f'{n}', 'user.memory.updated').decode().rstrip('Z')) for n in range(6))
    # Each takes 20 ms, and the clock of the server shows whole ms.
    assert all((b - a).total_seconds() >= 0.018 for a, b in zip(landed, landed[1:])), landed


def test_small_files_of_a_lane_go_together_and_are_refused_alone(mount):
    m = mount('memory:?lanes=1&batch=30&updelay=1s&refuse=f7:ENOSPC', SOON)
    for n in range(60):
        (m / f'f{n}').write_bytes(b'%d' % n)
    began = time.monotonic()
    m.scifs('sync', m.path, check=False)
    assert time.monotonic() - began < 40                # each by itself takes a second
    assert [u['name'] for u in m.uploads()] == ['f7'] and m.refused('f7')['errno'] == errno.ENOSPC
    assert all((m / f'f{n}').read_bytes() == b'%d' % n for n in range(60))
    m.give_up()


# ---- over a remount ----

def test_what_was_owed_is_sent_by_the_next_mount(mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}', LATER, 'drain=0s')
    (m / 'f').write_bytes(b'owed')
    (m / 'a.part').write_bytes(b'held')
    os.utime(m / 'f', (OLD, OLD))
    os.setxattr(m / 'f', 'user.memory.meta.title', b'owed')
    ino = (m / 'f').stat().st_ino
    m.end(LEFT)
    m.options = [SOON, 'held=1h']
    m.start()
    assert (m / 'f').read_bytes() == b'owed' and (m / 'a.part').read_bytes() == b'held'
    m.settle() if not m.upload('a.part') else wait_for(lambda: not m.upload('f'), 'it has landed')
    s = (m / 'f').stat()
    assert (s.st_mtime, s.st_ino, attributes(m / 'f')) == (OLD, ino, {'user.memory.meta.title': b'owed'})


def test_identity_is_the_same_before_and_after_landing(yard, here):
    (here / 'f').write_bytes(b'x')
    ino = (here / 'f').stat().st_ino
    with open(here / 'f', 'rb') as f:
        yard.m.sync()
        assert (here / 'f').stat().st_ino == ino == os.fstat(f.fileno()).st_ino
    identity = os.getxattr(here / 'f', 'user.scifs.id')
    (here / 'f').rename(here / 'g')
    assert os.getxattr(here / 'g', 'user.scifs.id') == identity
    yard.m.again(cache=False)
    assert (here / 'g').stat().st_ino == ino
