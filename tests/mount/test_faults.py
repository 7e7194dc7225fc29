"""Answers that no real server can be brought to give, made by the relay (tests/faults) between scifs and a real Girder: each ends
with an errno and a line in the log and in .scifs/errors; never with a crash, a wrong byte or a wait without an end."""
import errno
import json
import os
import re
import sys
import time

import pytest
from harness import TOP, errno_of, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from relay import Relay  # noqa: E402

# Times that a test can wait for; retries as often as in life.
SHORT = ('timeout=6s', 'stall_timeout=1s', 'connect_timeout=2s', 'retry_delay=20ms', 'throttle_delay=200ms', 'probe_interval=100ms')
ITEMS = r'/api/v1/item\?folderId='
FOLDERS = r'/api/v1/folder\?parentType=folder'
DOWNLOAD = r'/download$'


@pytest.fixture
def relay(girder5):
    with Relay(girder5.server.url) as r:
        yield r


@pytest.fixture
def faulty(girder5, relay, mount):
    """A mount through the relay, with short times and no cache on disk."""
    def make(*options, **kw):
        return mount(f'girder+{relay.url}', *SHORT, 'cache=none', *options, env=girder5.env, **kw)
    return make


def said(m, pattern):
    """A line of the log that warns, and one of .scifs/errors, have this."""
    wait_for(lambda: any(re.search(pattern, line) for line in m.log.splitlines() if re.search(' (warn|error): ', line)),
             f'{pattern} in the log:\n{m.log}')
    return [e for e in m.errors() if re.search(pattern, json.dumps(e))]


def read_or_not(path):
    try:
        return path.read_bytes()
    except OSError:
        return None


# ---- answers that are not what was asked for ----

NONSENSE = {
    'empty': b'', 'words': b'not json', 'page': b'<html><body>Welcome!</body></html>', 'half': b'[{"_id": "5', 'null': b'null',
    'number': b'42', 'text': b'"text"', 'object': b'{"a": 1}', 'deep': b'[' * 200000, 'deep objects': b'{"a":' * 200000,
    'not utf-8': b'[{"name": "\xff\xfe"', 'nul': b'\0\0\0\0', 'two': b'[] []', 'huge number': b'1' + b'0' * 100000,
}
DOCUMENTS = {k: v for k, v in NONSENSE.items() if k != 'object'}         # an object is a document, whatever it lacks


@pytest.mark.parametrize('body', NONSENSE.values(), ids=NONSENSE.keys())
def test_a_listing_of_nonsense_is_an_error(girder5, relay, faulty, body):
    m = faulty()
    rule = relay.rule(path=ITEMS, body=body)
    assert errno_of(os.listdir, m / girder5.top) in (errno.EIO, errno.EBADMSG, errno.EPROTO)
    assert rule.used
    assert said(m, 'list')
    relay.clear()
    assert 'planets.csv' in os.listdir(m / girder5.top)


@pytest.mark.parametrize('body', DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_document_of_nonsense_is_an_error(girder5, relay, faulty, body):
    m = faulty()
    os.stat(m / girder5.text)
    rule = relay.rule(path=r'/api/v1/item/[0-9a-f]*$', body=body)
    assert errno_of((m / girder5.top / '.scifs/meta/planets.csv.json').read_text) in (errno.EIO, errno.EBADMSG, errno.EPROTO)
    assert rule.used and said(m, 'BADMSG|Bad message')
    relay.clear()
    assert json.loads((m / girder5.top / '.scifs/meta/planets.csv.json').read_text())['name'] == 'planets.csv'


STRANGE = {
    'no name': {'name': None}, 'name is a number': {'name': 5}, 'name is an object': {'name': {}}, 'no id': {'_id': None},
    'id of another kind': {'_id': 17}, 'id that leads away': {'_id': '../../user/me'}, 'id with a query': {'_id': 'a' * 23 + '?'},
    'long id': {'_id': 'a' * 5000}, 'negative size': {'size': -1}, 'absurd size': {'size': 2 ** 63}, 'size beyond numbers': {'size': 1e300},
    'size is text': {'size': '12'}, 'size is a half': {'size': 0.5}, 'time of nonsense': {'created': 'yesterday'},
    'time is a number': {'created': 5}, 'time out of range': {'updated': '99999999-01-01T00:00:00+00:00'}, 'empty name': {'name': ''},
}


@pytest.mark.parametrize('change', STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_entry_hides_no_other(girder5, relay, faulty, change):
    """Its own fate is to be left out with a warning, or to be shown as far as it can be; the others are as they were."""
    m = faulty()
    want = set(os.listdir(m / girder5.top))
    relay.rule(path=ITEMS, edit=lambda items: [{**i, **change} if i.get('name') == 'one.dat' else i for i in items])
    n = faulty()
    got = set(os.listdir(n / girder5.top))
    assert want - got <= {'one.dat'}
    if 'one.dat' not in got and not got - want:
        wait_for(lambda: 'left out' in n.log, 'a warning')
    for name in got:
        try:
            os.lstat(n / girder5.top / name)
        except OSError as e:
            assert e.errno in (errno.EIO, errno.ENOENT, errno.EBADMSG) and name not in want - {'one.dat'}
    assert (n / girder5.small).read_bytes() == girder5.files[girder5.small]


ODD_NAMES = ['a/b', '/', '.', '..', '../../etc/passwd', 'a\0b', '\0', 'line\nfeed', 'bell\x07', 'esc\x1b[31mred', '\x7f', 'x' * 300, 'ü' * 300,
             '\ud800 lone', 'x' * 100000, ' ', '.scifs', '\u202egnp.exe']


def test_names_cannot_leave_their_directory(girder5, relay, faulty):
    def rename(items):
        pattern = next(i for i in items if i['name'] == 'one.dat')
        return items + [{**pattern, '_id': f'{0xabc000 + n:024x}', 'name': name} for n, name in enumerate(ODD_NAMES)]
    relay.rule(path=ITEMS, edit=rename)
    m = faulty()
    top = os.fsencode(m / girder5.top)
    names = os.listdir(top)
    assert len(names) == len(set(names))
    assert all(0 < len(n) <= 255 and b'/' not in n and b'\0' not in n and n not in (b'.', b'..') for n in names)
    assert b'one.dat' in names and b'noise-5m.dat' in names
    shown = [n for n in names if n not in {os.fsencode(os.path.basename(p)) for p in girder5.files}]
    assert len(shown) >= len(ODD_NAMES) - 2         # a lone surrogate is no text, and may be left out
    for n in names:
        n.decode()                                  # whatever it shows is UTF-8
    assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]


def test_names_that_are_no_utf8_are_shown_or_left_out(girder5, relay, faulty):
    relay.rule(path=ITEMS, replace=[[b'"one.dat"', b'"on\xff\xc3.dat"'], [b'"empty.dat"', b'"\xed\xa0\x80"'], [b'"fat.txt"', b'"\xc0\xaf"']])
    m = faulty()
    names = os.listdir(os.fsencode(m / girder5.top))
    assert b'noise-5m.dat' in names and not any(b'/' in n or b'\0' in n for n in names)
    for n in names:
        n.decode()


def test_a_listing_without_an_end_is_an_error(girder5, relay, faulty):
    """Each page is full, and there is always one more."""
    def full(items):
        some.extend(items[:1])
        return [{**some[0], '_id': f'{n:024x}', 'name': f'n{n}'} for n in range(20000)]
    some = []
    m = faulty('timeout=60s')
    relay.rule(path=ITEMS, edit=full)
    assert errno_of(os.listdir, m / girder5.top) in (errno.EIO, errno.EBADMSG, errno.EMSGSIZE, errno.EFBIG)
    assert said(m, 'end')


# ---- content ----

@pytest.mark.parametrize('by', ['close', 'reset'])
@pytest.mark.parametrize('offset', [0, 1, 511, 4096, 32768, 65537, 1 << 20, (1 << 20) + 1, 5 << 20, (5 << 20) + 6])
def test_a_connection_that_breaks_off_is_continued(girder5, relay, faulty, offset, by):
    m = faulty()
    rule = relay.rule(path=DOWNLOAD, cut=offset, by=by, times=3)
    assert (m / girder5.big).read_bytes() == girder5.files[girder5.big]
    assert rule.used
    asked = [r for r in relay.settled() if re.search(DOWNLOAD, r.target)]
    assert sum(r.sent for r in asked) <= 1.5 * len(girder5.files[girder5.big])        # continued, not begun again


def test_a_body_that_never_comes_whole_is_an_error(girder5, relay, faulty):
    m = faulty()
    relay.rule(path=DOWNLOAD, cut=0)
    assert errno_of((m / girder5.small).read_bytes) == errno.EIO
    assert said(m, 'shorter|closed|transfer')
    relay.clear()
    assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]


def test_a_body_shorter_than_announced_is_an_error(girder5, relay, faulty):
    m = faulty()
    relay.rule(path=DOWNLOAD, announce=4096, cut=4000)
    assert errno_of((m / girder5.small).read_bytes) == errno.EIO
    relay.clear()
    relay.rule(path=DOWNLOAD, body=b'x' * 100, headers={'Content-Range': 'bytes 0-99/4096'})
    assert errno_of((m / girder5.small).read_bytes) in (errno.EIO, errno.ESTALE)


def test_a_body_longer_than_announced_gives_no_other_byte(girder5, relay, faulty):
    m = faulty()
    rule = relay.rule(path=DOWNLOAD, extra=b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil' * 100)
    for p in (girder5.small, girder5.odd, girder5.one, girder5.big):
        try:
            assert (m / p).read_bytes() == girder5.files[p]
        except OSError as e:            # what came behind may be taken for the next answer on that connection
            assert e.errno in (errno.EIO, errno.EBADMSG, errno.EPROTO, errno.ESTALE)
    assert rule.used
    relay.clear()
    assert wait_for(lambda: read_or_not(m / girder5.odd) == girder5.files[girder5.odd], 'it reads again')


def test_content_of_another_length_is_an_error(girder5, relay, faulty):
    m = faulty()
    relay.rule(path=DOWNLOAD, body=b'y' * 5000, headers={'Content-Range': 'bytes 0-4999/5000'})
    assert errno_of((m / girder5.small).read_bytes) in (errno.EIO, errno.ESTALE)
    assert said(m, 'length|part')


def test_wrong_bytes_are_never_a_whole_file(girder5, relay, faulty):
    """The server's digest is held against what was read: the last bytes are not given out."""
    m = faulty()
    rule = relay.rule(path=DOWNLOAD, flip=4000)
    assert errno_of((m / girder5.small).read_bytes) == errno.EIO
    assert rule.used and said(m, 'digest')
    relay.clear()
    assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]


def test_a_server_without_ranges_is_read_all_the_same(girder5, relay, faulty):
    m = faulty()
    rule = relay.rule(path=DOWNLOAD, ask={'Range': None})
    with open(m / girder5.odd, 'rb') as f:
        f.seek(70000)
        assert f.read(1000) == girder5.files[girder5.odd][70000:71000]
    assert (m / girder5.big).read_bytes() == girder5.files[girder5.big]
    assert rule.used


def test_the_whole_under_the_name_of_a_part_gives_no_wrong_byte(girder5, relay, faulty):
    """As Girder answers a range past the end."""
    m = faulty()
    whole = girder5.files[girder5.odd]
    relay.rule(path=DOWNLOAD, body=whole, headers={'Content-Range': f'bytes 0-{len(whole) - 1}/{len(whole)}'})
    with open(m / girder5.odd, 'rb') as f:
        f.seek(70000)
        try:
            assert f.read(1000) == whole[70000:71000]
        except OSError as e:
            assert e.errno == errno.EIO
    assert (m / girder5.top).is_dir()


def test_another_part_than_the_one_asked_for_is_an_error(girder5, relay, faulty):
    m = faulty()
    relay.rule(path=DOWNLOAD, ask={'Range': 'bytes=50000-50999'})
    with open(m / girder5.odd, 'rb') as f:
        f.seek(70000)
        assert errno_of(f.read, 1000) == errno.EIO
    assert said(m, 'part')


def test_an_error_page_is_no_content(girder5, relay, faulty):
    m = faulty()
    os.stat(m / girder5.small)
    for status in (500, 400, 404, 403, 410, 418):
        rule = relay.rule(path=DOWNLOAD, status=status, body=b'<html>' + b'x' * 100000)
        assert errno_of((m / girder5.small).read_bytes) in (errno.EIO, errno.EACCES, errno.ESTALE, errno.ENOENT)
        assert rule.used
    relay.clear()
    assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]


# ---- patience ----

@pytest.mark.parametrize('status', [429, 503])
def test_retry_after_is_obeyed(girder5, relay, faulty, status):
    m = faulty()
    os.stat(m / girder5.small)
    relay.forget()
    relay.rule(path=DOWNLOAD, status=status, headers={'Retry-After': '2'}, times=1)
    assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]
    first, second = [r for r in relay.settled() if re.search(DOWNLOAD, r.target)][:2]
    assert second.began - first.ended >= 2
    # The whole host was left alone meanwhile.
    assert not [r for r in relay.log if first.ended + 0.5 < r.began < second.began - 0.5]


@pytest.mark.parametrize('status', [429, 503])
def test_without_a_time_it_waits_by_itself(girder5, relay, faulty, status):
    m = faulty()
    os.stat(m / girder5.small)
    relay.rule(path=DOWNLOAD, status=status, times=2)
    assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]
    a, b, c = [r for r in relay.settled() if re.search(DOWNLOAD, r.target)][:3]
    assert b.began - a.ended >= 0.2 and c.began - b.ended >= 0.4


def test_patience_has_an_end(girder5, relay, faulty):
    m = faulty()
    os.stat(m / girder5.small)
    relay.rule(path=DOWNLOAD, status=503)
    assert errno_of((m / girder5.small).read_bytes) == errno.EIO
    assert said(m, '503')
    assert len(relay.requests(DOWNLOAD)) <= 20          # of one request or two: the kernel asks for a page twice


# ---- secrets ----

def test_no_secret_goes_to_another_origin(girder5, relay, faulty):
    with Relay(girder5.server.url) as other:
        path = {}

        def away(method, pattern):
            for n in (301, 302, 303, 307, 308):
                relay.rule(method=method, path=pattern, status=n, times=1, redirect=f'{other.url}/api/v1/system/version?{n}',
                           headers={'Set-Cookie': 'girderToken=secret; Path=/'})
            path[pattern] = True
        m = faulty('ttl=0s', 'list_ttl=0s')
        os.stat(m / girder5.small)
        file = next(r for r in relay_download(m, girder5, relay))
        for n in (301, 302, 303, 307, 308):
            relay.rule(path=DOWNLOAD, status=n, times=1, redirect=f'{other.url}{file.path}', headers={'Set-Cookie': 'girderToken=secret; Path=/'})
        away('GET', ITEMS)
        away('GET', FOLDERS)
        for p in (girder5.odd, girder5.one, girder5.small, girder5.text):
            try:
                (m / p).read_bytes()
                os.listdir(m / girder5.top)
            except OSError:
                pass                    # what it leads to is another file, or no listing: that is no matter here
        assert other.settled()
        for r in other.log:
            assert not {'girder-token', 'authorization', 'cookie', 'girder-authorization'} & set(r.headers), r.headers
        for r in relay.log:
            assert 'cookie' not in r.headers
        token = next(r.headers['girder-token'] for r in relay.log if 'girder-token' in r.headers)
        assert not any(token in json.dumps([r.headers, r.target]) for r in other.log)
        assert token not in m.log and girder5.server.api_key not in m.log


def relay_download(m, girder5, relay):
    (m / girder5.one).read_bytes()
    return [r for r in relay.settled() if re.search(DOWNLOAD, r.target)]


def test_content_elsewhere_is_read_without_the_token(girder5, relay, faulty):
    """As from an S3 store: a signed address, that answers ranges."""
    with Relay(girder5.server.url) as other:
        m = faulty()
        data = girder5.files[girder5.big]
        relay_download(m, girder5, relay)
        relay.forget()
        ids = [i for i in girder5.client.listItem(girder5.ids['data']) if i['name'] == 'noise-5m.dat']
        file = next(iter(girder5.client.listFile(ids[0]['_id'])))['_id']
        relay.rule(path=f'{file}/download', status=303, redirect=f'{other.url}/api/v1/file/{file}/download?X-Amz-Signature=hidden')
        assert (m / girder5.big).read_bytes() == data
        assert sum(r.sent for r in other.settled()) >= len(data)
        assert all('girder-token' not in r.headers for r in other.log)
        # Where it leads is remembered: one redirect serves many ranges.
        assert len(relay.requests('/download')) <= 2
        assert 'hidden' not in m.log


def test_the_debug_log_has_no_secret(girder5, relay, faulty):
    m = faulty(log_level='debug')
    (m / girder5.small).read_bytes()
    os.listdir(m / girder5.top)
    wait_for(lambda: '/download' in m.log, 'the wire in the log')
    token = next(r.headers['girder-token'] for r in relay.log if 'girder-token' in r.headers)
    assert token not in m.log and girder5.server.api_key not in m.log
    for name in ('status.json', 'stats', 'errors', 'config.json', 'server.json'):
        assert token not in m.control(name) and girder5.server.api_key not in m.control(name)


# ---- nobody there ----

def test_a_server_that_comes_back_is_used_again(girder5, relay, faulty):
    m = faulty()
    known = sorted(os.listdir(m / girder5.top))
    (m / girder5.odd).read_bytes()
    relay.refuse()
    assert sorted(os.listdir(m / girder5.top)) == known                 # known, and marked stale
    assert (m / girder5.odd).read_bytes() == girder5.files[girder5.odd]
    assert errno_of((m / girder5.big).read_bytes) in (errno.EIO, errno.EHOSTDOWN, errno.ECONNREFUSED, errno.ETIMEDOUT)
    relay.accept()
    wait_for(lambda: read_or_not(m / girder5.big) == girder5.files[girder5.big], 'it reads again')
    assert sorted(os.listdir(m / girder5.top / 'a')) == ['b']


def test_a_read_that_is_under_way_outlives_a_restart(girder5, relay, faulty):
    m = faulty('timeout=60s')
    relay.rule(path=DOWNLOAD, cut=2 << 20, by='stall', times=1)
    with open(m / girder5.big, 'rb') as f:
        start = f.read(65536)
        relay.refuse()
        time.sleep(1)
        relay.clear()
        relay.accept()
        assert start + f.read() == girder5.files[girder5.big]


def test_a_silent_server_fails_calls_soon_and_is_heard_again(girder5, relay, faulty):
    m = faulty('timeout=10s')
    os.listdir(m / girder5.top)
    relay.rule(stall=True)
    assert errno_of((m / girder5.top / '.scifs/meta/planets.csv.json').read_text)       # finds out
    wait_for(lambda: 'does not answer' in m.log, 'it is noticed')
    then = time.monotonic()
    assert errno_of(os.stat, m / 'collection/Sample/Names') in (errno.EIO, errno.EHOSTDOWN, errno.ETIMEDOUT)
    assert errno_of((m / girder5.odd).read_bytes) == errno.EIO
    os.statvfs(m.path)
    assert 'planets.csv' in os.listdir(m / girder5.top)
    assert time.monotonic() - then < 20             # four calls, of at most a second each; 10 s is what each would take
    relay.clear()
    wait_for(lambda: 'answers again' in m.log, 'it is heard')
    assert (m / girder5.odd).read_bytes() == girder5.files[girder5.odd]
    assert os.stat(m / 'collection/Sample/Names')


def test_a_body_that_stands_still_is_asked_for_again(girder5, relay, faulty):
    m = faulty('timeout=60s')
    rule = relay.rule(path=DOWNLOAD, cut=3 << 20, by='stall', times=1)
    assert (m / girder5.big).read_bytes() == girder5.files[girder5.big]
    assert rule.used
