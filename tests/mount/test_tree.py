"""The tree: which names are there, of which kind, for whom."""
import os
import stat
import urllib.parse

import pytest
from harness import Mount, run, tree


def kinds(folder):
    return {e.name: 'd' if e.is_dir() else 'f' if e.is_file() else '?' for e in os.scandir(folder)}


# ---- what is there ----

def test_the_tree_is_the_one_that_the_official_client_downloads(girder, gmnt):
    assert tree(gmnt / girder.top) == tree(girder.fetched)


def test_the_root_has_collections_and_users(gmnt):
    assert sorted(os.listdir(gmnt.path)) == ['collection', 'user']
    assert sorted(os.listdir(gmnt / 'collection')) == ['Closed', 'Sample']
    assert sorted(os.listdir(gmnt / 'user')) == ['admin', 'alice']
    assert sorted(os.listdir(gmnt / 'user/alice')) == ['Private', 'Public']


def test_a_folder_of_2000_items_is_listed_whole(gmnt):
    """Trap: limit defaults to 50 in every listing."""
    assert sorted(os.listdir(gmnt / 'collection/Sample/Many')) == [f'item-{n:06d}.txt' for n in range(2000)]


@pytest.mark.parametrize('number', [0, 49, 50, 1999])
def test_each_of_2000_items_can_be_read(gmnt, number):
    name = f'item-{number:06d}.txt'
    assert (gmnt / f'collection/Sample/Many/{name}').read_text() == f'{name}\n'


def test_what_is_not_there_is_enoent(repo, mnt):
    for name in (f'{repo.top}/no such thing', f'{repo.top}/no/such/thing', 'nothing', f'{repo.top}/{"x" * 255}'):
        with pytest.raises(FileNotFoundError):
            os.stat(mnt / name)


def test_a_file_is_no_directory_and_the_reverse(repo, mnt):
    with pytest.raises(NotADirectoryError):
        os.listdir(mnt / repo.text)
    with pytest.raises(NotADirectoryError):
        os.stat(mnt / repo.text / 'x')
    with pytest.raises(IsADirectoryError):
        os.close(os.open(mnt / repo.folder, os.O_WRONLY))
    with pytest.raises(IsADirectoryError):
        fd = os.open(mnt / repo.folder, os.O_RDONLY)
        try:
            os.read(fd, 1)
        finally:
            os.close(fd)


def test_made_trees_of_memory_have_what_their_words_ask_for(mount):
    m = mount('memory:?files=1000&dirs=10&size=100')
    assert len(os.listdir(m.path)) == 10
    assert sum(len(files) for _, _, files in os.walk(m.path)) == 1000


# ---- items ----

def test_an_item_with_one_file_of_its_name_is_a_file_and_any_other_a_directory(girder, gmnt):
    of = kinds(gmnt / girder.top)
    assert of['planets.csv'] == of['empty.dat'] == 'f'
    assert of['several files'] == of['named otherwise'] == of['empty item'] == of['empty folder'] == of['a'] == 'd'
    assert sorted(os.listdir(gmnt / girder.top / 'several files')) == ['part1.dat', 'part2.dat', 'several files']
    assert os.listdir(gmnt / girder.top / 'named otherwise') == ['original.dat']
    assert os.listdir(gmnt / girder.top / 'empty item') == []


def test_an_empty_item_is_no_empty_file(girder, gmnt):
    assert stat.S_ISDIR((gmnt / girder.top / 'empty item').stat().st_mode)
    assert (gmnt / girder.top / 'empty.dat').stat().st_size == 0


def test_items_dir_shows_each_item_as_a_directory(girder5, mount):
    m = mount(girder5, 'items=dir')
    assert os.listdir(m / girder5.top / 'planets.csv') == ['planets.csv']
    assert (m / girder5.top / 'planets.csv/planets.csv').read_bytes() == girder5.files[girder5.text]
    assert os.listdir(m / girder5.top / 'empty.dat') == ['empty.dat']


def test_items_file_shows_each_item_as_one_file(girder5, mount):
    m = mount(girder5, 'items=file')
    assert (m / girder5.top / 'several files').read_bytes() == girder5.files[f'{girder5.top}/several files/several files']
    assert (m / girder5.top / 'named otherwise').read_bytes() == girder5.files[f'{girder5.top}/named otherwise/original.dat']


def test_a_copied_and_renamed_item_is_a_directory_that_has_the_old_name(girder, mount):
    """Trap: copies keep the names of the files in them."""
    server = girder.server
    folder = server.make_folder(girder.ids['sample'], 'copies', 'collection')
    try:
        item = server.upload(folder, 'old.txt', b'copied\n')['itemId']
        server.rest('POST', f'item/{item}/copy', {'folderId': folder, 'name': 'new.txt'})
        m = mount(girder)
        assert kinds(m / 'collection/Sample/copies') == {'old.txt': 'f', 'new.txt': 'd'}
        assert (m / 'collection/Sample/copies/new.txt/old.txt').read_bytes() == b'copied\n'
    finally:
        server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


# ---- requests ----

def test_names_of_a_folder_cost_two_requests_and_nothing_again(girder5, mount):
    m = mount(girder5)
    os.listdir(m / 'collection/Sample')
    os.stat(m / 'collection/Sample/Many')
    before = m.stats()['scifs_http_requests_total']
    assert len(os.listdir(m / 'collection/Sample/Many')) == 2000
    assert m.stats()['scifs_http_requests_total'] - before == 2
    assert len(os.listdir(m / 'collection/Sample/Many')) == 2000
    assert m.stats()['scifs_http_requests_total'] - before == 2


def test_a_second_ls_l_within_the_ttl_costs_nothing(girder5, mount):
    m = mount(girder5, 'ttl=10m', 'list_ttl=10m')
    first = run('ls', '-lR', m / girder5.top)
    before = m.stats()['scifs_http_requests_total']
    assert run('ls', '-lR', m / girder5.top) == first
    assert m.stats()['scifs_http_requests_total'] == before


# ---- subtrees ----

@pytest.mark.parametrize('path,has', [('/collection', 'Sample'), ('/collection/Sample', 'Data'), ('/collection/Sample/Data', 'planets.csv'),
                                      ('/user', 'alice'), ('/user/alice', 'Public'), ('/collection/Sample/Data/several files', 'part1.dat')])
def test_a_path_behind_the_host_mounts_that_subtree(girder5, mount, path, has):
    m = mount(girder5.source + urllib.parse.quote(path), env=girder5.env)
    assert has in os.listdir(m.path)


# ---- for whom ----

def test_a_folder_that_may_not_be_read_is_not_there(girder, mount):
    """Trap: missing and forbidden look the same, with status 400."""
    for env in ({}, {'SCIFS_API_KEY': girder.server.user_key}):
        m = mount(girder, env=env)
        assert os.listdir(m / 'collection') == ['Sample']
        assert 'Private' not in os.listdir(m / 'collection/Sample')
        for path in ('collection/Closed', 'collection/Sample/Private', 'collection/Sample/Private/secret.txt'):
            with pytest.raises(FileNotFoundError):
                os.stat(m / path)


def test_a_public_folder_can_be_read_by_a_user_without_an_entry_of_his_own(girder, mount):
    """Trap: _accessLevel is -1 there."""
    m = mount(girder, env={'SCIFS_API_KEY': girder.server.user_key})
    assert (m / girder.text).read_bytes() == girder.files[girder.text]
    assert (m / girder.folder).stat().st_mode & 0o555 == 0o555


def test_a_read_only_key_reads_what_its_owner_may(girder, mount):
    """A key with core.data.read alone cannot ask who it is, and is its owner all the same."""
    m = mount(girder, env={'SCIFS_API_KEY': girder.server.read_key})
    assert (m / 'collection/Sample/Private/secret.txt').read_text() == 'nobody but the admin reads this\n'


def test_nobody_logged_in_reads_public_things_and_finds_users_by_name(girder, mount):
    """Trap: an anonymous caller may not list the users, but may look one up."""
    m = mount(girder, env={})
    assert (m / girder.text).read_bytes() == girder.files[girder.text]
    assert 'Public' in os.listdir(m / 'user/alice')


def test_modes_tell_who_may_read(girder, gmnt):
    assert stat.S_IMODE((gmnt / 'collection/Sample').stat().st_mode) & 0o555 == 0o555
    assert stat.S_IMODE((gmnt / 'collection/Sample/Private').stat().st_mode) & 0o577 == 0o500
    assert stat.S_IMODE((gmnt / 'collection/Sample/Private/secret.txt').stat().st_mode) & 0o577 == 0o400
    assert stat.S_IMODE((gmnt / girder.text).stat().st_mode) & 0o555 == 0o444


def test_uid_and_gid_are_those_asked_for(mount):
    s = os.stat(mount('memory:', 'uid=1234', 'gid=4321') / 'README.txt')
    assert (s.st_uid, s.st_gid) == (1234, 4321)


# ---- numbers ----

def numbers(folder):
    found = {}
    for where, dirs, files in os.walk(folder):
        for name in dirs + files:
            path = os.path.join(where, name)
            found[os.path.relpath(path, folder)] = os.lstat(path).st_ino
    return found


def test_inode_numbers_differ_and_survive_a_remount(repo):
    with Mount(repo.source, env=repo.env) as m:
        before = numbers(m / repo.top)
        assert len(set(before.values())) == len(before) > 10
    with Mount(repo.source, env=repo.env) as m:     # with nothing kept
        assert numbers(m / repo.top) == before
