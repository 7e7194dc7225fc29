"""What the kernel asks of a file system beyond reading: locks, holes, rights, signals."""
import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest
from harness import PATIENCE, Mount, wait_for

LOCKER = '''
import fcntl, sys
f = open(sys.argv[1], "rb")
try:
    fcntl.{call}(f, fcntl.LOCK_{kind} | fcntl.LOCK_NB)
    print("got")
except OSError:
    print("refused")
'''


def try_lock(path, call, kind):
    return subprocess.run([sys.executable, '-c', LOCKER.format(call=call, kind=kind), str(path)], capture_output=True, text=True,
                          timeout=PATIENCE).stdout.strip()


def test_flock_excludes_another_process(repo, mnt):
    with open(mnt / repo.text, 'rb') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        assert try_lock(mnt / repo.text, 'flock', 'SH') == 'refused'
        fcntl.flock(f, fcntl.LOCK_UN)
        assert try_lock(mnt / repo.text, 'flock', 'EX') == 'got'


def test_posix_locks_exclude_another_process(repo, mnt):
    with open(mnt / repo.text, 'rb') as f:
        fcntl.lockf(f, fcntl.LOCK_SH)
        assert try_lock(mnt / repo.text, 'lockf', 'SH') == 'got'
        fcntl.lockf(f, fcntl.LOCK_UN)


def test_seek_data_and_hole_see_a_file_without_holes(repo, mnt):
    size = len(repo.files[repo.odd])
    with open(mnt / repo.odd, 'rb') as f:
        assert os.lseek(f.fileno(), 10, os.SEEK_DATA) == 10
        assert os.lseek(f.fileno(), 10, os.SEEK_HOLE) == size
        with pytest.raises(OSError) as e:
            os.lseek(f.fileno(), size, os.SEEK_DATA)
        assert e.value.errno == errno.ENXIO
        assert os.lseek(f.fileno(), -5, os.SEEK_END) == size - 5


def test_access_tells_what_may_be_done(repo, mnt):
    assert os.access(mnt / repo.text, os.R_OK) and os.access(mnt / repo.folder, os.R_OK | os.X_OK)
    assert not os.access(mnt / repo.text, os.X_OK)


@pytest.fixture(scope='session')        # as long as the repository, whose order the tests follow
def read_only(repo):
    with Mount(repo.source, 'ro', env=repo.env) as m:
        yield m


@pytest.mark.parametrize('act', ['write', 'append', 'truncate', 'create', 'mkdir', 'unlink', 'rmdir', 'rename', 'symlink', 'link', 'chmod',
                                 'utime', 'mknod'])
def test_with_ro_nothing_can_be_changed_and_it_is_erofs(repo, read_only, act):
    text, folder = read_only / repo.text, read_only / repo.folder
    acts = {
        'write': lambda: os.open(text, os.O_WRONLY), 'append': lambda: os.open(text, os.O_RDWR | os.O_APPEND),
        'truncate': lambda: os.truncate(text, 0), 'create': lambda: os.open(folder / 'new', os.O_CREAT | os.O_WRONLY),
        'mkdir': lambda: os.mkdir(folder / 'new'), 'unlink': lambda: os.unlink(text), 'rmdir': lambda: os.rmdir(folder),
        'rename': lambda: os.rename(text, folder / 'new'), 'symlink': lambda: os.symlink('x', folder / 'new'),
        'link': lambda: os.link(text, folder / 'new'), 'chmod': lambda: os.chmod(text, 0o600), 'utime': lambda: os.utime(text),
        'mknod': lambda: os.mkfifo(folder / 'new'),
    }
    with pytest.raises(OSError) as e:
        acts[act]()
    assert e.value.errno == errno.EROFS
    assert text.read_bytes() == repo.files[repo.text]
    assert not (folder / 'new').exists()


def test_statfs_answers_and_names_have_255_bytes(repo, mnt):
    s = os.statvfs(mnt.path)
    assert s.f_namemax == 255 and s.f_blocks > 0 and s.f_bsize > 0


def test_the_kernel_knows_source_and_type(repo, mnt):
    (line,) = [entry for entry in open('/proc/self/mounts') if f' {mnt.path} ' in entry]
    assert line.split()[2] == 'fuse.scifs'
    assert line.split()[0] == repo.source


def test_an_open_file_keeps_the_mount_busy_and_reads_on(repo, mount):
    m = mount(repo)
    with open(m / repo.odd, 'rb') as f:
        assert subprocess.run(['umount', str(m.path)], capture_output=True, timeout=PATIENCE).returncode
        assert f.read() == repo.files[repo.odd]


def kernel_version():
    return tuple(int(n) for n in os.uname().release.split('-')[0].split('.')[:2])


def libfuse_version():
    """Of the tools, which come from the library's own package."""
    said = subprocess.run(['fusermount3', '--version'], capture_output=True, text=True, timeout=60).stdout
    return tuple(int(n) for n in said.split()[-1].split('.')[:2])


def test_closing_what_was_only_read_asks_nothing(memory, mount):
    """It would be one request more for each small file, and the only one besides open and read that is waited for."""
    if kernel_version() < (5, 16) or libfuse_version() < (3, 11):
        pytest.skip('needs Linux 5.16 and libfuse 3.11, with which a file system can say so')
    m = mount(memory)
    for _ in range(5):
        assert (m / memory.text).read_bytes() == memory.files[memory.text]
    s = m.stats()
    assert s['scifs_opens_total'] >= 5 and s['scifs_flushes_total'] == 0
    (m / 'written').write_bytes(b'new')
    assert m.stats()['scifs_flushes_total'] == 1       # what has something to make safe is asked
    with open(m / 'written', 'rb'), open(m / 'written', 'r+b'):
        pass
    assert m.stats()['scifs_flushes_total'] == 2


def blocked_reader(m, path):
    """cat of a file whose bytes do not come, seen to be waiting."""
    before = m.stats()['scifs_read_waits']
    reader = subprocess.Popen(['cat', str(m / path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: m.stats()['scifs_read_waits'] > before or reader.poll() is not None, 'the reader waits')
    assert reader.poll() is None
    return reader


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_blocked_read_at_once(girder, mount, how):
    m = mount(girder, 'cache=none', 'stall_timeout=1h', 'timeout=1h', 'ttl=1h')      # the read would wait that long
    with open(m / girder.big, 'rb'):        # its version is fresh
        girder.server.pause()
        try:
            reader = blocked_reader(m, girder.big)
            reader.send_signal(how)
            assert reader.wait(PATIENCE) == -how
        finally:
            girder.server.cont()
    assert (m / girder.big).read_bytes() == girder.files[girder.big]
