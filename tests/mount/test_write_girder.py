"""What is written arrives in a Girder as its users know it: the official client and the REST API are the witnesses."""
import errno
import json
import os
import re
import shutil
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from girder import RestError
from girder_sample import noise
from harness import PATIENCE, Mount, errno_of, remote, run, sha512, tree, wait_for
from relay import Relay

MIB = 1 << 20
# What carries or takes a content.
CONTENT = r'/api/v1/file(\?|/chunk|/[0-9a-f]+/contents)'
SOON = ('quiet=100ms', 'ttl=500ms', 'list_ttl=500ms', 'negative_ttl=100ms', 'drain=30s', 'upload_retry=100ms')


@pytest.fixture(scope='session', params=['girder5', pytest.param('girder3', marks=pytest.mark.plain)])
def girder(request, fuse):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope='module')
def shared(girder):
    """A mount behind a relay, for all tests that want no options: relay and mount."""
    with Relay(girder.server.url) as relay, Mount(f'girder+{relay.url}', *SOON, env=girder.env) as m:
        yield SimpleNamespace(relay=relay, m=m)


class Place:
    """A folder of the test's own: `id` at the server, `path` below the mount's root."""

    def __init__(self, girder, name):
        self.girder, self.server, self.client = girder, girder.server, girder.client
        self.id = self.server.make_folder(girder.ids['sample'], name, 'collection')
        self.path = f'collection/Sample/{name}'

    def put(self, name, content, **kw):
        return self.server.upload(self.id, name, content, **kw)

    def remote(self):
        return remote(self.girder, self.id)

    def item(self, name):
        """The one item of this name: its document, and its files'."""
        (item,) = self.server.rest('GET', 'item', {'folderId': self.id, 'name': name})
        return item, self.server.rest('GET', f'item/{item["_id"]}/files')

    def meta(self, name):
        return self.item(name)[0]['meta']


@pytest.fixture
def place(girder, request):
    p = Place(girder, re.sub(r'[^\w]+', ' ', request.node.name.removeprefix('test_'))[:80].strip())
    yield p
    p.server.rest('DELETE', 'resource', {'resources': {'folder': [p.id]}})


@pytest.fixture
def here(m, place):
    return wait_for(lambda: (m / place.path).is_dir() and m / place.path, 'the folder is seen')


# ---- contents ----

NAMES = ['plain.txt', 'two  words.txt', 'grün Ω 日本 😀.txt', '100% sure.txt', '.hidden', '-rf', "quotes' \" `id` $HOME", 'a+b & c=d?#.txt', 'UPPER.TXT',
         'upper.txt', 'back\\slash', '~', 'ü' * 127, 'looks like (1).txt', 'a~b.txt']


def test_the_official_client_downloads_what_cp_brought(m, here, place, tmp_path):
    local = tmp_path / 'local'
    (local / 'sub/sub').mkdir(parents=True)
    for n, name in enumerate(NAMES):
        (local / name).write_bytes(noise(n, n * 1000))           # the first one is empty
    (local / 'sub/empty.dat').touch()
    (local / 'sub/sub/deep.dat').write_bytes(noise(50, 200_000))
    run('cp', '-r', local, here / 'copy')
    m.sync()
    place.client.downloadFolderRecursive(place.id, str(tmp_path / 'fetched'))
    assert tree(tmp_path / 'fetched/copy') == tree(local)
    assert place.remote() == {'copy': '', **{'copy/' + os.fsdecode(k): v for k, v in tree(local).items()}}
    assert m.uploads() == []


@pytest.mark.plain
def test_a_large_file_goes_in_chunks(m, here, place, relay):
    data = noise(1, 1 << 20) * 70
    (here / 'large.dat').write_bytes(data)
    m.sync()
    item, (file,) = place.item('large.dat')
    assert (file['size'], file['sha512'], item['size']) == (70 * MIB, sha512(data), 70 * MIB)
    sent = [r.received for r in relay.requests(CONTENT) if r.received]
    assert sum(sent) == 70 * MIB and len(sent) > 1
    assert (here / 'large.dat').stat().st_size == 70 * MIB


def test_a_small_file_takes_one_request(m, here, place, relay):
    os.listdir(here)
    relay.forget()
    (here / 'small.dat').write_bytes(b'small')
    m.settle()
    changes = [r for r in relay.settled() if r.method != 'GET']
    assert [r.method for r in changes] == ['POST'] and place.remote() == {'small.dat': sha512(b'small')}
    assert place.item('small.dat')[1][0]['mimeType'] == 'application/octet-stream'


def test_the_kind_of_content_follows_the_name(m, here, place):
    for name in ('a.txt', 'b.csv', 'c.json', 'd.png'):
        (here / name).write_bytes(b'x')
    m.sync()
    assert [place.item(n)[1][0]['mimeType'].split(';')[0] for n in ('a.txt', 'c.json', 'd.png')] == ['text/plain', 'application/json', 'image/png']


def test_a_replaced_content_keeps_ids_and_metadata(m, here, place, relay):
    old = place.put('a.dat', b'old content')
    place.server.set_meta('item', old['itemId'], {'kept': [1, 2]})
    relay.forget()
    with open(here / 'a.dat', 'r+b') as f:
        f.write(b'new')
    m.sync()
    item, (file,) = place.item('a.dat')
    assert (item['_id'], file['_id'], item['meta'], item['size']) == (old['itemId'], old['_id'], {'kept': [1, 2]}, 11)
    assert place.remote() == {'a.dat': sha512(b'new content')}
    (here / 'a.dat').write_bytes(b'')
    m.sync()
    item, (file,) = place.item('a.dat')
    assert (item['_id'], file['_id'], file['size']) == (old['itemId'], old['_id'], 0)
    (here / 'a.dat').write_bytes(b'more')
    m.sync()
    assert place.remote() == {'a.dat': sha512(b'more')} and place.item('a.dat')[1][0]['_id'] == old['_id']


def test_a_content_that_did_not_change_is_not_sent(m, here, place, relay):
    data = noise(3, 50_000)
    place.put('a.dat', data)
    assert (here / 'a.dat').read_bytes() == data
    relay.forget()
    (here / 'a.dat').write_bytes(data)                          # truncated and written again
    with open(here / 'a.dat', 'r+b') as f:
        f.write(data[:100])
    m.sync()
    assert not relay.requests(CONTENT) and place.remote() == {'a.dat': sha512(data)}


def test_what_is_replaced_by_rename_keeps_its_metadata_and_is_never_missing(m, here, place):
    """Neither for a program here nor for others at the server, whether or not the new bytes were sent under the other name."""
    old = place.put('a.txt', b'old')
    place.server.set_meta('item', old['itemId'], {'kept': True})
    wait_for((here / 'a.txt').exists, 'it is seen')
    missing, over = [], threading.Event()

    def watch():
        while not over.is_set():
            if not (here / 'a.txt').exists():
                missing.append('here')
            if not place.server.rest('GET', 'item', {'folderId': place.id, 'name': 'a.txt'}):
                missing.append('there')
    t = threading.Thread(target=watch)
    t.start()
    try:
        (here / 'a.txt.new').write_bytes(b'new')
        m.sync(place.path)                                      # at the server under its own name
        os.rename(here / 'a.txt.new', here / 'a.txt')
        m.sync()
        before = place.item('a.txt')[0]
        (here / '.a.txt.Xy12zA').write_bytes(b'rsync')          # held: it is nowhere yet
        os.rename(here / '.a.txt.Xy12zA', here / 'a.txt')
        m.sync()
    finally:
        over.set()
        t.join()
    item, (file,) = place.item('a.txt')
    assert not missing and place.remote() == {'a.txt': sha512(b'rsync')}
    assert before['meta'] == item['meta'] == {'kept': True} and item['_id'] == before['_id']


def test_nobody_here_sees_the_steps_of_a_rename_over_another(m, here, place, relay):
    names = {'dst.txt', *(f'{n}.new' for n in range(6))}
    for name in names:
        place.put(name, name.encode())
    wait_for(lambda: set(os.listdir(here)) == names, 'they are seen')
    over, wrong, contents = threading.Event(), [], [b'dst.txt']

    def watch():
        while not over.is_set():
            m.scifs('refresh', here)                            # all is asked for again
            seen = set(os.listdir(here))
            if not {'dst.txt'} <= seen <= names or not (here / 'dst.txt').is_file():
                wrong.append(seen)
    relay.delay = 0.05
    t = threading.Thread(target=watch)
    t.start()
    try:
        for n in range(6):
            os.rename(here / f'{n}.new', here / 'dst.txt')
            contents.append((here / 'dst.txt').read_bytes())
    finally:
        over.set()
        t.join()
        relay.delay = 0
    assert not wrong and contents == [b'dst.txt', *(b'%d.new' % n for n in range(6))]
    assert os.listdir(here) == ['dst.txt'] and place.remote() == {'dst.txt': sha512(b'5.new')}
    assert not place.server.rest('GET', 'folder', {'parentType': 'folder', 'parentId': place.id})


def test_a_rename_that_is_killed_is_done_or_undone(m, here, place, relay):
    old = {'dst.txt': sha512(b'old'), 'src.txt': sha512(b'new')}
    place.put('dst.txt', b'old')
    for n in range(5):
        place.put('src.txt', b'new')
        wait_for((here / 'src.txt').exists, 'it is seen')
        relay.forget()
        relay.delay = 0.1
        mv = subprocess.Popen(['mv', here / 'src.txt', here / 'dst.txt'])
        wait_for(lambda: len([r for r in relay.log if r.method in ('POST', 'PUT', 'DELETE')]) > n, 'it is in the middle')
        mv.kill()
        mv.wait(PATIENCE)
        relay.delay = 0
        wait_for(lambda: not any(r.ended is None for r in relay.log) and not place.server.rest(
            'GET', 'folder', {'parentType': 'folder', 'parentId': place.id}), 'the folder of the rename is gone')
        there = place.remote()
        assert there in (old, {'dst.txt': old['src.txt']})
        wait_for(lambda: {p.name: sha512(p.read_bytes()) for p in here.iterdir()} == there, 'it is seen here')
        for name in there:
            (here / name).unlink()
        place.put('dst.txt', b'old')


def test_a_second_file_goes_into_an_item(m, here, place):
    place.put('a.dat', b'first')
    with open(here / '.scifs/items/a.dat/second.dat', 'wb') as f:
        f.write(noise(4, 5000))
    m.sync()
    assert place.remote() == {'a.dat': '', 'a.dat/a.dat': sha512(b'first'), 'a.dat/second.dat': sha512(noise(4, 5000))}
    wait_for(lambda: (here / 'a.dat').is_dir(), 'the item is seen as a directory')
    (here / 'a.dat/third.dat').write_bytes(b'third')
    (here / 'a.dat/a.dat').write_bytes(b'changed')
    m.sync()
    assert place.remote() == {'a.dat': '', 'a.dat/a.dat': sha512(b'changed'), 'a.dat/second.dat': sha512(noise(4, 5000)),
                              'a.dat/third.dat': sha512(b'third')}
    (here / 'a.dat/second.dat').unlink()
    os.rename(here / 'a.dat/third.dat', here / 'a.dat/renamed.dat')
    m.sync()
    assert set(place.remote()) == {'a.dat', 'a.dat/a.dat', 'a.dat/renamed.dat'}


def test_an_item_without_files_is_made_and_removed(m, here, place):
    os.mkdir(here / '.scifs/items/set of files')
    item, files = place.item('set of files')
    assert files == [] and 'set of files' in os.listdir(here)
    (here / 'set of files/a.dat').write_bytes(b'a')
    m.sync()
    assert place.remote() == {'set of files': '', 'set of files/a.dat': sha512(b'a')}
    (here / 'set of files/a.dat').unlink()
    os.rmdir(here / 'set of files')
    assert place.remote() == {}


def test_copy_file_range_of_a_whole_file_is_done_by_the_server(m, here, place, relay):
    data = noise(5, 300_000)
    old = place.put('a.dat', data)
    place.server.set_meta('item', old['itemId'], {'copied': 1})
    with open(here / 'a.dat', 'rb') as src, open(here / 'b.dat', 'wb') as dst:
        relay.forget()
        n = os.copy_file_range(src.fileno(), dst.fileno(), len(data))
        assert n == len(data)
    m.sync()
    assert place.remote() == dict.fromkeys(['a.dat', 'b.dat'], sha512(data))
    assert not [r for r in relay.settled() if re.search(CONTENT, r.target) and r.received]
    assert (here / 'b.dat').read_bytes() == data
    run('cp', '--reflink=never', here / 'a.dat', here / 'c.dat')
    m.sync()
    assert place.remote()['c.dat'] == sha512(data)


# ---- the tree ----

def test_folders_are_made_moved_and_removed(m, here, place):
    (here / 'a/b').mkdir(parents=True)
    assert place.remote() == {'a': '', 'a/b': ''}               # done when mkdir returned
    folder = place.client.resourceLookup(f'/collection/Sample/{os.path.basename(place.path)}/a')['_id']
    assert errno_of(os.rmdir, here / 'a') == errno.ENOTEMPTY and errno_of(os.mkdir, here / 'a') == errno.EEXIST
    os.rename(here / 'a', here / 'c')
    assert place.server.rest('GET', f'folder/{folder}')['name'] == 'c'
    (here / 'd').mkdir()
    os.rename(here / 'c', here / 'd/c')
    assert place.remote() == {'d': '', 'd/c': '', 'd/c/b': ''} and place.server.rest('GET', f'folder/{folder}')['name'] == 'c'
    assert errno_of(os.rename, here / 'd', here / 'd/c/b/d') == errno.EINVAL
    (here / 'empty').mkdir()
    os.rename(here / 'd/c', here / 'empty')                     # over an empty one
    assert place.remote() == {'d': '', 'empty': '', 'empty/b': ''}
    (here / 'd/x').mkdir()
    assert errno_of(os.rename, here / 'empty', here / 'd') == errno.ENOTEMPTY
    for path in ('d/x', 'd', 'empty/b', 'empty'):
        os.rmdir(here / path)
    assert place.remote() == {}


def test_files_are_moved_with_their_ids(m, here, place):
    files = {n: place.put(n, n.encode()) for n in ('a', 'b', 'c')}
    (here / 'sub').mkdir()
    os.rename(here / 'a', here / 'renamed.txt')
    os.rename(here / 'b', here / 'sub/b')
    os.rename(here / 'c', here / 'sub/other')
    assert place.remote() == {'renamed.txt': sha512(b'a'), 'sub': '', 'sub/b': sha512(b'b'), 'sub/other': sha512(b'c')}
    assert place.server.rest('GET', f'item/{files["a"]["itemId"]}')['name'] == 'renamed.txt'
    assert place.server.rest('GET', f'file/{files["c"]["_id"]}')['name'] == 'other'
    place.put('x', b'x')
    wait_for((here / 'x').exists, 'it is seen')
    os.rename(here / 'x', here / 'sub/b')                       # over one in another folder
    (here / 'sub/b').unlink()
    assert place.remote() == {'renamed.txt': sha512(b'a'), 'sub': '', 'sub/other': sha512(b'c')}


def test_rename_obeys_its_flags(m, here, place):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)

    def renameat2(a, b, flags):
        if libc.renameat2(-100, os.fsencode(here / a), -100, os.fsencode(here / b), flags):
            return ctypes.get_errno()
        return 0
    for name in 'ab':
        place.put(name, name.encode())
    wait_for(lambda: sorted(os.listdir(here)) == ['a', 'b'], 'both are seen')
    assert renameat2('a', 'b', 1) == errno.EEXIST               # RENAME_NOREPLACE
    assert renameat2('a', 'b', 2) == errno.EINVAL               # RENAME_EXCHANGE
    assert renameat2('a', 'c', 1) == 0
    assert place.remote() == {'b': sha512(b'b'), 'c': sha512(b'a')}


def test_a_move_never_makes_a_twin(m, here, place):
    """Trap: the server does not look when something is moved to where its name is taken."""
    (here / 'sub').mkdir()
    (here / 'a').write_bytes(b'mine')
    m.sync()
    os.listdir(here / 'sub')
    sub = place.client.resourceLookup(f'/collection/Sample/{os.path.basename(place.path)}/sub')['_id']
    place.server.upload(sub, 'a', b'somebody else\'s')          # not known here
    try:
        os.rename(here / 'a', here / 'sub/a')
    except FileExistsError:
        assert place.remote() == {'a': sha512(b'mine'), 'sub': '', 'sub/a': sha512(b'somebody else\'s')}
    else:
        assert place.remote() == {'sub': '', 'sub/a': sha512(b'mine')}


@pytest.mark.parametrize('name', [' leading', 'trailing ', '\u2003wide', 'line\n'])
def test_names_that_the_server_would_change_are_refused(m, here, place, name):
    (here / 'ok').write_bytes(b'ok')
    m.sync()
    assert errno_of(open, here / name, 'w') == errno.EINVAL
    assert errno_of(os.mkdir, here / name) == errno.EINVAL
    assert errno_of(os.rename, here / 'ok', here / name) == errno.EINVAL
    assert errno_of(open, here / ('x' * 256), 'w') == errno.ENAMETOOLONG
    assert place.remote() == {'ok': sha512(b'ok')}


def test_where_girder_has_no_files_there_are_none(m):
    for where in ('collection', 'collection/Sample', 'user', 'user/admin', ''):
        assert errno_of(open, m / where / 'file', 'w') in (errno.EPERM, errno.EACCES)
    assert errno_of(os.mkdir, m / 'new') in (errno.EPERM, errno.EACCES)


# ---- who may not ----

@pytest.mark.parametrize('who', ['user_key', 'read_key', 'nobody'])
def test_who_may_not_write_is_told_at_once(girder, place, mount, who):
    """At open and at create, not after the bytes were written."""
    place.put('a.txt', b'text')
    m = mount(girder, *SOON, env={} if who == 'nobody' else {'SCIFS_API_KEY': getattr(girder.server, who)})
    here = m / place.path
    assert (here / 'a.txt').read_bytes() == b'text'
    for call in (lambda: open(here / 'new', 'w'), lambda: open(here / 'a.txt', 'r+'), lambda: open(here / 'a.txt', 'a'), (here / 'sub').mkdir,
                 (here / 'a.txt').unlink, lambda: os.rename(here / 'a.txt', here / 'b.txt'), lambda: os.truncate(here / 'a.txt', 0),
                 lambda: os.setxattr(here / 'a.txt', 'user.girder.meta.x', b'1')):
        assert errno_of(call) == errno.EACCES
    assert place.remote() == {'a.txt': sha512(b'text')} and m.uploads() == []
    assert not os.access(here / 'a.txt', os.W_OK) or os.geteuid() == 0


def test_ro_refuses_with_erofs(girder, place, mount):
    place.put('a.txt', b'text')
    here = mount(girder, 'ro') / place.path
    for call in (lambda: open(here / 'new', 'w'), lambda: open(here / 'a.txt', 'r+'), (here / 'sub').mkdir, (here / 'a.txt').unlink):
        assert errno_of(call) == errno.EROFS


# ---- what happens in the middle ----

def test_a_vanished_folder_refuses_the_upload_and_keeps_it(m, here, place, relay):
    (here / 'sub').mkdir()
    sub = next(iter(place.client.listFolder(place.id)))['_id']
    rule = relay.rule(path=CONTENT, stall=True)
    (here / 'sub/a.dat').write_bytes(noise(1, 1000))
    wait_for(lambda: rule.used, 'it is on its way')
    place.server.rest('DELETE', 'resource', {'resources': {'folder': [sub]}})
    relay.clear()
    u = m.refused('a.dat')
    assert u['errno'] and u['error'] and u['size'] == 1000
    before = len(relay.requests(CONTENT))
    assert 'a.dat' in m.scifs('uploads', 'list', m.path)
    assert u['error'] in m.control('events')
    assert m.status()['uploads']['refused'] == 1
    assert len(relay.requests(CONTENT)) == before               # nothing loops
    m.drop('a.dat')
    assert m.uploads() == [] and place.remote() == {}


def test_a_file_that_changed_at_the_server_is_not_overwritten(m, here, place):
    old = place.put('a.dat', b'old')
    with open(here / 'a.dat', 'r+b') as f:
        f.write(b'mine')
        f.flush()
        place.server.replace(old['_id'], b'theirs')
    wait_for(lambda: len(place.remote()) == 2, 'the conflict copy is there')
    there = place.remote()
    assert there.pop('a.dat') == sha512(b'theirs')
    ((name, digest),) = there.items()
    assert re.fullmatch(r'a\.conflict-[^/]+-\d{8}T\d{6}\.dat', name) and digest == sha512(b'mine')
    wait_for(lambda: (here / 'a.dat').read_bytes() == b'theirs' and (here / name).read_bytes() == b'mine', 'both are seen')
    m.settle()


def test_a_name_that_somebody_else_took_first_stays_theirs(m, here, place, relay):
    """Trap: the server calls the second one NAME (1)."""
    os.listdir(here)
    with open(here / 'a.dat', 'wb') as f:
        f.write(b'mine')
        f.flush()
        place.put('a.dat', b'theirs')
    m.settle()
    there = place.remote()
    assert there.pop('a.dat') == sha512(b'theirs')
    ((name, digest),) = there.items()
    assert '.conflict-' in name and digest == sha512(b'mine')


FORGET = '''
import sys, pymongo
pymongo.MongoClient(sys.argv[1]).get_default_database().token.delete_many({})
'''


def test_a_login_that_ends_in_the_middle_of_an_upload_is_renewed(girder, place, mount):
    data = noise(2, 500_000)
    with Relay(girder.server.url) as relay:
        m = mount(f'girder+{relay.url}', *SOON, 'upload_chunk=100k', env=girder.env)
        rule = relay.rule(path='/file/chunk', skip=2, stall=True)
        (m / place.path / 'a.dat').write_bytes(data)
        wait_for(lambda: rule.used, 'the third chunk is on its way')
        subprocess.run([place.server.python, '-c', FORGET, place.server.database_url], check=True, timeout=120)
        try:
            relay.clear()
            m.settle()
        finally:
            place.server.admin_token = place.server.login()
            place.client.authenticate(apiKey=place.server.api_key)
        assert place.remote() == {'a.dat': sha512(data)}
        assert sum(r.received for r in relay.requests(CONTENT)) <= len(data) + 2 * 102_400


def test_a_chunk_is_never_sent_twice_at_once(girder, place, mount):
    """Also when two mounts of one home, and two programs, write at once."""
    with Relay(girder.server.url, delay=0.02) as relay:
        m = mount(f'girder+{relay.url}', *SOON, 'upload_chunk=50k', env=girder.env)
        for n in range(4):
            (m / place.path / f'{n}.dat').write_bytes(noise(n, 300_000))
        m.sync()
        assert place.remote() == {f'{n}.dat': sha512(noise(n, 300_000)) for n in range(4)}
        chunks = {}
        for r in relay.settled():
            found = re.search(r'uploadId=(\w+)', r.target)
            if found and r.received:
                chunks.setdefault(found[1], []).append((r.began, r.ended))
        assert len(chunks) == 4
        for times in chunks.values():
            assert all(a[1] <= b[0] for a, b in zip(sorted(times), sorted(times)[1:]))


def test_a_file_written_again_while_it_is_sent_has_the_last_content(m, here, place, relay):
    rule = relay.rule(path=CONTENT, delay=0.3, times=1)
    (here / 'a.dat').write_bytes(b'first')
    wait_for(lambda: rule.used, 'it is on its way')
    (here / 'a.dat').write_bytes(b'second, longer')
    assert (here / 'a.dat').read_bytes() == b'second, longer'
    m.settle()
    assert place.remote() == {'a.dat': sha512(b'second, longer')}


# ---- metadata ----

def setx(path, name, value):
    os.setxattr(path, 'user.girder.' + name, value if isinstance(value, bytes) else value.encode())


def test_attributes_are_written_with_their_types(m, here, place):
    place.put('a.dat', b'a')
    path = here / 'a.dat'
    for name, text in (('int', '42'), ('big', '9007199254740993'), ('half', '0.5'), ('yes', 'true'), ('text', 'plain words'), ('quoted', '"42"'),
                       ('list', '[1, "two"]'), ('object', '{"a": {"b": 1}}'), ('umlaut', 'schön'), ('empty', '')):
        setx(path, 'meta.' + name, text)
    assert place.meta('a.dat') == {'int': 42, 'big': 9007199254740993, 'half': 0.5, 'yes': True, 'text': 'plain words', 'quoted': '42',
                                   'list': [1, 'two'], 'object': {'a': {'b': 1}}, 'umlaut': 'schön', 'empty': ''}
    assert os.getxattr(path, 'user.girder.meta.text') == b'plain words' and os.getxattr(path, 'user.girder.meta.int') == b'42'


def test_nested_attributes_are_set_and_removed_alone(m, here, place):
    file = place.put('a.dat', b'a')
    place.server.set_meta('item', file['itemId'], {'instrument': {'name': 'old', 'serial': 7}, 'other': 1})
    path = here / 'a.dat'
    setx(path, 'meta.instrument.name', 'X')
    setx(path, 'meta.new.deep.key', '1')
    assert place.meta('a.dat') == {'instrument': {'name': 'X', 'serial': 7}, 'other': 1, 'new': {'deep': {'key': 1}}}
    os.removexattr(path, 'user.girder.meta.instrument.serial')
    os.removexattr(path, 'user.girder.meta.other')
    assert place.meta('a.dat') == {'instrument': {'name': 'X'}, 'new': {'deep': {'key': 1}}}
    assert errno_of(os.removexattr, path, 'user.girder.meta.other') == errno.ENODATA
    assert errno_of(os.setxattr, path, 'user.girder.meta.other', b'1', os.XATTR_REPLACE) == errno.ENODATA
    assert errno_of(os.setxattr, path, 'user.girder.meta.instrument.name', b'1', os.XATTR_CREATE) == errno.EEXIST


def test_an_object_set_as_meta_is_merged(m, here, place):
    file = place.put('a.dat', b'a')
    place.server.set_meta('item', file['itemId'], {'kept': 1, 'changed': 1})
    setx(here / 'a.dat', 'meta', json.dumps({'changed': 2, 'new': 3}))
    assert place.meta('a.dat') == {'kept': 1, 'changed': 2, 'new': 3}
    assert errno_of(setx, here / 'a.dat', 'meta', '[1]') == errno.EINVAL
    assert place.meta('a.dat') == {'kept': 1, 'changed': 2, 'new': 3}


def test_folders_collections_and_descriptions_have_attributes_too(m, here, place, girder):
    setx(here, 'meta.project', 'tour')
    setx(here, 'description', 'what it is')
    folder = place.server.rest('GET', f'folder/{place.id}')
    assert (folder['meta'], folder['description']) == ({'project': 'tour'}, 'what it is')
    setx(m / 'collection/Sample', 'meta.site', '"here"')
    try:
        assert place.server.rest('GET', f'collection/{girder.ids["sample"]}')['meta'] == {'site': 'here'}
    finally:
        os.removexattr(m / 'collection/Sample', 'user.girder.meta.site')
    place.put('a.dat', b'a')
    wait_for((here / 'a.dat').exists, 'it is seen')
    setx(here / 'a.dat', 'description', 'a file')
    assert place.item('a.dat')[0]['description'] == 'a file'


def test_an_attribute_of_a_file_that_is_not_there_yet_goes_with_it(m, here, place, relay):
    relay.rule(path=CONTENT, stall=True)
    (here / 'a.dat').write_bytes(b'a')
    setx(here / 'a.dat', 'meta.state', 'raw')
    assert os.getxattr(here / 'a.dat', 'user.girder.meta.state') == b'raw'
    relay.clear()
    m.sync()
    assert place.meta('a.dat') == {'state': 'raw'}


def test_what_girder_refuses_is_einval_and_readable(m, here, place):
    place.put('a.dat', b'a')
    assert errno_of(setx, here / 'a.dat', 'meta.$bad', '1') == errno.EINVAL
    for name, value in (('meta.n', '1' + '0' * 30), ('meta.inf', '1e999')):
        try:                                                    # traps: the one is a 500, the other is stored and poisons the folder
            setx(here / 'a.dat', name, value)
        except OSError as e:
            assert e.errno == errno.EINVAL
    setx(here / 'a.dat', 'meta.safe', '1')
    assert place.meta('a.dat')['safe'] == 1                     # it was not poisoned
    assert errno_of(os.setxattr, here / 'a.dat', 'user.unknown.x', b'1') in (errno.ENOTSUP, errno.EPERM)
    os.setxattr(here / 'a.dat', 'user.scifs.digest', b'computed: accepted, and left alone')


def test_cp_a_and_rsync_x_carry_attributes_between_mounts(m, here, place, girder, mount):
    file = place.put('a.dat', b'a')
    place.server.set_meta('item', file['itemId'], {'instrument': {'name': 'X'}, 'n': 1})
    wait_for((here / 'a.dat').exists, 'it is seen')
    second = mount(girder, *SOON)
    other = second / place.path
    run('cp', '-a', here / 'a.dat', other / 'b.dat')
    run('rsync', '-aX', here / 'a.dat', other / 'c.dat')
    second.sync()
    for name in ('b.dat', 'c.dat'):
        assert place.meta(name)['instrument'] == {'name': 'X'} and place.meta(name)['n'] == 1
        assert (other / name).stat().st_mtime_ns == (here / 'a.dat').stat().st_mtime_ns


def test_a_document_is_written_back(m, here, place):
    file = place.put('a.dat', b'a')
    place.server.set_meta('item', file['itemId'], {'old': 1, 'kept': {'a': 1}})
    wait_for((here / 'a.dat').exists, 'it is seen')
    path = here / '.scifs/meta/a.dat.json'
    document = json.loads(path.read_text())
    document['meta'] = {'kept': {'a': 1}, 'new': [True, None]}
    document['description'] = 'by document'
    path.write_text(json.dumps(document))
    item = place.item('a.dat')[0]
    assert item['meta'] == {'kept': {'a': 1}, 'new': [True, None]} and item['description'] == 'by document'
    assert json.loads(path.read_text())['meta'] == item['meta']
    own = here / '.scifs/metadata.json'
    folder = json.loads(own.read_text())
    folder['meta']['project'] = 'x'
    own.write_text(json.dumps(folder))
    assert place.server.rest('GET', f'folder/{place.id}')['meta'] == {'project': 'x'}


def test_a_refused_document_fails_at_close_with_a_reason(m, here, place):
    file = place.put('a.dat', b'a')
    place.server.set_meta('item', file['itemId'], {'old': 1})
    wait_for((here / 'a.dat').exists, 'it is seen')
    path = here / '.scifs/meta/a.dat.json'
    good = json.loads(path.read_text())
    assert errno_of(path.write_text, 'no json') == errno.EINVAL
    assert errno_of(path.write_text, json.dumps({**good, 'meta': {'$bad': 1}})) == errno.EINVAL
    assert place.meta('a.dat') == {'old': 1}
    assert m.errors(place.path)


def test_vim_edits_a_document(m, here, place):
    file = place.put('a.dat', b'a')
    place.server.set_meta('item', file['itemId'], {'state': 'raw'})
    wait_for((here / 'a.dat').exists, 'it is seen')
    vim = shutil.which('vim.tiny') or shutil.which('vim')
    if not vim:
        pytest.skip('vim is not installed')
    for copy in ('no', 'yes'):
        old, new = ('raw', 'done') if copy == 'no' else ('done', 'final')
        run(vim, '-u', 'NONE', '-i', 'NONE', '-N', '-es', '-c', f'set backupcopy={copy} writebackup', '-c', f'%s/{old}/{new}/', '-c', 'wq',
            here / '.scifs/meta/a.dat.json')
        assert place.meta('a.dat') == {'state': new}


def test_a_document_has_the_time_of_its_file_however_that_is_known(m, here, place):
    """An editor that sees two times believes that somebody else has changed it, and does not write."""
    item = place.server.make_item(place.id, 'a.dat')
    made = time.time()
    wait_for(lambda: time.time() > made + 0.1, 'the clock of the server goes on')     # a listing tells the item's time, a look the file's
    place.server.upload(item, 'a.dat', b'a', 'item')
    path = here / '.scifs/meta/a.dat.json'
    wait_for(path.exists, 'it is seen')
    for n in range(3):
        document = os.stat(path).st_mtime_ns
        assert document == os.stat(here / 'a.dat').st_mtime_ns
        place.server.set_meta('item', item, {'n': n})           # it is listed anew
        wait_for(lambda: json.loads(path.read_text())['meta'] == {'n': n}, 'the new text is read')


def test_times_and_metadata_send_no_content(m, here, place, relay):
    (here / 'a.dat').write_bytes(noise(1, 10_000))
    m.sync()
    relay.forget()
    os.utime(here / 'a.dat', (1_600_000_000, 1_600_000_000))
    setx(here / 'a.dat', 'meta.x', '1')
    os.chmod(here / 'a.dat', 0o600)
    m.sync()
    assert not relay.requests(CONTENT) and (here / 'a.dat').stat().st_mtime == 1_600_000_000
    assert place.meta('a.dat') == {'x': 1}


def test_times_kept_at_the_server_are_seen_from_every_machine(girder, place, mount, tmp_path):
    """-o mtime=meta: one request more for each file, none for who only looks."""
    local = tmp_path / 'local'
    (local / 'sub').mkdir(parents=True)
    for n in range(5):
        (local / f'sub/{n}.dat').write_bytes(noise(n, 1000 * n + 1))
        (local / f'sub/{n}.dat').chmod(0o644)
        os.utime(local / f'sub/{n}.dat', ns=(0, 1_400_000_000_123_456_789 + n))
    for d in (local / 'sub', local):
        d.chmod(0o755)
        os.utime(d, (1_400_000_000, 1_400_000_000))
    with Relay(girder.server.url) as relay:
        a, b = (mount(f'girder+{relay.url}', *SOON, 'mtime=meta', env=girder.env) for _ in range(2))
        run('rsync', '-rt', f'{local}/', a / place.path / 'copy')
        a.sync()
        asked = relay.settled()
        items = [r.method for r in asked if re.search(r'/item/[0-9a-f]+(/metadata)?$', r.target)]
        assert items == ['PUT'] * 5 and len([r for r in asked if re.search(CONTENT, r.target)]) == 5
        there = b / place.path / 'copy'
        wait_for(lambda: there.is_dir() and os.stat(there).st_mtime == 1_400_000_000, 'the folder is seen')
        assert run('rsync', '-rti', f'{local}/', there) == '' and b.uploads() == []
        relay.forget()
        assert run('rsync', '-rti', f'{local}/', a / place.path / 'copy') == ''
        assert [r.method for r in relay.settled() if r.method != 'GET'] == []
        folder = place.server.rest('GET', 'folder', {'parentType': 'folder', 'parentId': place.id, 'name': 'copy'})[0]
        sub = place.server.rest('GET', 'folder', {'parentType': 'folder', 'parentId': folder['_id'], 'name': 'sub'})[0]
        (item,) = place.server.rest('GET', 'item', {'folderId': sub['_id'], 'name': '3.dat'})
        assert re.fullmatch(r'1400000000\.123456792 item/%s \S+' % item['_id'], item['meta']['scifs_mtime'])
        # Others' content has the server's time again.
        (file,) = place.server.rest('GET', f'item/{item["_id"]}/files')
        place.server.replace(file['_id'], b'new content')
        for m in (a, b):
            wait_for(lambda m=m: (m / place.path / 'copy/sub/3.dat').stat().st_mtime > 1_500_000_000, 'the new time is seen')


def test_our_own_digest_is_shown(m, here, place, relay):
    """Also where the server tells none."""
    relay.rule(path='/api/v1/(item|file)', replace=[['"sha512"', '"sha5zz"']])
    (here / 'a.dat').write_bytes(b'digest me')
    m.sync()
    digest = os.getxattr(here / 'a.dat', 'user.scifs.digest')
    assert digest == b'sha512:' + sha512(b'digest me').encode()


# ---- any request ----

def ask(path, question):
    fd = os.open(path, os.O_RDWR)
    try:
        os.write(fd, json.dumps(question).encode() if not isinstance(question, bytes) else question)
        answer = b''
        while more := os.read(fd, 65536):
            answer += more
        return json.loads(answer)
    finally:
        os.close(fd)


def test_rest_answers_any_request(m, here, place, girder, tmp_path):
    rest = m / '.scifs/rest'
    assert ask(rest, {'method': 'GET', 'path': f'folder/{place.id}'})['body']['_id'] == place.id
    made = ask(rest, {'method': 'POST', 'path': 'folder', 'parameters': {'parentId': place.id, 'name': 'by rest'}})
    assert made['status'] == 200 and made['body']['name'] == 'by rest'
    assert 'by rest' in os.listdir(here)                        # what is known of it was looked at anew
    answer = ask(rest, {'method': 'PUT', 'path': f'folder/{place.id}/metadata', 'data': {'a': 1}})
    assert answer['status'] == 200 and place.server.rest('GET', f'folder/{place.id}')['meta'] == {'a': 1}
    missing = ask(rest, {'method': 'GET', 'path': 'folder/' + '0' * 24})
    assert missing['status'] == 400 and 'Invalid folder id' in json.dumps(missing['body'])
    assert missing['url'].endswith('folder/' + '0' * 24)
    assert errno_of(ask, rest, {'method': 'BREW', 'path': 'coffee'}) == errno.EINVAL
    assert errno_of(ask, rest, b'no json') == errno.EINVAL
    (tmp_path / 'body.dat').write_bytes(b'from a file')
    sent = ask(rest, {'method': 'POST', 'path': 'file', 'parameters': {'parentType': 'folder', 'parentId': place.id, 'name': 'sent.dat',
                                                                       'size': '11'}, 'file': str(tmp_path / 'body.dat')})
    assert sent['status'] == 200 and place.remote()['sent.dat'] == sha512(b'from a file')


def test_two_handles_of_rest_do_not_see_each_other(m, place):
    a, b = (os.open(m / '.scifs/rest', os.O_RDWR) for _ in range(2))
    try:
        os.write(a, json.dumps({'method': 'GET', 'path': f'folder/{place.id}'}).encode())
        os.write(b, json.dumps({'method': 'GET', 'path': 'user/me'}).encode())
        assert json.loads(os.read(a, 65536))['body']['_modelType'] == 'folder'
        assert json.loads(os.read(b, 65536))['body']['_modelType'] == 'user'
    finally:
        os.close(a)
        os.close(b)


# ---- several mounts ----

def test_two_mounts_see_what_each_other_sent(girder, place, m, here, mount):
    other = mount(girder, *SOON)
    (here / 'a').write_bytes(b'from one')
    m.sync()
    there = other / place.path
    wait_for(lambda: (there / 'a').exists() and (there / 'a').read_bytes() == b'from one', 'the other sees it')
    (there / 'a').write_bytes(b'changed by the other')
    os.rename(there / 'a', there / 'b')
    other.sync()
    wait_for(lambda: os.listdir(here) == ['b'] and (here / 'b').read_bytes() == b'changed by the other', 'the first sees it')
    assert place.remote() == {'b': sha512(b'changed by the other')}


def test_a_file_that_stays_open_is_sent_every_so_often(girder, place, mount):
    """-o upload_open: others see a whole earlier state; it keeps its item, and all is there at the end."""
    m = mount(girder, *SOON, 'upload_open=300ms')
    lines, seen = [], set()
    with open(m / place.path / 'log.txt', 'ab', buffering=0) as f:
        def goes_on():
            lines.append(b'line %d\n' % len(lines))
            f.write(lines[-1])
            there = place.remote().get('log.txt')
            if there:
                assert there in {sha512(b''.join(lines[:n])) for n in range(len(lines) + 1)}
                seen.add(there)
            return len(seen) >= 3
        wait_for(goes_on, 'three states of it have come')
        identity = place.item('log.txt')[0]['_id']
    m.sync()
    assert place.remote() == {'log.txt': sha512(b''.join(lines))} and place.item('log.txt')[0]['_id'] == identity
    assert m.uploads() == []


def test_two_mounts_of_one_home_send_all_once(girder, place, mount, tmp_path):
    """One journal, one uploader: each file goes once."""
    with Relay(girder.server.url) as relay:
        a, b = (mount(f'girder+{relay.url}', *SOON, env=girder.env, home=tmp_path / 'home') for _ in range(2))
        for n in range(10):
            (a / place.path / f'a{n}').write_bytes(b'a%d' % n)
            (b / place.path / f'b{n}').write_bytes(b'b%d' % n)
        a.sync()
        b.sync()
        assert place.remote() == {f'{w}{n}': sha512(b'%s%d' % (w.encode(), n)) for w in 'ab' for n in range(10)}
        assert len([r for r in relay.settled() if re.search(CONTENT, r.target)]) == 20


def test_mkdir_in_a_folder_that_is_gone_is_enoent(m, here, place):
    (here / 'sub').mkdir()
    (here / 'sub').stat()
    place.server.rest('DELETE', 'resource', {'resources': {'folder': [next(iter(place.client.listFolder(place.id)))['_id']]}})
    assert errno_of(os.mkdir, here / 'sub/x') in (errno.ENOENT, errno.ESTALE)


def test_names_girder_shows_and_writes_the_official_clients_names(girder, place, mount):
    m = mount(girder, *SOON, 'names=girder')
    (m / place.path / 'plain.txt').write_bytes(b'x')
    m.sync()
    assert place.remote() == {'plain.txt': sha512(b'x')}


def test_what_is_unservable_is_stored_read_and_marked(m, here, place):
    """A name that the server cannot put into a header."""
    (here / '20°C.dat').write_bytes(noise(1, 3000))
    m.sync()
    assert place.remote() == {'20°C.dat': sha512(noise(1, 3000))}
    m.again(cache=False)
    assert (here / '20°C.dat').read_bytes() == noise(1, 3000)


def test_a_link_file_is_never_written_to(m, here, place):
    place.server.rest('POST', 'file', {'parentType': 'folder', 'parentId': place.id, 'name': 'link', 'linkUrl': f'{place.server.api}/system/version'})
    wait_for(lambda: os.listdir(here) == ['link'], 'it is seen')
    assert errno_of(open, here / 'link', 'r+') == errno.EACCES
    with pytest.raises(RestError):
        place.server.rest('GET', 'no/such/route')
