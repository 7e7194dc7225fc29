"""Everyday programs do their work in a mounted repository, and the repository has afterwards what they made."""
import errno
import fcntl
import mmap
import os
import pty
import re
import select
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest
from girder_sample import noise
from harness import PATIENCE, Mount, remote, run, sha512, tree, wait_for

pytestmark = pytest.mark.skipif(not all(shutil.which(p) for p in ('git', 'zip', 'unzip', 'nano')),
                                reason='git, zip, unzip or nano are not installed')
OLD = 1_500_000_000             # a time in 2017


class Shop:
    """A mount to work in; `there(folder)` is what the repository has of it, by another way than the mount."""

    def __init__(self, repo, store):
        self.girder = repo if repo.name != 'memory' else None
        if self.girder:
            self.source, self.many = repo.source, 40
            self.folder = repo.server.make_folder(repo.ids['sample'], 'everyday', 'collection')
            self.top = 'collection/Sample/everyday'
        else:
            self.source, self.many, self.top = f'memory:?store={store}', 60, ''
        self.m = Mount(self.source, 'quiet=100ms', 'drain=30s', env=repo.env)

    def there(self, here: Path) -> dict:
        """Path -> sha512, "" of a folder, an address of a link."""
        if self.girder:
            (folder,) = self.girder.server.rest('GET', 'folder', {'parentType': 'folder', 'parentId': self.folder, 'name': here.name})
            return remote(self.girder, folder['_id'])
        with Mount(self.source, 'ro') as other:
            return {os.fsdecode(k): v for k, v in tree(other / here.name).items()}

    def arrived(self, here: Path) -> dict:
        """All that was closed has been sent: what is there now, which is what the mount shows."""
        self.m.sync()
        there = self.there(here)
        assert there == {os.fsdecode(k): v for k, v in tree(here).items()}
        return there

    def again(self):
        """A new mount at the same place, that has to ask for everything."""
        self.m.again(cache=False)


@pytest.fixture(scope='module', params=['memory', pytest.param('girder5', marks=pytest.mark.plain)])
def place(request, fuse, tmp_path_factory):
    repo = request.getfixturevalue(request.param)
    s = Shop(repo, tmp_path_factory.mktemp('store'))
    with s.m:
        yield s
    if s.girder:
        s.girder.server.rest('DELETE', 'resource', {'resources': {'folder': [s.folder]}})


@pytest.fixture
def shop(place):
    if place.m.process.poll() is not None:              # what a test before did to it is not this one's matter
        place.m.detach()
        place.m.start()
    place.m.give_up()
    return place


@pytest.fixture
def here(shop, request):
    """An empty folder in the mount, this test's own."""
    folder = shop.m / shop.top / re.sub(r'\W+', ' ', request.node.name.removeprefix('test_')).strip()
    folder.mkdir()
    return folder


@pytest.fixture
def dataset(shop, tmp_path):
    """A local folder of what people have: many small files, an empty one, a larger one, old times, a script."""
    top = tmp_path / 'dataset'
    for n in range(shop.many):
        path = top / f'run {n % 5}' / f'frame-{n:03d}.dat'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(n + 1, 100 + n * 37))
        os.utime(path, (OLD, OLD + n))
    (top / 'empty.txt').touch()
    (top / 'größer.dat').write_bytes(noise(7, 300_000))
    (top / 'run.sh').write_text('#!/bin/sh\necho ran\n')
    (top / 'run.sh').chmod(0o755)
    (top / 'empty folder').mkdir()
    for path in [*sorted(top.rglob('*'), reverse=True), top]:
        if path.is_dir() or path.name in ('empty.txt', 'run.sh'):
            os.utime(path, (OLD, OLD))
    return top


def times(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in sorted(folder.rglob('*'))}


def local(folder):
    return {os.fsdecode(k): v for k, v in tree(folder).items()}


# ---- copying ----

def test_cp_rp_brings_bytes_and_times(shop, here, dataset):
    run('cp', '-rp', dataset, here / 'copy')
    assert local(here / 'copy') == local(dataset)
    assert {k.removeprefix('copy/'): v for k, v in shop.arrived(here).items() if k != 'copy'} == local(dataset)
    assert times(here / 'copy') == times(dataset)
    shop.again()
    assert local(here / 'copy') == local(dataset) and times(here / 'copy') == times(dataset)
    assert os.access(here / 'copy/run.sh', os.X_OK) and run(here / 'copy/run.sh') == 'ran\n'


def test_rsync_a_sends_a_file_once_also_after_a_remount(shop, here, dataset):
    command = ('rsync', '-a', '--stats', '--itemize-changes', f'{dataset}/', f'{here}/')

    def sent(text):
        return next(int(line.split(':')[1].replace(',', '')) for line in text.splitlines() if 'files transferred' in line)
    assert sent(run(*command)) == shop.many + 3
    second = run(*command)
    assert sent(second) == 0 and not [line for line in second.splitlines() if line[:1] in '<>ch.*' and '/' in line], second
    assert shop.arrived(here) == local(dataset)
    shop.again()
    third = run(*command)
    assert sent(third) == 0 and not [line for line in third.splitlines() if line[:2] in ('>f', '.f', '.d', 'cd')], third
    (dataset / 'run 1/frame-001.dat').write_bytes(b'another')
    assert sent(run(*command)) == 1
    assert shop.arrived(here) == local(dataset)


@pytest.mark.parametrize('how', ['--inplace', '--partial', '--append-verify', '--delay-updates', '--whole-file'])
def test_rsync_updates_a_large_file(shop, here, tmp_path, how):
    """Each way takes other calls: over the old bytes, over a temporary name, behind the old end."""
    old, new = noise(1, 400_000), bytearray(noise(1, 700_000))
    if how != '--append-verify':
        new[100_000:150_000] = noise(2, 50_000)
    (here / 'a.dat').write_bytes(old)
    shop.m.sync()
    (tmp_path / 'a.dat').write_bytes(new)
    run('rsync', '-a', '--no-whole-file' if how != '--whole-file' else how, how, f'{tmp_path}/a.dat', f'{here}/')
    assert (here / 'a.dat').read_bytes() == new and os.listdir(here) == ['a.dat']
    shop.m.sync()
    shop.again()
    assert (here / 'a.dat').read_bytes() == new and os.listdir(here) == ['a.dat']


def test_rsync_delete_takes_away_what_is_gone(shop, here, dataset):
    run('rsync', '-a', f'{dataset}/', f'{here}/')
    shutil.rmtree(dataset / 'run 2')
    (dataset / 'empty.txt').unlink()
    run('rsync', '-a', '--delete', f'{dataset}/', f'{here}/')
    assert shop.arrived(here) == local(dataset)


def test_cp_within_the_mount_copies(shop, here):
    (here / 'a.dat').write_bytes(noise(3, 200_000))
    run('cp', here / 'a.dat', here / 'at once.dat')
    shop.m.sync()
    run('cp', '-p', here / 'a.dat', here / 'later.dat')
    assert (here / 'at once.dat').read_bytes() == (here / 'later.dat').read_bytes() == noise(3, 200_000)
    assert (here / 'later.dat').stat().st_mtime_ns == (here / 'a.dat').stat().st_mtime_ns
    assert set(shop.arrived(here).values()) == {sha512(noise(3, 200_000))}


# ---- editors ----

def vim(path, *commands):
    run(shutil.which('vim.tiny') or 'vim', '-u', 'NONE', '-i', 'NONE', '-N', '-es', *[w for c in (*commands, 'wq') for w in ('-c', c)], path)


@pytest.mark.parametrize('how', ['no', 'yes'])
def test_vim_edits_a_file(shop, here, how):
    """backupcopy=no renames the old file away and writes a new one; yes writes over it. Both try the directory with a file 4913."""
    (here / 'notes.txt').write_text('one\ntwo\n')
    shop.m.sync()
    vim(here / 'notes.txt', f'set backupcopy={how} writebackup', '%s/two/three/', r'$s/$/\rfour/')
    assert (here / 'notes.txt').read_text() == 'one\nthree\nfour\n'
    assert os.listdir(here) == ['notes.txt']
    vim(here / 'new.txt', 's/^/new/')
    assert shop.arrived(here) == {'new.txt': sha512(b'new\n'), 'notes.txt': sha512(b'one\nthree\nfour\n')}


def test_nano_edits_a_file(shop, here, tmp_path):
    (here / 'notes.txt').write_text('one\n')
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, 0x5414, b'\x18\0\x50\0\0\0\0\0')          # TIOCSWINSZ: 24 lines of 80
    nano = subprocess.Popen(['nano', '-I', str(here / 'notes.txt')], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                            env={'PATH': os.environ['PATH'], 'TERM': 'vt100', 'HOME': str(tmp_path)})
    os.close(theirs)
    screen = bytearray()

    def shows(words):
        end = time.monotonic() + PATIENCE
        while words not in screen:
            assert time.monotonic() < end and nano.poll() is None, screen
            if select.select([ours], [], [], 0.1)[0]:
                screen.extend(os.read(ours, 65536))
        screen.clear()
    try:
        shows(b'notes.txt')
        os.write(ours, b'zero\r')
        os.write(ours, b'\x0f')                                 # ^O: write out, and which name
        shows(b'File Name to Write')
        os.write(ours, b'\r')
        shows(b'Wrote 2 lines')
        os.write(ours, b'\x18')                                 # ^X
        assert nano.wait(PATIENCE) == 0
    finally:
        nano.kill()
        os.close(ours)
    assert (here / 'notes.txt').read_text() == 'zero\none\n'
    assert shop.arrived(here) == {'notes.txt': sha512(b'zero\none\n')}


def test_sed_i_edits_files(shop, here):
    for n in range(5):
        (here / f'{n}.txt').write_text(f'value={n}\n')
    run('sed', '-i', 's/value=/changed=/', *sorted(here.iterdir()))
    run('sed', '-i.bak', 's/changed/twice/', here / '0.txt')
    assert shop.arrived(here) == {**{f'{n}.txt': sha512(b'changed=%d\n' % n) for n in range(1, 5)}, '0.txt': sha512(b'twice=0\n'),
                                  '0.txt.bak': sha512(b'changed=0\n')}


def test_an_atomic_save_replaces_the_file(shop, here):
    """As many programs save: write a file beside it, fsync, rename over it, fsync the directory."""
    (here / 'a.json').write_text('old')
    shop.m.sync()
    with open(here / 'a.json.tmp', 'w') as f:
        f.write('new')
        f.flush()
        os.fsync(f.fileno())
    os.replace(here / 'a.json.tmp', here / 'a.json')
    fd = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    assert shop.arrived(here) == {'a.json': sha512(b'new')}


# ---- what half-finished and private files are called ----

def test_names_that_are_nobodys_business_stay_here(shop, here):
    with open(here / 'a.odt', 'w') as f, open(here / '.~lock.a.odt#', 'w') as lock:
        f.write('text')
        lock.write('me')
        f.flush()
    for name in ('._a.odt', '.DS_Store'):
        (here / name).write_bytes(b'mac')
        assert (here / name).read_bytes() == b'mac'
    (here / '.~lock.a.odt#').unlink()
    shop.m.sync()
    assert shop.there(here) == {'a.odt': sha512(b'text')}


def test_a_download_has_one_name_in_the_end(shop, here):
    with open(here / 'big.iso.part', 'wb') as f:
        f.write(noise(5, 50_000))
    assert (here / 'big.iso.part').read_bytes() == noise(5, 50_000)
    os.rename(here / 'big.iso.part', here / 'big.iso')
    assert shop.arrived(here) == {'big.iso': sha512(noise(5, 50_000))}


# ---- git, archives, databases ----

def git(*words, cwd):
    return run('git', '-c', 'user.name=A', '-c', 'user.email=a@example.org', '-c', 'init.defaultBranch=main', '-c', 'gc.auto=0',
               '-c', 'safe.directory=*', *words, cwd=cwd, env=dict(os.environ, GIT_CONFIG_GLOBAL='/dev/null', GIT_CONFIG_NOSYSTEM='1'))


def test_git_works_in_it(shop, here, tmp_path):
    origin = tmp_path / 'origin'
    origin.mkdir()
    git('init', '-q', '--template=', cwd=origin)
    for n in range(3):
        (origin / f'{n}.txt').write_text(f'{n}\n' * 100)
        git('add', '.', cwd=origin)
        git('commit', '-qm', f'number {n}', cwd=origin)
    git('clone', '-q', '--template=', f'file://{origin}', here / 'clone', cwd=tmp_path)
    clone = here / 'clone'
    (clone / 'sub').mkdir()
    (clone / 'sub/new.txt').write_text('new\n')
    (clone / '0.txt').write_text('changed\n')
    git('add', '.', cwd=clone)
    git('commit', '-qm', 'here', cwd=clone)
    git('checkout', '-qb', 'side', 'HEAD~1', cwd=clone)
    git('merge', '-q', '--ff-only', 'main', cwd=clone)
    assert git('status', '--porcelain', cwd=clone) == ''
    git('fsck', '--full', '--strict', cwd=clone)
    git('gc', '-q', '--prune=now', cwd=clone)
    git('fsck', '--full', '--strict', cwd=clone)
    log = git('log', '--format=%H %s', cwd=clone)
    shop.m.sync()
    shop.again()
    assert git('log', '--format=%H %s', cwd=clone) == log and log.count('\n') == 4
    git('fsck', '--full', '--strict', cwd=clone)
    assert git('status', '--porcelain', cwd=clone) == ''
    git('push', '-q', f'file://{origin}', 'side', cwd=clone)
    assert git('log', '--format=%H %s', 'side', cwd=origin) == log


def test_tar_x_and_tar_d_agree(shop, here, dataset, tmp_path):
    run('tar', 'cf', tmp_path / 'a.tar', '-C', dataset, '.')
    run('tar', 'xf', tmp_path / 'a.tar', '-C', here)
    run('tar', 'df', tmp_path / 'a.tar', '-C', here)            # bytes, times, modes
    assert shop.arrived(here) == local(dataset)
    shop.again()
    run('tar', 'df', tmp_path / 'a.tar', '-C', here)
    run('tar', 'cf', here / 'b.tar', '-C', here, '--exclude=./b.tar', '.')
    run('tar', 'df', here / 'b.tar', '-C', dataset)


def test_zip_and_unzip(shop, here, dataset):
    run('zip', '-qr', here / 'a.zip', '.', cwd=dataset)
    run('zip', '-q', here / 'a.zip', 'run.sh', cwd=dataset)     # once more into one that is there
    run('unzip', '-tq', here / 'a.zip')
    (here / 'out').mkdir()
    run('unzip', '-q', here / 'a.zip', '-d', here / 'out')
    assert local(here / 'out') == local(dataset)
    assert {k.removeprefix('out/'): v for k, v in shop.arrived(here).items() if k.startswith('out/')} == local(dataset)


@pytest.mark.parametrize('mode', ['delete', 'wal', 'truncate'])
def test_sqlite_keeps_its_transactions(shop, here, mode):
    path = here / 'a.db'
    db = sqlite3.connect(path)
    assert db.execute(f'pragma journal_mode={mode}').fetchone()[0] == mode
    db.execute('create table t (n integer primary key, text)')
    for n in range(4):
        with db:
            db.executemany('insert into t values (?, ?)', [(n * 100 + i, 'x' * i) for i in range(100)])
    with pytest.raises(ZeroDivisionError), db:
        db.execute('delete from t')
        raise ZeroDivisionError                                 # rolled back
    other = sqlite3.connect(path)
    assert other.execute('select count(*) from t').fetchone() == (400,)
    other.close()
    db.execute('vacuum')
    db.close()
    assert mode == 'truncate' or os.listdir(here) == ['a.db']
    shop.m.sync()
    shop.again()
    db = sqlite3.connect(path)
    assert db.execute('pragma integrity_check').fetchone() == ('ok',)
    assert db.execute('select count(*), sum(length(text)) from t').fetchone() == (400, 4 * 4950)
    db.close()


def test_h5py_writes_and_changes_a_file(shop, here):
    with h5py.File(here / 'cube.h5', 'w') as f:
        cube = f.create_dataset('cube', (20, 64, 64), chunks=(1, 64, 64), dtype='i4', compression='gzip')
        for n in range(20):
            cube[n] = n
    shop.m.sync()
    shop.again()
    with h5py.File(here / 'cube.h5', 'r+') as f:
        f['cube'][7] = 1000
        f.attrs['unit'] = 'K'
        f.create_dataset('more', data=list(range(100)))
    shop.m.sync()
    shop.again()
    with h5py.File(here / 'cube.h5', 'r') as f:
        assert [int(f['cube'][n, 5, 5]) for n in range(20)] == [1000 if n == 7 else n for n in range(20)]
        assert f.attrs['unit'] == 'K' and list(f['more'][:]) == list(range(100))


# ---- moving and removing ----

def test_mv_and_mv_over(shop, here):
    for name in 'abc':
        (here / f'{name}.txt').write_text(name)
    shop.m.sync()
    run('mv', here / 'a.txt', here / 'd.txt')
    run('mv', here / 'b.txt', here / 'c.txt')
    (here / 'new.txt').write_text('new')
    run('mv', here / 'new.txt', here / 'd.txt')                 # what nobody has sent yet, over what is there
    with pytest.raises(OSError) as e:
        os.rename(here / 'gone', here / 'x')
    assert e.value.errno == errno.ENOENT
    assert shop.arrived(here) == {'c.txt': sha512(b'b'), 'd.txt': sha512(b'new')}


def test_mv_of_a_folder_with_files_owed(shop, here):
    (here / 'a/b').mkdir(parents=True)
    for n in range(10):
        (here / f'a/b/{n}.txt').write_text(str(n))
    run('mv', here / 'a', here / 'z')
    (here / 'z/b/late.txt').write_text('late')
    (here / 'y').mkdir()
    run('mv', here / 'z/b', here / 'y/c')
    want = {'y': '', 'y/c': '', 'z': '', 'y/c/late.txt': sha512(b'late'), **{f'y/c/{n}.txt': sha512(b'%d' % n) for n in range(10)}}
    assert local(here) == want and shop.arrived(here) == want


def test_mv_to_and_from_the_local_disk(shop, here, dataset, tmp_path):
    want = local(dataset)
    run('mv', dataset, here / 'in')
    assert not dataset.exists() and local(here / 'in') == want
    shop.m.sync()
    run('mv', here / 'in', tmp_path / 'out')
    assert local(tmp_path / 'out') == want
    assert shop.arrived(here) == {}


def test_rm_r_removes_what_is_sent_and_what_is_owed(shop, here, dataset):
    run('cp', '-r', dataset, here / 'a')
    run('rm', '-r', here / 'a')                                 # perhaps nothing of it is there yet
    assert os.listdir(here) == []
    run('cp', '-r', dataset, here / 'a')
    shop.m.sync()
    run('rm', '-r', here / 'a')
    assert os.listdir(here) == [] and shop.arrived(here) == {}
    (here / 'a').mkdir()
    (here / 'a/again.txt').write_text('again')
    assert shop.arrived(here) == {'a': '', 'a/again.txt': sha512(b'again')}


def test_an_open_file_lives_on_when_it_is_removed_or_replaced(shop, here):
    for name in ('removed', 'replaced'):
        (here / name).write_bytes(noise(9, 100_000))
    shop.m.sync()
    shop.again()
    with open(here / 'removed', 'r+b') as a, open(here / 'replaced', 'rb') as b:
        a.write(b'start')
        (here / 'removed').unlink()
        (here / 'new').write_text('new')
        os.rename(here / 'new', here / 'replaced')
        a.seek(0)
        assert a.read() == b'start' + noise(9, 100_000)[5:]
        assert b.read() == noise(9, 100_000)
        assert os.listdir(here) == ['replaced'] and (here / 'replaced').read_text() == 'new'
    assert shop.arrived(here) == {'replaced': sha512(b'new')}


# ---- the shell ----

def sh(text, cwd, **kw):
    return run('bash', '-ec', text, cwd=cwd, **kw)


def test_shell_redirections(shop, here):
    sh('''
        echo one >a; echo two >>a; { echo out; echo err >&2; } >b 2>&1
        cat >c <<END
here
END
        : >empty; echo long long >d; echo s >d
        set -C; ! (echo no >a) 2>/dev/null; set +C
        exec 3<>a; read -u3 line; echo "$line" >>c; echo TWO >&3; exec 3>&-
        tee e f <a >/dev/null; (echo sub; echo shell) | sort -o g; printf 'x%.0s' {1..5000} >h
    ''', here)
    want = {'a': b'one\nTWO\n', 'b': b'out\nerr\n', 'c': b'here\none\n', 'empty': b'', 'd': b's\n', 'e': b'one\nTWO\n', 'f': b'one\nTWO\n',
            'g': b'shell\nsub\n', 'h': b'x' * 5000}
    assert {p.name: p.read_bytes() for p in here.iterdir()} == want
    assert shop.arrived(here) == {k: sha512(v) for k, v in want.items()}


def test_several_programs_append_to_one_log(shop, here):
    writers = [subprocess.Popen(['bash', '-c', f'for n in $(seq 25); do echo "{w} $n" >>log; done'], cwd=here) for w in range(4)]
    assert [w.wait(PATIENCE) for w in writers] == [0] * 4
    lines = (here / 'log').read_text().splitlines()
    assert sorted(lines) == sorted(f'{w} {n}' for w in range(4) for n in range(1, 26))
    assert shop.arrived(here) == {'log': sha512((here / 'log').read_bytes())}


def test_truncate_cuts_and_lengthens(shop, here):
    data = noise(4, 100_000)
    for name in ('cut', 'long', 'none'):
        (here / name).write_bytes(data)
    shop.m.sync()
    shop.again()                                                # nothing of them is here
    run('truncate', '-s', '70000', here / 'cut')
    run('truncate', '-s', '200000', here / 'long')
    run('truncate', '-s', '0', here / 'none')
    run('truncate', '-s', '3000', here / 'new')
    want = {'cut': data[:70000], 'long': data + bytes(100_000), 'none': b'', 'new': bytes(3000)}
    assert {p.name: p.read_bytes() for p in here.iterdir()} == want
    assert shop.arrived(here) == {k: sha512(v) for k, v in want.items()}


def test_dd_notrunc_changes_the_middle(shop, here):
    data = bytearray(noise(6, 300_000))
    (here / 'a').write_bytes(data)
    shop.m.sync()
    shop.again()
    run('dd', 'if=/dev/zero', f'of={here}/a', 'bs=1000', 'seek=123', 'count=7', 'conv=notrunc', 'status=none')
    data[123_000:130_000] = bytes(7000)
    assert (here / 'a').read_bytes() == data
    assert shop.arrived(here) == {'a': sha512(data)}


def test_holes_and_fallocate(shop, here):
    with open(here / 'sparse', 'wb') as f:
        f.seek(500_000)
        f.write(b'end')
    run('fallocate', '-l', '5000', here / 'room')
    run('cp', '--sparse=always', here / 'sparse', here / 'copy')
    want = {'sparse': bytes(500_000) + b'end', 'room': bytes(5000), 'copy': bytes(500_000) + b'end'}
    assert {p.name: p.read_bytes() for p in here.iterdir()} == want
    assert shop.arrived(here) == {k: sha512(v) for k, v in want.items()}


def test_mmap_writes_reach_the_file(shop, here):
    data = bytearray(noise(8, 20_000))
    (here / 'a').write_bytes(data)
    shop.m.sync()
    shop.again()
    run(sys.executable, '-c', 'import mmap, sys\n'
        'with open(sys.argv[1], "r+b") as f, mmap.mmap(f.fileno(), 0) as m:\n'
        '    m[10000:10005] = b"hello"; m.flush(); m[0:2] = b"hi"', here / 'a')
    data[10000:10005], data[0:2] = b'hello', b'hi'
    with open(here / 'a', 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        assert m[:] == data
    assert shop.arrived(here) == {'a': sha512(data)}


def test_touch_and_chmod_are_kept(shop, here):
    (here / 'a').write_text('a')
    (here / 'd').mkdir()
    shop.m.sync()
    run('touch', '-d', '2001-02-03 04:05:06.789 UTC', here / 'a', here / 'd')
    run('chmod', '600', here / 'a')
    seen = [((here / n).stat().st_mtime_ns, (here / n).stat().st_mode) for n in 'ad']
    assert [t for t, _ in seen] == [981173106_789000000] * 2 and seen[0][1] & 0o777 == 0o600
    shop.again()
    assert [((here / n).stat().st_mtime_ns, (here / n).stat().st_mode) for n in 'ad'] == seen


def test_a_name_is_there_at_once_and_only_once(shop, here):
    """For every program, before anything was sent."""
    with open(here / 'a', 'x') as f:
        f.write('12345')
        f.flush()
        assert run('stat', '-c', '%s', here / 'a') == '5\n' and run('cat', here / 'a') == '12345' and os.listdir(here) == ['a']
    with pytest.raises(FileExistsError):
        open(here / 'a', 'x')
    with pytest.raises(FileExistsError):
        (here / 'a').mkdir()
    with pytest.raises(OSError) as e:
        os.rmdir(here.parent / here.name)
    assert e.value.errno == errno.ENOTEMPTY
    assert os.statvfs(here).f_bavail > 0
    assert shop.arrived(here) == {'a': sha512(b'12345')}


def test_ln_s_where_the_repository_has_links(shop, here):
    if not shop.girder:
        pytest.skip('what links memory: can have is its own matter')
    run('ln', '-s', f'{shop.girder.server.api}/system/version', here / 'link')
    assert os.listdir(here) == ['link']
    shop.m.sync()
    assert shop.there(here) == {'link': f'{shop.girder.server.api}/system/version'}
    with pytest.raises(PermissionError):
        os.symlink('../elsewhere', here / 'no')
    with pytest.raises(PermissionError):
        os.link(here / 'link', here / 'hard')
    assert os.listdir(here) == ['link']


def test_a_file_that_is_never_closed_is_readable_and_sent_in_the_end(shop, here):
    with open(here / 'log', 'w') as f:
        for n in range(20):
            print(n, file=f, flush=True)
            assert run('tail', '-n1', here / 'log') == f'{n}\n'
    wait_for(lambda: not shop.m.uploads(), 'it is sent')
    assert shop.there(here) == {'log': sha512(''.join(f'{n}\n' for n in range(20)).encode())}
