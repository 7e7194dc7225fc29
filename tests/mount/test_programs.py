"""Everyday programs do their work on a mount."""
import mmap
import os
import shutil
import subprocess
import tarfile

import h5py
import pytest
from harness import run, sha512, tree


def here(repo, mnt):
    return mnt / repo.top if repo.top else mnt / 'images'


def test_cp_rp_copies_the_tree(repo, mnt, tmp_path):
    run('cp', '-rp', here(repo, mnt), tmp_path / 'copy')
    assert tree(tmp_path / 'copy') == tree(here(repo, mnt)) != {}


def test_cp_of_everything_has_the_witness_bytes(girder, gmnt, tmp_path):
    run('cp', '-r', gmnt / girder.top, tmp_path / 'copy')
    assert tree(tmp_path / 'copy') == tree(girder.fetched)


def test_rsync_a_twice_sends_nothing_the_second_time(repo, mnt, tmp_path):
    command = ('rsync', '-a', '--itemize-changes', f'{here(repo, mnt)}/', f'{tmp_path}/copy/')
    assert '>f' in run(*command)
    assert tree(tmp_path / 'copy') == tree(here(repo, mnt))
    assert run(*command) == ''


def test_rsync_c_finds_nothing_to_mend(repo, mnt, tmp_path):
    run('rsync', '-a', f'{here(repo, mnt)}/', f'{tmp_path}/copy/')
    assert run('rsync', '-ac', '--itemize-changes', f'{here(repo, mnt)}/', f'{tmp_path}/copy/') == ''


def test_sha512sum_c_agrees(repo, mnt, tmp_path):
    (tmp_path / 'sums').write_text(''.join(f'{sha512(b)}  {p}\n' for p, b in repo.files.items()))
    assert run('sha512sum', '--quiet', '--strict', '-c', tmp_path / 'sums', cwd=mnt.path) == ''


def test_tar_c_holds_the_same_bytes(repo, mnt, tmp_path):
    run('tar', 'cf', tmp_path / 'x.tar', '-C', here(repo, mnt), '.')
    run('tar', 'df', tmp_path / 'x.tar', '-C', here(repo, mnt))
    with tarfile.open(tmp_path / 'x.tar') as t:
        assert [m for m in t if m.isfile() and m.size == len(repo.files[repo.big])]


def test_grep_r_finds_the_line(repo, mnt):
    found = run('grep', '-rl', 'Saturn', mnt / repo.folder).splitlines()
    assert str(mnt / repo.text) in found


def test_head_c_and_tail_c_give_the_ends(repo, mnt):
    want = repo.files[repo.big]
    for command, bytes_ in ((['head', '-c', '5000'], want[:5000]), (['tail', '-c', '5000'], want[-5000:])):
        assert subprocess.run([*command, mnt / repo.big], capture_output=True, timeout=120, check=True).stdout == bytes_


@pytest.mark.parametrize('flag', ['', 'direct'])
def test_dd_with_skip_gives_that_part(repo, mnt, flag):
    """With O_DIRECT too."""
    done = subprocess.run(['dd', f'if={mnt / repo.big}', 'bs=4096', 'skip=700', 'count=123', 'status=none'] + ([f'iflag={flag}'] if flag else []),
                          capture_output=True, timeout=120, check=True)
    assert done.stdout == repo.files[repo.big][700 * 4096:823 * 4096]


def test_dd_with_a_block_of_7_mib_gives_all(repo, mnt):
    done = subprocess.run(['dd', f'if={mnt / repo.big}', 'bs=7M', 'iflag=fullblock', 'status=none'], capture_output=True, timeout=120, check=True)
    assert sha512(done.stdout) == sha512(repo.files[repo.big])


def test_mmap_sees_every_page(repo, mnt):
    with open(mnt / repo.big, 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        assert m[4999999:5000009] == repo.files[repo.big][4999999:5000009]
        assert sha512(m) == sha512(repo.files[repo.big])


def test_sendfile_splice_and_copy_file_range_give_the_bytes(repo, mnt, tmp_path):
    want = repo.files[repo.big]
    with open(mnt / repo.big, 'rb') as src:
        with open(tmp_path / 'sent', 'wb') as dst:
            at = 0
            while (n := os.sendfile(dst.fileno(), src.fileno(), at, 1 << 20)):
                at += n
        assert (tmp_path / 'sent').read_bytes() == want
        r, w = os.pipe()
        at, got = 0, b''
        while at < 200000:
            at += os.splice(src.fileno(), w, 50000, offset_src=at)
            got += os.read(r, 1 << 16)
        os.close(r)
        os.close(w)
        assert got == want[:len(got)] and len(got) >= 200000
    shutil.copyfile(mnt / repo.big, tmp_path / 'copied')
    assert (tmp_path / 'copied').read_bytes() == want


def test_eight_readers_of_one_cold_file_all_have_its_bytes(repo, mount):
    m = mount(repo)
    readers = [subprocess.Popen(['sha512sum', m / repo.big], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    assert {r.communicate(timeout=120)[0].split()[0] for r in readers} == {sha512(repo.files[repo.big])}


def test_readers_of_all_files_at_once_do_not_mix_them(repo, mount):
    m = mount(repo)
    readers = {p: subprocess.Popen(['sha512sum', m / p], stdout=subprocess.PIPE, text=True) for p in repo.files}
    assert {p: r.communicate(timeout=120)[0].split()[0] for p, r in readers.items()} == {p: sha512(b) for p, b in repo.files.items()}


def test_backwards_and_random_reads_give_the_bytes(repo, mount):
    m, want = mount(repo), repo.files[repo.big]
    with open(m / repo.big, 'rb', buffering=0) as f:
        for at in [len(want) - 1, *range(len(want) - 65536, 0, -777777), 1, 0, 3 << 20, 131071, 131072, 131073]:
            assert os.pread(f.fileno(), 4097, at) == want[at:at + 4097]


@pytest.fixture(scope='session')
def hdf5(girder5, tmp_path_factory):
    """A file of 40 chunked, compressed planes, put in by the official client."""
    path = tmp_path_factory.mktemp('hdf5') / 'cube.h5'
    with h5py.File(path, 'w') as f:
        cube = f.create_dataset('cube', (40, 128, 128), chunks=(1, 64, 64), dtype='i4', compression='gzip')
        for n in range(40):
            cube[n] = n * 1000 + (cube[n] + n) % 7
        cube.attrs['unit'] = 'K'
    folder = girder5.server.make_folder(girder5.ids['sample'], 'HDF5', 'collection')
    girder5.client.uploadFileToFolder(folder, str(path))
    return path


def test_h5py_reads_a_dataset_across_its_chunks(girder5, mount, hdf5):
    m = mount(girder5)
    with h5py.File(m / 'collection/Sample/HDF5/cube.h5', 'r') as ours, h5py.File(hdf5, 'r') as theirs:
        assert ours['cube'].attrs['unit'] == 'K'
        assert (ours['cube'][:, 100, 5] == theirs['cube'][:, 100, 5]).all()
        assert (ours['cube'][...] == theirs['cube'][...]).all()
