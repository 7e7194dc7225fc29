"""What changes on the server is seen; what is open stays what it was; what cannot be asked is not gone."""
import errno
import io
import json
import os
import subprocess
import sys

import pytest
from harness import TOP, run, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from relay import Relay  # noqa: E402

SOON = ('ttl=500ms', 'list_ttl=500ms', 'negative_ttl=500ms')


class Place:
    """A folder of this test's own on the server, and where it is in a mount."""

    def __init__(self, girder, name):
        self.server, self.client = girder.server, girder.client
        self.folder = self.server.make_folder(girder.ids['sample'], name, 'collection')
        self.path = f'collection/Sample/{name}'

    def put(self, name, content):
        """By the official client; the file's document."""
        return self.client.uploadStreamToFolder(self.folder, io.BytesIO(content), name, len(content), mimeType='text/plain') \
            if content else self.server.upload(self.folder, name, b'')

    def replace(self, file, content):
        return self.client.uploadFileContents(file['_id'], io.BytesIO(content), len(content))


@pytest.fixture
def place(girder, request):
    p = Place(girder, request.node.name.split('[')[0])
    yield p
    girder.server.rest('DELETE', 'resource', {'resources': {'folder': [p.folder]}})


def read(path):
    """The bytes, or None while it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


# ---- names ----

def test_a_new_file_appears(girder, mount, place):
    m = mount(girder, *SOON)
    assert os.listdir(m / place.path) == []
    place.put('new.txt', b'new\n')
    wait_for(lambda: os.listdir(m / place.path) == ['new.txt'], 'the new file is listed')
    assert (m / place.path / 'new.txt').read_bytes() == b'new\n'


def test_a_new_empty_file_appears_too(girder, mount, place):
    """Trap: a folder's own time and size do not tell that it got an empty file."""
    m = mount(girder, *SOON)
    assert os.listdir(m / place.path) == []
    place.put('empty', b'')
    wait_for(lambda: os.listdir(m / place.path) == ['empty'], 'the new file is listed')


def test_a_name_that_was_not_there_appears(girder, mount, place):
    m = mount(girder, *SOON)
    assert read(m / place.path / 'later.txt') is None
    place.put('later.txt', b'later\n')
    assert wait_for(lambda: read(m / place.path / 'later.txt'), 'the name is found') == b'later\n'


def test_a_deleted_file_goes_and_is_enoent(girder, mount, place):
    """Trap: the server says 400 of what does not exist."""
    file = place.put('gone.txt', b'gone\n')
    place.put('stays.txt', b'stays\n')
    m = mount(girder, *SOON)
    assert (m / place.path / 'gone.txt').read_bytes() == b'gone\n'
    place.client.delete(f'item/{file["itemId"]}')
    wait_for(lambda: not (m / place.path / 'gone.txt').exists(), 'the file is gone')
    wait_for(lambda: os.listdir(m / place.path) == ['stays.txt'], 'the listing shows it')
    assert (m / place.path / 'stays.txt').read_bytes() == b'stays\n'


def test_a_renamed_file_keeps_its_number(girder, mount, place):
    file = place.put('before.txt', b'same\n')
    m = mount(girder, *SOON)
    number = os.stat(m / place.path / 'before.txt').st_ino
    place.client.put(f'item/{file["itemId"]}', parameters={'name': 'after.txt'})
    place.client.put(f'file/{file["_id"]}', parameters={'name': 'after.txt'})
    assert wait_for(lambda: read(m / place.path / 'after.txt'), 'the new name is found') == b'same\n'
    assert os.stat(m / place.path / 'after.txt').st_ino == number
    wait_for(lambda: os.listdir(m / place.path) == ['after.txt'], 'the old name goes')


def test_a_moved_file_is_there_and_no_longer_here(girder, mount, place):
    """Trap: resource/move does not touch `updated`."""
    file = place.put('moved.txt', b'moved\n')
    there = place.server.make_folder(place.folder, 'there')
    m = mount(girder, *SOON)
    assert sorted(os.listdir(m / place.path)) == ['moved.txt', 'there']
    assert os.listdir(m / place.path / 'there') == []
    place.server.rest('PUT', 'resource/move', {'resources': {'item': [file['itemId']]}, 'parentType': 'folder', 'parentId': there})
    wait_for(lambda: os.listdir(m / place.path / 'there') == ['moved.txt'], 'it is there')
    wait_for(lambda: os.listdir(m / place.path) == ['there'], 'it is not here')
    assert (m / place.path / 'there/moved.txt').read_bytes() == b'moved\n'


def test_an_item_that_gets_a_second_file_becomes_a_directory(girder, mount, place):
    file = place.put('one.txt', b'one\n')
    m = mount(girder, *SOON)
    with open(m / place.path / 'one.txt', 'rb') as f:
        place.server.upload(file['itemId'], 'two.txt', b'two\n', 'item')
        wait_for(lambda: (m / place.path / 'one.txt').is_dir(), 'it is a directory')
        assert f.read() == b'one\n'         # the handle reads on
    assert sorted(os.listdir(m / place.path / 'one.txt')) == ['one.txt', 'two.txt']
    assert (m / place.path / 'one.txt/two.txt').read_bytes() == b'two\n'


# ---- contents ----

@pytest.mark.parametrize('new', [b'much longer than it was before\n', b'fresh\n', b''])
def test_replaced_content_is_read_at_the_next_open(girder, mount, place, new):
    """Trap: a content replaced by one of the same size shows in no listing."""
    file = place.put('x.txt', b'stale\n')
    m = mount(girder, *SOON)
    assert (m / place.path / 'x.txt').read_bytes() == b'stale\n'
    place.replace(file, new) if new else place.server.replace(file['_id'], b'')
    wait_for(lambda: (m / place.path / 'x.txt').read_bytes() == new, 'the new bytes are read')
    assert (m / place.path / 'x.txt').stat().st_size == len(new)


def test_stat_tells_size_and_time_of_replaced_content(girder, mount, place):
    """Trap: an item's `updated` does not follow its content."""
    file = place.put('x.txt', b'short\n')
    m = mount(girder, *SOON)
    before = os.stat(m / place.path / 'x.txt')
    place.replace(file, b'longer than before\n')
    wait_for(lambda: os.stat(m / place.path / 'x.txt').st_size == 19, 'the new size is told')
    assert os.stat(m / place.path / 'x.txt').st_mtime_ns > before.st_mtime_ns


def opened_at(path):
    """The time of the version that an open gives now; nothing is read."""
    with open(path, 'rb') as f:
        return os.fstat(f.fileno()).st_mtime_ns


def test_an_open_file_gives_old_bytes_or_estale_and_never_a_mixture(girder, mount, place):
    size = 48 << 20
    file = place.put('big.dat', b'A' * size)
    m = mount(girder, *SOON, 'cache=none')
    fd = os.open(m / place.path / 'big.dat', os.O_RDONLY | os.O_DIRECT)
    seen = set()
    try:
        assert set(os.pread(fd, 65536, 0)) == {65}
        before = os.fstat(fd).st_mtime_ns
        place.replace(file, b'B' * size)
        wait_for(lambda: opened_at(m / place.path / 'big.dat') != before, 'the change is seen')
        for offset in range(0, size, 1 << 20):
            try:
                seen |= set(os.pread(fd, 1 << 20, offset))
            except OSError as e:
                assert e.errno == errno.ESTALE
    finally:
        os.close(fd)
    assert seen <= {65}
    assert (m / place.path / 'big.dat').read_bytes() == b'B' * size


def test_bytes_of_two_versions_are_never_mixed_in_one_pass(mount):
    """memory:'s changing.dat is one number in all its lines."""
    m = mount('memory:?changes=50ms', 'ttl=100ms', 'list_ttl=100ms', 'cache=none')
    passes, refused = 0, 0
    while passes < 5 and refused < 200:
        try:
            text = (m / 'changing.dat').read_bytes()
        except OSError as e:
            assert e.errno == errno.ESTALE
            refused += 1
            continue
        assert len({line.split()[1] for line in text.splitlines()}) == 1
        passes += 1
    assert passes or refused


def test_unchanged_content_is_not_fetched_again(repo, mount):
    m = mount(repo, 'cache=none')
    (m / repo.big).read_bytes()
    size = len(repo.files[repo.big])
    wait_for(lambda: m.stats()['scifs_read_bytes_total'] == size, 'all of it is counted')
    assert (m / repo.big).read_bytes() == repo.files[repo.big]
    (m / repo.odd).read_bytes()
    wait_for(lambda: m.stats()['scifs_read_bytes_total'] >= size + 100003, 'the other is counted')
    assert m.stats()['scifs_read_bytes_total'] == size + 100003         # the kernel's own pages served


# ---- documents ----

def test_changed_metadata_is_read(girder, mount, place):
    file = place.put('x.txt', b'x\n')
    place.client.addMetadataToItem(file['itemId'], {'state': 'raw', 'old': 1})
    m = mount(girder, *SOON)
    path = m / place.path / 'x.txt'
    assert os.getxattr(path, 'user.girder.meta.state') == b'raw'
    place.client.addMetadataToItem(file['itemId'], {'state': 'calibrated', 'old': None})
    wait_for(lambda: os.getxattr(path, 'user.girder.meta.state') == b'calibrated', 'the new value is read')
    assert 'user.girder.meta.old' not in os.listxattr(path)
    assert json.loads(m.control('meta/x.txt.json', place.path))['meta'] == {'state': 'calibrated'}


def test_poisoned_metadata_makes_one_folder_fail_and_nothing_else(girder, mount, place):
    """Trap: 1e999 in metadata is stored, and every listing that has it is a 500 from then on."""
    file = place.put('x.txt', b'x\n')
    m = mount(girder, *SOON, 'timeout=2s')
    with pytest.raises(Exception):
        place.server.rest('PUT', f'item/{file["itemId"]}/metadata', data=b'{"bad": 1e999}')
    try:
        with pytest.raises(OSError) as e:
            os.listdir(m / place.path)
        assert e.value.errno == errno.EIO
        assert (m / girder.text).read_bytes() == girder.files[girder.text]
        assert m.status()['state'] == 'connected'
    finally:
        place.server.rest('DELETE', f'item/{file["itemId"]}/metadata', data=['bad'])
    wait_for(lambda: lists(m / place.path) == ['x.txt'], 'it is listed again')


def lists(path):
    try:
        return os.listdir(path)
    except OSError:
        return None


# ---- the login ----

FORGET = '''
import sys, pymongo
pymongo.MongoClient(sys.argv[1]).get_default_database().token.delete_many({})
'''


def test_a_lost_login_is_renewed_before_anything_is_believed_gone(girder, mount, place):
    """Trap: an unknown token is no error on public routes: the caller is nobody, and listings get shorter."""
    place.server.rest('PUT', f'folder/{place.folder}/access', {'access': {'users': [], 'groups': []}, 'public': 'false'})
    place.put('hidden.txt', b'for the owner only\n')
    m = mount(girder, *SOON)
    assert os.listdir(m / place.path) == ['hidden.txt']
    subprocess.run([place.server.python, '-c', FORGET, place.server.database_url], check=True, timeout=120)
    try:
        # Beyond every TTL, and what was never looked at before.
        for _ in range(3):
            run(*('sleep', '0.7'))
            assert os.path.basename(place.path) in os.listdir(m / 'collection/Sample')
            assert os.listdir(m / place.path) == ['hidden.txt']
        assert (m / place.path / 'hidden.txt').read_bytes() == b'for the owner only\n'
        assert (m / 'collection/Closed/Inside/closed.txt').read_bytes() == b'closed\n'
    finally:
        place.server.admin_token = place.server.login()
        place.client.authenticate(apiKey=place.server.api_key)


def test_a_replacement_in_mid_read_is_never_a_mixture(girder5, mount):
    """Without digests, and while the version that was told at open is still believed: the end of the read tells."""
    place = Place(girder5, 'mid-read')
    old, new = bytes([1]) * (8 << 20), bytes([2]) * (8 << 20)
    file = place.put('big.dat', old)
    with Relay(girder5.server.url) as relay:
        relay.rule(path='/(item|file|folder)', replace=[['"sha512"', '"sha5zz"']])
        m = mount('girder+' + relay.url, 'ttl=10m', 'list_ttl=10m', 'read_part=1M', 'cache=none', env=girder5.env)
        with open(m / place.path / 'big.dat', 'rb', buffering=0) as f:
            assert f.read(65536) == old[:65536]
            place.replace(file, new)
            before = len([r for r in relay.settled() if r.path.endswith('/download')])
            with pytest.raises(OSError) as e:
                while f.read(1 << 20):
                    pass
            assert e.value.errno in (errno.ESTALE, errno.EIO)
        assert len([r for r in relay.settled() if r.path.endswith('/download')]) > before, 'something was read after the replacement'
        with open(m / place.path / 'big.dat', 'rb') as f:
            assert f.read() == new


def test_a_replacement_of_equal_size_is_seen_though_the_folder_is_listed_all_the_time(girder5, mount):
    """What a listing tells anew is not the version: it does not have it."""
    place = Place(girder5, 'listed')
    file = place.put('a.txt', b'old\n')
    m = mount(girder5, 'ttl=2s', 'list_ttl=200ms')
    assert (m / place.path / 'a.txt').read_bytes() == b'old\n'
    place.replace(file, b'new\n')

    def listed_and_read():
        for _ in range(10):                             # younger than any ttl, whenever it is opened
            os.listdir(m / place.path)
            os.stat(m / place.path / 'a.txt')
        return (m / place.path / 'a.txt').read_bytes() == b'new\n'
    wait_for(listed_and_read, 'the new content')
