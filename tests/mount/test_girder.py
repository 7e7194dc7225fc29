"""What is Girder's own: contents that it cannot send, links, items as files or directories, logins that end without a word, and
how many requests a look costs."""
import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time

import pytest
from harness import TOP, Mount, noise, run, sha512, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from relay import Relay  # noqa: E402


@pytest.fixture
def relay(girder):
    with Relay(girder.server.url) as r:
        yield r


@pytest.fixture
def folder(girder, request):
    """A folder of the test's own: (id, path in the mount)."""
    name = request.node.name.replace('/', ' ')
    identity = girder.server.make_folder(girder.ids['sample'], name, 'collection')
    yield identity, f'collection/Sample/{name}'
    girder.server.rest('DELETE', 'resource', {'resources': {'folder': [identity]}})


def source(relay):
    return f'girder+{relay.url}'


def fails(errno_wanted, call, *args):
    with pytest.raises(OSError) as e:
        call(*args)
    assert e.value.errno == errno_wanted


# ---- contents that the server stores and cannot send ----

def test_the_server_still_cannot_send_such_names(girder):
    """When this fails the other route is not needed any more."""
    from girder import RestError
    for item in girder.server.rest('GET', 'item', {'folderId': girder.ids['unservable']}):
        with pytest.raises(RestError) as e:
            girder.server.rest('GET', f'item/{item["_id"]}/download')
        assert e.value.status == 500


def test_a_content_that_cannot_be_sent_is_read_whole_and_in_parts(girder, gmnt):
    from girder_sample import UNSERVABLE
    for n, name in enumerate(UNSERVABLE):
        path = gmnt / 'collection/Sample/Unservable' / name.replace('\x85', '%C2%85')
        assert path.read_bytes() == noise(40 + n, 3000 + n)
        with open(path, 'rb') as f:
            f.seek(1000)
            assert f.read(17) == noise(40 + n, 3000 + n)[1000:1017]


def test_such_a_content_says_what_is_wrong_with_it(gmnt):
    assert b'name' in os.getxattr(gmnt / 'collection/Sample/Unservable/20°C.dat', 'user.scifs.error')


def test_such_a_content_is_fetched_once_whoever_reads_how(girder, relay, folder, mount):
    content = noise(77, 24 << 20)
    girder.server.upload(folder[0], '24 MiB ©.bin', content)
    m = mount(source(relay), 'memory=16M', 'cache=none', 'ttl=10m', 'list_ttl=10m', env=girder.env)
    path = m / folder[1] / '24 MiB ©.bin'
    sums, readers = [], []

    def read():
        sums.append(run('sha512sum', path).split()[0].lstrip('\\'))
    for _ in range(8):
        readers.append(threading.Thread(target=read))
        readers[-1].start()
    for t in readers:
        t.join()
    with open(path, 'rb') as f:
        f.seek(20 << 20)
        assert f.read(100) == content[20 << 20:(20 << 20) + 100]
    assert sums == [sha512(content)] * 8
    assert len(relay.requests('resource/download')) == 1


def test_of_an_items_files_each_comes_out_of_the_zip_by_itself(girder, folder, mount):
    g = girder.server
    item = g.make_item(folder[0], 'Größen')
    names = ['plain.txt', 'ß', 'b/ß', '° x', 'empty ß']
    for name in names:
        g.upload(item, name, b'' if name.startswith('empty') else name.encode() * 1000, 'item')
    g.rest('POST', 'file', {'parentType': 'item', 'parentId': item, 'name': 'a link ß', 'linkUrl': 'http://127.0.0.1:9/x', 'size': '7'})
    m = mount(girder)
    for name in names[:-1]:
        assert (m / folder[1] / 'Größen' / name.replace('/', '%2F')).read_bytes() == name.encode() * 1000
    assert (m / folder[1] / 'Größen/empty ß').read_bytes() == b''


@pytest.mark.parametrize('fault', [{'cut': 2000}, {'flip': 1500}, {'status': 500, 'body': '<html>no</html>', 'headers': {'Content-Type': 'application/json'}},
                                   {'body': b'PK\x01\x02' + b'\0' * 60}, {'body': b'<html>' + b' ' * 100}])
def test_a_zip_that_is_damaged_gives_no_bytes_and_heals(girder, relay, folder, mount, fault):
    girder.server.upload(folder[0], '§.bin', noise(5, 200000))
    m = mount(source(relay), 'cache=none', 'ttl=10m', 'list_ttl=10m', env=girder.env)
    path = m / folder[1] / '§.bin'
    rule = relay.rule(path='resource/download', **fault)
    fails(errno.EIO, path.read_bytes)
    assert relay.requests('resource/download')
    assert any(e['op'] == 'read' and e['errno'] for e in m.errors())
    relay.clear()
    assert path.read_bytes() == noise(5, 200000)
    assert rule.used


# ---- links ----

def test_a_link_is_a_file_of_what_it_leads_to(girder, gmnt):
    links = gmnt / 'collection/Sample/Links'
    for name in ('to a file.dat', 'with a size.dat'):
        assert os.stat(links / name).st_size == (5 << 20) + 7
        assert (links / name).read_bytes() == girder.files[girder.big]
        assert os.getxattr(links / name, 'user.girder.link_url').decode().endswith('/download')


def test_a_link_to_nowhere_is_an_error_of_its_own(girder, gmnt):
    links = gmnt / 'collection/Sample/Links'
    assert 'to nowhere' in os.listdir(links)
    with pytest.raises(OSError):
        (links / 'to nowhere').read_bytes()
    assert (links / 'to a file.dat').stat().st_size == (5 << 20) + 7


def test_a_link_to_another_origin_never_sees_the_login(girder, folder, mount):
    with Relay(girder.server.url) as elsewhere:
        file = girder.server.upload(folder[0], 'target.dat', b'the target\n')
        girder.server.rest('POST', 'file', {'parentType': 'folder', 'parentId': folder[0], 'name': 'away.dat', 'size': '11',
                                            'linkUrl': f'{elsewhere.url}/api/v1/file/{file["_id"]}/download'})
        m = mount(girder)
        assert (m / folder[1] / 'away.dat').read_bytes() == b'the target\n'
        seen = elsewhere.requests('download')
        assert seen and not any('girder-token' in r.headers or 'cookie' in r.headers for r in seen)


# ---- items ----

def shapes(girder, folder):
    g = girder.server
    g.upload(folder[0], 'single.dat', b'single\n')
    several = g.make_item(folder[0], 'several')
    for name in ('b.dat', 'several', 'a.dat'):
        g.upload(several, name, f'{name}\n'.encode(), 'item')
    g.upload(g.make_item(folder[0], 'other'), 'name.dat', b'other name\n', 'item')
    g.make_item(folder[0], 'empty')


def test_items_file_shows_each_item_with_content_as_a_file(girder, folder, mount):
    shapes(girder, folder)
    m = mount(girder, 'items=file')
    f = m / folder[1]
    assert {n: (f / n).read_bytes() for n in ('single.dat', 'several', 'other')} == {
        'single.dat': b'single\n', 'several': b'several\n', 'other': b'other name\n'}
    assert (f / 'empty').read_bytes() == b''


def test_an_item_that_was_taken_for_a_file_becomes_a_directory_when_it_is_opened(girder, folder, mount):
    shapes(girder, folder)
    m = mount(girder, 'items=assume-single', 'list_ttl=10m')
    f = m / folder[1]
    os.listdir(f)
    assert stat.S_ISREG(os.lstat(f / 'several').st_mode)
    fails(errno.EISDIR, (f / 'several').read_bytes)
    wait_for(lambda: stat.S_ISDIR(os.lstat(f / 'several').st_mode), 'it is a directory')
    assert sorted(os.listdir(f / 'several')) == ['a.dat', 'b.dat', 'several']
    assert (f / 'single.dat').read_bytes() == b'single\n'


def test_a_second_file_makes_a_directory_and_its_going_a_file_again(girder, folder, mount):
    g = girder.server
    m = mount(girder, 'ttl=1s', 'list_ttl=1s')
    item = g.upload(folder[0], 'a.dat', b'first\n')['itemId']
    path = m / folder[1] / 'a.dat'
    assert path.read_bytes() == b'first\n'
    with open(path, 'rb') as held:
        second = g.upload(item, 'b.dat', b'second\n', 'item')
        wait_for(path.is_dir, 'it is a directory')
        assert held.read() == b'first\n'
    assert (path / 'b.dat').read_bytes() == b'second\n'
    g.rest('DELETE', f'file/{second["_id"]}')
    wait_for(path.is_file, 'it is a file again')
    assert path.read_bytes() == b'first\n'


def test_a_content_replaced_by_one_of_equal_size_is_seen_at_open(girder, folder, mount):
    """Trap: neither the item's time nor its size tells."""
    g = girder.server
    m = mount(girder, 'ttl=1s', 'list_ttl=1s')
    file = g.upload(folder[0], 'a.dat', b'old bytes\n')
    path = m / folder[1] / 'a.dat'
    assert path.read_bytes() == b'old bytes\n'
    g.replace(file['_id'], b'new bytes\n')
    wait_for(lambda: path.read_bytes() == b'new bytes\n', 'the new bytes')


def test_a_stale_digest_does_not_make_a_replaced_content_unreadable(girder, relay, folder, mount):
    """What an S3 store does: the sha512 of the old content stays in the document of the new one."""
    g = girder.server
    file = g.upload(folder[0], 'a.dat', noise(1, 100000))
    made = time.time()
    wait_for(lambda: time.time() > made + 3, 'another second')
    g.replace(file['_id'], noise(2, 100000))
    stale = sha512(noise(1, 100000))

    def edit(j):
        return [edit(x) for x in j] if isinstance(j, list) else {**j, 'sha512': stale}
    relay.rule(path=r'item/[0-9a-f]{24}/files|file/[0-9a-f]{24}$', edit=edit)
    m = mount(source(relay), env=girder.env)
    assert (m / folder[1] / 'a.dat').read_bytes() == noise(2, 100000)
    assert os.getxattr(m / folder[1] / 'a.dat', 'user.girder.sha512').decode() == stale
    fails(errno.ENODATA, os.getxattr, m / folder[1] / 'a.dat', 'user.scifs.digest')


# ---- logins ----

def end_logins(girder, name):
    """Every token made from this key is unknown from now on."""
    key = next(k for k in girder.server.rest('GET', 'api_key') if k['name'] == name)
    for active in ('false', 'true'):
        girder.server.rest('PUT', f'api_key/{key["_id"]}', {'active': active})


@pytest.fixture
def key(girder, request):
    """An API key of the test's own: (name, key)."""
    name = request.node.name
    made = girder.server.rest('POST', 'api_key', {'name': name})
    yield name, made['key']
    girder.server.rest('DELETE', f'api_key/{made["_id"]}')


def test_a_login_that_ended_does_not_make_things_vanish(girder, key, relay, mount):
    """Trap: an expired token is nobody, with status 200; the listing is only shorter."""
    m = mount(source(relay), 'ttl=1s', 'list_ttl=1s', env={'SCIFS_API_KEY': key[1]})
    whole = os.listdir(m / 'collection'), os.listdir(m / 'collection/Sample')
    assert 'Closed' in whole[0] and 'Private' in whole[1]
    end_logins(girder, key[0])
    run('setfattr', '-n', 'user.scifs.refresh', '-v', '1', m / 'collection')
    run('setfattr', '-n', 'user.scifs.refresh', '-v', '1', m / 'collection/Sample')
    assert (os.listdir(m / 'collection'), os.listdir(m / 'collection/Sample')) == whole
    assert (m / 'collection/Sample/Private/secret.txt').read_bytes() == b'nobody but the admin reads this\n'
    assert len(relay.requests('api_key/token')) == 2


def test_a_login_that_ended_is_renewed_when_something_private_is_read(girder, key, mount):
    m = mount(girder, 'ttl=1s', 'list_ttl=1s', env={'SCIFS_API_KEY': key[1]})
    secret = m / 'collection/Sample/Private/secret.txt'
    assert secret.stat().st_size == 32
    end_logins(girder, key[0])
    time.sleep(1.1)         # older than the time to live: it is looked at again
    assert secret.read_bytes() == b'nobody but the admin reads this\n'


def test_a_token_that_ended_and_cannot_be_renewed_is_eacces_and_no_empty_tree(girder, key, mount):
    token = girder.server.rest('POST', 'api_key/token', {'key': key[1]}, anonymous=True)['authToken']['token']
    m = mount(girder, 'ttl=1s', 'list_ttl=1s', env={'SCIFS_TOKEN': token})
    assert 'Closed' in os.listdir(m / 'collection')
    end_logins(girder, key[0])
    run('setfattr', '-n', 'user.scifs.refresh', '-v', '1', m / 'collection')

    def refused():
        try:
            assert 'Closed' in os.listdir(m / 'collection')         # what was known may be shown, less may not
        except PermissionError:
            return True
    wait_for(refused, 'EACCES')
    assert any('login' in e['message'] for e in m.errors())


def test_a_token_that_is_about_to_end_is_exchanged_in_time(girder, key, relay, mount):
    """The key's tokens live for 20 seconds, so that a quarter of that is soon."""
    made = next(k for k in girder.server.rest('GET', 'api_key') if k['name'] == key[0])
    girder.server.rest('PUT', f'api_key/{made["_id"]}', {'tokenDuration': str(20 / 86400)})
    m = mount(source(relay), 'ttl=1s', 'list_ttl=1s', env={'SCIFS_API_KEY': key[1]})

    def exchanged():
        assert 'Closed' in os.listdir(m / 'collection')
        return len(relay.requests('api_key/token')) > 1
    wait_for(exchanged, 'a second login')
    assert 'the login has ended' not in m.log


def test_a_scope_that_is_too_small_is_not_logged_in_for_again_and_again(girder, relay, mount):
    m = mount(source(relay), env={'SCIFS_API_KEY': girder.server.read_key})
    before = len(relay.requests('api_key/token'))
    for _ in range(3):
        try:
            os.listdir(m / 'user')
        except PermissionError:
            pass
    assert len(relay.requests('api_key/token')) - before <= 3
    assert (m / girder.text).read_bytes() == girder.files[girder.text]


def test_nobody_may_list_users_but_looks_up_each_by_name(girder, mount):
    m = mount(girder, env={})
    fails(errno.EACCES, os.listdir, m / 'user')
    for user in ('alice', 'admin', 'alice'):
        assert 'Public' in os.listdir(m / 'user' / user)
    with pytest.raises(OSError):
        os.stat(m / 'user/nosuchuser')


# ---- answers ----

@pytest.mark.parametrize('answer,wanted', [
    ({'status': 500, 'headers': {'Content-Type': 'application/json'}, 'body': '<html><title>500</title></html>'}, errno.EIO),
    ({'status': 200, 'headers': {'Content-Type': 'application/json'}, 'body': '<html><title>proxy</title></html>'}, None),
    ({'status': 200, 'headers': {'Content-Type': 'application/json'}, 'body': '{"message": "odd"}'}, None),
    ({'status': 400, 'headers': {'Content-Type': 'application/json'}, 'body': '{"message": "Invalid folder id (x).", "type": "rest"}'}, errno.ENOENT),
    ({'status': 403, 'headers': {'Content-Type': 'application/json'}, 'body': '{"message": "Read access denied", "type": "access"}'}, errno.EACCES)])
def test_an_answer_that_is_no_listing_is_an_error_and_no_empty_directory(girder, relay, folder, mount, answer, wanted):
    girder.server.upload(folder[0], 'a.dat', b'a\n')
    m = mount(source(relay), env=girder.env)
    os.stat(m / folder[1])
    rule = relay.rule(path='^/api/v1/item[?]folderId=', **answer)
    with pytest.raises(OSError) as e:
        os.listdir(m / folder[1])
    assert rule.used and (wanted is None or e.value.errno == wanted)
    relay.clear()
    assert os.listdir(m / folder[1]) == ['a.dat']


# ---- requests ----

def test_a_cold_path_costs_one_request_a_directory_and_three_for_its_file(girder, relay, mount):
    """collection, folder, folder, folder: one each; the file: no folder, an item, what is in it."""
    m = mount(source(relay), env=girder.env)
    relay.settled()
    relay.forget()
    assert os.stat(m / girder.deep).st_size == len(girder.files[girder.deep])
    assert [r.target.split('?')[0].replace('/api/v1/', '').split('/')[0] for r in relay.settled()] == [
        'resource', 'folder', 'folder', 'folder', 'folder', 'folder', 'item', 'item']


def test_ls_l_of_many_items_costs_two_requests_when_they_are_assumed_single(girder, relay, mount):
    m = mount(source(relay), 'items=assume-single', 'list_ttl=10m', 'ttl=10m', env=girder.env)
    many = m / 'collection/Sample/Many'
    os.stat(many)
    relay.settled()
    relay.forget()
    assert run('ls', '-l', many).count('\n') == 2001
    assert len(relay.settled()) == 2


def test_ls_l_of_many_items_costs_one_request_each_and_two_and_then_none(girder, relay, mount):
    m = mount(source(relay), 'list_ttl=10m', 'ttl=10m', env=girder.env)
    many = m / 'collection/Sample/Many'
    os.stat(many)
    relay.settled()
    relay.forget()
    assert run('ls', '-l', many, timeout=600).count('\n') == 2001
    assert len(relay.settled()) == 2002
    relay.forget()
    assert run('ls', '-l', many).count('\n') == 2001
    assert relay.settled() == []
