"""The layout of an entry's times is remembered at the entry, in its attachment `scifs`; what is written there, read and left alone."""
import errno
import json
import os
import subprocess
import sys
import time

import pytest
from harness import SCIFS, TOP, USAGE, fails, put, run, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from relay import Relay  # noqa: E402

START = 1772323200000000        # 2026-03-01
HOUR = 3600 * 1000000
DEPTHS = {'flat': 0, 'day': 1, 'hour': 2, 'minute': 3}
TIMES = (START, START + 1, START + HOUR, START + 30 * HOUR)
SOON = ('quiet=100ms', 'ttl=200ms', 'list_ttl=200ms', 'negative_ttl=100ms')


@pytest.fixture(autouse=True)
def attachments(reduct):
    if int(reduct.server.version.split('.')[1]) < 19:
        pytest.skip('this server is older than 1.19')


@pytest.fixture
def bucket(reduct):
    """A bucket of the test's own, with some records in its entry `e`."""
    name = f't-{time.time_ns()}'
    reduct.server.bucket(name)
    for ts in TIMES:
        reduct.server.write(name, 'e', ts, b'%d' % ts)
    yield name
    reduct.server.request('DELETE', f'b/{name}')


@pytest.fixture
def relay(reduct):
    with Relay(reduct.server.url) as r:
        yield r


def remember(reduct, bucket, text, ts=1000, entry='e', **labels):
    """Write the attachment as somebody else would."""
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    reduct.server.write(bucket, f'{entry}/$meta', ts, text, {'key': 'scifs', **labels}, 'application/json')


def remembered(reduct, bucket, entry='e'):
    """What the official client reads of it: None if there is none."""
    return reduct.witness('attachments', bucket=bucket, entry=entry).get('scifs')


def depth(folder):
    """How deep below it its records are listed: all of them equally, and all of them."""
    found = [os.path.relpath(os.path.join(where, name), folder) for where, _, names in os.walk(folder) for name in names]
    assert sorted(int(path.split('/')[-1].split('.')[0]) for path in found) == list(TIMES)
    level, = {path.count('/') for path in found}
    return level


def about_meta(relay, method=None):
    return [r for r in relay.settled() if 'meta' in r.target and method in (None, r.method)]


# ---- it is read ----

@pytest.mark.parametrize('layout', DEPTHS)
def test_an_entry_is_listed_as_it_remembers(reduct, mount, bucket, layout):
    remember(reduct, bucket, {'layout': layout, 'more': [1]})
    m = mount(reduct)
    assert depth(m / bucket / 'e') == DEPTHS[layout]
    record = TIMES[-1]
    assert os.readlink(m / f'{bucket}/e/.scifs/latest').count('/') == DEPTHS[layout] + 1
    assert (m / f'{bucket}/e/.scifs/latest').read_bytes() == b'%d' % record
    found = os.path.realpath(m / f'.scifs/by-id/record:{bucket}/e:{record}')
    assert os.path.relpath(found, m / bucket / 'e').count('/') == DEPTHS[layout]


def test_entries_of_one_mount_have_each_their_own(reduct, mount, bucket):
    for ts in TIMES:
        reduct.server.write(bucket, 'other', ts, b'%d' % ts)
    remember(reduct, bucket, {'layout': 'day'})
    m = mount(reduct)
    assert depth(m / bucket / 'e') == DEPTHS['day'] and depth(m / bucket / 'other') == DEPTHS['hour']


def test_what_the_mount_is_told_wins(reduct, mount, bucket):
    remember(reduct, bucket, {'layout': 'day'})
    assert depth(mount(reduct, 'layout=minute') / bucket / 'e') == DEPTHS['minute']


def test_it_is_asked_for_once_an_entry(reduct, relay, far, bucket):
    remember(reduct, bucket, {'layout': 'day'})
    m = far('list_ttl=10ms', 'ttl=10ms', 'cache=none')
    os.listdir(m / bucket)
    assert about_meta(relay) == []
    for _ in range(3):
        depth(m / bucket / 'e')
    assert len(about_meta(relay)) == 3, 'a query, its page, the document'


def test_an_entry_without_attachments_costs_one_request(relay, far, bucket):
    m = far('list_ttl=10ms', 'ttl=10ms', 'cache=none')
    for _ in range(3):
        assert depth(m / bucket / 'e') == DEPTHS['hour']
    assert [r.status for r in about_meta(relay)] == [404]


@pytest.mark.parametrize('text', [b'no JSON at all', b'["day"]', b'{"layout": "week and more"}', b'{"layout": {"layout": "day"}}', b'{"layout": "day"',
                                  b'{"layout": "day", "x": "' + b'x' * 5000 + b'"}', b'{"layout": "\xff\xfe\x00day"}', b'[' * 3000])
def test_what_cannot_be_understood_is_ignored_with_a_line_in_the_log(reduct, mount, bucket, text):
    remember(reduct, bucket, text)
    m = mount(reduct)
    assert depth(m / bucket / 'e') == DEPTHS['hour']
    assert m.log.count('says nothing') == 1 and f'{bucket}/e' in m.log


def test_a_huge_one_is_not_fetched(reduct, relay, far, bucket):
    remember(reduct, bucket, b'{"layout": "day"}' + b' ' * 1000000)
    m = far('cache=none')
    assert depth(m / bucket / 'e') == DEPTHS['hour'] and 'too large' in m.log
    assert about_meta(relay, 'GET') == []


def test_one_that_says_nothing_of_it_is_no_fault(reduct, mount, bucket):
    remember(reduct, bucket, {'names': 'there are some', 'layout': None})
    m = mount(reduct)
    assert depth(m / bucket / 'e') == DEPTHS['hour'] and 'says nothing' not in m.log


def test_a_removed_one_is_none(reduct, mount, bucket):
    remember(reduct, bucket, {'layout': 'day'})
    reduct.server.update(bucket, 'e/$meta', 1000, {'remove': 'true'})
    assert depth(mount(reduct) / bucket / 'e') == DEPTHS['hour']


def test_the_newest_word_stands(reduct, mount, bucket):
    remember(reduct, bucket, {'layout': 'day'}, 1000)
    remember(reduct, bucket, {'layout': 'flat'}, 2000)
    assert depth(mount(reduct) / bucket / 'e') == DEPTHS['flat']


@pytest.mark.parametrize('method', ['POST', 'HEAD', 'GET'])
def test_attachments_that_cannot_be_read_hide_no_record(reduct, relay, far, bucket, method):
    remember(reduct, bucket, {'layout': 'day'})
    relay.rule(method=method, path='meta', status=500, body='{"detail": "is broken"}')
    m = far('cache=none')
    assert depth(m / bucket / 'e') == DEPTHS['hour'] and 'says nothing' in m.log


def test_what_was_kept_of_a_listing_gives_way_to_a_new_layout(reduct, mount, bucket):
    from reduct import Record
    assert not reduct.server.write_batch(bucket, 'many', [Record(START + n * HOUR // 100, b'x') for n in range(1000)])
    m = mount(reduct)
    assert len(os.listdir(m / bucket / 'many')) == 1
    remember(reduct, bucket, {'layout': 'flat'}, entry='many')
    m.again()
    wait_for(lambda: len(os.listdir(m / bucket / 'many')) == 1000, 'the new layout')


# ---- it is written ----

def test_what_the_mount_is_told_is_left_for_others(reduct, mount, bucket):
    m = mount(reduct, 'layout=day')
    assert depth(m / bucket / 'e') == DEPTHS['day']
    assert remembered(reduct, bucket) == {'layout': 'day'}
    assert depth(mount(reduct) / bucket / 'e') == DEPTHS['day']
    assert os.listdir(m / f'{bucket}/e/.scifs/attachments') == []


def test_what_else_is_in_it_stays(reduct, mount, bucket):
    remember(reduct, bucket, b'{"layout": "flat", "big": 18446744073709551615, "a\\u0041": {"layout": "x"}}')
    depth(mount(reduct, 'layout=minute') / bucket / 'e')
    assert remembered(reduct, bucket) == {'layout': 'minute', 'big': 18446744073709551615, 'aA': {'layout': 'x'}}


def test_it_is_written_once_and_not_again_when_it_is_there(relay, far, reduct, bucket):
    for _ in range(2):
        m = far('layout=day', 'list_ttl=10ms', 'ttl=10ms', 'cache=none')
        for _ in range(3):
            depth(m / bucket / 'e')
    assert len([r for r in about_meta(relay, 'POST') if 'ts=' in r.target]) == 1
    assert len(reduct.server.records(bucket, 'e/$meta')) == 1


def test_an_entry_that_is_not_looked_into_is_left_alone(reduct, mount, bucket):
    m = mount(reduct, 'layout=day')
    reduct.server.write(bucket, 'other', START, b'x')
    assert sorted(os.listdir(m / bucket)) == ['e', 'other']
    depth(m / bucket / 'e')
    assert remembered(reduct, bucket) and not remembered(reduct, bucket, 'other')


def test_who_is_not_told_writes_nothing(relay, far, reduct, bucket):
    m = far(*SOON)
    depth(m / bucket / 'e')
    (m / bucket / 'e/new').write_bytes(b'x')
    m.sync()
    assert not remembered(reduct, bucket)


def test_who_may_not_write_leaves_nothing(reduct, relay, far, bucket):
    token = reduct.server.make_token('reader-' + bucket, read=[bucket])
    for m in (far('layout=day', 'ro'), far('layout=day', env={'SCIFS_TOKEN': token})):
        assert depth(m / bucket / 'e') == DEPTHS['day']
    assert about_meta(relay) == [] and not remembered(reduct, bucket)


def test_when_it_cannot_be_written_the_entry_is_shown_all_the_same(relay, far, reduct, bucket):
    relay.rule(method='POST', path=r'meta\?ts=', status=500, body='{"detail": "No space left on device"}')
    m = far('layout=day', 'list_ttl=10ms', 'ttl=10ms')
    for _ in range(3):
        assert depth(m / bucket / 'e') == DEPTHS['day']
    assert m.log.count('could not be noted') == 1 and len([r for r in about_meta(relay, 'POST') if 'ts=' in r.target]) == 1


def test_somebody_elses_document_is_not_written_over(reduct, mount, bucket):
    remember(reduct, bucket, b'no JSON at all')
    assert depth(mount(reduct, 'layout=day') / bucket / 'e') == DEPTHS['day']
    assert [r.content for r in reduct.server.records(bucket, 'e/$meta', content=True)] == [b'no JSON at all']


@pytest.mark.parametrize('options, wanted', [([], {}), (['layout=day'], {'layout': 'day'})])
def test_a_directory_that_is_made_remembers_what_the_mount_was_told(reduct, mount, bucket, options, wanted):
    m = mount(reduct, *SOON, *options)
    (m / bucket / 'made').mkdir()
    assert remembered(reduct, bucket, 'made') == wanted


def test_users_cannot_write_it_by_hand(reduct, mount, bucket):
    m = mount(reduct)
    with fails(errno.EINVAL):
        put(m / f'{bucket}/e/.scifs/attachments/scifs.json', {'layout': 'day'})


# ---- few at once ----

def heads(requests):
    """How many records each of these requests has in its head."""
    return [sum(name.startswith('x-reduct-time-') for name in r.headers) for r in requests]


def test_with_few_records_at_once_no_request_and_no_answer_has_more(reduct, relay, far, bucket):
    m = far(*SOON, 'reduct_batch_records=20', 'cache=none')
    (m / bucket / 'in').mkdir()
    for n in range(100):
        (m / bucket / f'in/f{n:03}').write_bytes(b'%d' % n)
    m.sync()
    assert len(reduct.server.records(bucket, 'in')) == 100
    sent = heads(r for r in relay.settled() if r.method == 'POST' and r.target.endswith('/in/batch'))
    assert sum(sent) > 50 and max(sent) <= 20
    relay.forget()
    m.again(cache=False)
    assert len(os.listdir(m / bucket / 'in')) == 100
    assert len([r for r in relay.settled() if r.method == 'HEAD' and 'in/batch?q=' in r.target]) >= 5, 'pages'
    for n in range(100):
        assert (m / bucket / f'in/f{n:03}').read_bytes() == b'%d' % n
    run('rm', '-r', m / bucket / 'in')
    removed = heads(r for r in relay.settled() if r.method == 'DELETE')
    assert 1 < max(removed) <= 20 and not os.path.exists(m / bucket / 'in')


def test_small_files_that_are_read_in_turn_come_so_many_at_once(relay, far, reduct, bucket):
    from reduct import Record
    assert not reduct.server.write_batch(bucket, 'many', [Record(START + n, b'%d' % n) for n in range(200)])
    m = far('reduct_batch_records=10', 'cache=none')
    hour = m / bucket / 'many/2026.03.01/00'
    names = os.listdir(hour)
    relay.forget()
    assert [(hour / name).read_bytes() for name in names] == [b'%d' % (int(name[:16]) - START) for name in names]
    batches = [r for r in relay.settled() if r.method == 'GET' and 'batch?q=' in r.target]
    assert batches and max(r.sent for r in batches) <= 10 * 3


@pytest.mark.parametrize('number', ['0', '81'])
def test_a_number_that_cannot_be_is_refused_at_the_mount(reduct, tmp_path, number):
    done = subprocess.run([SCIFS, 'mount', reduct.source, tmp_path, '-o', f'reduct_batch_records={number}'], capture_output=True, text=True,
                          env={'PATH': os.environ['PATH'], 'HOME': str(tmp_path), **reduct.env}, timeout=100)
    assert done.returncode == USAGE and 'from 1 to 80' in done.stderr
