"""Metadata as extended attributes."""
import errno
import json
import os

import pytest
from girder_sample import NUMBERS_META
from harness import run, sha512


def get(path, name):
    return os.getxattr(path, f'user.{name}').decode()


def fails(code, call, *args):
    with pytest.raises(OSError) as e:
        call(*args)
    return e.value.errno == code


def scheme(repo):
    return 'memory' if repo.name == 'memory' else 'girder'


def test_each_key_is_an_attribute_and_nested_ones_are_dotted(repo, mnt):
    assert {k: get(mnt / repo.text, f'{scheme(repo)}.meta.{k}') for k in repo.text_meta} == repo.text_meta


def test_the_whole_metadata_is_one_attribute_in_the_servers_own_bytes(repo, mnt):
    whole = get(mnt / repo.text, f'{scheme(repo)}.meta')
    assert json.loads(whole)['source']['contact']['name'] == 'Jürgen Ø'
    assert whole in (mnt / repo.text).parent.joinpath('.scifs/meta', os.path.basename(repo.text) + '.json').read_text()


def test_what_is_listed_can_be_read_and_what_can_be_read_is_listed(repo, mnt):
    for path in (repo.text, repo.folder, repo.empty, repo.big):
        names = os.listxattr(mnt / path)
        assert len(names) == len(set(names)) > 5
        for name in names:
            os.getxattr(mnt / path, name)


def test_numbers_keep_every_digit(girder, gmnt):
    """Trap: int64 and long decimals do not survive a double."""
    path = gmnt / girder.top / 'numbers.json'
    for key in ('beyond_double', 'int64_max', 'int64_min', 'half', 'zero'):
        assert f'"{key}": {get(path, f"girder.meta.{key}")}' in NUMBERS_META
    assert get(path, 'girder.meta.empty_text') == ''
    assert get(path, 'girder.meta.no') == 'false'
    assert json.loads(get(path, 'girder.meta.lists')) == [[1, 2], [3, [4]]]
    assert get(path, 'girder.meta.key with space') == '1'
    assert get(path, 'girder.meta.schön') == '😀'


def test_the_servers_own_fields_are_attributes(girder, gmnt):
    (item,) = girder.server.rest('GET', 'item', {'folderId': girder.ids['data'], 'name': 'planets.csv'})
    (file,) = girder.server.rest('GET', f'item/{item["_id"]}/files')
    path = gmnt / girder.text
    for name, value in (('id', item['_id']), ('file_id', file['_id']), ('parent_id', item['folderId']), ('description', item['description']),
                        ('created', item['created']), ('updated', item['updated']), ('creator_id', item['creatorId']), ('name', 'planets.csv'),
                        ('sha512', file['sha512']), ('mime_type', 'text/csv')):
        assert get(path, f'girder.{name}') == value, name
    assert get(gmnt / girder.folder, 'girder.meta.contact.mail') == 'a@example.org'
    assert get(gmnt / girder.folder, 'girder.type') == 'folder'
    assert get(gmnt / 'collection/Sample', 'girder.type') == 'collection'


def test_a_file_of_an_item_has_its_own_fields_and_no_metadata(girder, gmnt):
    """Trap: files have no metadata."""
    path = gmnt / girder.top / 'several files/part1.dat'
    assert get(path, 'girder.type') == 'file'
    assert len(get(path, 'girder.file_id')) == 24
    assert not [n for n in os.listxattr(path) if n.startswith('user.girder.meta')]
    assert [n for n in os.listxattr(gmnt / girder.top / 'several files') if n == 'user.girder.meta']


def test_our_own_words(repo, mnt):
    path = mnt / repo.text
    assert get(path, 'scifs.name') == os.path.basename(repo.text)
    assert get(path, 'scifs.state') == 'clean' and get(path, 'scifs.stale') == '0'
    assert get(path, 'scifs.id') and get(path, 'scifs.version')
    assert get(path, 'mime_type') == 'text/csv'
    assert fails(errno.ENODATA, get, path, 'scifs.error')


def test_the_digest_is_that_of_the_bytes(repo, mnt):
    assert get(mnt / repo.big, 'scifs.digest') == f'sha512:{sha512(repo.files[repo.big])}'


def test_a_value_beyond_64_kib_is_not_listed_reads_as_e2big_and_stands_in_the_document(girder, gmnt):
    path = gmnt / girder.top / 'fat.txt'
    names = os.listxattr(path)
    assert 'user.girder.meta.short' in names
    assert 'user.girder.meta' not in names and 'user.girder.meta.long' not in names
    assert fails(errno.E2BIG, get, path, 'girder.meta.long')
    assert fails(errno.E2BIG, get, path, 'girder.meta')
    assert get(path, 'girder.meta.short') == 'fits'
    assert get(path, 'girder.meta.many.key1999') == '1999'
    document = json.loads((gmnt / girder.top / '.scifs/meta/fat.txt.json').read_text())
    assert document['meta']['long'] == 'x' * 70000 and len(document['meta']['many']) == 2000


def test_names_beyond_64_kib_in_all_are_cut_and_still_a_list(girder, gmnt):
    names = os.listxattr(gmnt / girder.top / 'fat.txt')
    assert sum(len(n) + 1 for n in names) <= 65536
    assert 'user.scifs.id' in names and len([n for n in names if n.startswith('user.girder.meta.many.')]) > 1000


def test_getfattr_d_shows_them(repo, mnt):
    said = run('getfattr', '-d', '--absolute-names', mnt / repo.text)
    assert f'user.{scheme(repo)}.meta.title="The planets"' in said
    assert 'user.scifs.state="clean"' in said


def test_what_is_not_there_is_enodata(repo, mnt):
    for name in (f'user.{scheme(repo)}.meta.nothing', 'user.nothing', 'security.selinux', 'system.posix_acl_access', 'trusted.x'):
        assert fails(errno.ENODATA, os.getxattr, mnt / repo.text, name) or name.startswith('system.')
