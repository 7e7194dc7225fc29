"""A ReductStore as a drive, read: where records stand, what they hold, what is asked for them, and what others do meanwhile."""
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
from datetime import datetime, timezone

import pytest
from harness import REACH, SCIFS, TOP, Mount, errno_of, or_not, run, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from relay import Relay  # noqa: E402

EXTENSIONS = {'image/jpeg': 'jpg', 'text/plain': 'txt', 'text/csv': 'csv', 'application/json': 'json', 'image/png': 'png'}
START = 1772323200000000        # of the sample: 2026-03-01
SECOND, HOUR = 1000000, 3600 * 1000000
PAGE = r'/batch\?q='
MIB = 1 << 20


def place(ts, kind='application/octet-stream'):
    """Where a record stands below its entry."""
    at = datetime.fromtimestamp(ts // SECOND, timezone.utc)
    return f'{at:%Y.%m.%d}/{at:%H}/{ts}.{EXTENSIONS.get(kind, "bin")}'


def files(folder):
    """Path -> content of each file below."""
    return {os.path.relpath(os.path.join(where, name), folder): open(os.path.join(where, name), 'rb').read()
            for where, _, names in os.walk(folder) for name in names}


def sha(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope='module')
def rmnt(reduct, fuse):
    with Mount(reduct.source, env=reduct.env) as m:
        yield m


@pytest.fixture
def relay(reduct):
    with Relay(reduct.server.url) as r:
        yield r


@pytest.fixture
def bucket(reduct):
    """A bucket of the test's own."""
    name = f't-{time.time_ns()}'
    reduct.server.bucket(name)
    yield name
    reduct.server.request('DELETE', f'b/{name}')


def asked(relay, pattern='', method=None):
    return [r for r in relay.settled() if re.search(pattern, r.target) and (not method or r.method == method)]


# ---- where things stand ----

def test_the_root_has_the_buckets_and_not_the_servers_own(reduct, rmnt):
    names = {b['name'] for b in reduct.server.rest('GET', 'list')['buckets']}
    assert {n for n in names if not n.startswith('$')} == set(os.listdir(rmnt.path))
    assert {'sensors', 'empty'} <= set(os.listdir(rmnt.path))


@pytest.mark.parametrize('entry', ['camera', 'kinds', 'awkward'])
def test_a_record_is_a_file_in_its_day_and_hour(reduct, rmnt, entry):
    expected = {place(r.ts, r.content_type): r.content for r in reduct.records['sensors', entry]}
    assert files(rmnt / f'sensors/{entry}') == expected


def test_size_and_time_are_the_records(reduct, rmnt):
    for r in reduct.records['sensors', 'camera']:
        s = os.stat(rmnt / f'sensors/camera/{place(r.ts, r.content_type)}')
        assert (s.st_size, s.st_mtime_ns) == (r.size, r.ts * 1000)


def test_entries_lie_in_entries_beside_their_days(reduct, rmnt):
    if ('sensors', 'site/a') not in reduct.records:
        pytest.skip('a server without entries in entries')
    assert sorted(os.listdir(rmnt / 'sensors/site')) == ['a', 'c']
    assert sorted(os.listdir(rmnt / 'sensors/site/a')) == ['2026.03.01', '2026.03.02', 'b']
    for entry in ('site/a', 'site/a/b', 'site/c'):
        for r in reduct.records['sensors', entry]:
            assert (rmnt / f'sensors/{entry}/{place(r.ts, r.content_type)}').read_bytes() == r.content


def test_an_empty_bucket_is_an_empty_directory(rmnt):
    assert os.listdir(rmnt / 'empty') == []


def test_a_record_with_a_file_name_is_that_file_and_stands_nowhere_else(reduct, rmnt):
    from reduct_sample import NAMED
    newest = {}
    for r in reduct.records['sensors', 'uploads']:
        newest[dict(NAMED)[r.labels['filename']]] = r
    assert files(rmnt / 'sensors/uploads') == {name: r.content for name, r in newest.items()}
    for name, r in newest.items():
        s, ns = r.labels['mtime'].split('.')
        assert os.stat(rmnt / f'sensors/uploads/{name}').st_mtime_ns == int(s) * 10**9 + int(ns)


def test_all_records_of_a_name_are_its_versions(reduct, rmnt):
    from reduct_sample import NAMED, VERSIONED
    records = [r for r in reduct.records['sensors', 'uploads'] if r.labels['filename'] == VERSIONED]
    versions = rmnt / 'sensors/uploads/.scifs/versions'
    assert files(versions / VERSIONED) == {f'{r.ts}.csv' if r.content_type == 'text/csv' else f'{r.ts}.bin': r.content for r in records}
    assert len(records) == 3
    assert sorted(os.listdir(versions)) == sorted({name for _, name in NAMED})
    other = next(r for r in reduct.records['sensors', 'uploads'] if r.labels['filename'] != VERSIONED)
    assert errno_of(os.stat, versions / VERSIONED / f'{other.ts}.bin') == errno.ENOENT
    assert errno_of(os.stat, versions / 'nope') == errno.ENOENT
    # And the file itself is where it was.
    assert (rmnt / f'sensors/uploads/{VERSIONED}').read_bytes() == records[-1].content
    assert VERSIONED in os.listdir(rmnt / 'sensors/uploads')
    # Nothing of it can be changed.
    for what, *words in ((os.remove, versions / VERSIONED / f'{records[0].ts}.csv'), (os.rmdir, versions / VERSIONED), (os.mkdir, versions / 'new'),
                         (open, versions / VERSIONED / 'new', 'w'), (os.rename, versions / VERSIONED, versions / 'other'),
                         (open, versions / VERSIONED / f'{records[0].ts}.csv', 'r+')):
        assert errno_of(what, *words) in (errno.EACCES, errno.EPERM, errno.EROFS), words
    assert len(reduct.server.records('sensors', 'uploads')) == len(reduct.records['sensors', 'uploads'])
    assert 'versions' not in os.listdir(rmnt / '.scifs') and 'versions' not in os.listdir(rmnt / 'sensors/.scifs')


def test_a_name_is_found_before_anything_was_listed(reduct, mount):
    """Also those that look like numbers, durations and words of the query language."""
    from reduct_sample import NAMED
    for _, name in NAMED:
        m = mount(reduct)
        assert (m / f'sensors/uploads/{name}').read_bytes().endswith(b'\n'), name
        m.stop()


def test_a_crowded_hour_lists_minutes(reduct, rmnt):
    records = reduct.records['sensors', 'burst']
    day = rmnt / 'sensors/burst' / place(records[0].ts).split('/')[0]
    assert sorted(os.listdir(day)) == ['10', '11']
    assert sorted(os.listdir(day / '10')) == [f'{n:02d}.m' for n in range(60)]
    found = files(day / '10/07.m')
    minute = records[0].ts // HOUR * HOUR + 7 * 60 * SECOND
    assert found == {f'{r.ts}.txt': r.content for r in records if minute <= r.ts < minute + 60 * SECOND}
    assert sum(len(os.listdir(day / f'10/{m}')) for m in os.listdir(day / '10')) == len(records) - 1
    # Its own form stays.
    assert (day / f'10/{records[5].ts}.txt').read_bytes() == records[5].content


def test_a_record_is_found_in_every_directory_around_it(reduct, rmnt):
    r = reduct.records['sensors', 'camera'][4]
    where = rmnt / 'sensors/camera'
    day, hour, name = place(r.ts, r.content_type).split('/')
    os.listdir(where / day / hour)
    numbers = {os.stat(where / path).st_ino for path in (f'{day}/{hour}/{name}', name, f'{day}/{name}', str(r.ts), f'{day}/{hour}/00{r.ts}.xyz')}
    assert len(numbers) == 1
    assert (where / str(r.ts)).read_bytes() == r.content
    for wrong in (str(r.ts + 1), f'{day}/00/{name}' if hour != '00' else f'{day}/09/{name}', f'2026.03.09/{name}', f'{r.ts}x', 'HEAD', '.git'):
        assert errno_of(os.stat, where / wrong) == errno.ENOENT
    # And is listed where it belongs.
    assert name in os.listdir(where / day / hour) and name not in os.listdir(where)


def test_a_record_of_an_unlikely_time_is_found_like_others(reduct, mount, bucket):
    """Short numbers are file names nearly always, and so are long ones: where such records are known, they are times."""
    far = START * 1000
    for ts in (123456, START, far):
        reduct.server.write(bucket, 'e', ts, b'%d' % ts)
    reduct.server.write(bucket, 'young', START, b'1')
    m = mount(reduct, 'ro')
    for name, ts in (('123456', 123456), ('00123456.xyz', 123456), (f'{START}.xyz', START), (f'{far}', far)):
        assert (m / f'{bucket}/e/{name}').read_bytes() == b'%d' % ts
    for name in ('123457', f'{far - 1}', f'{far + 1}'):
        assert errno_of(os.stat, m / f'{bucket}/e/{name}') == errno.ENOENT
    assert errno_of(os.stat, m / f'{bucket}/young/123456') == errno.ENOENT


@pytest.mark.parametrize('layout, depth', [('flat', 0), ('day', 1), ('hour', 2), ('minute', 3)])
def test_the_layout_says_which_directories_hold_records(reduct, mount, layout, depth):
    m = mount(reduct, f'layout={layout}', 'ro')           # the other tests' entries remember nothing
    found = files(m / 'sensors/camera')
    assert sorted(found.values()) == sorted(r.content for r in reduct.records['sensors', 'camera'])
    assert {path.count('/') for path in found} == {depth}


def test_a_page_and_one_more_in_one_directory(reduct, mount):
    """More records than a page of the server's has, in the layout without directories."""
    m = mount(reduct, 'layout=flat', 'ro')
    assert len(os.listdir(m / 'sensors/burst')) == len(reduct.records['sensors', 'burst'])


# ---- mounting ----

def test_a_path_mounts_what_is_below_it(reduct, mount):
    camera = {place(r.ts, r.content_type): r.content for r in reduct.records['sensors', 'camera']}
    assert 'camera' in os.listdir(mount(f'{reduct.source}/sensors', env=reduct.env).path)
    assert files(mount(f'{reduct.source}/sensors/camera/', env=reduct.env).path) == camera


@pytest.fixture
def refuse(tmp_path):
    """The one line that mounting says; it fails."""
    return lambda source, env=None: _refuse(source, tmp_path, env)


def _refuse(source, folder, env):
    (folder / 'mnt').mkdir(exist_ok=True)
    done = subprocess.run([str(SCIFS), 'mount', source, str(folder / 'mnt')], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                          env={'PATH': os.environ['PATH'], 'HOME': str(folder), 'XDG_CACHE_HOME': str(folder / 'cache'),
                               'ASAN_OPTIONS': 'detect_leaks=0', **(env or {})})
    assert done.returncode == REACH, done
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_what_is_not_there_is_not_mounted(reduct, refuse):
    assert 'there is no /nope' in refuse(f'{reduct.source}/nope', env=reduct.env)
    assert 'there is no /sensors/nope' in refuse(f'{reduct.source}/sensors/nope', env=reduct.env)


def test_a_refused_login_tells_the_servers_words(reduct, refuse):
    assert 'nvalid token' in refuse(reduct.source, env={'SCIFS_TOKEN': 'wrong'})
    assert 'no token was given' in refuse(reduct.source)


def test_the_host_is_recognized(reduct, mount):
    assert 'sensors' in os.listdir(mount(reduct.server.url, env=reduct.env).path)


def test_another_kind_of_server_is_none(girder5, refuse):
    assert 'no ReductStore answers there' in refuse(f'reduct+{girder5.server.url}', env={'SCIFS_TOKEN': 'x'})


def test_the_api_is_found_below_a_prefix(reduct, mount):
    from reduct import Reduct
    with Reduct(reduct.server.version, environ={'RS_API_BASE_PATH': '/store/'}) as server:
        server.bucket('b')
        server.write('b', 'e', START, b'x')
        m = mount(f'reduct+{server.url}/b/e', env={'SCIFS_TOKEN': server.token})
        assert files(m.path) == {place(START): b'x'}


def test_a_server_without_logins_takes_anybody(reduct, mount):
    from reduct import Reduct
    with Reduct(reduct.server.version, environ={'RS_API_TOKEN': None}) as server:
        server.token = ''
        server.bucket('b')
        assert os.listdir(mount(f'reduct+{server.url}').path) == ['b']


def test_a_token_sees_what_it_may_read(reduct, mount, bucket):
    token = reduct.server.make_token(f'reader-{bucket}', read=['sensors'])
    m = mount(reduct.source, env={'SCIFS_TOKEN': token})
    assert os.listdir(m.path) == ['sensors']
    assert (m / f'sensors/kinds/{place(START)}').read_bytes()
    assert errno_of(os.listdir, m / bucket) in (errno.ENOENT, errno.EACCES)


def test_a_bucket_that_may_only_be_written_is_there_and_shows_nothing(reduct, mount, bucket):
    token = reduct.server.make_token(f'writer-{bucket}', write=[bucket])
    m = mount(reduct.source, env={'SCIFS_TOKEN': token})
    assert os.path.isdir(m / bucket)
    assert errno_of(os.listdir, m / bucket) == errno.EACCES


def test_it_comes_up_without_its_server(reduct, relay, mount):
    m = mount(f'reduct+{relay.url}', env=reduct.env)
    r = reduct.records['sensors', 'camera'][0]
    path = f'sensors/camera/{place(r.ts, r.content_type)}'
    assert 'camera' in os.listdir(m / 'sensors') and (m / path).read_bytes() == r.content
    os.listdir((m / path).parent)
    m.end()
    relay.refuse()
    m.again()
    assert 'camera' in os.listdir(m / 'sensors')
    relay.accept()
    wait_for(lambda: lists(m / 'empty'), 'it is asked again')
    assert (m / path).read_bytes() == r.content


# ---- bytes ----

def test_a_large_record_is_whole(reduct, rmnt):
    r = reduct.records['sensors', 'large'][1]
    assert sha((rmnt / f'sensors/large/{place(r.ts)}').read_bytes()) == sha(r.content)


def test_reads_here_and_there_are_right(reduct, mount):
    """In streams, by links, backward, at the very end."""
    r = reduct.records['sensors', 'large'][1]
    m = mount(reduct, 'cache=none')
    with open(m / f'sensors/large/{place(r.ts)}', 'rb', buffering=0) as f:
        for at in (0, 35 * MIB, 17, r.size - 1, 20 * MIB - 3, 33 * MIB, 8 * MIB, r.size - 4096, 25 * MIB):
            f.seek(at)
            assert f.read(4096) == r.content[at:at + 4096]


def test_a_label_that_ends_the_server_is_stepped_around(reduct, mount, bucket):
    server = reduct.server
    server.request('POST', f'b/{bucket}/e/batch', b'hello', {f'x-reduct-time-{START}': '5,text/plain,bad label=1,good=2'})
    pid = server.server.pid
    m = mount(reduct, 'ttl=0s')
    path = m / f'{bucket}/e/{place(START, "text/plain")}'
    assert path.read_bytes() == b'hello'
    assert os.getxattr(path, 'user.reduct.label.bad label') == b'1'
    m2 = mount(reduct)
    assert (m2 / f'{bucket}/e/{START}').read_bytes() == b'hello'
    assert server.server.poll() is None and server.server.pid == pid
    # By a single request it would have ended: the test would be worth nothing otherwise.
    assert server.rest('GET', 'info')


def space(m):
    """What df shows: bytes used and in all."""
    s = os.statvfs(m.path)
    return (s.f_blocks - s.f_bfree) * s.f_frsize, s.f_blocks * s.f_frsize


@pytest.mark.parametrize('path', ['limited', 'ring', 'limited/log'])
def test_df_of_a_bucket_shows_its_quota_and_what_is_used_of_it(reduct, mount, path):
    m = mount(f'{reduct.source}/{path}', 'ro', env=reduct.env)
    info = reduct.server.rest('GET', f'b/{path.split("/")[0]}')
    assert info['settings']['quota_size'] > info['info']['size'] > 400000
    wait_for(lambda: all(abs(a - b) <= 2 * 4096 for a, b in zip(space(m), (info['info']['size'], info['settings']['quota_size']))),
             f'df shows it; {space(m)}')


@pytest.mark.parametrize('path', ['', '/sensors'])
def test_df_without_a_quota_shows_what_is_used_and_much_room(reduct, mount, path):
    m = mount(f'{reduct.source}{path}', 'ro', env=reduct.env)
    used = reduct.server.rest('GET', 'b/sensors')['info']['size'] if path else reduct.server.rest('GET', 'info')['usage']
    assert used > 40 << 20
    wait_for(lambda: abs(space(m)[0] - used) < used / 10, f'df shows it; {space(m)}')
    assert space(m)[1] > 1 << 50


def test_df_asks_nothing_when_it_is_mounted_and_used(reduct, relay, far):
    m = far('ro')
    wait_for(lambda: space(m)[0] > 40 << 20, 'df shows what is used')
    for _ in range(100):
        space(m)
    assert len(asked(relay, '/info$')) == 1, 'what the mount asks anyway'


# ---- what is asked ----

def test_a_long_listing_costs_a_page_for_3000_records(reduct, relay, far, bucket):
    records = [START + n for n in range(9000)]
    from reduct import Record
    assert not reduct.server.write_batch(bucket, 'e', [Record(ts, b'%d' % ts, {'n': str(ts)}) for ts in records])
    m = far('cache=none', 'list_ttl=1m')
    hour = m / f'{bucket}/e/2026.03.01/00'
    os.stat(hour)
    relay.forget()
    assert len(run('ls', '-l', hour).splitlines()) == len(records) + 1
    first = asked(relay)
    # The first time in an entry it is asked whether it has a layout of its own.
    assert len([r for r in first if 'meta/q' in r.target]) <= 1
    first = [r for r in first if 'meta/q' not in r.target]
    # 2,500 of them and more fit into the 200,000 bytes of a page.
    assert [r.method for r in first if '/list' not in r.target] in (['GET', 'POST'] + ['HEAD'] * 4, ['POST'] + ['HEAD'] * 4)
    assert not [r for r in first if 'ts=' in r.target], 'a request for a file'
    relay.forget()
    run('ls', '-l', hour)
    assert asked(relay) == []


def test_a_small_record_is_one_request(reduct, relay, far):
    m = far('cache=none')
    r = reduct.records['sensors', 'camera'][3]
    path = m / f'sensors/camera/{place(r.ts, r.content_type)}'
    os.listdir(path.parent)
    relay.forget()
    assert path.read_bytes() == r.content
    assert [(r.method, r.range) for r in asked(relay)] == [('GET', None)]


def test_a_large_record_is_one_stream(reduct, relay, far):
    m = far('cache=none')
    r = reduct.records['sensors', 'large'][1]
    path = m / f'sensors/large/{place(r.ts)}'
    os.listdir(path.parent)
    relay.forget()
    assert sha(path.read_bytes()) == sha(r.content)
    gets = asked(relay, f'ts={r.ts}', 'GET')
    assert len(gets) == 1 and gets[0].range is None and not asked(relay, '/links/')


def test_a_stream_stands_still_while_nobody_reads(reduct, relay, far):
    """And goes on later: the second half is the same request's. What a busy machine asks for too late, when the stream has gone past,
    comes by links: little of it."""
    m = far('cache=none', 'memory=16M')
    r = reduct.records['sensors', 'large'][1]
    with open(m / f'sensors/large/{place(r.ts)}', 'rb', buffering=0) as f:
        relay.forget()
        assert f.read(4096) == r.content[:4096]
        time.sleep(1.5)
        gets = [x for x in relay.requests(method='GET') if f'ts={r.ts}' in x.target]
        assert len(gets) == 1 and gets[0].ended is None and gets[0].sent < r.size, [(x.end, x.sent) for x in gets]
        rest = b''.join(iter(lambda: f.read(MIB), b''))
        assert rest == r.content[4096:]
    assert len(asked(relay, f'ts={r.ts}', 'GET')) == 1
    assert sum(x.sent for x in asked(relay, '/links/', 'GET')) <= r.size // 4


def test_a_far_read_is_a_piece_by_a_link_and_ends_with_the_record(reduct, relay, far):
    """Before 1.19 links do not tell which part they are: it is a stream from the beginning."""
    r = reduct.records['sensors', 'large'][1]
    m = far('cache=none')
    with open(m / f'sensors/large/{place(r.ts)}', 'rb', buffering=0) as f:
        relay.forget()
        for at in (r.size - 10, 24 * MIB + 5):
            f.seek(at)
            assert f.read(4096) == r.content[at:at + 4096]
    if reduct.server.minor < 19:
        assert asked(relay, f'ts={r.ts}', 'GET') and all(x.range is None for x in asked(relay))
        return
    assert len(asked(relay, '/links/', 'POST')) == 1
    ranges = [tuple(map(int, re.fullmatch(r'bytes=(\d+)-(\d+)', x.range).groups())) for x in asked(relay, '/links/', 'GET')]
    assert ranges[0] == (32 * MIB, r.size - 1) and ranges[1][0] == 24 * MIB
    assert all(b < r.size for _, b in ranges)
    assert not asked(relay, f'ts={r.ts}', 'GET')


@pytest.mark.parametrize('order', ['listing', 'inode'])
def test_small_records_that_are_read_in_turn_come_together(reduct, relay, far, bucket, order):
    """cp -r goes by the inode's number, rsync and tar by the listing."""
    from reduct import Record
    reduct.server.write_batch(bucket, 'e', [Record(START + n, b'%d' % n * 100, {'n': str(n)}) for n in range(1000)])
    m = far('cache=none')
    hour = m / f'{bucket}/e/2026.03.01/00'
    paths = sorted(os.scandir(hour), key=lambda f: f.inode() if order == 'inode' else f.name)
    relay.forget()
    for f in paths:
        n = int(f.name[:16]) - START
        with open(f.path, 'rb') as file:
            assert file.read() == b'%d' % n * 100
    assert len(asked(relay)) <= 60


def test_records_have_inode_numbers_in_the_order_of_their_times(reduct, far, bucket):
    """cp -r reads by them: a server of time series finds 80 neighbours with a fraction of the work that 80 from anywhere cost."""
    from reduct import Record
    times = [START + n * n * 1000 for n in range(200)]
    for entry in 'a', 'b':
        reduct.server.write_batch(bucket, entry, [Record(ts, b'x', {}) for ts in times])
    m = far('cache=none')
    numbers = [[os.stat(m / f'{bucket}/{entry}/2026.03.01/00/{ts}.bin').st_ino for ts in times] for entry in 'ab']
    assert all(n == sorted(n) for n in numbers)
    assert len({*numbers[0], *numbers[1]}) == 2 * len(times)


def test_what_goes_while_many_come_is_not_there(reduct, relay, far, bucket):
    from reduct import Record
    reduct.server.write_batch(bucket, 'e', [Record(START + n, b'%d' % n) for n in range(200)])
    m = far('cache=none')
    hour = m / f'{bucket}/e/2026.03.01/00'
    names = sorted(os.listdir(hour))
    for n in (50, 51, 150):
        reduct.server.remove(bucket, 'e', START + n)
    reduct.server.write(bucket, 'e', START + 150, b'another')
    for n, name in enumerate(names):
        if n in (50, 51):
            assert errno_of((hour / name).read_bytes) in (errno.ENOENT, errno.ESTALE)
        elif n != 150:
            assert (hour / name).read_bytes() == b'%d' % n
    wait_for(lambda: right_or_not(hour / names[150], b'another'), 'the new one')


# ---- faults ----

@pytest.mark.parametrize('fault', [{'lose': True}, {'drop': True}, {'status': 404, 'headers': {'x-reduct-error': 'Query 7 not found and it might have expired'}},
                                   {'lose': True, 'by': 'reset'}], ids=['lost', 'dropped', 'forgotten', 'reset'])
def test_a_page_that_got_lost_is_not_missing(reduct, relay, far, fault):
    m = far('cache=none', 'layout=flat', 'ro')
    relay.rule(method='HEAD', path=PAGE, skip=1, times=1, **fault)
    assert len(os.listdir(m / 'sensors/burst')) == len(reduct.records['sensors', 'burst'])


def test_a_page_of_nonsense_is_an_error(reduct, relay, far):
    m = far('cache=none')
    relay.rule(method='HEAD', path=PAGE, headers={f'x-reduct-time-{START}': 'nonsense'})
    assert errno_of(os.listdir, m / 'sensors/camera') in (errno.EIO, errno.EBADMSG)


@pytest.mark.parametrize('body', [b'', b'not json', b'{}', b'[]', b'{"info":{"name":"other"},"entries":[]}', b'{"info":{"name":"sensors"},"entries":[{}]}'])
def test_a_bucket_of_nonsense_is_an_error(reduct, relay, far, body):
    m = far('cache=none')
    relay.rule(path=r'/b/sensors$', body=body)
    assert errno_of(os.listdir, m / 'sensors') in (errno.EIO, errno.EBADMSG)


def test_a_link_that_is_cut_is_gone_on_with_by_another(reduct, relay, far):
    r = reduct.records['sensors', 'large'][1]
    if reduct.server.minor < 19:
        pytest.skip('its links do not tell which part they are')
    m = far('cache=none')
    relay.rule(method='GET', path='/links/', cut=1000003, times=1)
    with open(m / f'sensors/large/{place(r.ts)}', 'rb', buffering=0) as f:
        f.seek(32 * MIB)
        assert b''.join(iter(lambda: f.read(MIB), b'')) == r.content[32 * MIB:]
    assert len(asked(relay, '/links/', 'POST')) == 2


def test_a_stream_that_breaks_is_gone_on_with(reduct, relay, far):
    r = reduct.records['sensors', 'large'][1]
    m = far('cache=none')
    relay.rule(method='GET', path=f'ts={r.ts}', cut=30 * MIB, times=1)
    assert sha((m / f'sensors/large/{place(r.ts)}').read_bytes()) == sha(r.content)


def test_a_restart_between_two_pages_loses_nothing(reduct, relay, far):
    m = far('cache=none', 'layout=flat', 'ro')
    rule = relay.rule(method='HEAD', path=PAGE, skip=1, times=1, delay=2)
    listing = subprocess.Popen(['ls', str(m / 'sensors/burst')], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: rule.used, 'the second page is asked for')
    reduct.server.restart()
    out, _ = listing.communicate(timeout=100)
    assert len(out.splitlines()) == len(reduct.records['sensors', 'burst'])


def test_a_restart_while_small_records_come_together_loses_none(reduct, relay, far, bucket):
    """The query of the batch is not known any more, or its number is another's."""
    from reduct import Record
    assert not reduct.server.write_batch(bucket, 'e', [Record(START + n, b'%d,' % n) for n in range(300)])
    m = far('cache=none', 'list_ttl=1m')
    hour = m / f'{bucket}/e/2026.03.01/00'
    paths = [hour / name for name in os.listdir(hour)]
    rule = relay.rule(method='GET', path=PAGE, stall=True)
    reading = subprocess.Popen(['cat', *paths], stdout=subprocess.PIPE, text=True)
    wait_for(lambda: rule.used, 'they are asked for together')
    reduct.server.restart()
    relay.clear()
    out, _ = reading.communicate(timeout=100)
    assert reading.returncode == 0 and sorted(out.split(','), key=lambda n: int(n or -1)) == ['', *map(str, range(300))]


# ---- what others do ----

def test_a_new_record_comes_up(reduct, mount, bucket):
    reduct.server.write(bucket, 'e', START, b'1')
    m = mount(reduct, 'list_ttl=100ms', 'ttl=100ms', 'negative_ttl=0s')
    assert files(m / f'{bucket}/e') == {place(START): b'1'}
    reduct.server.write(bucket, 'e', START + 2 * HOUR, b'22')
    reduct.server.write(bucket, 'other', START, b'3')
    wait_for(lambda: files(m / bucket) == {f'e/{place(START)}': b'1', f'e/{place(START + 2 * HOUR)}': b'22', f'other/{place(START)}': b'3'},
             'the new ones')
    reduct.server.remove(bucket, 'e', START)
    wait_for(lambda: or_not(files, m / f'{bucket}/e') == {place(START + 2 * HOUR): b'22'}, 'the old one is gone')


def figures(reduct, bucket):
    """What the server tells of each entry without being asked for its records."""
    return [{k: e[k] for k in ('record_count', 'size', 'latest_record', 'block_count')} for e in reduct.server.rest('GET', f'b/{bucket}')['entries']]


def comes_up(reduct, bucket, there):
    """Before the entry's figures move once more, as they do when the server brings them to its disk."""
    before = figures(reduct, bucket)
    while not there():
        assert figures(reduct, bucket) == before, 'only another change has shown it'
        time.sleep(0.1)


@pytest.mark.parametrize('labels', [{}, {'filename': 'run.bin'}], ids=['by-time', 'by-name'])
@pytest.mark.parametrize('later', [False, True], ids=['last', 'overtaken'])
def test_a_record_that_was_being_written_comes_up_when_it_is_whole(reduct, mount, bucket, labels, later):
    """The entry's figures have it from its first byte on, and do not move when it can be found."""
    reduct.server.write(bucket, 'e', START, b'1')
    known = {place(START): b'1'}
    m = mount(reduct, 'list_ttl=100ms', 'ttl=100ms', 'negative_ttl=0s')
    with reduct.server.writing(bucket, 'e', START + 48 * HOUR, b'whole', labels):
        if later:
            reduct.server.write(bucket, 'e', START + 72 * HOUR, b'3')
            known[place(START + 72 * HOUR)] = b'3'
        assert files(m / f'{bucket}/e') == known
    known[labels.get('filename') or place(START + 48 * HOUR)] = b'whole'
    comes_up(reduct, bucket, lambda: files(m / f'{bucket}/e') == known)


def test_a_large_directory_gets_what_was_being_written_when_it_was_listed(reduct, relay, far, bucket):
    """One that is asked whether it has changed before it is listed again."""
    from reduct import Record
    reduct.server.write_batch(bucket, 'e', [Record(START + n, b'x') for n in range(600)])
    m = far('list_ttl=100ms', 'ttl=100ms', 'negative_ttl=0s')
    hour = m / f'{bucket}/e/2026.03.01/00'
    assert len(os.listdir(hour)) == 600
    relay.forget()
    with reduct.server.writing(bucket, 'e', START + 600, b'whole'):
        wait_for(lambda: len(os.listdir(hour)) == 600 and asked(relay, f'b/{bucket}$'), 'a new look at the figures, with it')
        time.sleep(0.5)                 # and the listing that follows, without it
    comes_up(reduct, bucket, lambda: len(os.listdir(hour)) == 601)


def test_a_record_that_stays_half_written_costs_few_listings(reduct, relay, far, bucket):
    """A server that was killed counts it for ever."""
    reduct.server.write(bucket, 'e', START, b'1', {'filename': 'a'})
    m = far('list_ttl=0s', 'ttl=0s', 'negative_ttl=0s')
    with reduct.server.writing(bucket, 'e', START + 1, b'half'):
        reduct.server.write(bucket, 'e', START + 2, b'3', {'filename': 'c'})
        assert sorted(os.listdir(m / f'{bucket}/e')) == ['a', 'c']
        relay.forget()
        for n in range(200):
            os.listdir(m / f'{bucket}/e')
            with pytest.raises(FileNotFoundError):
                os.stat(m / f'{bucket}/e/none-{n}')
        assert len(asked(relay, '/q$')) < 20


def test_the_servers_own_bucket_stays_when_the_root_is_listed_anew(reduct, mount):
    """No listing shows it: one that is made while it is in use must not take it away."""
    if '$system' not in [b['name'] for b in reduct.server.rest('GET', 'list')['buckets']]:
        pytest.skip('this server has no $system yet')
    m = mount(reduct, 'list_ttl=50ms', 'ttl=50ms', 'negative_ttl=0s')
    os.listdir(m.path)
    there = os.open(m / '$system', os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(5):
            time.sleep(0.1)             # older than a listing may be: the look itself makes one
            assert os.stat(m / '$system').st_ino == os.fstat(there).st_ino
            time.sleep(0.1)
            assert '$system' not in os.listdir(m.path)
            assert os.readlink(f'/proc/self/fd/{there}') == str(m / '$system')
    finally:
        os.close(there)


def test_an_open_directory_shows_what_came_when_it_is_read_anew(reduct, mount, bucket):
    reduct.server.write(bucket, 'e', START, b'1')
    m = mount(reduct, 'list_ttl=100ms', 'ttl=100ms', 'negative_ttl=0s')
    days, hour = [os.open(m / bucket / path, os.O_RDONLY | os.O_DIRECTORY) for path in ('e', 'e/2026.03.01/00')]
    try:
        assert os.listdir(days) == ['2026.03.01'] and os.listdir(hour) == [f'{START}.bin']
        reduct.server.write(bucket, 'e', START + 1, b'2')
        reduct.server.write(bucket, 'e', START + 48 * HOUR, b'3')
        wait_for(lambda: os.listdir(hour) == [f'{START}.bin', f'{START + 1}.bin'], 'the new record')
        wait_for(lambda: os.listdir(days) == ['2026.03.01', '2026.03.03'], 'the new day')
    finally:
        os.close(days)
        os.close(hour)


def events(m, path):
    return [e for e in map(json.loads, m.control('events').splitlines()) if e['event'] == 'changed' and e['path'] == path]


def test_an_entry_that_grows_is_told_by_events(reduct, mount, bucket):
    """The day that has become another, and the entry when a day is new: to who looks, or has one of them open."""
    reduct.server.write(bucket, 'e', START, b'1')
    m = mount(reduct, 'list_ttl=100ms', 'ttl=100ms')
    assert files(m / bucket / 'e') == {place(START): b'1'}
    out = m.folder / 'followed'
    with open(out, 'wb') as to:
        tail = subprocess.Popen(['tail', '-n', '+1', '-f', '-s', '0.1', str(m / '.scifs/events')], stdout=to)
    try:
        for ts, path in ((START + 1, f'/{bucket}/e/2026.03.01/00'), (START + HOUR, f'/{bucket}/e/2026.03.01'), (START + 48 * HOUR, f'/{bucket}/e')):
            assert not events(m, path)
            reduct.server.write(bucket, 'e', ts, b'2')
            wait_for(lambda: place(ts) in files(m / bucket / 'e'), 'the new record')
            wait_for(lambda: f'"event": "changed", "path": "{path}"' in out.read_text(), f'{path} is told')
    finally:
        tail.terminate()
        tail.wait()


def test_the_newest_record_can_be_followed(reduct, mount, bucket):
    """What a shell does in place of tail -f: look at latest again and again."""
    reduct.server.write(bucket, 'log', START, b'first', content_type='text/plain')
    m = mount(reduct, 'ttl=100ms', 'list_ttl=100ms', 'negative_ttl=0s')
    shell = subprocess.Popen(['sh', '-c', 'while sleep 0.1; do now=$(readlink "$0"); [ "$now" = "$was" ] || { cat "$0"; echo; }; was=$now; done',
                              m / bucket / 'log/.scifs/latest'], stdout=subprocess.PIPE, text=True)
    try:
        assert shell.stdout.readline() == 'first\n'
        for n in range(3):
            reduct.server.write(bucket, 'log', START + (n + 1) * HOUR, b'record %d' % n, content_type='text/plain')
            assert shell.stdout.readline() == f'record {n}\n'
    finally:
        shell.terminate()
        shell.wait()


def test_a_growing_entry_is_asked_for_what_is_new(reduct, relay, far, bucket):
    from reduct import Record
    reduct.server.write_batch(bucket, 'e', [Record(START + n, b'x') for n in range(4000)])
    m = far('list_ttl=100ms', 'cache=none')
    assert os.listdir(m / f'{bucket}/e') == ['2026.03.01']
    reduct.server.write(bucket, 'e', START + 48 * HOUR, b'new')
    relay.forget()
    wait_for(lambda: len(os.listdir(m / f'{bucket}/e')) == 2, 'the new day')
    assert len(asked(relay, PAGE)) == 1


def test_a_record_written_anew_has_its_new_bytes(reduct, mount, bucket):
    reduct.server.write(bucket, 'e', START, b'old')
    m = mount(reduct, 'ttl=100ms', 'list_ttl=100ms')
    path = m / f'{bucket}/e/{place(START)}'
    assert path.read_bytes() == b'old'
    reduct.server.remove(bucket, 'e', START)
    reduct.server.write(bucket, 'e', START, b'newer')
    wait_for(lambda: path.read_bytes() == b'newer', 'the new bytes')


def test_a_neighbour_that_goes_gives_no_wrong_whole(reduct, relay, far, bucket):
    """The server moves the records beside it and goes on from the old places. What it has sent before anybody could know of it may be
    wrong: then the end is not given out."""
    content = hashlib.shake_128(bucket.encode()).digest(40 * MIB)
    for n, c in enumerate((b'a' * 3000000, content, b'z' * 3000000)):
        reduct.server.write(bucket, 'e', START + n, c)
    m = far('cache=none', 'memory=16M', 'ttl=100ms')
    with open(m / f'{bucket}/e/{place(START + 1)}', 'rb', buffering=0) as f:
        got = f.read(4096)
        assert got == content[:4096]
        reduct.server.remove(bucket, 'e', START)
        try:
            while part := f.read(MIB):
                got += part
            assert got == content
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.EIO) and len(got) < len(content)
    wait_for(lambda: right_or_not(m / f'{bucket}/e/{place(START + 1)}', content), 'opened anew it is right')


@pytest.mark.parametrize('what', ['it', 'what is before it'])
def test_what_a_quota_takes_while_it_is_read(reduct, far, what):
    """The record itself: right bytes, or an error. Older blocks: nothing is noticed."""
    name = f'q-{time.time_ns()}'
    content = hashlib.shake_128(name.encode()).digest(40 * MIB)
    reduct.server.bucket(name, quota_type='FIFO', quota_size=70 * MIB, max_block_size=1 * MIB)
    older = 12 if what != 'it' else 0
    for n in range(older):
        reduct.server.write(name, 'e', START + n, b'o' * MIB)
    reduct.server.write(name, 'e', START + 100, content)
    m = far('cache=none', 'memory=16M', 'ttl=100ms')
    at = 4096
    with open(m / f'{name}/e/{place(START + 100)}', 'rb', buffering=0) as f:
        assert f.read(4096) == content[:4096]
        # All of it, or the half of what is older.
        for n in range(24 if older else 40):
            reduct.server.write(name, 'e', START + 200 + n, b'n' * MIB)
        time.sleep(0.3)
        try:
            while part := f.read(MIB):
                assert part == content[at:at + len(part)]
                at += len(part)
            assert at == len(content)
        except OSError as e:
            assert not older and e.errno in (errno.ESTALE, errno.EIO)
    there = {r.ts for r in reduct.server.records(name, 'e')}
    assert (START + 100 in there) == bool(older) and START not in there
    reduct.server.request('DELETE', f'b/{name}')


def lists(path):
    try:
        return os.listdir(path) == []
    except OSError:
        return False


def right_or_not(path, content):
    try:
        return path.read_bytes() == content
    except OSError:
        return False


# ---- what is said of things ----

def test_labels_are_attributes(reduct, rmnt):
    for r in reduct.records['sensors', 'awkward'] + reduct.records['sensors', 'camera'][:3]:
        entry = 'camera' if 'station' in r.labels else 'awkward'
        path = rmnt / f'sensors/{entry}/{place(r.ts, r.content_type)}'
        found = {n[len('user.reduct.label.'):]: os.getxattr(path, n).decode() for n in os.listxattr(path) if n.startswith('user.reduct.label.')}
        assert found == r.labels, r.ts
        assert os.getxattr(path, 'user.reduct.ts').decode() == str(r.ts)
        assert os.getxattr(path, 'user.reduct.entry').decode() == entry
        assert os.getxattr(path, 'user.mime_type').decode() == r.content_type


def test_a_thing_is_found_by_its_id_and_its_address(reduct, rmnt):
    camera = reduct.records['sensors', 'camera'][4]
    named = reduct.records['sensors', 'uploads'][0]
    things = {'sensors': 'bucket:sensors', 'sensors/camera': 'entry:sensors/camera', 'sensors/camera/2026.03.01': 'time:sensors/camera:2026.03.01',
              f'sensors/camera/{place(camera.ts, "image/jpeg")}': f'record:sensors/camera:{camera.ts}',
              f'sensors/uploads/{named.labels["filename"]}': f'record:sensors/uploads:{named.ts}'}
    if ('sensors', 'site/a') in reduct.records:
        things['sensors/site/a/b'] = 'entry:sensors/site/a/b'
    for path, number in things.items():
        assert os.getxattr(rmnt / path, 'user.scifs.id').decode() == number
        assert os.path.samefile(rmnt / '.scifs/by-id' / number, rmnt / path), path
    for path in list(things)[-2:]:
        url = os.getxattr(rmnt / path, 'user.scifs.url').decode()
        assert url.startswith(reduct.server.api)
        assert os.path.samefile(rmnt / '.scifs/by-url' / urllib.parse.quote(url, safe=''), rmnt / path)
    for wrong in ('record:sensors/camera:1', 'bucket:nope', 'entry:sensors/nope', 'nonsense', 'record:sensors/camera:x'):
        assert not os.path.exists(rmnt / '.scifs/by-id' / wrong), wrong


def test_an_id_outside_of_the_mount_is_not_there(reduct, mount):
    m = mount(f'{reduct.source}/sensors/camera', env=reduct.env)
    r = reduct.records['sensors', 'camera'][4]
    assert os.path.samefile(m / f'.scifs/by-id/record:sensors/camera:{r.ts}', m / place(r.ts, r.content_type))
    for other in ('bucket:sensors', 'entry:sensors/uploads', f'record:sensors/uploads:{reduct.records["sensors", "uploads"][0].ts}', 'bucket:ring'):
        assert not os.path.exists(m / '.scifs/by-id' / other), other


def test_documents_are_json(reduct, rmnt):
    r = reduct.records['sensors', 'camera'][0]
    where = f'sensors/camera/{place(r.ts, r.content_type)}'
    document = json.loads(rmnt.control(f'meta/{os.path.basename(where)}.json', os.path.dirname(where)))
    assert document == {'bucket': 'sensors', 'entry': 'camera', 'timestamp': r.ts, 'size': r.size, 'content_type': r.content_type, 'labels': r.labels}
    entry = json.loads(rmnt.control('metadata.json', 'sensors/camera'))
    assert entry['record_count'] == len(reduct.records['sensors', 'camera'])
    assert json.loads(rmnt.control('metadata.json', 'sensors'))['settings']['quota_type'] == 'NONE'
    assert json.loads(rmnt.control('server.json'))['kind'] == 'reduct'


def test_nothing_can_be_written_with_ro(reduct, mount):
    m = mount(reduct, 'ro')
    assert errno_of(os.mkdir, m / 'new') == errno.EROFS
    assert errno_of(open, m / 'sensors/camera/new', 'w') == errno.EROFS


def test_nothing_secret_is_in_the_log(reduct, mount):
    m = mount(reduct, log_level='debug')
    os.listdir(m / 'sensors/camera')
    assert reduct.server.token not in m.log


def test_over_tls_it_is_still_http_1(reduct, mount, tmp_path):
    """Over HTTP/2, which a TLS server offers, heads of 3,000 records do not come."""
    from reduct import Record, Reduct
    from test_tls import certificate
    cert, key = certificate(tmp_path, 'good', '127.0.0.1')
    with Reduct(reduct.server.version, environ={'RS_CERT_PATH': str(cert), 'RS_CERT_KEY_PATH': str(key)}) as server:
        server.bucket('b')
        server.write_batch('b', 'e', [Record(START + n, b'x', {'a': 'a label that is long enough'}) for n in range(5000)])
        m = mount(f'reduct+{server.url}', f'ca={cert}', env={'SCIFS_TOKEN': server.token})
        assert len(os.listdir(m / 'b/e/2026.03.01/00')) == 5000
