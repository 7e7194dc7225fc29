"""What is written through a mount arrives in a ReductStore as its users know it: the official client and the API are the witnesses."""
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from harness import LEFT, TOP, Mount, errno_of, run, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from process import RestError  # noqa: E402
from reduct import Reduct  # noqa: E402
from relay import Relay, Rule  # noqa: E402

MIB = 1 << 20
SOON = ('quiet=100ms', 'ttl=500ms', 'list_ttl=500ms', 'negative_ttl=100ms', 'drain=30s', 'upload_retry=100ms')
START = 1795353600000000        # 2026-11-22T13:20:00
NESTED = 19                     # the first minor version with entries in entries
RECORD = r'^/api/v1/b/[^?]*(\?ts=|/batch$)'             # what carries records


@pytest.fixture(scope='module')
def shared(reduct, fuse):
    with Relay(reduct.server.url) as relay, Mount(f'reduct+{relay.url}', *SOON, env=reduct.env) as m:
        yield SimpleNamespace(relay=relay, m=m)


class Place:
    """A bucket of the test's own, with one entry."""

    def __init__(self, reduct, name, **settings):
        self.reduct, self.server, self.bucket, self.entry = reduct, reduct.server, name, 'in'
        self.server.bucket(name, **settings)
        self.path = f'{name}/in'

    def records(self, entry='in', content=False):
        try:
            return self.server.records(self.bucket, entry, content=content)
        except RestError as e:
            if e.status == 404:         # it comes with its first record
                return []
            raise

    def left(self):
        """Entries that are there and not on their way out."""
        return [e['name'] for e in self.server.rest('GET', f'b/{self.bucket}')['entries'] if e.get('status') != 'DELETING']

    def names(self, entry='in'):
        return [r.labels.get('filename') for r in self.records(entry)]


@pytest.fixture
def place(reduct, request):
    name = ''.join(c if c.isalnum() else '-' for c in request.node.name)[:60]
    p = Place(reduct, name)
    yield p


@pytest.fixture
def here(m, place):
    """The entry's directory in the mount."""
    wait_for((m / place.bucket).is_dir, 'the bucket is seen')
    (m / place.path).mkdir()
    return m / place.path


# ---- files ----

def test_a_file_becomes_a_record_of_its_name_type_and_time(m, here, place, reduct):
    (here / 'foo bär.csv').write_bytes(b'a,b\n1,2\n')
    os.utime(here / 'foo bär.csv', (1700000000, 1700000000.25))
    m.sync()
    r, = reduct.witness('records', bucket=place.bucket, entry='in', content=True)
    assert bytes.fromhex(r['content']) == b'a,b\n1,2\n' and r['content_type'] == 'text/csv'
    assert r['labels'] == {'filename': 'foo%20b%C3%A4r.csv', 'mtime': '1700000000.250000000'}
    assert abs(r['ts'] / 1e6 - time.time()) < 120
    assert os.listdir(here) == ['foo bär.csv'] and (here / 'foo bär.csv').read_bytes() == b'a,b\n1,2\n'


def test_a_name_that_is_a_time_is_the_records_time(m, here, place):
    (here / f'{START}.jpg').write_bytes(b'pixels')
    (here / f'{START + 1}').write_bytes(b'bare')
    (here / f'{START + 2}.odd').write_bytes(b'its own ending')
    (here / '2024.csv').write_bytes(b'no time')
    m.sync()
    at = {r.ts: r for r in place.records(content=True)}
    assert at[START].content == b'pixels' and at[START].content_type == 'image/jpeg' and not at[START].labels
    assert at[START + 1].content == b'bare' and not at[START + 1].labels
    assert at[START + 2].labels['filename'] == f'{START + 2}.odd' and at[START + 2].content_type == 'application/octet-stream'
    assert [r.labels['filename'] for r in at.values() if r.ts not in (START, START + 1, START + 2)] == ['2024.csv']
    assert (here / f'{START}.jpg').read_bytes() == b'pixels'
    wait_for(lambda: set(os.listdir(here)) == {'2024.csv', f'{START + 2}.odd', '2026.11.22'}, 'each is listed in its place')
    assert sorted(os.listdir(here / '2026.11.22/13')) == [f'{START}.jpg', f'{START + 1}.bin']


def test_names_that_cannot_be_say_the_rule(m, here, place):
    assert errno_of((m / 'no dots.here').mkdir) == errno.EINVAL
    assert "letters, digits, '_' and '-'" in m.control('errors')
    assert errno_of((here / 'sub.dir').mkdir) == errno.EINVAL
    assert errno_of((here / 'batch').mkdir) == (errno.EINVAL if place.server.minor >= NESTED else errno.EPERM)
    assert errno_of((here / '2026.11.22').write_bytes, b'') == errno.EINVAL
    assert errno_of((m / place.bucket / 'file').write_bytes, b'') == errno.EPERM
    assert errno_of((m / 'file').write_bytes, b'') == errno.EPERM
    assert errno_of((here / 'link').symlink_to, 'x') == errno.EPERM


def test_who_may_not_write_hears_it_at_create(reduct, place, mount):
    place.server.write(place.bucket, 'in', START, b'x')
    token = place.server.make_token('reader-' + place.bucket, read=[place.bucket])
    m = mount(reduct, *SOON, env={'SCIFS_TOKEN': token})
    assert errno_of((m / place.path / 'f').write_bytes, b'x') == errno.EACCES
    assert errno_of((m / place.bucket / 'other').mkdir) == errno.EACCES
    assert errno_of((m / 'bucket').mkdir) == errno.EACCES
    assert errno_of((m / place.path / f'{START}.bin').unlink) == errno.EACCES


def test_a_drop_box_takes_what_cannot_be_read_back(reduct, place, mount):
    place.server.write(place.bucket, 'in', START, b'x')
    token = place.server.make_token('writer-' + place.bucket, write=[place.bucket])
    m = mount(reduct, *SOON, env={'SCIFS_TOKEN': token})
    assert os.listdir(m.path) == []
    (m / place.bucket / 'out').mkdir()
    (m / place.bucket / 'out' / 'f').write_bytes(b'dropped')
    m.sync()
    assert place.server.read(place.bucket, 'out').content == b'dropped'


def test_a_large_file_is_streamed_after_being_asked_for(m, here, place, relay):
    content = os.urandom(MIB) * 40
    (here / 'big.bin').write_bytes(content)
    m.sync()
    r, = place.records(content=True)
    assert r.content == content
    posts = [q for q in relay.settled() if q.method == 'POST' and '/in?ts=' in q.target]
    assert len(posts) == 1


def test_an_empty_file_is_an_empty_record(m, here, place):
    (here / 'nothing').touch()
    m.sync()
    r, = place.records()
    assert r.size == 0 and r.content_type == 'application/octet-stream'
    assert (here / 'nothing').stat().st_size == 0


def test_times_are_the_labels_on_every_machine(m, here, place, reduct, mount):
    (here / 'f').write_bytes(b'x')
    m.sync()
    os.utime(here / 'f', (1600000000, 1600000000.5))
    assert place.records()[0].labels['mtime'] == '1600000000.500000000'
    assert (here / 'f').stat().st_mtime == 1600000000.5
    other = mount(reduct, *SOON)
    assert (other / place.path / 'f').stat().st_mtime == 1600000000.5
    os.utime(other / place.path / 'f', (-1, -0.25))
    assert place.records()[0].labels['mtime'] == '-0.250000000'
    wait_for(lambda: (here / 'f').stat().st_mtime == -0.25, 'the other one sees it')


def test_what_is_written_over_is_a_newer_record_of_its_name(m, here, place):
    (here / 'f.txt').write_bytes(b'one')
    m.sync()
    ino = (here / 'f.txt').stat().st_ino
    (here / 'f.txt').write_bytes(b'two')
    m.sync()
    with open(here / 'f.txt', 'ab') as f:
        f.write(b' and more')
    m.sync()
    assert [r.content for r in place.records(content=True)] == [b'one', b'two', b'two and more']
    assert os.listdir(here) == ['f.txt'] and (here / 'f.txt').read_bytes() == b'two and more'
    assert (here / 'f.txt').stat().st_ino == ino
    (here / 'f.txt').unlink()
    wait_for(lambda: place.records() == [], 'all of its records are gone')
    assert not (here / 'f.txt').exists()


def test_overwrite_replace_leaves_one_record(reduct, place, mount):
    m = mount(reduct, *SOON, 'overwrite=replace')
    here = m / place.path
    here.mkdir()
    for content in (b'one', b'two'):
        (here / 'f').write_bytes(content)
        (here / f'{START}.txt').write_bytes(content)
        m.sync()
    assert sorted(r.content for r in place.records(content=True)) == [b'two', b'two']
    assert place.server.read(place.bucket, 'in', START).content == b'two'


def test_records_are_not_written_over_unasked(reduct, m, here, place, mount):
    (here / f'{START}.txt').write_bytes(b'first')
    (here / 'named').write_bytes(b'first')
    m.sync()
    assert errno_of(open, here / f'{START}.txt', 'r+b') == errno.EPERM
    assert errno_of(os.truncate, here / f'{START}.txt', 1) == errno.EPERM
    careful = mount(reduct, *SOON, 'overwrite=no')
    assert errno_of(open, careful / place.path / 'named', 'wb') == errno.EPERM
    assert [r.content for r in place.records(content=True)] == [b'first', b'first']


def test_a_change_by_others_is_not_written_over(m, here, place):
    (here / 'f').write_bytes(b'ours')
    m.sync()
    with open(here / 'f', 'r+b') as f:
        place.server.write(place.bucket, 'in', int(time.time() * 1e6), b'theirs', {'filename': 'f'})
        f.write(b'OURS')
    m.settle()
    contents = {r.labels['filename']: r.content for r in place.records(content=True)}
    assert contents['f'] == b'theirs'
    assert [c for n, c in contents.items() if n.startswith('f.conflict-')] == [b'OURS']


def test_a_time_that_is_taken_makes_a_copy_beside_it(m, here, place):
    (here / 'x').write_bytes(b'')
    m.sync()
    with open(here / f'{START}.txt', 'wb') as f:
        place.server.write(place.bucket, 'in', START, b'theirs')
        f.write(b'ours')
    m.settle()
    assert place.server.read(place.bucket, 'in', START).content == b'theirs'
    copy = next(r for r in place.records(content=True) if 'conflict' in r.labels.get('filename', ''))
    assert copy.content == b'ours'
    wait_for(lambda: copy.labels['filename'] in os.listdir(here), 'the copy is listed')
    assert (here / copy.labels['filename']).read_bytes() == b'ours'


def test_late_records_are_refused_where_they_would_be_lost(reduct, m, here, place, mount):
    """On 1.18 to 1.20."""
    for ts in (START, START + 10):
        place.server.write(place.bucket, 'in', ts, b'x')
    time.sleep(1.1)
    os.listdir(here)
    if place.server.minor not in (18, 19, 20):
        (here / f'{START + 5}.txt').write_bytes(b'late')
        m.sync()
        assert [r.ts for r in place.records()] == [START, START + 5, START + 10]
        return
    assert errno_of((here / f'{START + 5}.txt').write_bytes, b'late') == errno.EPERM
    (here / f'{START - 5}.txt').write_bytes(b'before all')
    m.sync()
    trying = mount(reduct, *SOON, 'late=verify')
    (trying / place.path / f'{START + 5}.txt').write_bytes(b'late')
    trying.sync()
    assert {START - 5, START + 5} < {r.ts for r in place.records()}


def test_ts_mtime_gives_records_their_files_times(reduct, place, mount, tmp_path):
    m = mount(reduct, *SOON, 'ts=mtime')
    here = m / place.path
    here.mkdir()
    for i in range(3):
        (tmp_path / f'f{i}').write_bytes(b'%d' % i)
        os.utime(tmp_path / f'f{i}', (1700000000 + i // 2, 1700000000 + i // 2))
        run('cp', '-p', tmp_path / f'f{i}', here / f'f{i}')
        m.sync()
    assert [r.ts for r in place.records()] == [1700000000000000, 1700000000000001, 1700000001000000]


# ---- answers that do not come ----

def test_a_lost_answer_makes_no_second_record(m, here, place, relay):
    relay.rule(method='POST', path=r'/in\?ts=', lose=True, by='reset', times=1)
    (here / 'f').write_bytes(b'content')
    m.sync()
    assert [r.content for r in place.records(content=True)] == [b'content']
    posts = [q for q in relay.settled() if q.method == 'POST' and '/in?ts=' in q.target]
    assert len(posts) == 1


def test_half_a_record_is_written_again_at_its_time(m, here, place, relay):
    relay.rule(method='POST', path=r'/in\?ts=', ask_cut=100000, by='reset', times=1)
    content = os.urandom(300000)
    (here / 'f').write_bytes(content)
    m.sync()
    assert [r.content for r in place.records(content=True)] == [content]
    assert len({q.target for q in relay.settled() if q.method == 'POST' and '/in?ts=' in q.target}) == 1


def test_a_crash_after_the_answer_was_lost_makes_no_second_record(reduct, place, fuse):
    with Relay(reduct.server.url) as relay:
        m = Mount(f'reduct+{relay.url}', *SOON, env=reduct.env).start()
        (m / place.path).mkdir()
        relay.rule(method='POST', path=r'/in\?ts=', lose=True, by='stall')
        (m / place.path / 'f').write_bytes(b'content')
        wait_for(lambda: place.records(), 'the server has it')
        m.crash()
        relay.clear()
        m.again()
        m.sync()
        assert [r.content for r in place.records(content=True)] == [b'content']
        assert (m / place.path / 'f').read_bytes() == b'content'
        m.stop()


def test_a_server_that_restarts_meanwhile_gets_it_all(reduct, m, here, place):
    reduct.server.kill()
    for i in range(5):
        (here / f'f{i}').write_bytes(b'%d' % i)
    reduct.server.start()
    m.sync()
    assert sorted(place.names()) == [f'f{i}' for i in range(5)]


# ---- quotas ----

def test_a_full_hard_quota_keeps_the_draft_and_says_no_space(reduct, m, request):
    place = Place(reduct, 'hardquota', quota_type='HARD', quota_size=100000)
    here = m / place.path
    wait_for((m / place.bucket).is_dir, 'the bucket is seen')
    here.mkdir()
    (here / 'fits').write_bytes(bytes(60000))
    m.sync()
    with open(here / 'toomuch', 'wb') as f:
        f.write(bytes(60000))
        f.flush()
        assert errno_of(os.fsync, f.fileno()) == errno.ENOSPC
    assert m.refused('toomuch')['errno'] == errno.ENOSPC
    assert (here / 'toomuch').read_bytes() == bytes(60000)
    reduct.server.rest('PUT', 'b/hardquota', {'quota_size': 1000000})
    m.retry('toomuch')
    m.sync()
    assert sorted(place.names()) == ['fits', 'toomuch']


def test_what_is_larger_than_a_fifo_quota_is_never_sent(reduct, m, relay):
    place = Place(reduct, 'fifoquota', quota_type='FIFO', quota_size=100000)
    here = m / place.path
    wait_for((m / place.bucket).is_dir, 'the bucket is seen')
    here.mkdir()
    (here / 'fits').write_bytes(bytes(50000))
    m.sync()
    with open(here / 'toomuch', 'wb') as f:
        f.write(bytes(150000))
        f.flush()
        assert errno_of(os.fsync, f.fileno()) == errno.EFBIG
    assert place.names() == ['fits']
    m.give_up()


# ---- directories ----

def test_entries_in_entries_are_refused_where_there_are_none(m, here, reduct):
    """With the reason."""
    if reduct.server.minor >= NESTED:
        pytest.skip('this server has them')
    assert errno_of((here / 'sub').mkdir) == errno.EPERM
    assert 'before 1.19' in m.control('errors')


def test_an_entry_without_records_is_there_until_it_is_removed(m, here, place):
    """On an old server for this mount only."""
    def listed():
        time.sleep(1)                   # neither scifs nor the kernel knows it from before
        return os.listdir(m / place.bucket)

    assert listed() == ['in'] and os.listdir(here) == [] and errno_of(here.mkdir) == errno.EEXIST
    here.rename(m / place.bucket / 'out')
    assert listed() == ['out'] and errno_of((m / place.bucket).rmdir) == errno.ENOTEMPTY
    (m / place.bucket).rename(m / f'{place.bucket}-too')
    place.bucket += '-too'
    assert listed() == ['out']
    (m / place.bucket / 'out/f').write_bytes(b'x')
    m.sync()
    (m / place.bucket / 'out').rename(here := m / place.bucket / 'in')
    assert listed() == ['in'] and (here / 'f').read_bytes() == b'x' and place.names() == ['f']
    (here / 'f').unlink()
    wait_for(lambda: place.records() == [], 'it is empty again')
    here.rmdir()
    assert listed() == []


def test_buckets_and_entries_are_made_moved_and_removed(m, reduct):
    below = ['', '/b'] if reduct.server.minor >= NESTED else ['']
    deep = below[-1]
    (m / 'made').mkdir()
    for b in below:
        (m / f'made/a{b}').mkdir()
    assert errno_of((m / 'made/a').mkdir) == errno.EEXIST
    (m / f'made/a{deep}/f').write_bytes(b'x')
    m.sync()
    for path in (*(f'made/a{b}' for b in reversed(below)), 'made'):
        assert errno_of((m / path).rmdir) == errno.ENOTEMPTY
    (m / 'made/a').rename(m / 'made/c')
    assert (m / f'made/c{deep}/f').read_bytes() == b'x'
    (m / 'made').rename(m / 'moved')
    assert (m / f'moved/c{deep}/f').read_bytes() == b'x'
    assert {e['name'] for e in reduct.witness('entries', bucket='moved')} == {f'c{b}' for b in below}
    (m / f'moved/c{deep}/f').unlink()
    for path in (*(f'moved/c{b}' for b in reversed(below)), 'moved'):
        (m / path).rmdir()
    assert 'moved' not in [b['name'] for b in reduct.witness('buckets') if b['status'] == 'READY']


def test_an_empty_entry_lasts(m, place, reduct, mount):
    if reduct.server.minor < NESTED:
        pytest.skip('before attachments a server learns of an entry by its first record')
    wait_for((m / place.bucket).is_dir, 'the bucket is seen')
    (m / place.bucket / 'hollow').mkdir()
    assert os.listdir(m / place.bucket / 'hollow') == []
    other = mount(reduct, *SOON)
    assert os.listdir(other / place.bucket) == ['hollow']
    (m / place.bucket / 'hollow').rmdir()
    wait_for(lambda: os.listdir(other / place.bucket) == [], 'it is gone')


def test_records_get_other_names_by_their_label(m, here, place):
    (here / 'a').write_bytes(b'one')
    m.sync()
    (here / 'a').write_bytes(b'two')
    m.sync()
    (here / 'a').rename(here / 'b')
    assert place.names() == ['b', 'b']
    assert os.listdir(here) == ['b'] and (here / 'b').read_bytes() == b'two'
    (here / 'c').write_bytes(b'three')
    m.sync()
    (here / 'c').rename(here / 'b')
    assert (here / 'b').read_bytes() == b'three' and os.listdir(here) == ['b']
    assert len(place.records()) == 3


def test_mv_between_entries_copies(m, here, place):
    (m / place.bucket / 'other').mkdir()
    (here / 'f').write_bytes(b'x')
    m.sync()
    assert errno_of((here / 'f').rename, m / place.bucket / 'other/f') == errno.EXDEV
    run('mv', here / 'f', m / place.bucket / 'other/g')
    m.sync()
    wait_for(lambda: place.records() == [], 'it is gone')
    assert place.names('other') == ['g']


def test_rm_r_takes_all_of_an_entry(m, here, place):
    sub = here / 'sub' if place.server.minor >= NESTED else here
    for i in range(30):
        (here / f'f{i}').write_bytes(b'%d' % i)
    sub.mkdir(exist_ok=True)
    for i in range(10):
        (sub / f'{START + i}.txt').write_bytes(b'%d' % i)
    m.sync()
    run('rm', '-r', here)
    assert not here.exists()
    wait_for(lambda: place.left() == [], 'nothing is left')


def test_the_verb_delete_takes_an_entry_in_one_request(m, here, place, relay):
    for i in range(3):
        (here / f'f{i}').write_bytes(b'x')
    m.sync()
    relay.forget()
    (m / '.scifs/action').write_text(f'remove /{place.path}\n')
    assert [q.path for q in relay.settled() if q.method == 'DELETE'] == [f'/api/v1/b/{place.bucket}/in']
    wait_for(lambda: not here.exists(), 'the kernel has heard of it')


# ---- labels ----

def test_labels_are_set_and_removed(m, here, place):
    (here / 'f').write_bytes(b'x')
    os.setxattr(here / 'f', 'user.reduct.label.class', b' cat ')           # before it is there
    m.sync()
    assert place.records()[0].labels['class'] == 'cat'
    os.setxattr(here / 'f', 'user.reduct.label.score', b'0.5')
    os.setxattr(here / 'f', 'user.reduct.label.class', b'dog')
    labels = place.records()[0].labels
    assert labels['class'] == 'dog' and labels['score'] == '0.5' and labels['filename'] == 'f'
    assert os.getxattr(here / 'f', 'user.reduct.label.class') == b'dog'
    os.removexattr(here / 'f', 'user.reduct.label.class')
    assert 'class' not in place.records()[0].labels
    assert errno_of(os.removexattr, here / 'f', 'user.reduct.label.class') == errno.ENODATA


@pytest.mark.parametrize('name, value, error', [
    ('Upper', b'x', errno.EINVAL), ('with space', b'x', errno.EINVAL), ('7', b'x', errno.EINVAL), ('@x', b'x', errno.EINVAL),
    ('x' * 129, b'x', errno.EINVAL), ('ok', 'ä'.encode(), errno.EINVAL), ('ok', b'a\nb', errno.EINVAL), ('ok', b'x' * 65000, errno.E2BIG)])
def test_labels_that_would_hurt_are_never_sent(m, here, place, relay, name, value, error):
    (here / 'f').write_bytes(b'x')
    m.sync()
    if error == errno.E2BIG:
        os.setxattr(here / 'f', 'user.reduct.label.first', b'y' * 2000)
    relay.forget()
    assert errno_of(os.setxattr, here / 'f', f'user.reduct.label.{name}', value) == error
    assert not [q for q in relay.settled() if q.method == 'PATCH']


def test_the_content_type_is_set_before_and_never_after(m, here, place):
    (here / 'f').write_bytes(b'x')
    os.setxattr(here / 'f', 'user.reduct.content_type', b'image/x-own')
    m.sync()
    assert place.records()[0].content_type == 'image/x-own'
    assert errno_of(os.setxattr, here / 'f', 'user.reduct.content_type', b'text/plain') == errno.EPERM


def test_cp_a_brings_labels_along(m, here, place):
    (here / 'f').write_bytes(b'x')
    os.setxattr(here / 'f', 'user.reduct.label.class', b'cat')
    m.sync()
    run('cp', '-a', here / 'f', here / 'g')
    m.sync()
    f, g = sorted(place.records(), key=lambda r: r.labels['filename'])
    assert g.labels == {**f.labels, 'filename': 'g'}


# ---- programs ----

def test_rsync_sends_nothing_the_second_time(reduct, m, here, place, tmp_path):
    source = tmp_path / 'run42'
    source.mkdir()
    for i in range(20):
        (source / f'f{i}.dat').write_bytes(os.urandom(100 + i))
        os.utime(source / f'f{i}.dat', (1700000000 + i, 1700000000 + i))

    def rsync():
        done = run('rsync', '-a', '--no-owner', '--no-group', '--no-perms', '--omit-dir-times', '--itemize-changes', f'{source}/', f'{here}/')
        m.sync()
        return [line for line in done.splitlines() if line[:2] in ('>f', '<f')]

    assert len(rsync()) == 20
    assert sorted(place.names()) == sorted(f'f{i}.dat' for i in range(20))
    before = [(r.ts, r.labels) for r in place.records()]
    assert rsync() == []
    m.again(cache=False)
    assert rsync() == []
    assert [(r.ts, r.labels) for r in place.records()] == before


# ---- many small ones ----

def write_many(here, n, size=100):
    for i in range(n):
        (here / f'f{i:04}').write_bytes(b'%04d' % i * (size // 4))


def test_many_small_files_are_few_requests(m, here, place, relay):
    write_many(here, 400)
    m.sync()
    records = place.records(content=True)
    assert sorted(r.labels['filename'] for r in records) == [f'f{i:04}' for i in range(400)]
    assert all(r.content == r.labels['filename'][1:].encode() * 25 for r in records)
    assert all('mtime' in r.labels for r in records)
    batches = [q for q in relay.settled() if q.method == 'POST' and q.target.endswith('/in/batch')]
    assert 4 <= len(batches) <= 100
    assert len([q for q in relay.settled() if '/in' in q.target]) < 400


def test_files_that_are_called_by_numbers_are_few_requests(m, here, place, relay):
    """A number may be a record's time, but these are none of this entry's: the kernel asks for each before it makes it."""
    names = [name for i in range(50) for name in (f'{i:04}.dat', f'{20260000 + i}.txt', f'202611261546{i:02}.csv', f'{START + i}000.png')]
    for i, name in enumerate(names):
        (here / name).write_bytes(b'%d' % i)
        if i % 50 == 0:
            m.sync()                            # what is known of the entry changes meanwhile
    m.sync()
    assert sorted(place.names()) == sorted(names)
    asked = [f'{q.method} {q.target}' for q in relay.settled() if f'/b/{place.bucket}' in q.target]
    assert len(asked) < len(names) // 2, asked


def test_a_record_of_1970_is_found_by_any_name_of_its_time(m, here, place):
    (here / '0000000000012345').write_bytes(b'early')
    m.sync()
    assert (here / '12345.xyz').read_bytes() == (here / '0012345').read_bytes() == b'early'
    place.server.write(place.bucket, 'in', START, b'of somebody else')
    wait_for(lambda: (here / str(START)).exists() and (here / str(START)).read_bytes() == b'of somebody else', 'it has grown')


def test_times_and_names_go_together_too(m, here, place, relay):
    for i in reversed(range(40)):
        (here / f'{START + i}.jpg').write_bytes(b'%d' % i)
        os.setxattr(here / f'{START + i}.jpg', 'user.reduct.label.n', b'a,%d' % i)
    m.sync()
    assert [(r.ts, r.content, r.content_type, r.labels['n']) for r in place.records(content=True)] == \
        [(START + i, b'%d' % i, 'image/jpeg', f'a,{i}') for i in range(40)]


def test_what_no_batch_can_say_goes_alone(m, here, place, relay):
    with open(here / 'said', 'wb') as said, open(here / 'odd', 'wb') as odd:
        os.setxattr(said.fileno(), 'user.reduct.label.said', b'"yes", he said')
        os.setxattr(odd.fileno(), 'user.reduct.content_type', b'text/x-odd; a="b,c"')
        write_many(here, 30)
    m.sync()
    at = {place.server.head(place.bucket, 'in', r.ts).labels['filename']: r.ts for r in place.records()}
    assert len(at) == 32 == len(place.records())
    assert place.server.head(place.bucket, 'in', at['said']).labels['said'] == '"yes", he said'
    assert place.server.head(place.bucket, 'in', at['odd']).content_type == 'text/x-odd; a="b,c"'


def test_a_record_refused_in_a_batch_fails_alone(reduct, m):
    place = Place(reduct, 'batchquota', quota_type='HARD', quota_size=300000)
    wait_for((m / place.bucket).is_dir, 'the bucket is seen')
    here = m / place.path
    here.mkdir()
    write_many(here, 20)
    (here / 'toomuch').write_bytes(bytes(500000))
    for i in range(20, 40):
        (here / f'f{i:04}').write_bytes(b'x')
    m.scifs('sync', m.path, check=False)
    assert m.refused('toomuch')['errno'] == errno.ENOSPC and 'Quota of' in m.refused('toomuch')['error']
    assert len(m.uploads()) == 1
    assert sorted(place.names()) == [f'f{i:04}' for i in range(40)]
    m.give_up()


def test_a_batch_whose_answer_is_lost_is_not_sent_twice(m, here, place, relay):
    relay.rule(method='POST', path=r'/in/batch$', lose=True, by='reset', times=2)
    write_many(here, 200)
    m.sync()
    assert sorted(place.names()) == [f'f{i:04}' for i in range(200)]


def test_a_batch_that_breaks_off_in_the_middle_makes_no_record_twice(m, here, place, relay):
    """Some are there by then."""
    relay.rule(method='POST', path=r'/in/batch$', lose=True, status=400, headers={'x-reduct-error': 'Content is shorter than expected'})
    write_many(here, 40)
    m.sync()
    assert [q for q in relay.settled() if q.status == 400]
    assert sorted(place.names()) == [f'f{i:04}' for i in range(40)]


def test_empty_ones_among_others_are_records_too(m, here, place):
    """To a batch that ends with one 1.17.3 says that more should have come."""
    for i in range(40):
        (here / f'{START + i}.txt').write_bytes(b'' if i % 4 == 3 else b'%d' % i)
    m.sync()
    assert [(r.ts, r.content) for r in place.records(content=True)] == [(START + i, b'' if i % 4 == 3 else b'%d' % i) for i in range(40)]


def test_a_crash_in_a_batch_makes_no_record_twice(reduct, place, fuse):
    with Relay(reduct.server.url) as relay:
        m = Mount(f'reduct+{relay.url}', *SOON, env=reduct.env).start()
        (m / place.path).mkdir()
        relay.rule(method='POST', path=r'/in/batch$', lose=True, by='stall')
        write_many(m / place.path, 100)
        wait_for(lambda: any(q.end == 'lost' for q in relay.requests('/in/batch$')), 'a batch is there')
        assert len(place.records()) > 1
        m.crash()
        relay.clear()
        m.again()
        m.sync()
        assert sorted(place.names()) == [f'f{i:04}' for i in range(100)]
        m.stop()


def test_a_server_that_dies_in_a_batch_gets_each_once(reduct, m, here, place, relay):
    relay.rule(method='POST', path=r'/in/batch$', ask_cut=500, by='reset', times=1)
    write_many(here, 100)
    reduct.server.kill()
    reduct.server.start()
    m.sync()
    assert sorted(place.names()) == [f'f{i:04}' for i in range(100)]


def times_in(headers):
    """Of the records that a request's head tells of."""
    return {h[len('x-reduct-time-'):] for h in headers if h.startswith('x-reduct-time-')}


class Breaking(Rule):
    """The first batch that is one."""
    def takes(self, method, target, headers):
        first = not self.used and method == 'POST' and len(times_in(headers)) > 4
        self.used += first
        return first


class Early(Rule):
    """What a server does that was killed the moment after a batch broke, which cannot be timed: that batch's records stay "being written"
    until they are removed."""
    left = None

    def takes(self, method, target, headers):
        times = times_in(headers)
        if method == 'POST' and self.left is None and len(times) > 4:
            self.left = times
        elif method == 'DELETE' and self.left:
            self.left -= times
        return method == 'HEAD' and '?ts=' in target and target.split('=')[1] in (self.left or ())


def test_what_its_server_left_half_written_is_waited_for_once_and_not_each(reduct, m, here, place, relay):
    relay.rules[:0] = [Early(status=425), Breaking(ask_cut=250, by='reset')]
    write_many(here, 60)
    m.sync()
    assert sorted(place.names()) == [f'f{i:04}' for i in range(60)]
    early = [q.target for q in relay.settled() if q.status == 425]
    assert len(set(early)) >= 2 and len(early) < len(set(early)) + 20


def test_a_server_that_takes_fewer_at_once_is_asked_once(reduct, mount):
    with Reduct(reduct.server.version, environ={'RS_IO_BATCH_MAX_RECORDS': '10'}) as server, Relay(server.url) as relay:
        server.bucket('b')
        m = mount(SimpleNamespace(source=f'reduct+{relay.url}', env={'SCIFS_TOKEN': server.token}), *SOON)
        (m / 'b/in').mkdir()
        write_many(m / 'b/in', 200)
        m.sync()
        assert len(server.records('b', 'in')) == 200
        assert len([q for q in relay.settled() if q.status == 431]) <= 4


def test_what_is_removed_within_a_moment_goes_together(m, here, place, relay):
    write_many(here, 300)
    m.sync()
    (here / 'f0007').write_bytes(b'twice')
    m.sync()
    os.listdir(here)
    relay.forget()
    for i in range(200):
        (here / f'f{i:04}').unlink()
    assert len(os.listdir(here)) == 100
    wait_for(lambda: sorted(place.names()) == [f'f{i:04}' for i in range(200, 300)], 'they are gone')
    assert len([q for q in relay.settled() if q.method == 'DELETE']) <= 10
    run('rm', '-r', here)
    wait_for(lambda: place.left() == [], 'nothing is left')


def test_a_removal_that_waits_is_over_before_its_name_is_taken_anew(m, here, place):
    for content in (b'one', b'two', b'three'):
        (here / 'f').write_bytes(content)
        m.sync()
        (here / 'f').unlink()
    (here / 'f').write_bytes(b'last')
    m.sync()
    assert [r.content for r in place.records(content=True)] == [b'last'] and (here / 'f').read_bytes() == b'last'


def test_what_was_removed_before_a_crash_goes_after_it(reduct, place, fuse):
    m = Mount(reduct.source, *SOON, env=reduct.env).start()
    (m / place.path).mkdir()
    write_many(m / place.path, 20)
    m.sync()
    for i in range(10):
        (m / place.path / f'f{i:04}').unlink()
    m.crash()
    m.again()
    assert len(os.listdir(m / place.path)) == 10
    wait_for(lambda: len(place.records()) == 10, 'they are gone')
    m.stop()


# ---- removals that the server refuses ----

WORDS = 'this one stays'


def refuse_removals(relay, **how):
    return relay.rule(method='DELETE', path=r'/in/batch$', status=403, headers={'x-reduct-error': WORDS}, **how)


def keep_some(here, m, n=3):
    """So many files, at the server; and their contents by name."""
    there = {f'f{i:04}': b'%d' % i for i in range(n)}
    for name, content in there.items():
        (here / name).write_bytes(content)
    m.sync()
    os.listdir(here)
    return there


def test_a_file_whose_removal_is_refused_is_there_again(m, here, place, relay):
    there = keep_some(here, m)
    refuse_removals(relay)
    run('rm', here / 'f0000', here / 'f0001')
    assert os.listdir(here) == ['f0002'] and not (here / 'f0000').exists()
    for name in 'f0000', 'f0001':
        u = m.refused(name)
        assert (u['op'], u['path'], u['errno'], u['error']) == ('remove', f'/{place.path}/{name}', errno.EACCES, WORDS)
    # At once: nothing is older than the refusal.
    assert {f.name: f.read_bytes() for f in here.iterdir()} == there
    faults = [e for e in m.errors(place.path) if e['op'] == 'remove']
    assert {e['path'] for e in faults} == {f'/{place.path}/f0000', f'/{place.path}/f0001'}
    assert all((e['status'], e['message'], e['errno']) == (403, WORDS, errno.EACCES) for e in faults)
    assert {r.labels['filename'] for r in place.records()} == set(there)
    assert m.status()['uploads']['refused'] == 2


def test_a_name_that_was_looked_for_is_found_when_its_removal_is_refused(m, here, relay):
    keep_some(here, m)
    rule = refuse_removals(relay)
    (here / 'f0000').unlink()
    assert not (here / 'f0000').exists()
    wait_for(lambda: rule.used, 'it is refused')
    wait_for(lambda: (here / 'f0000').exists(), 'its name is found')
    assert (here / 'f0000').read_bytes() == b'0'


def test_a_refused_removal_is_listed_retried_and_dropped(m, here, place, relay):
    keep_some(here, m)
    refuse_removals(relay)
    for i in range(3):
        (here / f'f{i:04}').unlink()
    ids = [m.refused(f'f{i:04}')['id'] for i in range(3)]
    shown = m.scifs('uploads', m.path)
    assert re.search(rf'\b{ids[0]} +refused +removal +- +/{place.path}/f0000: {WORDS}\n', shown), shown
    m.scifs('uploads', 'drop', '--yes', m.path, str(ids[0]))
    assert m.upload('f0000') is None
    m.scifs('uploads', 'retry', m.path, str(ids[1]))
    wait_for(lambda: m.upload('f0001')['attempts'] == 2 and m.upload('f0001')['state'] == 'refused', 'it is refused again')
    assert len(os.listdir(here)) == 3
    relay.clear()
    m.scifs('uploads', 'retry', m.path, 'all')
    m.settle()
    assert place.names() == ['f0000'] and os.listdir(here) == ['f0000']


def test_sync_names_a_refused_removal(m, here, place, relay):
    keep_some(here, m)
    refuse_removals(relay)
    (here / 'f0000').unlink()
    m.refused('f0000')
    r = m.scifs('sync', here, check=False)
    assert r.returncode == LEFT and f'/{place.path}/f0000: refused, to be removed: {WORDS}' in r.stderr, r.stderr
    # Elsewhere nothing is owed.
    (m / place.bucket / 'other').mkdir()
    m.sync(f'{place.bucket}/other')


def test_what_is_removed_once_more_is_removed(m, here, place, relay):
    keep_some(here, m)
    refuse_removals(relay)
    (here / 'f0000').unlink()
    m.refused('f0000')
    relay.clear()
    (here / 'f0000').unlink()
    m.settle()
    assert sorted(place.names()) == ['f0001', 'f0002'] and len(os.listdir(here)) == 2


def test_new_content_or_another_name_ends_a_refused_removal(m, here, place, relay):
    keep_some(here, m)
    refuse_removals(relay)
    for name in 'f0000', 'f0001':
        (here / name).unlink()
    for name in 'f0000', 'f0001':
        m.refused(name)
    (here / 'f0000').write_bytes(b'new')
    (here / 'f0001').rename(here / 'moved')
    relay.clear()
    m.sync()
    assert m.uploads() == []
    m.scifs('uploads', 'retry', m.path, 'all')
    assert (here / 'f0000').read_bytes() == b'new' and (here / 'moved').read_bytes() == b'1'
    assert sorted(place.names()) == ['f0000', 'f0000', 'f0002', 'moved']


def test_a_refused_removal_is_known_after_the_mount_and_not_tried_again(reduct, place, fuse):
    with Relay(reduct.server.url) as relay:
        m = Mount(f'reduct+{relay.url}', *SOON, env=reduct.env).start()
        (m / place.path).mkdir()
        keep_some(m / place.path, m)
        refuse_removals(relay)
        (m / place.path / 'f0000').unlink()
        number = m.refused('f0000')['id']
        relay.clear()
        m.again(status=LEFT)
        assert (m / place.path / 'f0000').read_bytes() == b'0'
        relay.forget()
        m.scifs('sync', m.path, check=False)
        assert m.upload('f0000')['id'] == number and not [q for q in relay.settled() if q.method == 'DELETE']
        r = m.scifs('umount', m.path, check=False)
        assert r.returncode == LEFT and f'/{place.path}/f0000: refused, to be removed: {WORDS}' in r.stderr, r.stderr
        m.fell()
        m.again()
        m.drop('f0000')
        m.stop()


def test_rm_r_fails_when_a_removal_is_refused(m, here, place, relay):
    keep_some(here, m)
    refuse_removals(relay)
    r = run('rm', '-r', here, check=False)
    assert r.returncode and 'not empty' in r.stderr.lower(), r.stderr
    assert len(os.listdir(here)) == 3 and len(place.records()) == 3
    m.give_up()


# ---- who waits for removals ----

def slow_removals(relay):
    """Whoever does not wait for them is far ahead of them."""
    relay.rule(method='DELETE', path=r'/in/batch$', delay=2)


def test_sync_waits_for_removals(m, here, place, relay):
    keep_some(here, m)
    slow_removals(relay)
    run('rm', here / 'f0000', here / 'f0001')
    m.sync(place.path)
    assert place.names() == ['f0002']


def test_fsync_of_a_directory_waits_for_removals(m, here, place, relay):
    keep_some(here, m)
    slow_removals(relay)
    run('rm', here / 'f0000', here / 'f0001')
    fd = os.open(m / place.bucket, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    assert place.names() == ['f0002']


def test_umount_waits_for_removals(reduct, place, fuse):
    with Relay(reduct.server.url) as relay:
        m = Mount(f'reduct+{relay.url}', *SOON, env=reduct.env).start()
        (m / place.path).mkdir()
        keep_some(m / place.path, m)
        slow_removals(relay)
        run('rm', m / place.path / 'f0000', m / place.path / 'f0001')
        m.stop()
        assert place.names() == ['f0002']


def test_who_waits_hears_that_a_removal_is_refused(m, here, place, relay):
    keep_some(here, m)
    refuse_removals(relay)
    (here / 'f0000').unlink()
    r = m.scifs('sync', here, check=False)
    assert r.returncode == LEFT and f'/{place.path}/f0000: refused, to be removed: {WORDS}' in r.stderr, r.stderr
    (here / 'f0001').unlink()
    fd = os.open(here, os.O_RDONLY)
    assert errno_of(os.fsync, fd) == errno.EACCES
    os.close(fd)
    m.give_up()


# ---- removals beside what is read: the server moves the neighbours of a record that goes ----

def bytes_of(name, n):
    return hashlib.shake_128(name.encode()).digest(n)


@pytest.fixture
def crowd(reduct, place, mount):
    """An entry of one block: a, big, small, z; and a mount of its own, nothing of which is kept."""
    place.content = {'a': b'a' * 3000000, 'big': bytes_of(place.bucket, 40 * MIB), 'small': bytes_of('small', 15 * MIB), 'z': b'z' * 3000000}
    for n, (name, content) in enumerate(place.content.items()):
        place.server.write(place.bucket, 'in', START + n, content, {'filename': name})
    with Relay(reduct.server.url) as relay:
        place.relay = relay
        place.m = mount(SimpleNamespace(source=f'reduct+{relay.url}', env=reduct.env), *SOON, 'cache=none', 'memory=16M')
        place.here = place.m / place.path
        assert sorted(os.listdir(place.here)) == sorted(place.content)
        relay.forget()
        yield place
        place.m.end()


def removals_of(relay):
    return [q for q in relay.settled() if q.method == 'DELETE']


class Reader(threading.Thread):
    """Reads a file to its end; join() gives what came."""

    def __init__(self, path):
        super().__init__()
        self.path, self.got, self.error = path, bytearray(), None
        self.start()

    def run(self):
        try:
            with open(self.path, 'rb', buffering=0) as f:
                while part := f.read(MIB):
                    self.got += part
        except OSError as e:
            self.error = e

    def all(self):
        self.join()
        assert self.error is None, self.error
        return bytes(self.got)


def test_a_removal_waits_for_who_reads_beside_it(crowd):
    crowd.relay.rule(method='GET', path=rf'ts={START + 1}', rate=20 * MIB)
    reader = Reader(crowd.here / 'big')
    wait_for(lambda: reader.got, 'it reads')
    (crowd.here / 'a').unlink()
    assert reader.all() == crowd.content['big']
    crowd.m.settle()
    read, = crowd.relay.requests(rf'ts={START + 1}', 'GET')
    gone, = removals_of(crowd.relay)
    assert read.ended and gone.began > read.ended and read.end == 'whole'
    assert crowd.names() == ['big', 'small', 'z']


@pytest.mark.parametrize('at', [4096, 20 * MIB])
def test_a_paused_reader_goes_on_beside_it(crowd, at):
    content = crowd.content['big']
    with open(crowd.here / 'big', 'rb', buffering=0) as f:
        got = f.read(4096)
        while len(got) < at:
            got += f.read(MIB)
        (crowd.here / 'a').unlink()
        crowd.m.settle()
        assert crowd.names() == ['big', 'small', 'z']
        while part := f.read(MIB):
            got += part
        assert got == content
    assert not [e for e in crowd.m.errors() if e['op'] == 'read']


@pytest.mark.parametrize('name', ['big', 'small'])
def test_one_that_cannot_wait_is_no_harm(crowd, name):
    """Its name is wanted at once, in the middle of a reader's request."""
    crowd.relay.rule(method='GET', path=rf'ts={START + list(crowd.content).index(name)}', rate=MIB // 2, times=1)
    reader = Reader(crowd.here / name)
    wait_for(lambda: any(q.sent > MIB for q in crowd.relay.requests(r'ts=', 'GET')), 'it is being read')
    (crowd.here / 'a').unlink()
    (crowd.here / 'a').write_bytes(b'new')
    crowd.m.sync()
    assert crowd.relay.requests(method='DELETE')[0].ended
    assert reader.all() == crowd.content[name]
    slow = next(q for q in crowd.relay.settled() if q.method == 'GET' and 'ts=' in q.target)
    assert slow.end != 'whole', 'the reader was not interrupted'


def test_removals_of_others_beside_ours_give_no_wrong_whole(crowd):
    """What the server has sent before anybody could know of it may be wrong: then the end is not given out."""
    content = crowd.content['big']
    with open(crowd.here / 'big', 'rb', buffering=0) as f:
        got = f.read(4096)
        (crowd.here / 'z').unlink()
        crowd.server.remove(crowd.bucket, 'in', START)
        crowd.m.settle()
        try:
            while part := f.read(MIB):
                got += part
            assert got == content
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.EIO) and len(got) < len(content)
    assert (crowd.here / 'big').read_bytes() == content


def test_a_removal_without_an_answer_makes_what_is_read_stale(crowd):
    """It may still be carried out, whatever is read meanwhile."""
    content = crowd.content['big']
    crowd.relay.rule(method='DELETE', path=r'/in/batch$', lose=True, by='reset', times=1)
    with open(crowd.here / 'big', 'rb', buffering=0) as f:
        got = f.read(4096)
        (crowd.here / 'a').unlink()
        crowd.m.settle()
        try:
            while part := f.read(MIB):
                got += part
        except OSError as e:
            assert e.errno in (errno.ESTALE, errno.EIO)
        assert got == content[:len(got)]
    assert (crowd.here / 'big').read_bytes() == content


def test_many_who_read_and_remove_at_once_get_right_bytes(reduct, place, mount):
    content = {f'keep{i}': bytes_of(f'{place.bucket}{i}', size) for i, size in enumerate((300000, 900000, 3 * MIB, 9 * MIB, 20 * MIB, 20 * MIB))}
    ts = START
    for i, (name, data) in enumerate(content.items()):
        for n in range(4):
            place.server.write(place.bucket, 'in', ts, b'x' * 400000, {'filename': f'go{i}-{n}'})
            ts += 1
        place.server.write(place.bucket, 'in', ts, data, {'filename': name})
        ts += 1
    m = mount(reduct, *SOON, 'cache=none', 'memory=16M')
    here = m / place.path
    os.listdir(here)
    readers = [Reader(here / name) for name in content for _ in range(2)]
    for i in range(len(content)):
        for n in range(4):
            (here / f'go{i}-{n}').unlink()
            if n % 2:
                (here / f'go{i}-{n}').write_bytes(b'new')      # its name is wanted: this one does not wait for the readers
                m.sync(place.path)
        readers += [Reader(here / name) for name in content]
    for r in readers:
        assert r.all() == content[os.path.basename(r.path)]
    m.settle()
    assert not [e for e in m.errors() if e['op'] == 'read'], m.errors()
