"""Times are the server's, and the same for every program and after a remount."""
import os
from datetime import datetime

import pytest
from harness import Mount, run


def nanoseconds(text):
    """Of a server's ISO 8601 time, to the millisecond that its database keeps."""
    t = datetime.fromisoformat(text)
    return int(t.replace(microsecond=0).timestamp()) * 10 ** 9 + t.microsecond // 1000 * 10 ** 6


def document(girder, name):
    """The file's document of the item `name` in the sample's folder."""
    (item,) = girder.server.rest('GET', 'item', {'folderId': girder.ids['data'], 'name': name})
    (file,) = girder.server.rest('GET', f'item/{item["_id"]}/files')
    return item, file


def test_mtime_is_when_the_content_was_made_to_the_millisecond(girder, gmnt):
    for name in ('planets.csv', 'noise-1m.dat', 'empty.dat'):
        item, file = document(girder, name)
        assert os.stat(gmnt / girder.top / name).st_mtime_ns == nanoseconds(file['created'])


def test_ctime_is_the_newest_time_of_file_and_item(girder, gmnt):
    item, file = document(girder, 'planets.csv')        # its item got metadata later
    assert os.stat(gmnt / girder.text).st_ctime_ns == max(nanoseconds(file['created']), nanoseconds(item['updated']))


def test_a_folder_is_at_least_as_new_as_its_own_change(girder, gmnt):
    folder = girder.server.rest('GET', f'folder/{girder.ids["data"]}')
    assert os.stat(gmnt / girder.top).st_mtime_ns >= nanoseconds(folder['updated'])


@pytest.mark.parametrize('when', ['2020-01-02T03:04:05.678000+00:00', '2020-01-02T03:04:05+00:00', '1969-12-31T23:59:58.500000+00:00',
                                  '2106-02-07T06:28:17.001000+00:00'])
def test_a_time_is_understood_with_a_fraction_or_without(girder5, mount, when):
    """Trap: the fraction is left out when it is zero."""
    server = girder5.server
    folder = server.make_folder(girder5.ids['sample'], 'times', 'collection')
    try:
        file = server.upload(folder, 'old.txt', b'old\n')
        server.rest('PUT', f'resource/{file["_id"]}/timestamp', {'type': 'file', 'created': when})
        assert os.stat(mount(girder5) / 'collection/Sample/times/old.txt').st_mtime_ns == nanoseconds(when)
    finally:
        server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


def all_times(folder):
    found = {}
    for where, dirs, files in os.walk(folder):
        for name in dirs + files:
            s = os.lstat(os.path.join(where, name))
            found[os.path.relpath(os.path.join(where, name), folder)] = (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_mode)
    return found


def test_times_are_the_same_after_a_remount(repo):
    with Mount(repo.source, env=repo.env) as m:
        before = all_times(m / repo.top)
    with Mount(repo.source, env=repo.env) as m:
        assert all_times(m / repo.top) == before


def test_cp_p_keeps_them(repo, mnt, tmp_path):
    run('cp', '-rp', mnt / repo.folder, tmp_path / 'copy')
    here = {k: v[0] for k, v in all_times(mnt / repo.folder).items()}
    assert {k: v[0] for k, v in all_times(tmp_path / 'copy').items()} == here and here


def test_find_newer_finds_what_is_newer(repo, mnt, tmp_path):
    times = {p: os.stat(mnt / p).st_mtime_ns for p in repo.files}
    middle = sorted(times.values())[len(times) // 2]
    (tmp_path / 'x').touch()
    os.utime(tmp_path / 'x', ns=(middle, middle))
    found = run('find', mnt / repo.top, '-type', 'f', '-newer', tmp_path / 'x').splitlines()
    newer = {str(mnt / p) for p, t in times.items() if t > middle}
    assert newer <= set(found)
    assert not {str(mnt / p) for p, t in times.items() if t <= middle} & set(found)
