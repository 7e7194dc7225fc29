"""The writing half of the Girder backend against real servers, without a mount: tests/backend/driver.c calls it, plain REST and the
official client are the witnesses, and the relay between cuts requests on their way and loses their answers."""
import json
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from girder import RestError
from girder_sample import NUMBERS_META, noise
from harness import BUILD, sha512, wait_for
from relay import Relay

DRIVER = BUILD / 'tests/backend/driver'
POST_FILE, CHUNK, CONTENTS = r'/file\?parentType', r'/file/chunk', r'/file/\w+/contents'


class Driver:
    """A backend in a process of its own. driver('mkdir', dir=..., name=...) -> the answer; a failure is one too, with `error`."""

    def __init__(self, url, key, *options):
        # Short times, so that a lost answer is known to be lost.
        self.process = subprocess.Popen([str(DRIVER), url, 'timeout_ms=20000', *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True,
                                        env=dict(os.environ, SCIFS_API_KEY=key, ASAN_OPTIONS='detect_leaks=1:abort_on_error=0'))
        self.notes = []
        self.root = None

    def begin(self, what, **fields):
        self.notes = []
        self.process.stdin.write(json.dumps({'do': what, **fields}) + '\n')
        self.process.stdin.flush()

    def line(self):
        text = self.process.stdout.readline()
        assert text, f'the driver has ended: {self.process.wait(60)}\n{self.process.stderr.read()[-4000:]}'
        return json.loads(text)

    def answer(self):
        while True:
            a = self.line()
            if 'note' not in a:
                return a
            self.notes.append(a['note'])

    def __call__(self, what, **fields):
        self.begin(what, **fields)
        return self.answer()

    def made(self, what, **fields):
        """The object that it answers."""
        a = self(what, **fields)
        assert 'object' in a, a
        return a['object']

    def rename(self, thing, source, to, name, **more):
        return self('rename', of=thing, to=to, name=name, **{'from': source}, **more)

    def list(self, directory):
        return {o['name']: o for o in self('list', dir=directory)['objects']}

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def end(self):
        self.process.stdin.close()
        status = self.process.wait(60)
        assert status == 0, f'the driver ended with {status}\n{self.process.stderr.read()[-6000:]}'


class Place:
    """A folder of a test's own, on one server, seen through a relay."""

    def __init__(self, repo, relay, tmp_path, parent):
        self.repo, self.relay, self.tmp = repo, relay, tmp_path
        self.rest = repo.server.rest
        self.folder = repo.server.make_folder(parent, f'place {tmp_path.name}')
        self.drivers = []
        self.d = self.driver()
        self.dir = self.at(f'folder/{self.folder}')

    def driver(self, *options, key=None):
        d = Driver(self.relay.url, key or self.repo.server.api_key, *options)
        self.drivers.append(d)
        return d

    def at(self, identity, d=None):
        """An object by its id."""
        return (d or self.d).made('stat', of={'id': identity, 'name': '', 'kind': 1, 'rights': 15})

    def file(self, content, name='content'):
        path = self.tmp / name
        path.write_bytes(content)
        return str(path)

    def put(self, name, content, dir=None, d=None, **more):
        return (d or self.d)('upload', dir=dir or self.dir, name=name, file=self.file(content), **more)

    def new(self, name, content, **more):
        a = self.put(name, content, **more)
        assert 'object' in a, a
        return a['object']

    def items(self, folder=None):
        return {i['name']: i for i in self.rest('GET', 'item', {'folderId': folder or self.folder, 'limit': '0'})}

    def names(self, folder=None):
        """Of items and folders, as a sorted list: twins show."""
        folder = folder or self.folder
        return sorted([i['name'] for i in self.rest('GET', 'item', {'folderId': folder, 'limit': '0'})] +
                      [i['name'] for i in self.rest('GET', 'folder', {'parentType': 'folder', 'parentId': folder, 'limit': '0'})])

    def content(self, file):
        """The bytes of a file as the official client fetches them."""
        path = self.tmp / 'fetched'
        self.repo.client.downloadFile(file, str(path))
        return path.read_bytes()

    def files(self, item):
        return self.rest('GET', f'item/{item}/files', {'limit': '0'})

    def holds(self, name, content):
        """There is one item of this name, with one file of this name, and these bytes."""
        mine = [i for i in self.rest('GET', 'item', {'folderId': self.folder, 'limit': '0'}) if i['name'].startswith(name)]
        assert [i['name'] for i in mine] == [name]
        files = self.files(mine[0]['_id'])
        assert [f['name'] for f in files] == [name]
        assert sha512(self.content(files[0]['_id'])) == sha512(content)

    def make_subfolder(self, name):
        return self.d.made('mkdir', dir=self.dir, name=name)


@pytest.fixture(scope='module')
def parents():
    """Where each server has this module's things; the suites that come after find it as it was."""
    made = {}
    yield made
    for server, collection, _ in made.values():
        server.rest('DELETE', 'resource', {'resources': {'collection': [collection]}})


@pytest.fixture(params=['girder5', pytest.param('girder3', marks=pytest.mark.plain)])
def repo(request):
    return request.getfixturevalue(request.param)


def make_place(repo, parents, tmp_path):
    if repo.name not in parents:
        collection = repo.server.collection(f'Write {os.getpid()}')
        parents[repo.name] = repo.server, collection, repo.server.make_folder(collection, 'tests', 'collection')
    with Relay(repo.server.url) as relay:
        place = Place(repo, relay, tmp_path, parents[repo.name][-1])
        yield place
        relay.clear()
        for d in place.drivers:
            if d.process.poll() is None:
                d.end()


@pytest.fixture
def place(repo, parents, tmp_path):
    yield from make_place(repo, parents, tmp_path)


@pytest.fixture
def place5(girder5, parents, tmp_path):
    yield from make_place(girder5, parents, tmp_path)


def hex_id(thing):
    return thing['id'].split('/')[1]


def file_id(thing):
    return thing['content'].split('/')[-1]


# ---- uploads ----

@pytest.mark.parametrize('size', [0, 1, 250001])
def test_a_new_file_is_whole_and_what_stat_says_of_it(place, size):
    content = noise(1, size)
    d = place.driver('upload_chunk=100000')
    o = place.new('new.csv', content, d=d)
    place.holds('new.csv', content)
    assert (o['kind'], o['size'], o['mime'], o['digest']) == (2, size, 'text/csv', f'sha512:{sha512(content)}')
    assert d.made('stat', of=o) == o
    listed = d.list(place.dir)['new.csv']
    assert (listed['id'], listed['listed'], listed['listed_ns']) == (o['id'], o['listed'], o['listed_ns'])
    assert d.made('stat', of=listed) == o


@pytest.mark.parametrize('size', [0, 1, 250001])
def test_a_replaced_content_keeps_id_and_metadata(place, size):
    d = place.driver('upload_chunk=100000')
    old = place.new('data.bin', b'old')
    place.rest('PUT', f'item/{hex_id(old)}/metadata', data={'keep': 1})
    content = noise(2, size)
    new = place.new('data.bin', content, base=old, d=d)
    assert (new['id'], new['content'], new['size']) == (old['id'], old['content'], size)
    assert new['version'] != old['version']
    place.holds('data.bin', content)
    assert place.items()['data.bin']['meta'] == {'keep': 1}
    again = d.made('stat', of=new)
    assert (again['version'], again['size'], again['mtime'], again['mtime_ns']) == (
        new['version'], new['size'], new['mtime'], new['mtime_ns'])


def test_files_of_an_item_directory(place):
    item = place.at(f'item/{place.repo.server.make_item(place.folder, "several")}')
    for name in ('one', 'two'):
        o = place.new(name, name.encode(), dir=item)
        assert (o['id'].split('/')[0], o['name']) == ('file', name)
        assert place.d.made('stat', of=o) == o
    assert place.put('one', b'another', dir=item)['error'] == 'EEXIST'
    new = place.new('one', b'new one', dir=item, base=place.d.list(item)['one'])
    assert place.content(hex_id(new)) == b'new one'
    assert sorted(f['name'] for f in place.files(hex_id(item))) == ['one', 'two']


def test_a_taken_name_is_refused_and_nothing_is_left(place):
    place.new('taken', b'first')
    assert place.put('taken', b'second')['error'] == 'EEXIST'
    place.make_subfolder('folder')
    assert place.put('folder', b'second')['error'] == 'EEXIST'
    assert place.names() == ['folder', 'taken']


def test_who_loses_a_race_takes_its_own_away(place):
    place.new('raced', b'first')
    # Our question whether the name is free was answered before the other one made it.
    place.relay.rule(method='GET', path=r'/item\?folderId=.*limit=1&', edit=lambda j: [], times=1)
    assert place.put('raced', b'second')['error'] == 'EEXIST'
    assert place.names() == ['raced']
    place.holds('raced', b'first')


def test_what_somebody_else_changed_is_not_overwritten(place):
    old = place.new('shared', b'old')
    place.repo.server.replace(file_id(old), b'theirs')
    assert place.put('shared', b'ours', base=old)['error'] == 'ESTALE'
    place.holds('shared', b'theirs')
    place.rest('DELETE', f'item/{hex_id(old)}')
    assert place.put('shared', b'ours', base=old)['error'] == 'ESTALE'
    assert place.names() == []


def test_a_vanished_folder_is_ENOENT(place5):
    sub = place5.make_subfolder('gone')
    place5.rest('DELETE', 'resource', {'resources': {'folder': [hex_id(sub)]}})
    assert place5.put('x', b'x', dir=sub)['error'] == 'ENOENT'
    assert place5.d('mkdir', dir=sub, name='y')['error'] == 'ENOENT'


def test_what_is_there_already_is_not_sent(place5):
    old = place5.new('same', b'the same')
    place5.relay.forget()
    assert place5.new('same', b'the same', base=old) == old
    assert {r.method for r in place5.relay.settled()} == {'GET'}


def test_a_link_is_not_written_over(place5):
    place5.rest('POST', 'file', {'parentType': 'folder', 'parentId': place5.folder, 'name': 'link', 'linkUrl': 'http://127.0.0.1:9/x',
                                 'size': 5})
    link = place5.d.made('stat', of=place5.d.list(place5.dir)['link'])
    assert not link['rights'] & 2
    assert place5.put('link', b'x', base=link)['error'] == 'EPERM'


def test_chunks_follow_one_another(place5):
    content = noise(3, 350000)
    place5.new('chunks', content, d=place5.driver('upload_chunk=100000'))
    chunks = [r for r in place5.relay.settled() if '/file/chunk' in r.target]
    assert [int(r.target.split('offset=')[1]) for r in chunks] == [0, 100000, 200000, 300000]
    assert all('content-length' in r.headers and 'transfer-encoding' not in r.headers for r in chunks)
    place5.holds('chunks', content)


def test_a_chunk_is_as_large_as_the_server_wants(place5):
    setting = {'key': 'core.upload_minimum_chunk_size'}
    place5.rest('PUT', 'system/setting', {**setting, 'value': 150000})
    try:
        content = noise(4, 400000)
        place5.new('larger', content, d=place5.driver('upload_chunk=100000'))
    finally:
        place5.rest('PUT', 'system/setting', {**setting, 'value': 0})
    place5.holds('larger', content)


def test_a_proxys_limit_makes_chunks_smaller(place5):
    content = noise(5, 1 << 20) * 12
    place5.relay.rule(method='POST', path=POST_FILE, header=('content-length', r'^\d{8}'), status=413, body=b'too large')
    place5.new('limited', content)
    sizes = [int(r.headers['content-length']) for r in place5.relay.requests(CHUNK)]
    assert sizes == [6 << 20, 6 << 20]
    place5.holds('limited', content)


def test_a_store_that_wants_one_chunk_gets_one(place5):
    content = noise(6, 250000)
    place5.relay.rule(method='POST', path=POST_FILE, edit=lambda j: {**j, 'behavior': 's3', 's3': {'chunked': False}})
    place5.new('one chunk', content, d=place5.driver('upload_chunk=100000'))
    assert [int(r.headers['content-length']) for r in place5.relay.requests(CHUNK)] == [250000]
    place5.holds('one chunk', content)


def test_bytes_that_arrive_wrong_are_sent_once_more(place5):
    def wrong(j):
        return {**j, 'sha512': '0' * 128}
    place5.relay.rule(method='POST', path=POST_FILE, edit=wrong, times=1)
    place5.new('again', b'content')
    assert len(place5.relay.requests(POST_FILE, 'POST')) == 2
    place5.holds('again', b'content')
    place5.relay.rule(method='POST', path=POST_FILE, edit=wrong)
    answer = place5.put('never', b'content')
    assert answer['error'] == 'EIO' and 'checksum' in answer['words']
    assert place5.names() == ['again']


def test_an_expired_login_is_renewed_in_the_middle(place5):
    content = noise(7, 300000)
    rule = place5.relay.rule(method='POST', path=CHUNK, skip=1, times=1, ask={'Girder-Token': 'x' * 64})
    place5.new('renewed', content, d=place5.driver('upload_chunk=100000'))
    assert rule.used == 1
    place5.holds('renewed', content)


def test_a_key_that_may_only_read_is_refused_with_words(place):
    d = place.driver(key=place.repo.server.read_key)
    answer = place.put('refused', b'x', d=d)
    assert (answer['error'], bool(answer['words'])) == ('EACCES', True)
    assert d('mkdir', dir=place.dir, name='sub')['error'] == 'EACCES'
    assert place.names() == []


def test_a_stranger_is_told_before_anything_is_sent(place5):
    d = place5.driver(key=place5.repo.server.user_key)
    dir = place5.at(f'folder/{place5.folder}', d)
    place5.relay.forget()
    assert d('plan', dir=dir, name='x')['error'] == 'EACCES'
    assert place5.put('x', b'x', dir=dir, d=d)['error'] == 'EACCES'
    assert place5.relay.settled() == []


# ---- an upload's requests, cut before, in and after ----

def faults(relay, when, **request):
    if when == 'before':
        return relay.rule(drop=True, times=1, **request)
    if when == 'in':
        return relay.rule(ask_cut=60000, by='reset', times=1, **request)
    return relay.rule(lose=True, by='reset', times=1, **request)


@pytest.mark.parametrize('when', ['before', 'in', 'after'])
@pytest.mark.parametrize('size', [70000, 350000])
def test_a_new_file_survives_a_cut(place, size, when):
    content = noise(8, size)
    d = place.driver('upload_chunk=100000')
    cut = 0
    for request in ({'path': POST_FILE, 'method': 'POST'}, {'path': CHUNK}, {'path': CHUNK, 'skip': 3}):
        if (size < 100000 and request['path'] == CHUNK) or (size > 100000 and request['path'] == POST_FILE and when == 'in'):
            continue
        place.relay.clear()
        rule = faults(place.relay, when, **request)
        name = f'cut {cut}'
        o = place.new(name, content, d=d)
        assert rule.used == 1
        place.holds(name, content)
        assert d.made('stat', of=o)['version'] == o['version']
        cut += 1
    assert cut == (1 if size < 100000 else 2 if when == 'in' else 3)


@pytest.mark.parametrize('when', ['before', 'in', 'after'])
def test_a_replaced_content_survives_a_cut(place, when):
    d = place.driver('upload_chunk=100000')
    o = place.new('replaced', b'old')
    for n, request in enumerate(({'path': CONTENTS}, {'path': CHUNK}, {'path': CHUNK, 'skip': 2})):
        if when == 'in' and request['path'] == CONTENTS:
            continue
        place.relay.clear()
        rule = faults(place.relay, when, **request)
        content = noise(20 + n, 270000)
        o = place.new('replaced', content, base=o, d=d)
        assert rule.used == 1
        place.holds('replaced', content)
    place.relay.clear()
    if when != 'in':
        rule = faults(place.relay, when, path=CONTENTS)
        o = place.new('replaced', b'', base=o, d=d)
        assert rule.used == 1
        place.holds('replaced', b'')


def test_a_second_file_of_an_item_survives_a_lost_answer(place5):
    item = place5.at(f'item/{place5.repo.server.make_item(place5.folder, "several")}')
    rule = place5.relay.rule(lose=True, by='close', times=1, path=POST_FILE, method='POST')
    o = place5.new('part', b'part', dir=item)
    assert rule.used == 1
    assert [f['_id'] for f in place5.files(hex_id(item))] == [hex_id(o)]


def killed_in(place, d, rule, name, content, **more):
    """Begin an upload, wait until the rule holds it up, kill the driver. The last note."""
    d.begin('upload', dir=place.dir, name=name, file=place.file(content), **more)
    notes = []
    while True:
        a = d.line()
        assert 'note' in a, a
        notes.append(a['note'])
        if json.loads(a['note'])['kind'] == 'once':
            break
        if json.loads(a['note']).get('flight') and json.loads(a['note'])['at'] >= 100000 * rule.skip:
            break
    wait_for(lambda: rule.used, 'the request is held up')
    if rule.lose:
        wait_for(lambda: any(r.end == 'lost' or r.status for r in place.relay.log if r.rule is rule), 'it was done')
    d.kill()
    place.relay.clear()
    return notes[-1]


@pytest.mark.parametrize('when', ['stall', 'lose'])
@pytest.mark.parametrize('which', ['once', 'first', 'last'])
def test_an_upload_goes_on_after_a_crash(place, which, when):
    content = noise(9, 60000 if which == 'once' else 350000)
    fault = {'stall': True} if when == 'stall' else {'lose': True, 'by': 'stall'}
    rule = place.relay.rule(method='POST', path=POST_FILE if which == 'once' else CHUNK, skip=3 if which == 'last' else 0, times=1, **fault)
    progress = killed_in(place, place.driver('upload_chunk=100000'), rule, 'crashed', content)
    place.relay.forget()
    d = place.driver('upload_chunk=100000')
    o = place.new('crashed', content, d=d, progress=progress, again=True)
    place.holds('crashed', content)
    assert d.made('stat', of=o) == o
    sent = sum(r.received for r in place.relay.settled() if r.method == 'POST' and '/file' in r.target)
    # At most the chunk that was under way is sent again, and nothing that has landed.
    # (A request that was held up may still have been passed on when the rule went.)
    assert sent <= {'once': {'stall': 60000, 'lose': 0}, 'first': {'stall': 350000, 'lose': 250000},
                    'last': {'stall': 50000, 'lose': 0}}[which][when]


def test_a_replacement_that_landed_unseen_is_known_after_a_crash(place5):
    old = place5.new('r', b'old')
    content = noise(10, 250000)
    rule = place5.relay.rule(path=CHUNK, skip=2, times=1, lose=True, by='stall')
    progress = killed_in(place5, place5.driver('upload_chunk=100000'), rule, 'r', content, base=old)
    place5.relay.forget()
    place5.new('r', content, base=old, progress=progress, again=True)
    assert not any(r.received for r in place5.relay.requests(CHUNK))         # one without bytes asks where it stands
    place5.holds('r', content)


def test_an_upload_that_stands_where_it_cannot_is_begun_anew(place5):
    content = noise(11, 350000)
    rule = place5.relay.rule(path=CHUNK, skip=1, times=1, stall=True)
    progress = json.loads(killed_in(place5, place5.driver('upload_chunk=100000'), rule, 'odd', content))
    assert progress['at'] == 100000
    # Somebody's chunk is there that we know nothing of.
    place5.repo.server.rest('POST', 'file/chunk', {'uploadId': progress['id'], 'offset': 100000}, data=b'x' * 200000)
    place5.relay.forget()
    place5.new('odd', content, d=place5.driver('upload_chunk=100000'), progress=json.dumps(progress), again=True)
    assert sum(r.received for r in place5.relay.settled() if '/file/chunk' in r.target) == 350000
    assert len(place5.relay.requests(f'/file/upload/{progress["id"]}', 'DELETE')) == 1
    place5.holds('odd', content)


def test_a_cancelled_upload_goes_on_where_it_was(place5):
    content = noise(12, 350000)
    d = place5.driver('upload_chunk=100000')
    rule = place5.relay.rule(path=CHUNK, skip=2, times=1, stall=True)
    d.begin('upload', dir=place5.dir, name='c', file=place5.file(content))
    wait_for(lambda: rule.used, 'the third chunk is held up')
    wait_for(lambda: os.kill(d.process.pid, signal.SIGUSR1) is None, 'it is told')
    place5.relay.clear()
    answer = d.answer()
    if 'object' not in answer:      # it may have been sent whole already; then it is waited for
        assert answer['error'] == 'EINTR'
        place5.new('c', content, d=d, progress=d.notes[-1], again=True)
    place5.holds('c', content)


def test_an_unwanted_upload_is_taken_away(place5):
    rule = place5.relay.rule(path=CHUNK, skip=1, times=1, stall=True)
    progress = killed_in(place5, place5.driver('upload_chunk=100000'), rule, 'unwanted', noise(13, 350000))
    assert [u for u in place5.rest('GET', 'system/uploads') if u['_id'] == json.loads(progress)['id']]
    place5.d('drop', progress=progress)
    assert not [u for u in place5.rest('GET', 'system/uploads') if u['_id'] == json.loads(progress)['id']]


# ---- the tree ----

def test_where_nothing_can_be_made(place5):
    d = place5.d
    root = d.made('root')
    collections = d('lookup', dir=root, name='collection')['objects'][0]
    collection = next(o for o in d('list', dir=collections)['objects'] if o['name'].startswith('Write'))
    item = place5.at(f'item/{place5.repo.server.make_item(place5.folder, "item")}')
    for dir in (root, collections, collection):
        assert d('plan', dir=dir, name='x')['error'] == 'EPERM'
    for dir in (root, collections, item):
        assert d('plan', dir=dir, name='x', directory=True)['error'] == 'EPERM'
    for name in (' x', 'x ', '\u2003x', ' ', '.', '..'):
        assert d('plan', dir=place5.dir, name=name)['error'] == 'EINVAL'
    assert d.made('plan', dir=collection, name='x', directory=True)['kind'] == 1
    assert place5.driver('items=dir')('plan', dir=place5.dir, name='x')['error'] == 'EPERM'


@pytest.mark.parametrize('when', ['nothing', 'before', 'after'])
def test_a_folder_is_made_and_removed(place, when):
    d = place.d
    if when != 'nothing':
        faults(place.relay, when, method='POST|DELETE')
    o = d.made('mkdir', dir=place.dir, name='made')
    place.relay.clear()
    assert d.made('stat', of=o) == o
    assert d('mkdir', dir=place.dir, name='made')['error'] == 'EEXIST'
    place.new('file', b'x', dir=o)
    assert d('remove', dir=place.dir, of=o)['error'] == 'ENOTEMPTY'
    d('remove', dir=o, of=d.made('stat', of=d.list(o)['file']))
    if when != 'nothing':
        faults(place.relay, when, method='POST|DELETE')
    assert 'error' not in d('remove', dir=place.dir, of=o)
    place.relay.clear()
    assert place.names() == []
    assert d('remove', dir=place.dir, of=o)['error'] == 'ENOENT'


def test_only_what_was_seen_is_removed(place5):
    d = place5.d
    o = place5.new('x', b'x')
    place5.repo.server.upload(hex_id(o), 'second', b'y', 'item')
    assert d('remove', dir=place5.dir, of=o)['error'] == 'EBUSY'
    item = place5.at(o['id'])
    assert item['kind'] == 1
    assert d('remove', dir=place5.dir, of=item)['error'] == 'ENOTEMPTY'
    for f in d.list(item).values():
        assert 'error' not in d('remove', dir=item, of=f)
    assert 'error' not in d('remove', dir=place5.dir, of=item)
    assert place5.names() == []


def test_deleting_a_folder_needs_the_right_to_administer_it(place5):
    sub = place5.make_subfolder('guarded')
    users = place5.rest('GET', 'user', {'text': 'alice'}) or place5.rest('GET', 'user')
    alice = next(u for u in users if u['login'] == 'alice')
    access = {'users': [{'id': alice['_id'], 'level': 1}], 'groups': []}
    place5.rest('PUT', f'folder/{place5.folder}/access', {'access': access})
    place5.rest('PUT', f'folder/{hex_id(sub)}/access', {'access': access})
    d = place5.driver(key=place5.repo.server.user_key)
    answer = d('remove', dir=place5.at(f'folder/{place5.folder}', d), of=place5.at(sub['id'], d))
    assert answer['error'] == 'EACCES' and 'administer' in answer['words']


def test_a_renamed_file_is_one_still(place):
    d = place.d
    o = place.new('a.csv', b'a')
    new = d.rename(o, place.dir, place.dir, 'b.txt')['object']
    assert (new['id'], new['name'], new['kind'], new['mime'], new['version']) == (o['id'], 'b.txt', 2, 'text/plain', o['version'])
    assert d.made('stat', of=new) == new
    place.holds('b.txt', b'a')
    # A type that a person chose stays.
    place.rest('PUT', f'file/{file_id(o)}', {'mimeType': 'x/own'})
    assert d.rename(new, place.dir, place.dir, 'c.csv')['object']['mime'] == 'x/own'


def test_a_rename_to_a_taken_name_changes_nothing(place):
    o = place.new('a', b'a')
    place.new('b', b'b')
    sub = place.make_subfolder('sub')
    for name in ('b', 'sub'):
        assert place.d.rename(o, place.dir, place.dir, name)['error'] == 'EEXIST'
        assert place.d.rename(sub, place.dir, place.dir, 'a')['error'] == 'EEXIST'
        assert place.names() == ['a', 'b', 'sub']
        # The same when the name was taken after it was looked for.
        place.relay.rule(method='GET', path=r'(item|folder)\?.*name=', edit=lambda j: [])
        assert place.d.rename(o, place.dir, place.dir, name)['error'] == 'EEXIST'
        place.relay.clear()
        assert place.names() == ['a', 'b', 'sub']
    place.holds('a', b'a')


@pytest.mark.parametrize('step', [0, 1])
@pytest.mark.parametrize('when', ['before', 'after', 'refused'])
def test_a_rename_is_done_or_undone_whatever_is_lost(place, step, when):
    o = place.new('old.csv', b'x')
    if when == 'refused':
        place.relay.rule(method='PUT', skip=step, times=1, status=500, body=b'{"message": "no", "type": "internal"}')
    else:
        faults(place.relay, when, method='PUT', skip=step)
    answer = place.d.rename(o, place.dir, place.dir, 'new.txt')
    place.relay.clear()
    place.holds('old.csv' if when == 'refused' else 'new.txt', b'x')
    assert ('object' in answer) == (when != 'refused')


def test_moves_between_folders(place):
    d = place.d
    there = place.make_subfolder('there')
    o = place.new('a', b'a')
    moved = d.rename(o, place.dir, there, 'a')['object']
    assert (moved['id'], place.names(hex_id(there)), place.names()) == (o['id'], ['a'], ['there'])
    # Back under another name, that something has here where it leaves, or there where it comes.
    place.new('b', b'other', dir=there)
    moved = d.rename(moved, there, place.dir, 'b')['object']
    assert (moved['name'], place.names(), place.names(hex_id(there))) == ('b', ['b', 'there'], ['b'])
    assert d.made('stat', of=moved) == moved
    assert d.rename(moved, place.dir, there, 'b')['error'] == 'EEXIST'
    place.holds('b', b'a')
    sub = place.make_subfolder('sub')
    moved = d.rename(sub, place.dir, there, 'deeper')['object']
    assert (moved['id'], place.names(), place.names(hex_id(there))) == (sub['id'], ['b', 'there'], ['b', 'deeper'])
    assert d.rename(there, place.dir, moved, 'below itself')['error'] == 'EINVAL'
    assert place.names() == ['b', 'there']


@pytest.mark.parametrize('across', [False, True])
def test_a_file_takes_the_place_of_another(place, across):
    d = place.d
    there = place.make_subfolder('there') if across else place.dir
    src, dst = place.new('tmp', b'new'), place.new('dst.csv', b'old', dir=there)
    place.rest('PUT', f'item/{hex_id(dst)}/metadata', data={'kept': [1, 2]})
    place.rest('PUT', f'item/{hex_id(dst)}', {'description': 'of the old one'})
    new = d.rename(src, place.dir, there, 'dst.csv', over=dst)['object']
    assert new['id'] == src['id']
    assert d.made('stat', of=new) == new
    item = place.items(hex_id(there))
    assert list(item) == ['dst.csv']
    # What people noted of it stays.
    assert (item['dst.csv']['meta'], item['dst.csv']['description']) == ({'kept': [1, 2]}, 'of the old one')
    assert place.content(file_id(new)) == b'new'


def watch_name(place, folder, name, over, wrong):
    """Until `over`: the name is there, and whoever has it is one whole file. Asked of the server itself, without the relay's delay."""
    looks = 0
    while not over.is_set():
        looks += 1
        found = place.rest('GET', 'item', {'folderId': folder, 'name': name})
        if not found:
            wrong.append('missing')
        for item in found:
            try:
                files = [f['name'] for f in place.files(item['_id'])]
                now = place.rest('GET', f'item/{item["_id"]}')
            except RestError:
                continue                                        # it has gone since
            if files != [name] and (now['folderId'], now['name']) == (folder, name):
                wrong.append(files)
    return looks


@pytest.mark.parametrize('across', [False, True])
def test_a_name_that_is_taken_over_is_never_missing_and_never_half(place, across):
    there = place.make_subfolder('there') if across else place.dir
    there_id = hex_id(there)
    sources = [place.new(f'{n}.tmp', b'content %d' % n) for n in range(8)]
    now = place.new('dst.csv', b'old', dir=there)
    place.rest('PUT', f'item/{hex_id(now)}/metadata', data={'kept': 1})
    if across:
        place.new('dst.csv', b'of the same name where they come from')
    over, wrong = threading.Event(), []
    place.relay.delay = 0.04                                    # each step takes so long at least
    with ThreadPoolExecutor() as pool:
        watchers = [pool.submit(watch_name, place, there_id, 'dst.csv', over, wrong) for _ in range(2)]
        try:
            for o in sources:
                now = place.d.rename(o, place.dir, there, 'dst.csv', over=now)['object']
                assert now['id'] == o['id'] and place.d.made('stat', of=now) == now
        finally:
            over.set()
        assert min(w.result() for w in watchers) > 20
    assert not wrong
    place.relay.delay = 0
    assert place.names(there_id) == ['dst.csv'] and place.names() == (['dst.csv', 'there'] if across else ['dst.csv'])
    assert place.content(file_id(now)) == b'content 7' and place.items(there_id)['dst.csv']['meta'] == {'kept': 1}


@pytest.mark.parametrize('across', [False, True])
def test_what_cannot_take_a_place_leaves_both(place, across):
    there = place.make_subfolder('there') if across else place.dir
    src, dst = place.new('tmp', b'new'), place.new('dst', b'old', dir=there)
    for request in ({'method': 'DELETE'}, {'method': 'PUT', 'path': '/file/'}):
        place.relay.rule(status=500, body=b'{"message": "no", "type": "internal"}', times=1, **request)
        assert 'error' in place.d.rename(src, place.dir, there, 'dst', over=dst)
        place.relay.clear()
        assert place.names() == (['there', 'tmp'] if across else ['dst', 'tmp'])
        assert place.names(hex_id(there)) == (['dst'] if across else ['dst', 'tmp'])
        assert (place.content(file_id(src)), place.content(file_id(dst))) == (b'new', b'old')
        assert place.files(hex_id(src))[0]['name'] == 'tmp'


@pytest.mark.parametrize('across', [False, True])
def test_a_take_over_is_taken_back_from_each_step(place, across):
    """What is refused leaves all as it was: places, names, notes. Only the folder in which it was done may be left, and is shown then."""
    there = place.make_subfolder('there') if across else place.dir
    src, dst = place.new('tmp.csv', b'new'), place.new('dst.txt', b'old', dir=there)
    place.rest('PUT', f'item/{hex_id(dst)}/metadata', data={'kept': [1, None]})
    place.rest('PUT', f'item/{hex_id(dst)}', {'description': 'of the old one'})

    def state():
        return state_of(place, place.folder)
    before, steps = state(), 0
    while True:
        place.relay.clear()
        rule = place.relay.rule(method='POST|PUT|DELETE', skip=steps, times=1, status=500, body=b'{"message": "no", "type": "internal"}')
        answer = place.d.rename(src, place.dir, there, 'dst.txt', over=dst)
        if 'object' in answer:
            break
        assert rule.used == 1 and state() == before
        steps += 1
    place.relay.clear()
    assert steps == 8                                           # all but the last, which is about the folder alone
    assert rule.used == 1
    (left,) = [n for n in place.names(hex_id(there)) if n.startswith('.scifs-')]
    assert left in place.d.list(there)
    assert place.items(hex_id(there))['dst.txt']['meta'] == {'kept': [1, None]}


def test_a_name_changes_hands_for_a_key_that_may_not_delete_folders_too(place):
    key = place.rest('POST', 'api_key', {'name': 'data', 'scope': ['core.data.read', 'core.data.write']})['key']
    d = place.driver(key=key)
    src, dst = place.new('tmp', b'new', d=d), place.new('dst.csv', b'old', d=d)
    place.rest('PUT', f'item/{hex_id(dst)}/metadata', data={'kept': 1})
    place.relay.rule(method='DELETE', status=500, body=b'{"message": "no", "type": "internal"}', times=1)
    assert 'error' in d.rename(src, place.dir, place.dir, 'dst.csv', over=dst)
    assert place.names() == ['dst.csv', 'tmp'] and place.items()['tmp']['meta'] == {}
    new = d.rename(src, place.dir, place.dir, 'dst.csv', over=dst)['object']
    assert place.names() == ['dst.csv'] and place.content(file_id(new)) == b'new'
    assert place.items()['dst.csv']['meta'] == {'kept': 1}


def state_of(place, folder):
    """All that is in a folder, ids and times aside."""
    def files(item):
        return sorted((f['name'], f.get('size'), f.get('linkUrl'), f.get('mimeType'), f.get('sha512')) for f in place.files(item['_id']))
    items = place.rest('GET', 'item', {'folderId': folder, 'limit': '0'})
    folders = place.rest('GET', 'folder', {'parentType': 'folder', 'parentId': folder, 'limit': '0'})
    return sorted([(i['name'], i['description'], json.dumps(i['meta'], sort_keys=True), files(i)) for i in items] +
                  [(f['name'], f['description'], '', state_of(place, f['_id'])) for f in folders])


CHANGES = {
    'mkdir': lambda d, dir, a, dst, sub: d('mkdir', dir=dir, name='made'),
    'symlink': lambda d, dir, a, dst, sub: d('symlink', dir=dir, name='link', target='http://127.0.0.1:9/x'),
    'copy': lambda d, dir, a, dst, sub: d('copy', of=a, dir=dir, name='copy.csv'),
    'rename': lambda d, dir, a, dst, sub: d.rename(a, dir, dir, 'renamed.csv'),
    'rename over': lambda d, dir, a, dst, sub: d.rename(a, dir, dir, 'dst.csv', over=dst),
    'remove': lambda d, dir, a, dst, sub: d('remove', dir=dir, of=a),
    'rmdir': lambda d, dir, a, dst, sub: d('remove', dir=dir, of=sub),
    'set_attrs': lambda d, dir, a, dst, sub: d('set_attrs', of=a, attrs={'girder.meta.n': '1', 'girder.description': 'text',
                                                                         'girder.mime_type': 'x/y'}),
}
CHANGE_FAULTS = {
    'dropped before': {'drop': True},
    'cut in the request': {'ask_cut': 5, 'by': 'reset'},
    'answer lost': {'lose': True, 'by': 'reset'},
    'late': {'delay': 0.6},                                     # it is carried out after nobody waits any more
    '503 with a time': {'status': 503, 'headers': {'Retry-After': '1'}},
}


@pytest.mark.parametrize('fault', CHANGE_FAULTS)
@pytest.mark.parametrize('change', CHANGES)
def test_a_change_that_met_a_fault(place, change, fault):
    """Each request of each kind of change meets the fault once: in the end it is done, and done once, or it failed and is undone."""
    d = place.driver('stall_ms=500', 'slow_ms=500')

    def once(step):
        folder = place.repo.server.make_folder(place.folder, f'step {step}')
        place.repo.server.upload(folder, 'a.txt', b'new')
        old = place.repo.server.upload(folder, 'dst.csv', b'old')
        place.rest('PUT', f'item/{old["itemId"]}/metadata', data={'kept': 1})
        place.repo.server.make_folder(folder, 'sub')
        dir = place.at(f'folder/{folder}', d)
        things = [d.made('stat', of=d.list(dir)[name]) for name in ('a.txt', 'dst.csv', 'sub')]
        before, more = state_of(place, folder), dict(CHANGE_FAULTS[fault])
        place.relay.clear()
        rule = None
        if step is not None:
            if 'ask_cut' in more:                               # what has no body is cut before its end is known to have come
                place.relay.rule(method='POST|PUT|DELETE', header=('content-length', '^0$'), skip=step, times=1, answer=b'')
            rule = place.relay.rule(method='POST|PUT|DELETE', skip=step, times=1, **more)
        answer = CHANGES[change](d, dir, *things)
        met = [r for r in place.relay.rules if r.used]
        place.relay.clear()
        return answer, before, state_of(place, folder), met or rule is None
    answer, before, want, _ = once(None)
    assert 'error' not in answer and want != before
    for step in range(20):
        answer, _, now, met = once(step)
        assert now == (before if 'error' in answer else want), (step, answer)
        assert 'error' not in answer, (step, answer)            # each of them was asked for again, or found done
        if not met:
            break
    assert 0 < step < 20


def test_a_change_is_asked_for_twice_at_most_and_never_of_a_silent_server(place5):
    d = place5.driver('stall_ms=400', 'slow_ms=400')
    rule = place5.relay.rule(method='POST', path='/folder', drop=True)
    assert 'error' in d('mkdir', dir=place5.dir, name='dropped')
    assert rule.used == 2
    place5.relay.clear()
    rule = place5.relay.rule(method='POST', path='/folder', stall=True)
    assert d('mkdir', dir=place5.dir, name='silent')['error'] == 'ETIMEDOUT'
    assert rule.used == 1


def test_a_folder_takes_the_place_of_an_empty_one(place5):
    one, other, full = (place5.make_subfolder(n) for n in ('one', 'other', 'full'))
    place5.new('x', b'x', dir=full)
    assert place5.d.rename(one, place5.dir, place5.dir, 'full', over=full)['error'] == 'ENOTEMPTY'
    assert place5.d.rename(full, place5.dir, place5.dir, 'other', over=other)['object']['id'] == full['id']
    assert place5.names() == ['one', 'other']
    assert place5.names(hex_id(full)) == ['x']


def test_files_move_within_and_between_item_directories(place5):
    d = place5.d
    a, b = (place5.at(f'item/{place5.repo.server.make_item(place5.folder, n)}') for n in 'ab')
    f, g = place5.new('f', b'f', dir=a), place5.new('g', b'g', dir=a)
    f = d.rename(f, a, a, 'h.csv')['object']
    assert (f['name'], f['mime']) == ('h.csv', 'text/csv')
    assert d.rename(f, a, a, 'g')['error'] == 'EEXIST'
    f = d.rename(f, a, a, 'g', over=g)['object']
    assert list(d.list(a)) == ['g']
    moved = d.rename(f, a, b, 'k')['object']
    assert (list(d.list(a)), list(d.list(b)), place5.content(hex_id(moved))) == ([], ['k'], b'f')
    assert d.rename(moved, b, place5.dir, 'k')['error'] == 'EXDEV'


@pytest.mark.parametrize('when', ['nothing', 'after'])
def test_a_copy_is_made_by_the_server(place, when):
    d = place.d
    o = place.new('a.csv', noise(14, 50000))
    place.rest('PUT', f'item/{hex_id(o)}/metadata', data={'x': 1})
    place.relay.forget()
    if when == 'after':
        faults(place.relay, when, path='/copy')
    copy = d.made('copy', of=o, dir=place.dir, name='b.txt')
    assert copy['id'] != o['id'] and copy['digest'] == o['digest'] and copy['mime'] == 'text/plain'
    assert d.made('stat', of=copy) == copy
    place.holds('b.txt', noise(14, 50000))
    assert place.items()['b.txt']['meta'] == {'x': 1}
    assert all(r.received < 1000 for r in place.relay.settled())
    assert d('copy', of=o, dir=place.dir, name='b.txt')['error'] == 'EEXIST'
    assert place.names() == ['a.csv', 'b.txt']
    item = place.at(f'item/{place.repo.server.make_item(place.folder, "item")}')
    inside = d.made('copy', of=o, dir=item, name='inside')
    assert d.made('copy', of=inside, dir=place.dir, name='outside')['name'] == 'outside'
    place.holds('outside', noise(14, 50000))


def test_a_link_is_a_file_that_leads_elsewhere(place5):
    o = place5.d.made('symlink', dir=place5.dir, name='link', target=f'{place5.repo.server.api}/system/version')
    assert (o['kind'], o['content'].split('/')[0]) == (2, 'link-file')
    assert place5.files(hex_id(o))[0]['linkUrl'].endswith('/system/version')
    assert place5.d('symlink', dir=place5.dir, name='link', target='http://127.0.0.1:9/')['error'] == 'EEXIST'
    assert place5.d('symlink', dir=place5.dir, name='local', target='../x')['error'] == 'EPERM'
    assert place5.names() == ['link']


def test_a_directory_of_every_item(place):
    d = place.d
    o = place.new('merged', b'm')
    items = d.made('control', of=place.dir, name='items')
    empty = d.made('mkdir', dir=items, name='empty')
    assert list(d.list(items)) == ['empty', 'merged'] and d.list(empty) == {}
    assert d.made('stat', of=empty) == empty and d('lookup', dir=items, name='empty')['objects'] == [empty]
    assert d('mkdir', dir=items, name='merged')['error'] == 'EEXIST'
    inside = d.list(items)['merged']
    assert list(d.list(inside)) == ['merged']
    place.new('second', b's', dir=inside)
    assert d.made('stat', of=o)['kind'] == 2        # whoever knew it as a file goes on so
    assert d.made('stat', of=d.list(place.dir)['merged'])['kind'] == 1
    assert d('remove', dir=items, of=inside)['error'] == 'ENOTEMPTY'
    assert 'error' not in d('remove', dir=items, of=empty)
    assert d.rename(inside, items, items, 'other')['object']['id'] == inside['id']
    assert place.names() == ['other']
    assert d('control', of=d.made('root'), name='items')['error'] == 'ENOENT'


# ---- metadata ----

def attrs(place, o):
    return place.d('attrs', of=o)['attrs']


def test_attributes_are_typed_and_nested(place):
    o = place.new('m', b'm')
    place.relay.forget()
    assert place.d('set_attrs', of=o, attrs={
        'girder.meta.number': '6', 'girder.meta.float': '1.50', 'girder.meta.text': 'a b', 'girder.meta.list': '[1, 2]',
        'girder.meta.deep.er.est': 'x', 'girder.meta.007': '007', 'girder.description': 'what it is', 'girder.sha512': 'ignored'}) == {}
    assert len(place.relay.requests(method='PUT')) == 1
    item = place.rest('GET', f'item/{hex_id(o)}')
    assert item['meta'] == {'number': 6, 'float': 1.5, 'text': 'a b', 'list': [1, 2], 'deep': {'er': {'est': 'x'}}, '007': '007'}
    assert item['description'] == 'what it is'
    assert place.d('set_attrs', of=o, attrs={'girder.meta.deep.er.est': None, 'girder.meta.number': None,
                                             'girder.description': None}) == {}
    item = place.rest('GET', f'item/{hex_id(o)}')
    assert (item['meta']['deep'], 'number' in item['meta'], item['description']) == ({'er': {}}, False, '')
    assert place.d('set_attrs', of=o, attrs={'girder.meta.number': None})['error'] == 'ENODATA'
    assert place.d('set_attrs', of=o, attrs={'girder.meta': '{"text": null, "new": {"$date": 1}}'}) == {}
    assert sorted(place.rest('GET', f'item/{hex_id(o)}')['meta']) == ['007', 'deep', 'float', 'list', 'new']
    assert place.d('set_attrs', of=o, attrs={'girder.mime_type': 'x/y'}) == {}
    assert place.files(hex_id(o))[0]['mimeType'] == 'x/y'


def test_what_the_server_would_choke_on_is_refused_here(place5):
    o = place5.new('m', b'm')
    place5.relay.forget()
    for name, value in (('a', '1e999'), ('a', 'NaN'), ('a', '[1, -1e999]'), ('a', '9223372036854775808'), ('', '1'), ('$a', '1'),
                        ('a', '"\\ud800"'), ('a..b', '1')):
        assert place5.d('set_attrs', of=o, attrs={f'girder.meta.{name}': value})['error'] == 'EINVAL', (name, value)
    assert place5.d('set_attrs', of=o, attrs={'girder.meta': '{"a.b": 1}'})['error'] == 'EINVAL'
    assert place5.d('set_attrs', of=o, attrs={'girder.meta': 'no object'})['error'] == 'EINVAL'
    assert {r.method for r in place5.relay.settled()} <= {'GET'}
    item = place5.at(f'item/{place5.repo.server.make_item(place5.folder, "item")}')
    f = place5.new('f', b'f', dir=item)
    assert place5.d('set_attrs', of=f, attrs={'girder.meta.x': '1'})['error'] == 'EOPNOTSUPP'
    assert place5.d('check_attr', of=item, name='girder.meta.x') == {}


def test_other_numbers_stay_as_the_server_wrote_them(place):
    o = place.new('n', b'n')
    place.rest('PUT', f'item/{hex_id(o)}/metadata', data=NUMBERS_META.encode(), content_type='application/json')
    before = attrs(place, o)
    assert place.d('set_attrs', of=o, attrs={'girder.meta.nested.new': '1'}) == {}
    after = attrs(place, o)
    assert after.pop('girder.meta.nested.new') == '1'
    for name in ('girder.meta', 'girder.updated'):
        before.pop(name), after.pop(name)
    assert after == before


@pytest.mark.parametrize('when', ['before', 'after'])
def test_a_lost_answer_to_metadata_is_looked_after(place5, when):
    o = place5.new('l', b'l')
    faults(place5.relay, when, method='PUT')
    answer = place5.d('set_attrs', of=o, attrs={'girder.meta.a': '1'})
    place5.relay.clear()
    assert answer == {}
    assert place5.rest('GET', f'item/{hex_id(o)}')['meta'] == {'a': 1}


def test_a_document_replaces(place):
    o = place.new('d', b'd')
    place.rest('PUT', f'item/{hex_id(o)}/metadata', data={'goes': 1, 'stays': {'x': [1]}, 'changes': 1})
    base = place.d('doc', of=o)['doc']
    now = json.loads(base)
    now['meta'] = {'stays': {'x': [1]}, 'changes': 2, 'comes': None}
    now['description'] = 'new'
    assert place.d('set_doc', of=o, base=base, now=json.dumps(now, indent=1)) == {}
    item = place.rest('GET', f'item/{hex_id(o)}')
    assert (item['meta'], item['description']) == ({'stays': {'x': [1]}, 'changes': 2, 'comes': None}, 'new')
    assert place.d('set_doc', of=o, base=base, now=json.dumps(now))['error'] == 'ESTALE'
    now['size'] = 7
    answer = place.d('set_doc', of=o, base=base, now=json.dumps(now))
    assert answer['error'] == 'EINVAL' and 'size' in answer['words']
    assert place.d('set_doc', of=o, base=base, now='{"meta": {')['error'] == 'EINVAL'
    folder = place.make_subfolder('with metadata')
    base = place.d('doc', of=folder)['doc']
    assert place.d('set_doc', of=folder, base=base, now=json.dumps({**json.loads(base), 'meta': {'a': 1}})) == {}
    assert place.rest('GET', folder['id'])['meta'] == {'a': 1}


# ---- any request ----

def ask(place, **question):
    return place.d('call', of=place.dir, name='rest', question=json.dumps(question))


def test_any_request_can_be_made(place):
    made = ask(place, method='POST', path='/item', parameters={'folderId': place.folder, 'name': 'ä & b', 'metadata': {'a': 1}})['answer']
    assert (made['status'], made['body']['name'], made['body']['meta']) == (200, 'ä & b', {'a': 1})
    put = ask(place, method='put', path=f'item/{made["body"]["_id"]}/metadata', data={'b': [2]})['answer']
    assert put['body']['meta'] == {'a': 1, 'b': [2]}
    path = place.file(noise(15, 5000))
    sent = ask(place, method='POST', path='file', file=path, parameters={
        'parentType': 'item', 'parentId': made['body']['_id'], 'name': 'f', 'size': 5000})['answer']
    assert place.content(sent['body']['_id']) == noise(15, 5000)
    missing = ask(place, path='item/000000000000000000000000')['answer']
    assert missing['status'] == 400 and 'Invalid item id' in missing['body']['message']
    assert ask(place, path='item', parameters={'folderId': place.folder, 'token': 'secret'})['answer']['url'].endswith('token=***')
    assert ask(place, path='nowhere/at/all')['answer']['status'] in (400, 404)
    form = ask(place, method='POST', path='file/chunk', file=path, multipart='chunk', parameters={'uploadId': '0' * 24})['answer']
    assert form['status'] == 400


def test_what_is_no_request_is_refused(place5):
    for question in ({'method': 'STEAL', 'path': 'x'}, {'method': 'GET'}, {'path': 'http://127.0.0.1/'}, {'path': '../../x'},
                     {'path': 'x', 'parameters': [1]}, {'path': 'x', 'file': '/nowhere'}, {'path': 'x', 'file': '/dev/null'}):
        assert ask(place5, **question)['error'] == 'EINVAL', question
    assert place5.d('call', of=place5.dir, name='rest', question='no JSON')['error'] == 'EINVAL'


def test_the_servers_own_refusal_is_an_answer(place5):
    with pytest.raises(RestError):
        place5.rest('PUT', f'item/{"0" * 24}', {'name': 'x'})
    assert ask(place5, method='PUT', path=f'item/{"0" * 24}', parameters={'name': 'x'})['answer']['status'] == 400
