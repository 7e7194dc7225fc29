"""A server that says nothing, or is not there: what is known answers, what waits ends, nothing is lost, all comes back."""
import contextlib
import errno
import os
import signal
import subprocess

import pytest
from girder_sample import noise
from harness import PATIENCE, SCIFS, OnGirder, run, wait_for

BIG = 'collection/C/F/big.dat'
SMALL = 'collection/C/F/small.txt'
# Waits that would outlast any test: what ends, ends for another reason.
PATIENT = ('timeout=1h', 'stall_timeout=1h', 'ttl=500ms', 'list_ttl=500ms')
# A tenth of what users have.
SHORT = ('timeout=6s', 'stall_timeout=2s', 'connect_timeout=500ms', 'probe_interval=200ms', 'soft_wait=100ms', 'ttl=500ms', 'list_ttl=500ms')


class Alone(OnGirder):
    """A Girder of this suite's own, which may fall silent without harm to others' mounts."""

    def __init__(self, server):
        self.server = server
        folder = server.make_folder(server.collection('C'), 'F', 'collection')
        self.big, self.small = noise(7, 3 << 20), b'small and known\n'
        server.upload(folder, 'big.dat', self.big)
        server.upload(folder, 'small.txt', self.small)
        server.make_folder(folder, 'unknown')
        server.upload(server.make_folder(folder, 'known'), 'inside.txt', b'inside\n')


@pytest.fixture(scope='module')
def alone(fuse):
    from girder import Girder
    with Girder('5.0') as server:
        yield Alone(server)


@pytest.fixture(params=['silent', 'gone'])
def lost(alone, request):
    """lost() makes the server unreachable in one of two ways; it is back at the end, or when lost.back() is called."""
    class Lost:
        def __call__(self):
            alone.server.pause() if request.param == 'silent' else alone.server.kill()

        def back(self):
            alone.server.cont() if request.param == 'silent' else alone.server.start()
    way = Lost()
    yield way
    if request.param == 'gone':
        alone.server.kill()
        alone.server.start()
    else:
        alone.server.cont()


def look(m):
    """Know the tree and the small file, not the big one's bytes."""
    run('ls', '-lR', m / 'collection/C/F')
    (m / SMALL).read_bytes()


def test_ls_of_a_known_directory_and_df_answer(alone, mount, lost):
    m = mount(alone, *PATIENT)
    look(m)
    before = run('ls', '-l', m / 'collection/C/F')
    lost()
    for _ in range(3):
        assert run('ls', '-l', m / 'collection/C/F') == before
        run('df', m.path)
        run('sleep', '0.4')             # beyond the TTL in the end: what is kept answers


def test_unreachable_is_not_deleted_and_is_marked(alone, mount, lost):
    m = mount(alone, *SHORT)
    look(m)
    lost()
    wait_for(lambda: os.getxattr(m / SMALL, 'user.scifs.stale') == b'1' or not os.stat(m / SMALL), 'it is marked stale')
    assert os.getxattr(m / SMALL, 'user.scifs.state') == b'offline'
    assert sorted(os.listdir(m / 'collection/C/F')) == ['big.dat', 'known', 'small.txt', 'unknown']
    assert (m / SMALL).read_bytes() == alone.small


def test_what_was_never_seen_is_an_error_and_neither_absent_nor_empty(alone, mount, lost):
    m = mount(alone, *SHORT)
    os.listdir(m / 'collection/C/F')
    lost()
    for what in (lambda: os.listdir(m / 'collection/C/F/unknown'), lambda: os.stat(m / 'collection/C/F/known/inside.txt'),
                 lambda: (m / BIG).read_bytes()):
        with pytest.raises(OSError) as e:
            what()
        assert e.value.errno not in (errno.ENOENT, errno.EACCES)


def test_a_blocked_cat_ends_by_sigint_at_once(alone, mount):
    m = mount(alone, *PATIENT, 'cache=none')
    look(m)
    alone.server.pause()
    try:
        cat = subprocess.Popen(['cat', m / BIG], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: m.stats()['scifs_read_waits'] > 0, 'the reader waits')
        cat.send_signal(signal.SIGINT)
        assert cat.wait(PATIENCE) == -signal.SIGINT
    finally:
        alone.server.cont()


def test_a_blocked_cat_ends_by_itself_with_an_error(alone, mount, lost):
    m = mount(alone, *SHORT, 'cache=none')
    look(m)
    lost()
    cat = run('cat', m / BIG, check=False)
    assert cat.returncode == 1 and cat.stdout == ''
    assert 'No such file' not in cat.stderr


@contextlib.contextmanager
def twenty_blocked(alone, m):
    """Twenty programs that read a cold file of a server which has fallen silent."""
    look(m)
    alone.server.pause()
    cats = []
    try:
        cats = [subprocess.Popen(['cat', m / BIG], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(20)]
        wait_for(lambda: m.stats()['scifs_read_waits'] > 0, 'a reader waits')
        yield cats
    finally:
        alone.server.cont()
        for cat in cats:
            cat.kill()
            cat.wait()


def test_twenty_blocked_readers_are_killed_while_the_server_is_silent(alone, mount):
    """The first open of a cold file must not have the kernel drop pages that another reader has locked."""
    m = mount(alone, *PATIENT, 'cache=none')
    with twenty_blocked(alone, m) as cats:
        for cat in cats:
            cat.kill()
        for cat in cats:
            cat.wait(PATIENCE)
        assert m.status()['state'] in ('connected', 'silent')


def test_twenty_blocked_readers_do_not_keep_others_waiting(alone, mount):
    m = mount(alone, *PATIENT, 'cache=none')
    with twenty_blocked(alone, m):
        run('df', m.path)
        run('ls', m / 'collection/C/F')
        assert m.status()['pid'] == m.process.pid


def test_all_works_again_without_a_remount(alone, mount, lost):
    m = mount(alone, *SHORT)
    look(m)
    lost()
    assert run('cat', m / BIG, check=False).returncode == 1
    lost.back()

    def works():
        try:
            return (m / BIG).read_bytes() == alone.big and os.listdir(m / 'collection/C/F/unknown') == [] and \
                (m / 'collection/C/F/known/inside.txt').read_bytes() == b'inside\n'
        except OSError:
            return False
    wait_for(works, 'all works again')
    wait_for(lambda: os.stat(m / SMALL) and os.getxattr(m / SMALL, 'user.scifs.state') == b'clean', 'it is no longer marked')
    assert m.status()['state'] == 'connected'


def test_a_reader_that_waits_gets_its_bytes_when_the_server_comes_back(alone, mount):
    m = mount(alone, *PATIENT, 'cache=none')
    look(m)
    alone.server.pause()
    try:
        cat = subprocess.Popen(['cat', m / BIG], stdout=subprocess.PIPE)
        wait_for(lambda: m.stats()['scifs_read_waits'] > 0, 'the reader waits')
    finally:
        alone.server.cont()
    assert cat.communicate(timeout=PATIENCE)[0] == alone.big


def test_status_says_that_the_host_is_silent(alone, mount, lost):
    m = mount(alone, *SHORT)
    look(m)
    lost()
    run('cat', m / BIG, check=False)
    wait_for(lambda: not os.access(m / 'collection/C/F/unknown/x', os.F_OK) and m.status()['state'] == 'silent', 'the state is silent')


def test_umount_does_not_wait_for_the_server(alone, mount, lost):
    m = mount(alone, *PATIENT)
    look(m)
    lost()
    run(SCIFS, 'umount', m.path)
    assert m.process.wait(PATIENCE) == 0
    assert not m.mounted()
    m.clear()


def test_a_restarted_server_finds_the_mount_logged_in_again(alone, mount):
    m = mount(alone, *SHORT)
    look(m)
    alone.server.restart()
    assert (m / BIG).read_bytes() == alone.big
