"""What is kept over a restart: a mount comes up and answers while its server is silent, and asks less when it is not."""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import PATIENCE, SCIFS, Mount, run, wait_for

QUICK = ('offline_wait=1s', 'soft_wait=300ms')          # a tenth or so of what a user has


@contextlib.contextmanager
def silent(server):
    """The server neither refuses nor answers."""
    server.pause()
    try:
        yield
    finally:
        server.cont()


@pytest.fixture
def home():
    folder = Path(tempfile.mkdtemp(prefix='scifs-home-'))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def listing(m, path):
    return {name: os.lstat(m / path / name).st_size for name in os.listdir(m / path)}


def attribute(path, name):
    return run('getfattr', '--only-values', '-n', name, path)


def look_around(m, repo):
    """What the tests below expect to find again: two directories, a content, a document."""
    seen = listing(m, repo.top)
    listing(m, repo.top.rsplit('/', 1)[0])
    data = (m / repo.text).read_bytes()
    document = m.control('meta/' + repo.text.rsplit('/', 1)[1] + '.json', repo.top)
    return seen, data, document


def test_a_mount_comes_up_and_answers_without_its_server(girder, home):
    with Mount(girder.source, env=girder.env, home=home) as m:
        seen, data, document = look_around(m, girder)
    with silent(girder.server):
        with Mount(girder.source, *QUICK, env=girder.env, home=home) as m:
            assert listing(m, girder.top) == seen
            assert (m / girder.text).read_bytes() == data == girder.files[girder.text]
            assert m.control('meta/' + girder.text.rsplit('/', 1)[1] + '.json', girder.top) == document
            assert attribute(m / girder.text, 'user.scifs.stale') == '1'
            assert attribute(m / girder.text, 'user.scifs.state') == 'offline'
            assert 'comes up from what was kept' in m.log


def test_what_was_not_read_before_is_an_error_and_comes_with_the_server(girder, home):
    with Mount(girder.source, env=girder.env, home=home) as m:
        look_around(m, girder)
    with contextlib.ExitStack() as stack:
        with silent(girder.server):
            m = stack.enter_context(Mount(girder.source, *QUICK, 'timeout=3s', 'stall_timeout=2s', env=girder.env, home=home))
            with pytest.raises(OSError):
                (m / girder.odd).read_bytes()
        wait_for(lambda: 'answers again' in m.log or attribute(m / girder.odd, 'user.scifs.stale') == '0', 'the server is back')

        def whole():
            try:
                return (m / girder.odd).read_bytes()
            except OSError:
                return None
        assert wait_for(whole, 'it can be read') == girder.files[girder.odd]


def test_a_name_made_while_it_was_offline_appears_when_the_server_is_back(girder, home):
    folder = girder.server.make_folder(girder.ids['sample'], f'offline-{os.getpid()}', 'collection')
    path = f'collection/Sample/offline-{os.getpid()}'
    girder.server.upload(folder, 'before.dat', b'before')
    with Mount(girder.source, env=girder.env, home=home) as m:
        assert os.listdir(m / path) == ['before.dat']
    with contextlib.ExitStack() as stack:
        with silent(girder.server):
            m = stack.enter_context(Mount(girder.source, *QUICK, 'list_ttl=1s', 'ttl=500ms', env=girder.env, home=home))
            assert os.listdir(m / path) == ['before.dat']
        girder.server.upload(folder, 'after.dat', b'after')
        wait_for(lambda: sorted(os.listdir(m / path)) == ['after.dat', 'before.dat'], 'after.dat is listed')
        assert (m / path / 'after.dat').read_bytes() == b'after'


def test_online_wants_the_server(girder, home):
    with Mount(girder.source, env=girder.env, home=home) as m:
        look_around(m, girder)
    folder = home / 'mnt'
    folder.mkdir()
    probe = Mount(girder.source, env=girder.env, home=home)
    with silent(girder.server):
        done = run(SCIFS, 'mount', girder.source, folder, '-o', 'online,timeout=2s,stall_timeout=1s', check=False, env=probe.environ())
    probe.clear()
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


def test_what_is_kept_of_one_login_is_not_shown_to_another(girder, home):
    with Mount(girder.source, env=girder.env, home=home) as m:
        look_around(m, girder)
    folder = home / 'mnt'
    folder.mkdir()
    probe = Mount(girder.source, home=home)          # nobody
    with silent(girder.server):
        done = run(SCIFS, 'mount', girder.source, folder, '-o', 'timeout=2s,stall_timeout=1s', check=False, env=probe.environ())
    probe.clear()
    assert done.returncode == 2, done.stderr


def test_a_remount_asks_for_no_kind_again(girder, home):
    with Mount(girder.source, env=girder.env, home=home) as m:
        before = listing(m, girder.top)
        first = m.stats()['scifs_http_requests_total']
    with Mount(girder.source, env=girder.env, home=home) as m:
        start = m.stats()['scifs_http_requests_total']
        assert listing(m, girder.top) == before
        # Its listing and those on the way to it: two requests a folder, one for each of the others, none for a file.
        assert m.stats()['scifs_http_requests_total'] - start <= 8 < first


def test_a_damaged_document_store_is_no_obstacle(girder5, home):
    with Mount(girder5.source, env=girder5.env, home=home) as m:
        seen = look_around(m, girder5)
    store = home / 'cache/scifs/documents.db'
    data = bytearray(store.read_bytes())
    data[:4096] = bytes(4096)
    store.write_bytes(data)
    with Mount(girder5.source, env=girder5.env, home=home) as m:
        assert look_around(m, girder5) == seen


def test_umount_does_not_wait_for_a_silent_server(girder5):
    m = Mount(girder5.source, env=girder5.env).start()
    os.listdir(m / girder5.top)
    with silent(girder5.server):
        reader = subprocess.Popen(['cat', str(m / girder5.big)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: m.stats()['scifs_read_waits'] or m.stats()['scifs_http_requests_total'] and reader.poll() is None, 'the read waits')
        m.process.send_signal(signal.SIGTERM)
        m.process.wait(PATIENCE)
        assert reader.wait(PATIENCE) != 0
        assert m.process.returncode == 0, m.log
    assert not m.mounted()
    m.clear()


def test_events_can_be_followed(girder5, mount):
    m = mount(girder5, 'list_ttl=300ms', 'ttl=300ms')
    name = f'followed-{os.getpid()}'
    folder = girder5.server.make_folder(girder5.ids['sample'], name, 'collection')
    wait_for(lambda: name in os.listdir(m / 'collection/Sample'), 'the folder is listed')
    os.listdir(m / 'collection/Sample' / name)
    out = m.folder / 'followed'
    with open(out, 'wb') as to:
        tail = subprocess.Popen(['tail', '-n', '+1', '-f', '-s', '0.1', str(m / '.scifs/events')], stdout=to)
    try:
        girder5.server.upload(folder, 'new.dat', b'new')
        wait_for(lambda: os.listdir(m / 'collection/Sample' / name) == ['new.dat'], 'the file is listed')
        wait_for(lambda: f'/{name}"' in out.read_text(), 'the event reaches tail -f')
    finally:
        tail.terminate()
        tail.wait()


def test_what_is_cached_is_told_after_a_remount_too(girder5, home):
    with Mount(girder5.source, env=girder5.env, home=home) as m:
        assert attribute(m / girder5.odd, 'user.scifs.cached') == '0'
        (m / girder5.odd).read_bytes()
        assert attribute(m / girder5.odd, 'user.scifs.cached') == '100003'
    with Mount(girder5.source, env=girder5.env, home=home) as m:
        assert attribute(m / girder5.odd, 'user.scifs.cached') == '100003'
