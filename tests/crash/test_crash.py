"""scifs is killed, or finds the state directory as a crash, a bad disk or another release may leave it: what was acknowledged is in
the repository after the next mount, once, with its own bytes.

What was in doubt when it died may be there or not; a Ledger holds all states that are allowed.
"""
import errno
import hashlib
import os
import re
import sqlite3
import time
from pathlib import Path

import pytest
from girder_sample import noise
from harness import BUILD, LEFT, TOP, Mount, remote, sha512, tree, wait_for
from relay import Relay

OPTIONS = ('quiet=100ms', 'upload_retry=50ms', 'upload_retry_max=200ms', 'ttl=500ms', 'list_ttl=500ms', 'drain=30s', 'takeover=10s', 'upload_chunk=50k')
CONTENT = r'/api/v1/file(\?|/chunk|/[0-9a-f]+/contents)'
KIB = 1 << 10


class Ledger:
    """What a folder may hold: path -> bytes, None for a folder; "PATH @" -> what its attribute says. Each change is allowed once it was begun,
    demanded once it returned."""

    def __init__(self, here, attribute):
        self.here, self.attribute, self.worlds = here, attribute, [{}]

    def _do(self, change, call):
        after = []
        for w in self.worlds:
            w = dict(w)
            change(w)
            after.append(w)
        self.worlds, before = self.worlds + after, len(self.worlds)
        call()
        self.worlds = self.worlds[before:]

    def write(self, name, data, mode='wb', at=None):
        def call():
            with open(self.here / name, mode) as f:
                if at is not None:
                    f.seek(at)
                f.write(data)

        def change(w):
            old = w.get(name, b'')
            w[name] = data if mode == 'wb' else old + data if mode == 'ab' else old[:at] + data + old[at + len(data):]
        self._do(change, call)

    def truncate(self, name, size):
        self._do(lambda w: w.update({name: w[name][:size].ljust(size, b'\0')}), lambda: os.truncate(self.here / name, size))

    def rename(self, a, b):
        def change(w):
            for k in [k for k in w if k in (a, a + ' @') or k.startswith(a + '/')]:
                w[b + k[len(a):]] = w.pop(k)
        self._do(change, lambda: os.rename(self.here / a, self.here / b))

    def note(self, name, text):
        self._do(lambda w: w.update({name + ' @': text}), lambda: os.setxattr(self.here / name, self.attribute, text))

    def unlink(self, name):
        self._do(lambda w: w.pop(name), (self.here / name).unlink)

    def mkdir(self, name):
        self._do(lambda w: w.update({name: None}), (self.here / name).mkdir)

    def rmdir(self, name):
        self._do(lambda w: w.pop(name), (self.here / name).rmdir)

    def shown(self, here):
        """What a mount shows, as check() wants it."""
        found = {os.fsdecode(k): v for k, v in tree(here).items()}
        for name in list(found):
            try:
                found[name + ' @'] = sha512(os.getxattr(here / name, self.attribute))
            except OSError as e:
                assert e.errno == errno.ENODATA, e
        return found

    def check(self, there, who):
        """`there`: path -> sha512, "" of folders."""
        worlds = [{k: '' if v is None else sha512(v) for k, v in w.items()} for w in self.worlds]
        if not any(k.endswith(' @') for k in there):
            worlds = [{k: v for k, v in w.items() if not k.endswith(' @')} for w in worlds]
        if there not in worlds:
            last = worlds[-1]
            odd = {k: (there.get(k), last.get(k)) for k in there.keys() | last.keys() if there.get(k) != last.get(k)}
            raise AssertionError(f'{who}: none of {len(worlds)} allowed states; beside the last one (there, wanted): {odd}')


def first_life(ledger):
    ledger.mkdir('old')
    ledger.write('old/small', noise(1, 500))
    ledger.write('old/large', noise(2, 200 * KIB))
    ledger.write('old/gone', b'gone')
    ledger.write('old/replaced', b'replaced')


def second_life(ledger, sync):
    """Everything that acknowledges, twice: what comes before is still under way when the next is asked for; then all of it is sent."""
    for n in '12':
        ledger.write(f'small{n}', noise(3, 300))
        ledger.note(f'small{n}', b'nothing of it is there yet')
        ledger.write(f'large{n}', noise(4, 180 * KIB))
        ledger.note(f'large{n}', b'large')
        ledger.note(f'large{n}', b'changed')
        ledger.write(f'empty{n}', b'')
        ledger.write('old/small', noise(5, 400))
        ledger.write('old/large', b'middle' * 100, 'r+b', 70 * KIB)
        ledger.write('old/small', b'appended', 'ab')
        ledger.truncate('old/large', 150 * KIB)
        ledger.rename(f'large{n}', f'moved{n}')
        ledger.write(f'new{n}', b'new' * 1000)
        ledger.rename(f'new{n}', 'old/replaced')
        ledger.mkdir(f'sub{n}')
        ledger.write(f'sub{n}/a', b'a')
        ledger.note(f'sub{n}/a', b'a')
        ledger.rename(f'sub{n}', f'dir{n}')
        ledger.write(f'dir{n}/b', b'b' * 70_000)
        ledger.write(f'out{n}', b'out')
        ledger.unlink(f'out{n}')
        if n == '1':
            ledger.unlink('old/gone')
        sync()
    ledger.unlink('empty1')
    with open(ledger.here / 'old/small', 'rb') as f:
        ledger.unlink('old/small')                              # of an open file: it waits
        f.read(1)
    sync()


# ---- each step of commit and upload ----

def failpoints():
    """Name -> room, as the source has them."""
    found = {}
    for path in sorted((TOP / 'src').rglob('*.c')):
        for name in re.findall(r'\bFAILPOINT\("([^"]+)"\)', path.read_text()):
            found[name] = path.relative_to(TOP / 'src').parts[0]
    return found


POINTS = failpoints()


@pytest.fixture(scope='session')
def mortal():
    """scifs as -Dfailpoints=true builds it."""
    for folder in (BUILD, TOP / 'build-failpoints'):
        program = folder / 'src/scifs'
        if program.exists() and b'SCIFS_FAILPOINT' in program.read_bytes():
            return program
    pytest.skip('there is no build with -Dfailpoints=true')


def play(m, top, ledger, point):
    """A life without faults, one that ends at the failpoint, and one after it."""
    with m:
        (m / top).mkdir(exist_ok=True)
        first_life(ledger)
        m.sync()
        m.end()
        m.env['SCIFS_FAILPOINT'] = point
        m.start()
        try:
            second_life(ledger, m.sync)
        except (OSError, AssertionError):
            pass                                                # the program learns of it some way or other
        wait_for(lambda: m.process.poll() is not None, f'it dies at {point}')
        assert m.process.returncode == -9, m.log
        m.fell()
        del m.env['SCIFS_FAILPOINT']
        m.again(cache=False)
        m.sync()
        assert m.uploads() == [], m.uploads()
        ledger.check(ledger.shown(m / top), 'the mount')
        (m / top / 'afterwards').write_bytes(b'it works on')
        m.sync()
        (m / top / 'afterwards').unlink()


def times(name):
    """At its first turn, and at a later one, when more is under way."""
    return [pytest.param(name, id=name), pytest.param(f'{name}:2', id=f'{name} later')]


@pytest.mark.plain
@pytest.mark.parametrize('point', [p for name in POINTS if POINTS[name] in ('spool', 'base', 'fs') for p in times(name)])
def test_nothing_is_lost_or_done_twice_when_it_dies_there(fuse, mortal, tmp_path, point):
    source = f'memory:?store={tmp_path}/store'
    m = Mount(source, *OPTIONS, program=mortal)
    ledger = Ledger(m / 'work', 'user.memory.meta.note')
    play(m, 'work', ledger, point)
    with Mount(source, 'ro', program=mortal) as other:
        ledger.check(ledger.shown(other / 'work'), 'the repository')


@pytest.fixture
def place(girder5, request):
    name = re.sub(r'[^\w]+', ' ', request.node.name.removeprefix('test_'))[:80].strip()
    folder = girder5.server.make_folder(girder5.ids['sample'], name, 'collection')
    yield folder, f'collection/Sample/{name}'
    girder5.server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


@pytest.mark.plain
@pytest.mark.parametrize('point', [n for n in POINTS if POINTS[n] == 'backend' or 'upload' in n])
def test_a_girder_has_all_once_when_it_dies_there(fuse, mortal, girder5, place, point):
    m = Mount(girder5.source, *OPTIONS, env=girder5.env, program=mortal)
    ledger = Ledger(m / place[1], 'user.girder.meta.note')
    play(m, place[1], ledger, point)
    ledger.check(remote(girder5, place[0]), 'the server')


def test_there_are_failpoints():
    """The tests above say nothing when there is none."""
    assert len(POINTS) >= 8 and any(room == 'spool' for room in POINTS.values())


# ---- killed in life ----

@pytest.mark.plain
def test_200_closed_files_survive_a_kill(girder5, place, mount):
    m = mount(girder5, 'drain=30s', env=girder5.env)            # times as in life
    here = m / place[1]
    want = {}
    for n in range(200):
        (here / f'{n:03d}.dat').write_bytes(noise(n, n * 50))
        want[f'{n:03d}.dat'] = sha512(noise(n, n * 50))
    time.sleep(1)
    m.crash()
    m.again(cache=False)
    assert {p.name: sha512(p.read_bytes()) for p in here.iterdir()} == want
    m.settle()
    assert remote(girder5, place[0]) == want


@pytest.mark.parametrize('how', ['before a chunk', 'in a chunk', 'after a chunk'])
def test_a_kill_in_a_large_upload_costs_at_most_one_chunk(girder5, place, mount, how):
    """Scaled: tests/crash/large does it with 1 GiB."""
    mib = 1 << 20
    data = noise(1, mib) * 32
    with Relay(girder5.server.url) as relay:
        m = mount(f'girder+{relay.url}', 'quiet=20ms', 'upload_chunk=1M', 'drain=30s', env=girder5.env)
        rule = relay.rule(path='/file/chunk', skip=12, **{'before a chunk': {'stall': True}, 'in a chunk': {'ask_cut': mib // 2, 'by': 'stall'},
                                                          'after a chunk': {'lose': True, 'by': 'stall'}}[how])
        (m / place[1] / 'large.dat').write_bytes(data)
        wait_for(lambda: rule.used and (how == 'before a chunk' or any(r.end for r in relay.log if r.rule is rule)), 'the chunk is on its way')
        m.crash()
        relay.clear()
        m.again(cache=False)
        m.settle()
        assert remote(girder5, place[0]) == {'large.dat': sha512(data)}
        sent = sum(r.received for r in relay.settled() if re.search(CONTENT, r.target))
        assert len(data) <= sent <= len(data) + mib, sent


def test_a_kill_while_programs_write_leaves_old_or_new(memory, mount, tmp_path):
    """Nothing half: not what was open, not what was truncated and not closed."""
    m = mount(f'memory:?store={tmp_path}/store', *OPTIONS)
    (m / 'truncated').write_bytes(b'old')
    (m / 'changed').write_bytes(noise(1, 100_000))
    m.sync()
    with open(m / 'truncated', 'wb') as a, open(m / 'changed', 'r+b') as b, open(m / 'new', 'wb') as c:
        for f in (a, b, c):
            f.write(b'half of it')
            f.flush()
        m.crash()
        for f in (a, b, c):
            try:
                f.close()
            except OSError:
                pass
    m.again(cache=False)
    m.settle()
    assert (m / 'truncated').read_bytes() == b'old' and (m / 'changed').read_bytes() == noise(1, 100_000)
    assert not (m / 'new').exists() or (m / 'new').read_bytes() in (b'', b'half of it')


@pytest.mark.plain
def test_killed_again_and_again_it_gets_there(memory, mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}/store&updelay=20ms', *OPTIONS)
    want = {}
    for life in range(6):
        for n in range(10):
            (m / f'{life}-{n}').write_bytes(noise(n, 1000 * n))
            want[f'{life}-{n}'] = sha512(noise(n, 1000 * n))
        (m / 'same').write_bytes(b'%d' % life)
        m.crash()
        m.again(cache=False)
    m.settle()
    m.again(cache=False)
    got = {p.name: sha512(p.read_bytes()) for p in m.path.iterdir() if p.is_file() and (p.name in want or p.name == 'same')}
    assert got == {**want, 'same': sha512(b'5')}


# ---- what may be found in the state directory ----

@pytest.fixture
def owed(girder5, place, mount):
    """A mount that died owing three files: a small one, one that lies in a file of its own, a replaced one; relay and folder with it."""
    with Relay(girder5.server.url) as relay:
        m = mount(f'girder+{relay.url}', *OPTIONS, env=girder5.env)
        here = m / place[1]
        (here / 'replaced.dat').write_bytes(b'old')
        m.sync()
        relay.rule(path=CONTENT, stall=True)
        m.want = {'small.dat': b'small', 'large.dat': noise(1, 150_000), 'replaced.dat': noise(2, 80_000)}
        for name, data in m.want.items():
            (here / name).write_bytes(data)
        m.crash()
        relay.clear()
        m.relay, m.here = relay, here
        m.there = lambda: remote(girder5, place[0])
        yield m


def journal(m):
    (path,) = m.home.joinpath('state').rglob('journal.db')
    return path


def draft_files(m):
    return sorted(p for p in journal(m).parent.joinpath('drafts').rglob('*') if p.is_file() and p.suffix != '.json')


def arrives(m, without=()):
    want = {k: sha512(v) for k, v in m.want.items() if k not in without}
    wait_for(lambda: all(u['state'] in ('refused', 'conflict') for u in m.uploads()), 'what can be sent is sent')
    there = m.there()
    assert {k: v for k, v in there.items() if k not in without} == want
    return there


@pytest.mark.parametrize('how', ['zeros', 'text', 'half', 'empty', 'gone', 'a page'])
def test_a_damaged_journal_is_set_aside_and_nothing_is_lost(owed, how):
    path = journal(owed)
    data = bytearray(path.read_bytes())
    wal = path.with_name(path.name + '-wal')
    if how == 'a page':
        con = sqlite3.connect(path)                             # all of it into one file first
        con.execute('pragma wal_checkpoint(truncate)')
        con.close()
        data = bytearray(path.read_bytes())
        for at in range(4096, len(data), 4096):
            data[at:at + 1000] = b'\xff' * 1000
    for other in path.parent.glob('journal.db-*'):
        other.unlink()
    assert not wal.exists()
    if how == 'gone':
        path.unlink()
    else:
        path.write_bytes({'zeros': bytes(len(data)), 'text': b'this is no journal\n' * 1000, 'half': bytes(data[:len(data) // 2]), 'empty': b'',
                          'a page': bytes(data)}[how])
    names = {p.name for p in path.parent.iterdir()}
    owed.again(cache=False)
    arrives(owed)
    if how not in ('gone', 'empty', 'half'):                     # what SQLite can still read is no damage
        assert {p.name for p in path.parent.iterdir()} - names, 'the damaged one lies aside'
        assert re.search('warn|error', owed.log) and 'journal' in owed.log


def test_a_newer_journal_is_left_alone(owed):
    path = journal(owed)
    con = sqlite3.connect(path)
    ours, = con.execute('pragma user_version').fetchone()
    con.execute('pragma user_version = 1000')
    con.commit()
    con.close()
    before = {p: hashlib.sha512(p.read_bytes()).digest() for p in draft_files(owed)}
    with pytest.raises(AssertionError, match='newer|version'):
        Mount(owed.source, *owed.options, env=owed.env, home=owed.home).start()
    assert {p: hashlib.sha512(p.read_bytes()).digest() for p in draft_files(owed)} == before
    with Mount(owed.source, *owed.options, 'ro', env=owed.env, home=owed.home):
        pass                                                    # reading goes on
    con = sqlite3.connect(path)
    assert con.execute('pragma user_version').fetchone() == (1000,)
    con.execute(f'pragma user_version = {ours}')
    con.commit()
    con.close()
    owed.again(cache=False)
    arrives(owed)


def test_a_draft_without_its_row_is_sent(owed):
    con = sqlite3.connect(journal(owed))
    for table in ('upload', 'content'):
        con.execute(f'delete from {table}')
    con.commit()
    con.close()
    owed.again(cache=False)
    arrives(owed)


def test_a_row_without_its_draft_is_shown_as_refused_and_stops_nothing(owed):
    files = draft_files(owed)
    gone = [p for p in files if p.stat().st_size == 150_000]
    assert len(gone) == 1, files
    gone[0].unlink()
    owed.again(cache=False)
    there = arrives(owed, without=['large.dat'])
    assert 'large.dat' not in there
    u = owed.refused('large.dat')
    assert u['error']
    assert owed.again(cache=False, status=LEFT).refused('large.dat')       # said again, and never deleted by itself
    owed.drop('large.dat')
    assert owed.uploads() == []


def test_a_side_file_of_nonsense_harms_nothing(owed):
    """Nor does one whose draft is gone, nor a file that nobody knows."""
    drafts = journal(owed).parent / 'drafts'
    (drafts / '00000000deadbeef.json').write_text('{"no')
    (drafts / '00000000deadbee0.json').write_text('{"version": 1}')
    (drafts / 'stranger').write_text('somebody put me here')
    owed.again(cache=False)
    arrives(owed)
    assert (drafts / 'stranger').exists()


def test_a_journal_that_another_mount_has_is_shared(owed, mount):
    """The second mount of one home has its own drafts; those of a dead one are taken over by one of the two."""
    owed.again(cache=False)
    other = mount(owed.source, *OPTIONS, env=owed.env, home=owed.home)
    (other.path / owed.here.relative_to(owed.path) / 'other.dat').write_bytes(b'other')
    owed.want['other.dat'] = b'other'
    (owed.here / 'mine.dat').write_bytes(b'mine')
    owed.want['mine.dat'] = b'mine'
    other.sync()
    owed.sync()
    arrives(owed)
    sent = [r for r in owed.relay.settled() if r.method == 'POST' and re.search(r'name=(other|mine).dat', r.target) and r.status == 200]
    assert len(sent) == 2


def test_drafts_never_go_out_under_another_identity(owed, girder5, mount):
    alice = mount(owed.source, *OPTIONS, env={'SCIFS_API_KEY': girder5.server.user_key}, home=owed.home)
    assert alice.uploads() == [] and alice.status()['uploads']['owed'] == 0
    alice.stop()
    assert set(owed.there()) == {'replaced.dat'}
    owed.again(cache=False)
    arrives(owed)


def test_what_is_owed_is_in_the_tree_before_anything_is_sent(owed):
    owed.relay.rule(path=CONTENT, stall=True)
    owed.again(cache=False)
    assert {p.name: p.read_bytes() for p in owed.here.iterdir()} == owed.want
    assert sorted(u['name'] for u in owed.uploads()) == sorted(owed.want)
    owed.relay.clear()
    arrives(owed)


@pytest.mark.plain
@pytest.mark.parametrize('hours', [-48, 48])
def test_a_clock_that_was_changed_between_two_mounts_changes_nothing(owed, hours):
    clock = next(iter(Path('/usr/lib').glob('*/faketime/libfaketime.so.1')), None)
    if not clock:
        pytest.skip('faketime is not installed')
    owed.env.update(LD_PRELOAD=str(clock), FAKETIME=f'{hours:+d}h', FAKETIME_DONT_FAKE_MONOTONIC='1')
    owed.again(cache=False)
    arrives(owed)
    (owed.here / 'then.dat').write_bytes(b'then')
    owed.want['then.dat'] = b'then'
    owed.crash()
    for name in ('LD_PRELOAD', 'FAKETIME', 'FAKETIME_DONT_FAKE_MONOTONIC'):
        del owed.env[name]
    owed.again(cache=False)
    (owed.here / 'now.dat').write_bytes(b'now')
    owed.want['now.dat'] = b'now'
    arrives(owed)
    assert not any('.conflict-' in name for name in owed.there())


def test_a_state_directory_that_cannot_be_written_is_said_at_once(girder5, mount, tmp_path):
    (tmp_path / 'file').write_text('no directory')
    with pytest.raises(AssertionError, match='state=|file'):
        mount(girder5, f'state={tmp_path}/file')
