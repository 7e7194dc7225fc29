"""Questions are directories: .scifs/search/EXPR/, .scifs/by-id/ID and .scifs/by-url/URL lead into the tree."""
import errno
import os
import shutil
import stat
import subprocess
import urllib.parse

import pytest
from harness import Mount, fails as failing, put, run, wait_for


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


# ---- expressions kept under a name: search/NAME.json and search/NAME/ ----

TEXT_MAX, COUNT_MAX = 64 << 10, 64


@pytest.fixture(scope='module')
def own(repo):
    with Mount(repo.source, env=repo.env) as m:
        yield m


@pytest.fixture
def search(own):
    """`.scifs/search` of the mount's root, with nothing in it."""
    folder = own / '.scifs/search'
    for name in [n for n in os.listdir(folder) if not (folder / n).is_dir()]:
        (folder / name).unlink()
    assert os.listdir(folder) == []
    return folder


def refusals(m, words, directory=''):
    return [e for e in m.errors(directory) if e['op'] == 'query' and e['errno'] == errno.EINVAL and words in e['message']]


def wrong_text(repo):
    """What is no expression, and a word of why."""
    return ('...', 'nothing to search for') if repo.name.startswith('girder') else (' \n\t\n', 'nothing to search for')


def test_a_text_kept_under_a_name_finds_what_it_says(repo, own, search):
    put(search / 'mine.json', word_of(repo) + '\n')
    assert sorted(os.listdir(search)) == ['mine', 'mine.json']
    assert repo.deep in hits(own, 'mine').values() and hits(own, 'mine') == hits(own, word_of(repo))
    link = next(n for n, p in hits(own, 'mine').items() if p == repo.deep)
    assert (search / 'mine' / link).read_bytes() == repo.files[repo.deep]


def test_it_finds_what_is_below_its_directory(repo, own, search):
    folder = os.path.dirname(repo.deep)
    there = own / folder / '.scifs/search'
    put(there / 'mine.json', word_of(repo))
    assert hits(own, 'mine', folder) == {'deep.txt': repo.deep}
    assert os.listdir(search) == []
    os.unlink(there / 'mine.json')


def test_the_text_is_read_back_as_it_was_written(repo, search):
    text = f'  \t{word_of(repo)} \n\n'
    put(search / 'mine.json', text)
    assert (search / 'mine.json').read_text() == text and (search / 'mine.json').stat().st_size == len(text)
    mode = (search / 'mine.json').stat().st_mode
    assert stat.S_ISREG(mode) and mode & 0o777 == 0o644 and (search / 'mine').is_dir()


def test_a_text_of_some_thousand_bytes_is_no_name_but_an_expression(repo, own, search):
    # Not of words alone: the database of these tests takes no thousand bytes of them.
    words = word_of(repo) + ';types=' + ','.join(['item'] * 1000)
    assert len(words) > 4000
    with failing(errno.ENAMETOOLONG):
        os.stat(search / words)
    put(search / 'long.json', words)
    found = hits(own, 'long').values()
    assert repo.deep in found if repo.name.startswith('girder') else not found          # memory: it is part of no name
    assert (search / 'long.json').read_text() == words


def test_writing_it_anew_asks_anew(repo, own, search):
    put(search / 'mine.json', word_of(repo))
    assert hits(own, 'mine')
    put(search / 'mine.json', 'nosuchwordanywhere')
    assert hits(own, 'mine') == {}
    with failing(errno.ENOENT):
        os.stat(search / 'mine/deep.txt')
    put(search / 'mine.json', word_of(repo))
    assert repo.deep in hits(own, 'mine').values()


def test_rm_removes_it_with_what_it_finds(repo, own, search):
    put(search / 'nosuchword.json', word_of(repo))
    assert hits(own, 'nosuchword')
    run('rm', search / 'nosuchword.json')
    assert os.listdir(search) == []
    with failing(errno.ENOENT):
        os.stat(search / 'nosuchword.json')
    assert hits(own, 'nosuchword') == {}        # an expression again, as before


def test_what_is_found_cannot_be_removed_or_made(repo, own, search):
    put(search / 'mine.json', word_of(repo))
    name = next(iter(hits(own, 'mine')))
    for call, path in ((os.unlink, f'mine/{name}'), (os.rmdir, 'mine'), (os.mkdir, 'new.json')):
        with failing(errno.EPERM, errno.EACCES, errno.ENOTEMPTY, errno.EROFS):
            call(search / path)
    with failing(errno.EPERM, errno.EACCES, errno.EROFS):
        put(search / 'mine/new', 'x')


def test_a_wrong_text_is_refused_at_close_and_says_why(repo, own, search):
    text, words = wrong_text(repo)
    before = len(refusals(own, words))
    with failing(errno.EINVAL):
        put(search / 'wrong.json', text)
    assert len(refusals(own, words)) == before + 1
    assert os.listdir(search) == ['wrong.json.refused'] and (search / 'wrong.json.refused').read_text() == text


def test_a_wrong_text_leaves_what_was_there(repo, own, search):
    put(search / 'mine.json', word_of(repo))
    with failing(errno.EINVAL):
        put(search / 'mine.json', wrong_text(repo)[0])
    assert (search / 'mine.json').read_text() == word_of(repo) and repo.deep in hits(own, 'mine').values()
    assert (search / 'mine.json.refused').read_text() == wrong_text(repo)[0]
    put(search / 'mine.json', word_of(repo))
    assert sorted(os.listdir(search)) == ['mine', 'mine.json']


def test_a_text_with_a_zero_byte_is_refused(own, search):
    fd = os.open(search / 'zero.json', os.O_WRONLY | os.O_CREAT)
    os.write(fd, b'deep\0er')
    with failing(errno.EINVAL):
        os.close(fd)
    assert refusals(own, 'zero byte')


def test_mv_into_the_directory_makes_one(repo, own, search, tmp_path):
    (tmp_path / 'x').write_text(word_of(repo))
    run('mv', tmp_path / 'x', search / 'mine.json')
    assert repo.deep in hits(own, 'mine').values() and not (tmp_path / 'x').exists()


@pytest.mark.parametrize('beside', ['mine.json.tmp', 'mine.json~', '.mine.json.swp', '.mine.json.aB3xYz', 'mine.json.XyZabc', 'mine.json.part'])
def test_a_file_beside_it_renamed_over_it_replaces_it(repo, own, search, beside):
    put(search / 'mine.json', 'nosuchwordanywhere')
    assert hits(own, 'mine') == {}
    put(search / beside, word_of(repo))
    os.rename(search / beside, search / 'mine.json')
    assert sorted(os.listdir(search)) == ['mine', 'mine.json'] and repo.deep in hits(own, 'mine').values()


def test_a_file_beside_it_renamed_becomes_one(repo, own, search):
    put(search / 'mine.json.tmp', word_of(repo))
    os.rename(search / 'mine.json.tmp', search / 'mine.json')
    assert sorted(os.listdir(search)) == ['mine', 'mine.json'] and repo.deep in hits(own, 'mine').values()


def test_what_is_refused_by_a_rename_stays_where_it_was(repo, own, search):
    put(search / 'mine.json', word_of(repo))
    text, words = wrong_text(repo)
    put(search / 'mine.json.tmp', text)
    with failing(errno.EINVAL):
        os.rename(search / 'mine.json.tmp', search / 'mine.json')
    assert (search / 'mine.json.tmp').read_text() == text and refusals(own, words)
    assert (search / 'mine.json').read_text() == word_of(repo)
    with failing(errno.EINVAL):
        os.rename(search / 'mine.json.tmp', search / 'new.json')
    assert sorted(os.listdir(search)) == ['mine', 'mine.json', 'mine.json.tmp']


def test_it_is_renamed_over_another_and_away(repo, own, search):
    put(search / 'a.json', word_of(repo))
    put(search / 'b.json', 'nosuchwordanywhere')
    assert hits(own, 'b') == {} and hits(own, 'a')
    os.rename(search / 'a.json', search / 'b.json')
    assert sorted(os.listdir(search)) == ['b', 'b.json'] and repo.deep in hits(own, 'b').values()
    os.rename(search / 'b.json', search / 'b.json~')
    assert os.listdir(search) == ['b.json~'] and (search / 'b.json~').read_text() == word_of(repo)
    os.rename(search / 'b.json~', search / 'b.json')
    assert repo.deep in hits(own, 'b').values()


def test_one_of_another_directory_is_moved_here(repo, own, search):
    there = own / os.path.dirname(repo.deep) / '.scifs/search'
    put(there / 'mine.json', word_of(repo))
    os.rename(there / 'mine.json', search / 'mine.json')
    assert os.listdir(there) == [] and repo.deep in hits(own, 'mine').values()


def test_a_shells_redirections_write_one(repo, own, search):
    for line in (f"printf '%.3s' {word_of(repo)} > mine.json", f"printf '%s' {word_of(repo)[3:]} >> mine.json"):
        subprocess.run(['sh', '-c', line], cwd=search, check=True, timeout=60)
    assert (search / 'mine.json').read_text() == word_of(repo) and repo.deep in hits(own, 'mine').values()


def test_an_empty_one_asks_nothing_and_can_be_removed(own, search):
    (search / 'nosuchword.json').touch()
    assert os.listdir(search) == ['nosuchword.json'] and (search / 'nosuchword.json').read_text() == ''
    os.unlink(search / 'nosuchword.json')
    assert os.listdir(search) == []


def test_sed_i_edits_one(repo, own, search):
    put(search / 'mine.json', 'nobody\n')
    run('sed', '-i', f's/nobody/{word_of(repo)}/', search / 'mine.json')
    assert sorted(os.listdir(search)) == ['mine', 'mine.json'] and repo.deep in hits(own, 'mine').values()


@pytest.mark.parametrize('way', ['backupcopy=yes', 'backupcopy=no'])
def test_vim_edits_one(repo, own, search, way):
    if not shutil.which('vim'):
        pytest.skip('vim is missing')
    put(search / 'mine.json', 'nobody\n')
    run('vim', '-es', '-u', 'NONE', '-c', f'set backupskip= swapfile nobackup writebackup {way}', '-c', f's/nobody/{word_of(repo)}/', '-c', 'wq',
        search / 'mine.json', timeout=60)
    assert sorted(os.listdir(search)) == ['mine', 'mine.json'] and repo.deep in hits(own, 'mine').values()


def test_a_text_has_its_limit(search):
    text = 'deep' + ' ' * (TEXT_MAX - 4)
    put(search / 'mine.json', text)
    assert (search / 'mine.json').read_text() == text
    with failing(errno.EFBIG):
        put(search / 'mine.json', text + ' ')
    assert (search / 'mine.json').read_text() == text
    put(search / 'mine.json.tmp', text + ' ')
    with failing(errno.EFBIG):
        os.rename(search / 'mine.json.tmp', search / 'mine.json')


def test_there_are_only_so_many(search):
    for i in range(COUNT_MAX):
        put(search / f'q{i}.json', 'nosuchwordanywhere')
    with failing(errno.ENOSPC):
        put(search / 'more.json', 'nosuchwordanywhere')
    put(search / 'q0.json', 'another')
    assert len(os.listdir(search)) == 2 * COUNT_MAX
    os.unlink(search / 'q1.json')
    put(search / 'more.json', 'nosuchwordanywhere')


@pytest.mark.parametrize('name', ['.json', '.hidden.json', 'two words.json', 'a=b.json', 'a;limit=1.json', 'a.json.json', 'x' * 251 + '.json'])
def test_a_name_that_is_none_for_an_expression_keeps_none(own, search, name):
    try:
        put(search / name, 'deep')
    except OSError as e:
        assert e.errno in (errno.EISDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOENT)
    assert not [n for n in os.listdir(search) if n == name.removesuffix('.json')]


def test_they_end_with_the_mount(repo, mount):
    m = mount(repo)
    put(m / '.scifs/search/mine.json', 'deep')
    assert len(os.listdir(m / '.scifs/search')) == 2
    m.again()
    assert os.listdir(m / '.scifs/search') == []


def test_a_mount_for_reading_keeps_them_too(repo, mount):
    m = mount(repo, 'ro')
    put(m / '.scifs/search/mine.json', word_of(repo))
    assert repo.deep in hits(m, 'mine').values()
    os.unlink(m / '.scifs/search/mine.json')
    assert os.listdir(m / '.scifs/search') == []


def test_only_who_mounted_may_keep_one(repo, own):
    assert (own / '.scifs/search').stat().st_mode & 0o777 == 0o755
    assert (own / '.scifs/by-id').stat().st_mode & 0o777 == 0o555


def test_one_that_was_removed_while_it_was_open_is_not_there_again(repo, search):
    fd = os.open(search / 'nosuchword.json', os.O_WRONLY | os.O_CREAT)
    os.unlink(search / 'nosuchword.json')
    os.write(fd, b'deep')
    os.close(fd)
    assert os.listdir(search) == []


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


def test_a_text_kept_under_a_name_has_the_words_behind_it_too(place, m):
    there = m / place['path'] / '.scifs/search'
    put(there / 'mine.json', 'quokka o;mode=prefix\n')
    assert set(hits(m, 'mine', place['path'])) == {'quokka one.txt'}
    with failing(errno.EINVAL):
        put(there / 'mine.json', 'quokka;limit=many')
    assert [e for e in m.errors(place['path']) if e['op'] == 'query' and 'limit=many' in e['message']]
    os.unlink(there / 'mine.json')
    os.unlink(there / 'mine.json.refused')


def test_a_word_that_ends_as_a_document_is_asked_for_with_a_word_behind_it(place, m):
    fails(errno.ENOENT, os.stat, m / '.scifs/search/package.json')
    fails(errno.ENOENT, os.stat, m / '.scifs/search/numbers.json')
    assert 'numbers.json' in hits(m, 'numbers.json;limit=200') and 'numbers.json' in hits(m, 'no numbers.json')


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
