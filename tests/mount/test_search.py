"""Questions are directories: .scifs/search/EXPR/, .scifs/by-id/ID and .scifs/by-url/URL lead into the tree."""
import errno
import os
import subprocess
import urllib.parse

import pytest
from harness import run


def hits(m, expr, directory=''):
    """Name -> where it leads, as a path in the mount."""
    where = m / directory / '.scifs/search' / expr
    found = {}
    for name in os.listdir(where):
        assert (where / name).is_symlink()
        found[name] = os.path.relpath(os.path.normpath(where / os.readlink(where / name)), m.path)
    return found


def fails(errno_wanted, call, *args):
    with pytest.raises(OSError) as e:
        call(*args)
    assert e.value.errno == errno_wanted


# ---- over every repository ----

def word_of(repo):
    """A word that finds repo.deep by name."""
    return 'deep'


def test_a_hit_leads_to_the_thing_and_its_bytes(repo, mnt):
    found = hits(mnt, word_of(repo))
    assert repo.deep in found.values()
    link = next(n for n, p in found.items() if p == repo.deep)
    assert (mnt / '.scifs/search' / word_of(repo) / link).read_bytes() == repo.files[repo.deep]


def test_search_lists_nothing_and_can_be_entered(repo, mnt):
    assert os.listdir(mnt / '.scifs/search') == []
    assert os.listdir(mnt / '.scifs/by-id') == []
    assert os.listdir(mnt / '.scifs/by-url') == []
    assert run('ls', '-la', mnt / '.scifs/search')


def test_nothing_found_is_an_empty_directory(repo, mnt):
    assert os.listdir(mnt / '.scifs/search/nosuchwordanywhere') == []
    fails(errno.ENOENT, os.stat, mnt / '.scifs/search/nosuchwordanywhere/x')


def test_a_search_below_a_directory_finds_what_is_below(repo, mnt):
    folder = os.path.dirname(repo.deep)
    assert hits(mnt, word_of(repo), folder) == {'deep.txt': repo.deep}
    beside = 'tables' if repo.name == 'memory' else 'collection/Sample/Many'
    assert hits(mnt, word_of(repo), beside) == {}


def test_links_work_from_where_they_stand(repo, mnt):
    folder = os.path.dirname(repo.deep)
    assert os.readlink(mnt / folder / '.scifs/search' / word_of(repo) / 'deep.txt') == '../../../deep.txt'
    done = subprocess.run(['cat', f'.scifs/search/{word_of(repo)}/deep.txt'], cwd=mnt / folder, capture_output=True, timeout=120)
    assert done.stdout == repo.files[repo.deep]


def test_find_sees_search_only_where_it_is_asked_for(repo, mnt):
    assert '.scifs' not in run('find', mnt / repo.folder)
    assert run('find', mnt / '.scifs/search' / word_of(repo), '-type', 'l').splitlines()


def test_what_a_desktop_looks_for_is_not_asked(repo, mnt):
    before = len(mnt.errors())
    for name in ('._x', '.DS_Store'):
        fails(errno.ENOENT, os.stat, mnt / '.scifs/search' / name)
    assert len(mnt.errors()) == before


def test_an_id_leads_to_its_thing(repo, mnt):
    for path in (repo.text, repo.deep, repo.folder):
        identity = os.getxattr(mnt / path, 'user.scifs.id').decode()
        link = mnt / '.scifs/by-id' / identity
        assert os.path.samefile(link, mnt / path)
        assert not os.path.isabs(os.readlink(link))


def test_an_unknown_id_is_not_there(repo, mnt):
    for name in ('nothing', 'item/nothing', 'item/' + '0' * 24, '0' * 24):
        fails(errno.ENOENT, os.stat, mnt / '.scifs/by-id' / name)
    fails(errno.ENOENT, os.stat, mnt / repo.folder / '.scifs/by-id')


def test_a_strange_url_is_not_there(repo, mnt):
    for url in ('x', 'https://example.org/', 'file:///etc/passwd', 'https://example.org/#item/' + '0' * 24):
        fails(errno.ENOENT, os.stat, mnt / '.scifs/by-url' / urllib.parse.quote(url, safe=''))


# ---- Girder ----

@pytest.fixture(scope='module')
def place(girder):
    """Folders of its own: search here/ with things of which the names hold the word quokka."""
    g = girder.server
    here = g.make_folder(girder.ids['sample'], f'search {girder.name}', 'collection')
    there = g.make_folder(here, 'quokka folder')
    for n, name in enumerate(('quokka one.txt', 'quokka\'s "two".txt', 'Quokka größe 日本.txt', 'nothing.txt')):
        item = g.upload(here, name, f'{n}\n'.encode(), mime='text/plain')['itemId']
    g.rest('PUT', f'item/{item}', {'description': 'mentions a quokka'})
    g.upload(there, 'below quokka.txt', b'below\n')
    several = g.make_item(there, 'several')
    g.upload(several, 'quokka.dat', b'in an item\n', 'item')
    g.upload(several, 'other.dat', b'in an item too\n', 'item')
    private = g.make_folder(girder.ids['sample'], f'closed search {girder.name}', 'collection', public=False)
    g.upload(private, 'quokka hidden.txt', b'hidden\n')
    yield {'here': here, 'there': there, 'path': f'collection/Sample/search {girder.name}', 'closed': f'collection/Sample/closed search {girder.name}'}
    g.rest('DELETE', 'resource', {'resources': {'folder': [here, private]}})


@pytest.fixture(scope='module')
def m(girder, place):
    from harness import Mount
    with Mount(girder.source, env=girder.env) as mounted:
        yield mounted


def test_the_root_asks_the_whole_site_by_words(place, m):
    found = hits(m, 'quokka')
    assert set(found) == {'quokka folder', 'quokka one.txt', 'quokka\'s "two".txt', 'Quokka größe 日本.txt', 'nothing.txt', 'below quokka.txt',
                          'quokka hidden.txt'}
    assert found['below quokka.txt'] == f'{place["path"]}/quokka folder/below quokka.txt'


def test_a_folder_asks_only_itself(place, m):
    found = hits(m, 'quokka', place['path'])
    assert set(found) == {'quokka folder', 'quokka one.txt', 'quokka\'s "two".txt', 'Quokka größe 日本.txt', 'nothing.txt'}


def test_a_collection_holds_all_that_is_below_it(girder, place, m):
    assert 'below quokka.txt' in hits(m, 'quokka', 'collection/Sample')
    assert hits(m, 'quokka', 'collection/Closed') == {} and hits(m, 'quokka', 'user') == {}


def test_mode_prefix_finds_beginnings_of_names(place, m):
    assert set(hits(m, 'quokka o;mode=prefix')) == {'quokka one.txt'}
    assert set(hits(m, 'quokka;mode=prefix', place['path'] + '/quokka folder')) == set()
    assert 'below quokka.txt' in hits(m, 'below;mode=prefix', place['path'] + '/quokka folder')


def test_types_and_limit_are_obeyed(place, m):
    assert set(hits(m, 'quokka;types=folder')) == {'quokka folder'}
    assert len(hits(m, 'quokka;types=item;limit=2')) == 2


def test_a_file_of_an_item_is_found_where_it_is_shown(place, m):
    found = hits(m, 'quokka;mode=prefix;types=file')
    assert found['quokka.dat'] == f'{place["path"]}/quokka folder/several/quokka.dat'
    assert found['quokka one.txt'] == f'{place["path"]}/quokka one.txt'


def test_quotes_blanks_and_unicode_can_be_asked_for(place, m):
    assert set(hits(m, '"quokka" größe')) >= {'Quokka größe 日本.txt'}
    assert 'Quokka größe 日本.txt' in hits(m, '日本;types=item')
    assert set(hits(m, 'quokka%2Fx;mode=prefix')) == set()


@pytest.mark.parametrize('expr,words', [('x;mode=regex', 'mode=regex'), ('x;types=group', 'group'), ('x;limit=many', 'limit=many'),
                                        ('x;colour=red', 'colour'), ('...', 'words')])
def test_what_cannot_be_asked_is_refused_and_says_why(place, m, expr, words):
    fails(errno.EINVAL, os.listdir, m / place['path'] / '.scifs/search' / expr)
    mine = [e for e in m.errors(place['path']) if e['op'] == 'query' and words in e['message']]
    assert mine and mine[-1]['errno'] == errno.EINVAL


def test_others_do_not_find_what_they_may_not_read(girder, place, mount):
    other = mount(girder, env={'SCIFS_API_KEY': girder.server.user_key})
    assert 'quokka hidden.txt' not in hits(other, 'quokka')
    assert 'quokka one.txt' in hits(other, 'quokka')


def test_a_part_of_the_site_finds_only_what_is_mounted(girder, place, mount):
    part = mount(f'{girder.source}/{urllib.parse.quote(place["path"])}', env=girder.env)
    found = hits(part, 'quokka')
    assert found['below quokka.txt'] == 'quokka folder/below quokka.txt'
    assert 'quokka hidden.txt' not in found
    link = part / '.scifs/search/quokka/below quokka.txt'
    assert link.read_bytes() == b'below\n'
    outside = os.listdir(part / '.scifs/search/planets')
    assert outside == []


def test_things_of_one_name_are_told_apart_and_each_link_meets_its_own(girder, gmnt):
    found = hits(gmnt, 'twin;mode=prefix;types=item')
    assert len(found) == 2 and 'twin.txt' in found
    texts = {(gmnt / '.scifs/search/twin;mode=prefix;types=item' / n).read_bytes() for n in found}
    assert texts == {b'one twin\n', b'the other twin\n'}
    ids = {os.getxattr(gmnt / p, 'user.scifs.id') for p in found.values()}
    assert len(ids) == 2


def test_hits_end_at_200(girder, gmnt):
    assert len(os.listdir(gmnt / '.scifs/search/item-;mode=prefix;types=item')) == 200


def test_a_bare_id_and_both_addresses_lead_to_their_thing(girder, gmnt):
    identity = os.getxattr(gmnt / girder.text, 'user.scifs.id').decode()
    assert os.path.samefile(gmnt / '.scifs/by-id' / identity.partition('/')[2], gmnt / girder.text)
    assert os.path.samefile(gmnt / '.scifs/by-id' / girder.ids['data'], gmnt / girder.folder)
    shown = os.getxattr(gmnt / girder.text, 'user.scifs.url').decode()
    file = girder.server.rest('GET', f'{identity}/files')[0]['_id']
    for url in (shown, f'{girder.server.api}/file/{file}/download', f'{girder.server.url}/#collection/{girder.ids["sample"]}/folder/{girder.ids["data"]}'):
        target = gmnt / '.scifs/by-url' / urllib.parse.quote(url, safe='')
        assert os.path.samefile(target, gmnt / (girder.folder if 'folder' in url else girder.text))


def test_a_link_follows_a_thing_that_moved(girder, place, mount):
    g = girder.server
    m = mount(girder, 'ttl=1s', 'list_ttl=1s', 'negative_ttl=0s')
    item = g.upload(place['here'], 'wanderer.txt', b'here and there\n')['itemId']
    link = m / '.scifs/search/wanderer/wanderer.txt'
    assert os.readlink(link) == f'../../../{place["path"]}/wanderer.txt'
    g.rest('PUT', f'item/{item}', {'folderId': place['there']})
    from harness import wait_for
    wait_for(lambda: os.readlink(link) == f'../../../{place["path"]}/quokka folder/wanderer.txt', 'the link leads to the new place')
    assert link.read_bytes() == b'here and there\n'
    g.rest('DELETE', f'item/{item}')
