"""What was read is kept on disk, over a remount and for others; no damage to it reaches a reader, no lack of it stops one."""
import os
import random
import re
import shutil
import subprocess
import sys
import threading

import pytest
from harness import SCIFS, TOP, Mount, run, sha512, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from girder_sample import noise  # noqa: E402
from relay import Relay  # noqa: E402

MIB = 1 << 20
SLACK = 64 * MIB                # what a mount may take beside its budget


def contents(m, repo):
    return {p: sha512((m / p).read_bytes()) for p in repo.files}


def witness(repo):
    return {p: sha512(b) for p, b in repo.files.items()}


def listing(m):
    """Path -> what lstat says of it."""
    found = {}
    for where, dirs, names in os.walk(os.fsencode(m.path)):
        for name in dirs + names:
            path = os.path.join(where, name)
            st = os.lstat(path)
            found[os.path.relpath(path, os.fsencode(m.path))] = (st.st_mode, st.st_size, st.st_ino, st.st_mtime_ns)
    return found


def cache_files(home):
    return [p for p in (home / 'cache/scifs').rglob('*') if p.is_file()]


def again(m):
    """The same mount anew, over a home that outlives both."""
    m.stop()
    return Mount(m.source, *m.options, env=m.env, home=m.home).start()


@pytest.fixture
def relay(girder5):
    with Relay(girder5.server.url) as r:
        yield r


def last_byte_of(path):
    """Of a small content in the file that it shares with others: its list is drawn in src/cache/small.c."""
    data = path.read_bytes()
    for n in range(int.from_bytes(data[12:16], sys.byteorder)):
        entry = data[16 + 40 * n:56 + 40 * n]
        if entry[:32].decode() == path.stem:
            return int.from_bytes(entry[32:36], sys.byteorder) + int.from_bytes(entry[36:], sys.byteorder) - 1
    raise ValueError(f'{path} is not in its own list')


def flip(path, at):
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 1 << at % 8]))


# ---- kept ----

def test_a_second_mount_asks_for_no_content_that_the_first_has_read(girder5, relay, mount, tmp_path):
    m = mount(f'girder+{relay.url}', env=girder5.env, home=tmp_path)
    assert contents(m, girder5) == witness(girder5)
    assert relay.requests('/download')
    m.stop()
    relay.forget()
    m = mount(f'girder+{relay.url}', env=girder5.env, home=tmp_path)
    assert contents(m, girder5) == witness(girder5)
    assert relay.requests('/download') == []
    assert m.stats()['scifs_cache_disk_hits_total'] > 0


def test_a_mount_reads_what_another_live_one_has_fetched(girder5, relay, mount, tmp_path):
    first = mount(f'girder+{relay.url}', env=girder5.env, home=tmp_path)
    second = mount(f'girder+{relay.url}', env=girder5.env, home=tmp_path)
    assert sha512((first / girder5.big).read_bytes()) == sha512(girder5.files[girder5.big])
    # Its writer is behind: what is on disk is told by a third party's eyes.
    wait_for(lambda: sum(p.stat().st_blocks * 512 for p in cache_files(tmp_path) if p.suffix == '.data') >= 5 * MIB,
             'the content lies on disk')
    relay.forget()
    assert sha512((second / girder5.big).read_bytes()) == sha512(girder5.files[girder5.big])
    # At most what was still on its way to the disk.
    assert sum(r.sent for r in relay.settled() if '/download' in r.target) <= 2 * MIB


def test_many_readers_of_one_cold_file_cause_one_download(girder5, relay, mount):
    size = 40 * MIB
    name = 'for-many-readers.dat'
    folder = girder5.server.make_folder(girder5.ids['sample'], 'many-readers', 'collection')
    content = noise(77, size)
    girder5.server.upload(folder, name, content)
    m = mount(f'girder+{relay.url}', env=girder5.env)
    path = m / f'collection/Sample/many-readers/{name}'
    readers = [subprocess.Popen(['sha512sum', str(path)], stdout=subprocess.PIPE, text=True) for _ in range(64)]
    sums = {r.communicate(timeout=500)[0].split()[0] for r in readers}
    assert sums == {sha512(content)}
    assert sum(r.sent for r in relay.settled() if '/download' in r.target) <= size * 1.01


def test_small_files_are_all_on_disk_after_a_restart(mount, tmp_path):
    m = mount('memory:?files=300&size=4k', home=tmp_path)
    before = {name: (m / name).read_bytes() for name in os.listdir(m.path)}
    m.stop()
    kinds = [p.suffix for p in cache_files(tmp_path) if p.parent.parent.name == 'blocks']
    assert kinds == ['.small'] * 300
    m = mount('memory:?files=300&size=4k', home=tmp_path)
    assert {name: (m / name).read_bytes() for name in os.listdir(m.path)} == before
    assert m.stats()['scifs_cache_disk_hits_total'] == 300


# ---- damaged ----

@pytest.mark.parametrize('seed', range(6))
def test_a_flipped_bit_in_each_cache_file_never_reaches_a_reader(memory, mount, tmp_path, seed):
    """Each file gets one, at a place of its own; what a listing shows is judged too."""
    places = random.Random(seed)
    m = mount(memory, home=tmp_path)
    assert contents(m, memory) == witness(memory)
    names = listing(m)
    m.stop()
    flipped = 0
    for path in cache_files(tmp_path):
        if size := path.stat().st_size:
            # A header, the first sums, the last byte, anywhere.
            flip(path, min(places.choice([0, 9, 20, 30, 50, 4096, 4100, size - 1, places.randrange(size)]), size - 1))
            flipped += 1
    assert flipped >= 12
    m = mount(memory, home=tmp_path)
    assert contents(m, memory) == witness(memory)
    assert listing(m) == names


@pytest.mark.parametrize('seed', range(3))
def test_a_flipped_bit_is_fetched_from_the_server_again(girder5, mount, tmp_path, seed):
    places = random.Random(seed)
    m = mount(girder5, home=tmp_path)
    assert contents(m, girder5) == witness(girder5)
    m.stop()
    flipped = 0
    for path in cache_files(tmp_path):
        if path.suffix in ('.data', '.small') and (size := path.stat().st_size):
            flip(path, places.randrange(size) if path.suffix == '.data' else last_byte_of(path))
            flipped += 1
    assert flipped > 5
    m = mount(girder5, home=tmp_path)
    assert contents(m, girder5) == witness(girder5)
    assert m.stats()['scifs_cache_disk_damaged_total'] >= 5


@pytest.mark.parametrize('how', ['cut', 'empty', 'garbage', 'gone'])
def test_a_spoilt_cache_is_no_wrong_byte(memory, mount, tmp_path, how):
    m = mount(memory, home=tmp_path)
    assert contents(m, memory) == witness(memory)
    names = listing(m)
    m.stop()
    files = cache_files(tmp_path)
    assert len(files) >= 12 and {'.map', '.data', '.small', '.db'} <= {p.suffix for p in files}
    for path in files:
        size = path.stat().st_size
        if how == 'gone':
            path.unlink()
        else:
            path.write_bytes({'cut': path.read_bytes()[:size // 2], 'empty': b'', 'garbage': noise(5, 5000)}[how])
    m = mount(memory, home=tmp_path)
    assert contents(m, memory) == witness(memory)
    assert listing(m) == names
    m = again(m)                        # and what was put right is kept
    try:
        assert contents(m, memory) == witness(memory)
        assert m.stats()['scifs_cache_disk_hits_total'] > 0
    finally:
        m.stop()


# ---- folders that cannot be used ----

@pytest.fixture
def small_disk(tmp_path):
    """A function: a file system of `size` at PATH, which ends with the test."""
    if os.geteuid() != 0:
        pytest.skip('needs root: a file system of its own for the cache')
    made = []

    def make(path, size):
        path.mkdir(parents=True, exist_ok=True)
        run('mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', path)
        made.append(path)
    yield make
    for path in made:
        run('umount', '-l', path)


@pytest.mark.parametrize('size', ['4k', '3m'])
def test_reads_go_on_when_the_caches_disk_is_full(memory, mount, tmp_path, small_disk, size):
    small_disk(tmp_path / 'cache', size)
    m = mount(memory, 'cache_free=4k', home=tmp_path)
    assert contents(m, memory) == witness(memory)
    assert contents(m, memory) == witness(memory)


def test_a_read_only_cache_is_read_and_nothing_is_added(memory, mount, tmp_path, small_disk):
    small_disk(tmp_path / 'cache', '64m')
    m = mount(memory, home=tmp_path)
    (m / memory.big).read_bytes()
    m.stop()
    run('mount', '-o', 'remount,ro', tmp_path / 'cache')
    m = mount(memory, home=tmp_path)
    assert contents(m, memory) == witness(memory)
    assert m.stats()['scifs_cache_disk_hits_total'] > 0


@pytest.mark.parametrize('what', ['cache/scifs', 'cache/scifs/blocks', 'cache/scifs/documents.db'])
def test_something_else_in_the_caches_place_stops_nobody(memory, mount, tmp_path, what):
    path = tmp_path / what
    path.parent.mkdir(parents=True)
    if what.endswith('.db'):
        path.mkdir()
    else:
        path.write_text('not a folder')
    m = mount(memory, home=tmp_path)
    assert contents(m, memory) == witness(memory)
    assert re.search(r'warn.*cache', m.log, re.I)


def test_a_cache_removed_while_it_is_used_stops_nobody(memory, mount, tmp_path):
    m = mount(memory, 'memory=16M', home=tmp_path)
    assert contents(m, memory) == witness(memory)
    shutil.rmtree(tmp_path / 'cache/scifs')
    assert contents(m, memory) == witness(memory)
    assert contents(m, memory) == witness(memory)


def test_the_cache_never_holds_more_than_its_size(mount, tmp_path):
    m = mount('memory:?files=40&size=1m', 'cache_size=16M', home=tmp_path)
    blocks = tmp_path / 'cache/scifs/blocks'
    most, stop = [0], threading.Event()

    def watch():
        while not stop.is_set():
            total = 0
            for path in blocks.rglob('*'):
                try:
                    total += path.stat().st_blocks * 512
                except FileNotFoundError:
                    pass
            most[0] = max(most[0], total)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for name in sorted(os.listdir(m.path)):
            (m / name).read_bytes()
    finally:
        m.stop()
        stop.set()
        watcher.join()
    assert 8 * MIB < most[0] <= 16 * MIB


# ---- memory ----

def peak(m):
    """The most memory that the mount's process ever had, in bytes."""
    text = open(f'/proc/{m.process.pid}/status').read()
    return int(re.search(r'VmHWM:\s+(\d+) kB', text).group(1)) * 1024


@pytest.fixture
def plain_build():
    if b'__asan_init' in SCIFS.read_bytes() or b'__tsan_init' in SCIFS.read_bytes():
        pytest.skip('a sanitizer takes memory of its own')


@pytest.mark.parametrize('disk', ['cache=none', 'cache_size=512M'])
def test_memory_stays_within_the_budget_while_5_gib_are_read(plain_build, mount, disk):
    m = mount('memory:?files=1&size=5g', 'memory=64M', disk)
    name, = os.listdir(m.path)
    run('dd', f'if={m / name}', 'of=/dev/null', 'bs=1M', timeout=500)
    assert m.stats()['scifs_read_bytes_total'] >= 5 << 30
    assert peak(m) <= 64 * MIB + SLACK


def test_memory_stays_within_the_budget_with_many_readers(plain_build, mount):
    m = mount('memory:?files=64&size=32m', 'memory=64M', 'cache=none')
    readers = [subprocess.Popen(['dd', f'if={m / name}', 'of=/dev/null', 'bs=1M', 'status=none']) for name in sorted(os.listdir(m.path))]
    assert len(readers) == 64
    assert [r.wait(500) for r in readers] == [0] * 64
    assert peak(m) <= 64 * MIB + SLACK


def test_what_nobody_uses_is_forgotten_beyond_a_number(mount):
    m = mount('memory:?files=150000&size=4k', 'list_ttl=1s', 'ttl=1s')
    with os.scandir(m.path) as entries:
        some = [e.name for e in entries if e.is_file()][::50000]
    before = [(m / name).read_bytes() for name in some]
    with open(m / some[0], 'rb') as f:
        seen = {os.stat(m / name).st_size for name in os.listdir(m.path)}
        assert seen == {4096} and m.stats()['scifs_nodes'] > 140000
        wait_for(lambda: m.stats()['scifs_nodes'] < 100000, 'they are forgotten', 600)
        assert f.read() == before[0] and os.readlink(f'/proc/self/fd/{f.fileno()}') == str(m / some[0])
    assert [(m / name).read_bytes() for name in some] == before
    assert len(os.listdir(m.path)) == 150000


def test_memory_stays_within_the_budget_while_100000_entries_are_listed(plain_build, mount):
    m = mount('memory:?files=100000&size=4k')
    before = peak(m)
    assert len(run('ls', '-l', m.path, timeout=500).splitlines()) == 100001
    assert peak(m) <= 256 * MIB + SLACK
    assert peak(m) > before
