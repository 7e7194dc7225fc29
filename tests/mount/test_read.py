"""Every byte that a mount gives is the repository's own."""
import os
import subprocess

import pytest
from harness import sha512


def test_every_file_has_the_bytes_that_the_witness_has(repo, mnt):
    assert {p: sha512((mnt / p).read_bytes()) for p in repo.files} == {p: sha512(b) for p, b in repo.files.items()}


def test_sizes_are_those_of_the_bytes(repo, mnt):
    assert {p: (mnt / p).stat().st_size for p in repo.files} == {p: len(b) for p, b in repo.files.items()}


def test_a_read_beyond_the_end_is_empty(repo, mnt):
    """Girder answers a range past the end with 206 and the whole file."""
    with open(mnt / repo.odd, 'rb') as f:
        f.seek(100003)
        assert f.read(10) == b''
        f.seek(1 << 40)
        assert f.read(10) == b''


@pytest.mark.parametrize('offset,count', [(0, 1), (1, 4095), (4095, 2), (99999, 100), (65536, 34467)])
def test_a_part_is_that_part(repo, mnt, offset, count):
    done = subprocess.run(['dd', f'if={mnt / repo.odd}', 'bs=1', f'skip={offset}', f'count={count}', 'status=none'],
                          capture_output=True, timeout=120, check=True)
    assert done.stdout == repo.files[repo.odd][offset:offset + count]


def test_items_that_are_taken_for_files_unseen_have_their_bytes(girder, mount):
    """items=assume-single: a listing tells what is needed for ls -l, but not yet which file's bytes they are."""
    m = mount(girder, 'items=assume-single')
    wanted = {p: b for p, b in girder.files.items() if p.rpartition('/')[0] == girder.folder}
    assert (m / girder.folder).is_dir() and wanted
    os.listdir(m / girder.folder)
    assert {p: (m / p).read_bytes() for p in wanted} == wanted
