"""Each request of writing meets a fault: before its body, in it, after it, with an answer that is lost, late or refuses. Whatever happens, all
that was closed is at the server in the end, each thing once and with its own bytes, and nobody has to do anything about it."""
import errno
import os
import re
import signal
from types import SimpleNamespace

import pytest
from girder_sample import noise
from harness import LEFT, Mount, remote, sha512, wait_for
from relay import Relay

# Times that a test can wait for.
SHORT = ('timeout=6s', 'stall_timeout=1s', 'slow_timeout=1s', 'connect_timeout=2s', 'retry_delay=20ms', 'throttle_delay=200ms', 'probe_interval=100ms',
         'quiet=50ms', 'ttl=500ms', 'list_ttl=500ms', 'negative_ttl=100ms', 'upload_retry=50ms', 'upload_retry_max=400ms', 'drain=30s', 'cache=none')
CHUNK = 50_000
SMALL, LARGE = noise(1, 3000), noise(2, 4 * CHUNK + 77)
OTHER, LARGER = noise(3, 4000), noise(4, 3 * CHUNK + 5)
# The requests that carry contents, each with a place in its body.
ONE_SHOT = {'method': 'POST', 'path': r'/api/v1/file\?.*size=3000'}
BEGIN = {'method': 'POST', 'path': r'/api/v1/file\?'}
CHUNKS = {'method': 'POST', 'path': r'/api/v1/file/chunk\?'}
REPLACE = {'method': 'PUT', 'path': r'/api/v1/file/[0-9a-f]+/contents'}


@pytest.fixture(scope='module')
def shared(fuse, girder5):
    with Relay(girder5.server.url) as relay, \
            Mount(f'girder+{relay.url}', *SHORT, f'upload_chunk={CHUNK}', env=girder5.env) as m:
        yield SimpleNamespace(relay=relay, m=m)
        relay.clear()


@pytest.fixture
def place(girder5, request):
    name = re.sub(r'[^\w]+', ' ', request.node.name.removeprefix('test_'))[:80].strip()
    folder = girder5.server.make_folder(girder5.ids['sample'], name, 'collection')
    yield SimpleNamespace(id=folder, path=f'collection/Sample/{name}', server=girder5.server, remote=lambda: remote(girder5, folder))
    girder5.server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


@pytest.fixture
def here(m, place):
    return wait_for(lambda: (m / place.path).is_dir() and m / place.path, 'the folder is seen')


def sums(**contents):
    return {k: sha512(v) for k, v in contents.items()}


# ---- contents ----

FAULTS = {
    'dropped before': {'drop': True},
    'cut at the start of the body': {'ask_cut': 0, 'by': 'reset'},
    'cut in the body': {'ask_cut': 1500, 'by': 'close'},
    'still in the body': {'ask_cut': 1500, 'by': 'stall'},
    'answer lost': {'lose': True, 'by': 'reset'},
    'answer lost without a word': {'lose': True, 'by': 'close'},
    'answer that never comes': {'lose': True, 'by': 'stall'},
    'still before': {'stall': True},
    '500': {'status': 500, 'body': {'message': 'internal', 'type': 'internal'}},
    '502 page': {'status': 502, 'body': '<html>bad gateway</html>'},
    '503 with a time': {'status': 503, 'headers': {'Retry-After': '1'}},
    '429': {'status': 429},
    'nonsense': {'body': '{"no": '},
    'half an answer': {'cut': 20, 'by': 'close'},
}
WHOLE = ('dropped before', 'cut in the body', 'answer lost', 'answer that never comes', '503 with a time')      # under sanitizers too


@pytest.mark.parametrize('fault', [pytest.param(f, id=n, marks=() if n in WHOLE else pytest.mark.plain) for n, f in FAULTS.items()])
def test_contents_arrive_once_whatever_happens_to_a_request(m, here, place, relay, fault):
    """A new small file, a new one in chunks, and both kinds replaced: each kind of request meets the fault once, chunks in the middle
    and at the end."""
    old = {n: place.server.upload(place.id, n, b'old ' + n.encode()) for n in ('replaced.dat', 'replaced larger.dat')}
    wait_for(lambda: sorted(os.listdir(here)) == sorted(old), 'they are seen')
    rules = [relay.rule(**kind, **fault, times=1) for kind in (BEGIN, ONE_SHOT, REPLACE)]
    rules += [relay.rule(**CHUNKS, **fault, skip=skip, times=1) for skip in (1, 6)]
    (here / 'small.dat').write_bytes(SMALL)
    (here / 'large.dat').write_bytes(LARGE)
    (here / 'replaced.dat').write_bytes(OTHER)
    (here / 'replaced larger.dat').write_bytes(LARGER)
    if fault.get('stall') or fault.get('by') == 'stall':
        wait_for(lambda: all(r.used for r in rules) or not m.uploads(), 'each was met')
    m.settle()
    assert all(r.used for r in rules), [r for r in rules if not r.used]
    relay.clear()
    want = {'small.dat': SMALL, 'large.dat': LARGE, 'replaced.dat': OTHER, 'replaced larger.dat': LARGER}
    assert place.remote() == sums(**want)
    assert {p.name: p.read_bytes() for p in here.iterdir()} == want
    for name, file in old.items():
        (item,) = place.server.rest('GET', 'item', {'folderId': place.id, 'name': name})
        assert item['_id'] == file['itemId']


@pytest.mark.plain
@pytest.mark.parametrize('fault', [{'ask_cut': CHUNK // 2, 'by': 'reset'}, {'lose': True, 'by': 'reset'}, {'drop': True}], ids=['cut', 'lost', 'dropped'])
def test_a_chunk_that_is_lost_is_sent_again_alone(m, here, place, relay, fault):
    """A busy server may still write what it got of the old one when it is asked where it stands: then all is begun anew, which is said."""
    for n in range(6):
        relay.forget()
        said = m.log.count('it is begun anew')
        relay.rule(**CHUNKS, **fault, skip=2, times=1)
        (here / f'{n}.dat').write_bytes(LARGE)
        m.settle()
        assert place.remote()[f'{n}.dat'] == sha512(LARGE)
        sent = sum(r.received for r in relay.settled() if r.method == 'POST')
        if m.log.count('it is begun anew') == said:
            break
    assert len(LARGE) <= sent <= len(LARGE) + CHUNK


@pytest.mark.plain
def test_413_makes_chunks_smaller(girder5, place, mount):
    data = noise(5, 1 << 20) * 20
    with Relay(girder5.server.url) as relay:
        m = mount(f'girder+{relay.url}', *SHORT, 'upload_chunk=16M', env=girder5.env)
        relay.rule(method='POST', header=('content-length', r'^\d{8,}$'), status=413, body='too large')       # 10 MB and more
        (m / place.path / 'a.dat').write_bytes(data)
        m.settle()
    assert place.remote() == {'a.dat': sha512(data)}


def test_413_for_any_size_refuses_the_upload_and_keeps_it(m, here, place, relay):
    relay.rule(method='POST', path='/api/v1/file', status=413, body='too large')
    (here / 'a.dat').write_bytes(LARGE)
    u = m.refused('a.dat')
    assert u['errno'] == errno.EFBIG and (here / 'a.dat').read_bytes() == LARGE
    assert os.getxattr(here / 'a.dat', 'user.scifs.state') == b'refused'
    relay.clear()
    m.retry('a.dat')
    m.settle()
    assert place.remote() == sums(**{'a.dat': LARGE})


REFUSED = {
    'quota': (400, {'type': 'validation', 'field': 'size', 'message': 'Upload would exceed file storage quota (need 3 KB, only 0 B available - used 1 KB of 1 KB)'},
              errno.EDQUOT),
    'no room': (400, {'type': 'validation', 'message': 'Assetstore is unavailable or has insufficient free space.'}, errno.ENOSPC),
    'no right': (403, {'type': 'access', 'message': 'Write access denied for folder.'}, errno.EACCES),
    'name': (400, {'type': 'validation', 'field': 'name', 'message': 'Item name must not be empty.'}, errno.EINVAL),
}


@pytest.mark.parametrize('why', REFUSED)
def test_a_refusal_is_kept_shown_and_not_repeated(m, here, place, relay, why):
    status, body, error = REFUSED[why]
    rule = relay.rule(method='POST', path='/api/v1/file', status=status, body=body)
    (here / 'a.dat').write_bytes(SMALL)
    u = m.refused('a.dat')
    assert u['errno'] == error and body['message'][:30] in u['error']
    assert body['message'][:30].encode() in os.getxattr(here / 'a.dat', 'user.scifs.error')
    used = rule.used
    (here / 'b.dat').write_bytes(b'')                            # something else goes on
    m.refused('b.dat')
    assert rule.used == used + 1 and (here / 'a.dat').read_bytes() == SMALL
    assert m.scifs('sync', m.path, check=False).returncode != 0
    relay.clear()
    m.retry('a.dat')
    m.retry('b.dat')
    m.settle()
    assert place.remote() == sums(**{'a.dat': SMALL, 'b.dat': b''})


def test_a_refused_file_can_be_written_again_renamed_and_removed(m, here, place, relay):
    relay.rule(method='POST', path='/api/v1/file', status=403, body={'type': 'access', 'message': 'no'})
    for name in ('again', 'moved', 'removed'):
        (here / name).write_bytes(SMALL)
    for name in ('again', 'moved', 'removed'):
        m.refused(name)
    (here / 'removed').unlink()
    relay.clear()
    (here / 'again').write_bytes(OTHER)
    os.rename(here / 'moved', here / 'moved away')
    m.settle()
    assert place.remote() == sums(**{'again': OTHER, 'moved away': SMALL})


# ---- who waits for the server ----

def test_fsync_waits_for_the_server_and_tells_its_error(m, here, place, relay):
    with open(here / 'a.dat', 'wb') as f:
        f.write(SMALL)
        f.flush()
        os.fsync(f.fileno())
        assert place.remote() == sums(**{'a.dat': SMALL})
        relay.rule(method='PUT', path='/contents', status=403, body={'type': 'access', 'message': 'no'})
        f.write(SMALL)
        f.flush()
        with pytest.raises(OSError) as e:
            os.fsync(f.fileno())
        assert e.value.errno == errno.EACCES
    relay.clear()
    m.retry('a.dat')
    m.settle()
    assert place.remote() == sums(**{'a.dat': SMALL * 2})


def test_close_remote_waits_for_the_server_and_tells_its_error(girder5, place, mount):
    with Relay(girder5.server.url) as relay:
        m = mount(f'girder+{relay.url}', *SHORT, 'close=remote', env=girder5.env)
        (m / place.path / 'a.dat').write_bytes(SMALL)
        assert place.remote() == sums(**{'a.dat': SMALL})
        relay.rule(method='POST', path='/api/v1/file', status=403, body={'type': 'access', 'message': 'no'})
        f = open(m / place.path / 'b.dat', 'wb')
        f.write(b'x')
        with pytest.raises(OSError) as e:
            f.close()
        assert e.value.errno == errno.EACCES
        m.drop('b.dat')
    assert place.remote() == sums(**{'a.dat': SMALL})


# ---- the server goes and comes ----

def test_files_written_while_the_server_is_gone_are_sent_when_it_is_back(m, here, place, relay):
    (here / 'sub').mkdir()
    (here / 'sub/known').write_bytes(b'known')
    m.sync()
    assert (here / 'sub/known').read_bytes() == b'known'        # what is added to must be here
    relay.refuse()
    for n in range(20):
        (here / f'sub/{n}.dat').write_bytes(noise(n, 100 * n))
    with open(here / 'sub/known', 'ab') as f:
        f.write(b' and more')
    assert {p.name: p.read_bytes() for p in (here / 'sub').iterdir()} == {
        'known': b'known and more', **{f'{n}.dat': noise(n, 100 * n) for n in range(20)}}
    wait_for(lambda: any(u['attempts'] for u in m.uploads()), 'it was tried')
    assert m.status()['uploads']['owed'] == 21
    relay.accept()
    m.settle()
    assert place.remote() == {'sub': '', 'sub/known': sha512(b'known and more'), **{f'sub/{n}.dat': sha512(noise(n, 100 * n)) for n in range(20)}}


@pytest.mark.plain
def test_a_server_that_is_killed_in_the_middle_has_all_in_the_end(girder5, place, relay, m, here):
    rule = relay.rule(**CHUNKS, skip=2, stall=True)
    (here / 'large.dat').write_bytes(LARGE)
    (here / 'small.dat').write_bytes(SMALL)
    wait_for(lambda: rule.used, 'the third chunk is on its way')
    try:
        girder5.server.kill()
        relay.clear()
        (here / 'late.dat').write_bytes(OTHER)
    finally:
        girder5.server.start()
    m.settle()
    assert place.remote() == sums(**{'large.dat': LARGE, 'small.dat': SMALL, 'late.dat': OTHER})


# ---- the end of a mount ----

@pytest.mark.parametrize('how', ['umount', 'sigterm', 'fusermount'])
def test_the_end_of_a_mount_waits_for_what_is_owed(girder5, place, mount, how):
    with Relay(girder5.server.url, delay=0.05) as relay:
        m = mount(f'girder+{relay.url}', *SHORT, 'quiet=1m', 'upload_parallel=2', env=girder5.env)
        for n in range(10):
            (m / place.path / f'{n}.dat').write_bytes(noise(n, 1000))
        if how == 'umount':
            m.end()
        else:
            if how == 'sigterm':
                m.process.send_signal(signal.SIGTERM)
            else:
                m.scifs('umount', m.path) if os.geteuid() else os.system(f'umount {m.path}')
            assert m.process.wait(120) == 0, m.log
            m.detach()
        assert place.remote() == {f'{n}.dat': sha512(noise(n, 1000)) for n in range(10)}


def test_the_end_of_a_mount_without_its_server_ends_with_4_and_keeps_all(girder5, place, mount):
    with Relay(girder5.server.url) as relay:
        m = mount(f'girder+{relay.url}', *SHORT[:-2], 'drain=1s', env=girder5.env)
        os.listdir(m / place.path)
        relay.refuse()
        for n in range(5):
            (m / place.path / f'{n}.dat').write_bytes(noise(n, 1000))
        umount = m.scifs('umount', m.path, check=False)
        assert umount.returncode == LEFT and '5' in umount.stderr
        assert m.process.wait(120) == LEFT and re.search(r'5 uploads .*still owed', m.log)
        m.detach()
        relay.accept()
        m.again(cache=False)
        m.settle()
        assert place.remote() == {f'{n}.dat': sha512(noise(n, 1000)) for n in range(5)}


# ---- no room here ----

def test_a_file_that_cannot_fit_is_enospc_at_write_and_harms_nothing_else(girder5, place, mount, m, here):
    small = mount(girder5, *SHORT, 'spool_limit=1M', 'full_wait=1s')
    there = small / place.path
    (there / 'fits.dat').write_bytes(noise(1, 600_000))
    with pytest.raises(OSError) as e, open(there / 'large.dat', 'wb', buffering=0) as f:
        for _ in range(40):
            f.write(bytes(100_000))
    assert e.value.errno == errno.ENOSPC
    (there / 'after.dat').write_bytes(noise(2, 600_000))        # waits for the room that the first one leaves
    (there / 'large.dat').unlink()
    small.sync()
    assert place.remote() == {'fits.dat': sha512(noise(1, 600_000)), 'after.dat': sha512(noise(2, 600_000))}
    assert small.uploads() == [] and (there / 'fits.dat').read_bytes() == noise(1, 600_000)


def test_writes_wait_for_room_while_the_queue_moves(girder5, place, mount):
    small = mount(girder5, *SHORT, 'spool_limit=1M')
    for n in range(6):
        (small / place.path / f'{n}.dat').write_bytes(noise(n, 400_000))
    small.sync()
    assert place.remote() == {f'{n}.dat': sha512(noise(n, 400_000)) for n in range(6)}


# ---- removals that are done later ----

def test_a_removal_that_is_refused_at_the_last_close_brings_the_file_back(m, here, place, relay):
    f = here / 'a.dat'
    f.write_bytes(SMALL)
    m.sync()
    f.chmod(0o600)
    os.utime(f, (1e9, 1e9))
    number = f.stat().st_ino
    relay.rule(method='DELETE', path='/api/v1/', status=403, body={'type': 'access', 'message': 'Not this one.'})
    with open(f, 'rb'):
        f.unlink()
        assert os.listdir(here) == [] and m.uploads() == []      # it waits for its close
    u = m.refused('a.dat')
    assert (u['op'], u['errno'], u['error'], u['path']) == ('remove', errno.EACCES, 'Not this one.', f'/{place.path}/a.dat')
    assert f.read_bytes() == SMALL and os.listdir(here) == ['a.dat']
    st = f.stat()
    assert (st.st_mode & 0o777, st.st_mtime, st.st_ino) == (0o600, 1e9, number), 'what was set of it is lost'
    assert [e['path'] for e in m.errors() if e['op'] == 'remove'][-1:] == [f'/{place.path}/a.dat']
    assert m.scifs('sync', here, check=False).returncode == LEFT
    relay.clear()
    m.retry('a.dat')
    m.settle()
    assert place.remote() == {} and os.listdir(here) == []
