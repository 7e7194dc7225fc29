"""Small files that are read in turn are fetched some ahead, once each; others are left alone."""
import os

import pytest
from harness import run, tree, wait_for

COUNT, SIZE = 40, 4096
MADE = f'memory:?files={COUNT}&size=4k'


def cached(path):
    return int(os.getxattr(path, 'user.scifs.cached'))


def files_of(m):
    """All files of the made repository, in the order of the listing, from the one directory that holds them."""
    for where, _, names in os.walk(m.path):
        if len(names) >= COUNT:
            return [os.path.join(where, name) for name in sorted(names)]
    raise AssertionError('no directory with the files')


def read(path):
    with open(path, 'rb') as f:
        return f.read()


@pytest.mark.parametrize('order', ['by name', 'by inode number'])
def test_the_next_files_are_here_before_they_are_opened(mount, order):
    m = mount(MADE, 'cache=none')
    files = files_of(m)
    if order == 'by inode number':
        files.sort(key=lambda p: os.stat(p).st_ino)
    for path in files[:6]:
        assert len(read(path)) == SIZE
    wait_for(lambda: cached(files[6]) == SIZE and cached(files[7]) == SIZE, 'the next two are cached')
    assert cached(files[-1]) == 0


def test_a_file_read_alone_brings_no_other(mount):
    m = mount(MADE, 'cache=none')
    files = files_of(m)
    for path in (files[30], files[10], files[20], files[5], files[25], files[1]):
        assert len(read(path)) == SIZE
    assert sum(cached(p) for p in files) == 6 * SIZE


def test_a_copied_folder_costs_a_look_and_a_content_for_each_file(girder5, mount, tmp_path):
    folder = girder5.server.make_folder(girder5.ids['sample'], f'siblings-{os.getpid()}', 'collection')
    for i in range(30):
        girder5.server.upload(folder, f'{i:02}.dat', bytes([i]) * (1000 + i))
    m = mount(girder5)
    top = m / f'collection/Sample/siblings-{os.getpid()}'
    assert len(os.listdir(top)) == 30
    before = m.stats()['scifs_http_requests_total']
    run('cp', '-r', top, tmp_path / 'copy')
    assert tree(tmp_path / 'copy') == tree(top)
    assert {p.name: p.read_bytes() for p in (tmp_path / 'copy').iterdir()} == {f'{i:02}.dat': bytes([i]) * (1000 + i) for i in range(30)}
    assert m.stats()['scifs_http_requests_total'] - before <= 2 * 30 + 2
