"""Server names become file names: reversibly, each thing reachable, nothing lost."""
import errno
import errno
import os
import re

import pytest
from girder_sample import NAMES, UNSERVABLE, noise

FOLDER = 'collection/Sample/Names'
TWINS = {'twin.txt', 'both'}


def raw(path):
    return os.getxattr(path, 'user.scifs.name').decode()


def content(name):
    return f'{name!r}\n'.encode()


def test_each_name_is_there_with_its_own_bytes_and_its_raw_name(girder, gmnt):
    found = {}
    for name in os.listdir(gmnt / FOLDER):
        path = gmnt / FOLDER / name
        if path.is_file():
            found.setdefault(raw(path), []).append(path.read_bytes())
    # The server itself trims names.
    for name in NAMES:
        assert found.get(name.strip()) == [content(name)], name


@pytest.mark.parametrize('name,shown', [
    ('a/b.txt', 'a%2Fb.txt'), ('a%2Fb.txt', 'a%252Fb.txt'), ('/leading.txt', '%2Fleading.txt'), ('..', '%2E.'), ('.', '%2E'),
    ('.scifs', '%2Escifs'), ('line\nfeed.txt', 'line%0Afeed.txt'), ('bell\x07.txt', 'bell%07.txt'), ('del\x7f.txt', 'del%7F.txt'),
    ('100% sure.txt', '100% sure.txt'), ('.hidden', '.hidden'), ('..two dots', '..two dots'),
    ('~', '~'), ('back\\slash.txt', 'back\\slash.txt'), ('-rf', '-rf'), ('grün Ω 日本.txt', 'grün Ω 日本.txt'),
    ('e\u0301 decomposed.txt', 'e\u0301 decomposed.txt'), ('tilde~12345678.txt', 'tilde~12345678.txt'), ('CAPS.TXT', 'CAPS.TXT')])
def test_a_name_is_shown_as_the_rule_says_and_found_under_it(gmnt, name, shown):
    assert shown in os.listdir(gmnt / FOLDER)
    assert (gmnt / FOLDER / shown).read_bytes() == content(name)


@pytest.mark.parametrize('shown', ['a/b.txt', 'a%2fb.txt', 'two  words.TXT', 'caps.TXT', 'line\nfeed.txt', '%2E%2E', 'tilde~12345679.txt'])
def test_what_is_not_a_shown_name_is_not_there(gmnt, shown):
    with pytest.raises(FileNotFoundError):
        os.stat(gmnt / FOLDER / shown)


def test_255_bytes_are_kept_and_longer_names_cut_with_their_id(gmnt):
    names = os.listdir(os.fsencode(gmnt / FOLDER))
    assert b'a' * 251 + b'.txt' in names
    for name in ('b' * 252 + '.txt', 'ü' * 150 + '.dat'):
        (path,) = [p for p in (os.path.join(gmnt / FOLDER, os.fsdecode(n)) for n in names if len(n) > 240) if raw(p) == name]
        assert len(os.fsencode(os.path.basename(path))) <= 255
        assert re.fullmatch(rf'{name[0]}+~[0-9a-f]{{8}}\{name[-4:]}', os.path.basename(path))
        with open(path, 'rb') as f:
            assert f.read() == content(name)


def test_twins_are_both_there_and_the_elder_keeps_the_name(gmnt):
    """Trap: moves create duplicates without a word."""
    names = [n for n in os.listdir(gmnt / FOLDER) if n.startswith('twin')]
    (other,) = [n for n in names if n != 'twin.txt']
    assert re.fullmatch(r'twin~[0-9a-f]{8}\.txt', other)
    assert (gmnt / FOLDER / 'twin.txt').read_bytes() == b'one twin\n'
    assert (gmnt / FOLDER / other).read_bytes() == b'the other twin\n'
    assert raw(gmnt / FOLDER / other) == 'twin.txt'
    assert os.getxattr(gmnt / FOLDER / other, 'user.scifs.id').decode()[-8:] == other[5:13]


def test_a_folder_keeps_the_name_that_an_item_has_too(gmnt):
    (other,) = [n for n in os.listdir(gmnt / FOLDER) if n.startswith('both~')]
    assert os.listdir(gmnt / FOLDER / 'both') == ['inside.txt']
    assert (gmnt / FOLDER / other).read_bytes() == b"a file of a folder's name\n"


def test_two_files_of_one_name_in_an_item_are_both_there(gmnt):
    """Trap: file names are not unique within an item."""
    folder = gmnt / FOLDER / 'same name twice'
    assert sorted((folder / n).read_bytes() for n in os.listdir(folder)) == [b'one\n', b'two\n']
    assert 'twin.dat' in os.listdir(folder)


def test_a_file_that_kept_the_blanks_its_item_lost_is_a_file(gmnt):
    """Trap: items are trimmed, uploaded files are not."""
    assert (gmnt / FOLDER / 'blanks.txt').read_bytes() == b'the file keeps the blanks that its item loses\n'


def test_names_are_the_same_when_looked_up_before_they_are_listed(girder5, mount):
    m = mount(girder5)
    listed = {n: os.stat(m / FOLDER / n).st_ino for n in os.listdir(m / FOLDER)}
    assert len(listed) > 10
    m = mount(girder5)
    assert {n: os.stat(m / FOLDER / n).st_ino for n in listed} == listed


def test_names_girder_are_those_of_the_official_client(girder5, mount):
    m = mount(girder5, 'names=girder')
    names = set(os.listdir(m / FOLDER))
    for name in NAMES:
        if len(os.fsencode(name)) <= 255 and not set(name) & set('\n\t\x07\x7f\x85') and name not in ('.scifs', 'a/b.txt'):
            assert girder5.client.transformFilename(name) in names, name


def test_no_name_of_a_listing_can_leave_the_directory(gmnt):
    for name in os.listdir(gmnt / FOLDER):
        assert '/' not in name and name not in ('.', '..', '.scifs') and not re.search(r'[\x00-\x1f\x7f]', name)


def test_256_bytes_are_too_long(repo, mnt):
    with pytest.raises(OSError) as e:
        os.stat(mnt / ('x' * 256))
    assert e.value.errno == errno.ENAMETOOLONG


def test_256_bytes_are_too_long(repo, mnt):
    with pytest.raises(OSError) as e:
        os.stat(mnt / ('x' * 256))
    assert e.value.errno == errno.ENAMETOOLONG


@pytest.mark.parametrize('number', range(len(UNSERVABLE)))
def test_a_name_that_the_server_cannot_send_is_read_all_the_same(girder, gmnt, number):
    """Trap: such names answer 500 on every download route but one."""
    path = gmnt / 'collection/Sample/Unservable' / UNSERVABLE[number].replace('\x85', '%C2%85')
    assert path.read_bytes() == noise(40 + number, 3000 + number)
    assert os.getxattr(path, 'user.scifs.error')
