"""Writing to a ReductStore where it is delicate: what is asked before it is sent, what is looked at afterwards, what is refused and in whose words."""
import errno
import os
import sys
import time
from types import SimpleNamespace

import pytest
from harness import TOP, Mount, errno_of, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from relay import Relay  # noqa: E402

MIB = 1 << 20
START = 1772323200000000        # 2026-03-01
SOON = ('quiet=100ms', 'ttl=200ms', 'list_ttl=200ms', 'negative_ttl=100ms', 'drain=30s', 'upload_retry=100ms')


@pytest.fixture(scope='module')
def shared(reduct, fuse):
    with Relay(reduct.server.url) as relay, Mount(f'reduct+{relay.url}', *SOON, env=reduct.env) as m:
        yield SimpleNamespace(relay=relay, m=m)


@pytest.fixture
def bucket(reduct, m, request):
    """make(**settings): a bucket of the test's own with an entry `in`, which the mount has seen."""
    made = []

    def make(**settings):
        name = f't-{time.time_ns()}'
        reduct.server.bucket(name, **settings)
        made.append(name)
        wait_for((m / name).is_dir, 'the bucket is seen')
        (m / name / 'in').mkdir()
        return name
    yield make
    for name in made:
        reduct.server.request('DELETE', f'b/{name}')


def posts(relay):
    return [r for r in relay.settled() if r.method == 'POST' and '/in?ts=' in r.target or r.target.endswith('/in/batch')]


# ---- asked before ----

def test_a_large_file_asks_before_its_body_and_a_small_one_does_not(reduct, m, relay, bucket):
    b = bucket()
    relay.rule(method='POST', path='/in', expect=True)
    contents = {n: os.urandom(n) for n in (MIB, MIB + 1, 5 * MIB)}
    for n, content in contents.items():
        (m / b / f'in/f{n}').write_bytes(content)
    m.sync()
    assert {r.size: r.content for r in reduct.server.records(b, 'in', content=True)} == contents
    asked = {r.received: r.headers.get('expect') for r in posts(relay)}
    assert asked == {MIB: None, MIB + 1: '100-continue', 5 * MIB: '100-continue'}


def test_a_large_file_that_is_refused_costs_no_body(reduct, m, relay, bucket):
    b = bucket(quota_type='HARD', quota_size=2 * MIB)
    relay.rule(method='POST', path='/in', expect=True)
    with open(m / b / 'in/large', 'wb') as f:
        f.write(bytes(20 * MIB))
        f.flush()
        assert errno_of(os.fsync, f.fileno()) == errno.ENOSPC
    assert m.refused('large')['errno'] == errno.ENOSPC
    assert posts(relay) and {(r.status, r.received) for r in posts(relay)} == {(400, 0)}
    m.give_up()


# ---- late records ----

@pytest.fixture
def forgetful(reduct):
    if reduct.name != 'reduct20':
        pytest.skip('only these servers lose what is late')


def told(m):
    return [e for e in m.errors() if 'cannot be found at the server any more' in e['message']]


def late(reduct, mount, bucket, before, name, **settings):
    b = bucket(**settings)
    for ts in before:
        reduct.server.write(b, 'in', START + ts, b'%d' % ts)
    m = mount(reduct, *SOON, 'late=verify')
    (m / b / 'in' / name).write_bytes(b'late')
    m.sync()
    return m, b


def test_a_late_record_that_hides_others_is_told(forgetful, reduct, mount, bucket):
    m, b = late(reduct, mount, bucket, (10, 30, 40), f'{START + 20}.bin', max_block_records=3)
    with pytest.raises(Exception, match='404'):
        reduct.server.head(b, 'in', START + 30)
    error, = told(m)
    assert error['path'] == f'/{b}/in' and error['op'] == 'upload' and error['message'].startswith('2 of the records behind')
    assert f'{b}/in' in m.log and 'any more' in m.log
    assert reduct.server.read(b, 'in', START + 20).content == b'late' and not m.uploads()


def test_of_many_that_are_hidden_some_are_counted(forgetful, reduct, mount, bucket):
    m, _ = late(reduct, mount, bucket, range(10, 400, 10), f'{START + 15}.bin', max_block_records=39)
    assert told(m)[0]['message'].startswith('at least 16 of')


@pytest.mark.parametrize('before, name', [((10, 30, 40), 45), ((10, 30), 20), ((10, 30, 40), 5), ((10, 30, 40, 50, 60, 70), 45)])
def test_a_late_record_that_hides_nothing_is_no_fault(forgetful, reduct, mount, bucket, before, name):
    m, b = late(reduct, mount, bucket, before, f'{START + name}.bin', max_block_records=3)
    assert sorted(r.ts - START for r in reduct.server.records(b, 'in')) == sorted((*before, name))
    assert not told(m) and not [e for e in m.errors() if e['op'] == 'upload']


def test_each_late_record_of_many_is_looked_after(forgetful, reduct, mount, bucket):
    """What goes by the hundred goes alone where it is late."""
    b = bucket(max_block_records=3)
    for ts in (10, 30, 40, 110, 130, 140):
        reduct.server.write(b, 'in', START + ts, b'%d' % ts)
    m = mount(reduct, *SOON, 'late=verify', 'quiet=2s')
    for ts in (20, 120, 150, 160):
        (m / b / f'in/{START + ts}.bin').write_bytes(b'late')
    m.sync()
    assert len(told(m)) == 2 and {r.ts - START for r in reduct.server.records(b, 'in')} > {150, 160}


# ---- rights ----

def test_a_token_without_the_right_hears_it_at_open_or_create(reduct, m, mount, bucket):
    b = bucket()
    (m / b / 'in/there').write_bytes(b'content')
    m.sync()
    reader = mount(reduct, *SOON, env={'SCIFS_TOKEN': reduct.server.make_token(f'reader-{b}', read=[b])})
    assert errno_of(os.open, reader / b / 'in/there', os.O_WRONLY) == errno.EACCES
    assert errno_of(os.open, reader / b / 'in/there', os.O_RDWR) == errno.EACCES
    assert errno_of(os.open, reader / b / 'in/new', os.O_WRONLY | os.O_CREAT) == errno.EACCES
    assert (reader / b / 'in/there').read_bytes() == b'content' and not reader.uploads()
    writer = mount(reduct, *SOON, env={'SCIFS_TOKEN': reduct.server.make_token(f'writer-{b}', write=[b])})
    assert errno_of(os.open, writer / b / 'in/there', os.O_RDONLY) in (errno.EACCES, errno.ENOENT)
    assert errno_of(os.listdir, writer / b) == errno.EACCES
    other = mount(reduct, *SOON, env={'SCIFS_TOKEN': reduct.server.make_token(f'other-{b}', read=['sensors'])})
    assert errno_of(os.open, other / b / 'in/there', os.O_RDONLY) in (errno.EACCES, errno.ENOENT)


@pytest.mark.parametrize('name', ['with space', 'dots.in.it', 'ümlaut', 'a:b', '$meta', '.hidden', 'x' * 20 + '!'])
def test_a_directory_of_no_possible_name_is_refused_with_the_rule(reduct, m, bucket, name):
    b = bucket()
    for folder in (m.path, m / b, m / b / 'in'):
        before = len(m.errors())
        assert errno_of((folder / name).mkdir) == errno.EINVAL
        assert "letters, digits, '_' and '-'" in m.errors()[before]['message']


def test_a_directory_that_was_made_stays_while_it_is_empty(reduct, m, bucket):
    """Of older servers only this mount knows of it."""
    b = bucket()
    for _ in range(4):
        time.sleep(0.3)
        assert os.listdir(m / b) == ['in'] and os.listdir(m / b / 'in') == []
    (m / b / 'in/file').write_bytes(b'x')
    m.sync()
    assert os.listdir(m / b) == ['in'] and reduct.server.records(b, 'in')
    reduct.server.request('DELETE', f'b/{b}/in')
    wait_for(lambda: os.listdir(m / b) == [], 'what others remove is gone')


def test_an_empty_directory_is_removed_again(m, bucket):
    b = bucket()
    os.listdir(m / b)
    (m / b / 'in').rmdir()
    time.sleep(0.3)
    assert os.listdir(m / b) == []
