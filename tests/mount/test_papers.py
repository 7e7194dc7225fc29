"""Controls of a backend's own below `.scifs`: documents, texts that act, links, directories of them, verbs. Over memory:?papers=1, which has one
of each kind (src/backend/memory/README.md)."""
import contextlib
import errno
import json
import os
import shutil
import stat
import subprocess
import threading
import time

import pytest
from harness import PATIENCE, Mount, fails, put, run, wait_for

TITLE = '{"title": "%s"}\n'


@pytest.fixture(scope='module')
def m(fuse):
    with Mount('memory:?papers=1') as m:
        yield m


@pytest.fixture
def papers(m):
    """The directory, empty."""
    folder = m / '.scifs/papers'
    for name in os.listdir(folder):
        if not name.endswith(('.mode', '.secret')):
            (folder / name).unlink()
    return folder


def names(folder):
    return sorted(os.listdir(folder))


def listed(m):
    """What the backend has: by its own list, when that is not believed from before any more."""
    return json.loads((m / '.scifs/papers.json').read_text())['papers']


# ---- documents ----

def test_they_are_listed_where_they_are(m):
    assert {'papers', 'papers.json', 'sealed', 'turn', 'note.json', 'links', 'action'} <= set(os.listdir(m / '.scifs'))
    below = set(os.listdir(m / 'tables/.scifs'))
    assert {'note.json', 'latest', 'links', 'action'} <= below and not {'papers', 'sealed', 'turn'} & below


def test_without_the_word_there_are_none(mount):
    m = mount('memory:')
    assert 'papers' not in os.listdir(m / '.scifs') and 'action' not in os.listdir(m / 'tables/.scifs')
    with fails(errno.ENOENT):
        os.stat(m / '.scifs/papers')


def test_a_document_that_is_written_is_made_and_read_back_byte_for_byte(m, papers):
    text = '{"title" : "x", "big": 18446744073709551615,\n\t"e": 1e3}\n'
    put(papers / 'a.json', text)
    assert (papers / 'a.json').read_text() == text
    assert listed(m) == ['a'] and names(papers) == ['a.json', 'a.mode', 'a.secret']


def test_cp_makes_and_replaces_one(papers, tmp_path):
    for word in ('one', 'two'):
        (tmp_path / 'x').write_text(TITLE % word)
        run('cp', tmp_path / 'x', papers / 'a.json')
        assert (papers / 'a.json').read_text() == TITLE % word


def test_mv_into_the_directory_makes_one(m, papers, tmp_path):
    (tmp_path / 'x').write_text(TITLE % 'moved')
    run('mv', tmp_path / 'x', papers / 'a.json')
    assert (papers / 'a.json').read_text() == TITLE % 'moved' and not (tmp_path / 'x').exists()


def test_a_file_beside_it_renamed_becomes_one(m, papers):
    put(papers / 'draft', TITLE % 'renamed')
    assert listed(m) == []
    os.rename(papers / 'draft', papers / 'a.json')
    assert listed(m) == ['a'] and 'draft' not in names(papers)


def test_a_file_beside_it_renamed_over_one_replaces_it(m, papers):
    put(papers / 'a.json', TITLE % 'old')
    put(papers / 'new', TITLE % 'new')
    os.rename(papers / 'new', papers / 'a.json')
    assert (papers / 'a.json').read_text() == TITLE % 'new' and listed(m) == ['a']


def test_what_is_refused_by_a_rename_stays_where_it_was(m, papers):
    put(papers / 'new', '{}')
    with fails(errno.EINVAL):
        os.rename(papers / 'new', papers / 'a.json')
    assert (papers / 'new').read_text() == '{}' and listed(m) == []
    os.unlink(papers / 'new')


def test_documents_are_not_renamed(m, papers):
    put(papers / 'a.json', TITLE % 'a')
    for to in ('b.json', 'b'):
        with contextlib.suppress(OSError):
            os.rename(papers / 'a.json', papers / to)
        with contextlib.suppress(OSError):
            os.unlink(papers / 'b')
    assert listed(m) == ['a'] and (papers / 'a.json').read_text() == TITLE % 'a'


def test_rm_removes_one_with_what_hangs_on_it(m, papers):
    put(papers / 'a.json', TITLE % 'a')
    run('rm', papers / 'a.json')
    assert listed(m) == [] and names(papers) == []
    with fails(errno.ENOENT):
        os.stat(papers / 'a.mode')


def test_a_shells_redirection_writes_one(m, papers):
    subprocess.run(['sh', '-c', 'echo \'{"title": "by sh"}\' > a.json'], cwd=papers, check=True)
    assert json.loads((papers / 'a.json').read_text())['title'] == 'by sh'


def test_a_shells_appending_sends_old_and_new(m, papers):
    put(papers / 'a.json', '{"title": "x"}\n')
    subprocess.run(['sh', '-c', 'echo "  " >> a.json'], cwd=papers, check=True)
    assert (papers / 'a.json').read_text() == '{"title": "x"}\n  \n'


def test_an_empty_one_is_ours_alone_until_it_has_a_text(m, papers):
    (papers / 'a.json').touch()
    assert names(papers) == ['a.json'] and (papers / 'a.json').read_text() == '' and listed(m) == []
    subprocess.run(['sh', '-c', 'echo \'{"title": "later"}\' >> a.json'], cwd=papers, check=True)
    assert listed(m) == ['a'] and names(papers) == ['a.json', 'a.mode', 'a.secret']


def test_an_empty_one_can_be_removed(m, papers):
    (papers / 'a.json').touch()
    os.unlink(papers / 'a.json')
    assert names(papers) == []


def test_sed_i_edits_one(papers):
    put(papers / 'a.json', TITLE % 'nobody')
    run('sed', '-i', 's/nobody/sed/', papers / 'a.json')
    assert (papers / 'a.json').read_text() == TITLE % 'sed'
    assert names(papers) == ['a.json', 'a.mode', 'a.secret']


@pytest.mark.parametrize('way', ['backupcopy=yes', 'backupcopy=no'])
def test_vim_edits_one(papers, way):
    if not shutil.which('vim'):
        pytest.skip('vim is missing')
    put(papers / 'a.json', TITLE % 'nobody')
    run('vim', '-es', '-u', 'NONE', '-c', f'set backupskip= swapfile backup {way}', '-c', 's/nobody/vim/', '-c', 'wq', papers / 'a.json')
    assert (papers / 'a.json').read_text() == TITLE % 'vim'


def test_vim_makes_one(m, papers):
    if not shutil.which('vim'):
        pytest.skip('vim is missing')
    run('vim', '-es', '-u', 'NONE', '-c', 'set swapfile', '-c', 'normal i{"title": "new"}', '-c', 'wq', papers / 'a.json')
    assert listed(m) == ['a']


def test_a_document_in_scifs_itself_is_edited_and_can_not_be_removed(m):
    note = m / 'tables/.scifs/note.json'
    assert note.read_text() == '{}\n'
    put(note, '{"a": 1}', os.O_TRUNC)
    run('sed', '-i', 's/1/2/', note)
    assert json.loads(note.read_text()) == {'a': 2}
    assert json.loads((m / '.scifs/note.json').read_text()) == {}
    with fails(errno.EPERM):
        os.unlink(note)


# ---- refusals ----

def test_close_says_what_was_refused_and_the_words_are_in_errors(m, papers):
    with fails(errno.EINVAL):
        put(papers / 'a.json', '{"no": "title"}')
    assert m.errors()[-1]['message'] == 'a paper has a title' and listed(m) == []
    assert (papers / 'a.json.refused').read_text() == '{"no": "title"}'
    assert names(papers) == ['a.json.refused']


def test_what_was_refused_goes_when_a_text_is_taken(papers):
    with fails(errno.EINVAL):
        put(papers / 'a.json', '{}')
    put(papers / 'a.json', TITLE % 'a')
    assert names(papers) == ['a.json', 'a.mode', 'a.secret']


def test_a_refused_change_leaves_what_was_there(m, papers):
    put(papers / 'a.json', TITLE % 'a')
    with fails(errno.EINVAL):
        put(papers / 'a.json', '{}')
    assert (papers / 'a.json').read_text() == TITLE % 'a'


def test_what_is_no_json_is_not_sent(m, papers):
    with fails(errno.EINVAL):
        put(papers / 'a.json', '{"title": ')
    assert listed(m) == [] and 'line' in m.errors()[-1]['message']


def test_a_name_that_cannot_be_is_refused_at_create(m, papers):
    with fails(errno.EINVAL):
        os.close(os.open(papers / 'what!.json', os.O_WRONLY | os.O_CREAT))
    assert m.errors()[-1]['message'] == 'no ! may be in a name'


def test_without_the_right_create_fails_before_a_byte(m):
    with fails(errno.EACCES):
        os.close(os.open(m / '.scifs/sealed/a.json', os.O_WRONLY | os.O_CREAT))
    with fails(errno.EACCES):
        os.listdir(m / '.scifs/sealed')
    assert m.errors()[-1]['message'] == 'it is sealed' and m.errors()[-1]['status'] == 403


def test_what_follows_from_others_is_not_written(m):
    with fails(errno.EPERM, errno.EACCES):
        os.open(m / '.scifs/papers.json', os.O_WRONLY)
    with fails(errno.EPERM, errno.EACCES):
        os.unlink(m / '.scifs/papers.json')


def test_a_text_may_have_a_mebibyte(papers):
    with fails(errno.EFBIG):
        (papers / 'a.json').write_text('{"title": "' + 'x' * (1 << 20) + '"}')
    put(papers / 'a.json', '{"title": "' + 'x' * 1000000 + '"}')
    assert len((papers / 'a.json').read_text()) > 1000000


def test_a_mount_for_reading_only_writes_none(mount):
    m = mount('memory:?papers=1', 'ro')
    for path in ('papers/a.json', 'note.json', 'turn'):
        with fails(errno.EROFS):
            put(m / '.scifs' / path, '{"title": "x"}')


def test_the_servers_no_is_the_answer_of_close(mount):
    m = mount('memory:?papers=1&refuse=a.json:EDQUOT:1')
    with fails(errno.EDQUOT):
        put(m / '.scifs/papers/a.json', TITLE % 'a')
    put(m / '.scifs/papers/a.json', TITLE % 'a')
    assert listed(m) == ['a']


# ---- texts that act ----

def test_a_text_acts_in_write_and_fails_there(papers):
    put(papers / 'a.json', TITLE % 'a')
    assert (papers / 'a.mode').read_text() == 'on\n'
    fd = os.open(papers / 'a.mode', os.O_WRONLY)
    assert os.write(fd, b'off\n') == 4
    assert (papers / 'a.mode').read_text() == 'off\n'
    with fails(errno.EINVAL):
        os.write(fd, b'sometimes\n')
    os.close(fd)


def test_echo_into_a_text_says_that_it_was_refused(papers):
    put(papers / 'a.json', TITLE % 'a')
    done = subprocess.run(['sh', '-c', 'echo never > a.mode'], cwd=papers, capture_output=True, text=True)
    assert done.returncode != 0 and done.stderr


def test_a_text_cannot_be_removed_alone(papers):
    put(papers / 'a.json', TITLE % 'a')
    with fails(errno.EPERM):
        os.unlink(papers / 'a.mode')


def test_a_reply_is_read_there_and_is_its_attribute(m):
    put(m / '.scifs/turn', 'left\n', 0)
    assert (m / '.scifs/turn').read_text() == '{"turn": "left"}\n'
    assert os.getxattr(m / '.scifs/turn', 'user.scifs.result') == b'{"turn": "left"}'


def test_a_documents_reply_is_its_attribute(papers):
    put(papers / 'a.json', TITLE % 'a')
    assert os.getxattr(papers / 'a.json', 'user.scifs.result') == b'{"made": true}'
    put(papers / 'a.json', TITLE % 'b')
    assert os.getxattr(papers / 'a.json', 'user.scifs.result') == b'{"made": false}'


# ---- secrets ----

def test_a_secret_is_read_once_and_for_the_mounter_alone(papers):
    put(papers / 'a.json', TITLE % 'a')
    assert stat.S_IMODE(os.stat(papers / 'a.secret').st_mode) == 0o400
    assert (papers / 'a.secret').read_text().startswith('secret-of-a-')
    with fails(errno.ENOENT):
        open(papers / 'a.secret')
    assert names(papers) == ['a.json', 'a.mode']


def test_looking_at_a_secret_does_not_use_it_up(papers):
    put(papers / 'a.json', TITLE % 'a')
    run('ls', '-l', papers)
    os.stat(papers / 'a.secret')
    assert (papers / 'a.secret').read_text()


def test_a_secret_is_removed_unread(papers):
    put(papers / 'a.json', TITLE % 'a')
    os.unlink(papers / 'a.secret')
    assert names(papers) == ['a.json', 'a.mode']


def test_a_secret_is_not_copied_by_renaming_it(papers):
    put(papers / 'a.json', TITLE % 'a')
    with fails(errno.EPERM):
        os.rename(papers / 'a.secret', papers / 'copy')
    assert (papers / 'a.secret').read_text()


def test_no_secret_is_logged(mount):
    m = mount('memory:?papers=1', log_level='debug')
    put(m / '.scifs/papers/a.json', TITLE % 'a')
    secret = (m / '.scifs/papers/a.secret').read_text().strip()
    assert secret and secret not in m.log and secret not in m.control('errors') + m.control('events')


# ---- links ----

def test_latest_leads_to_the_newest_file(m):
    os.makedirs(m / 'links here', exist_ok=True)
    for name in ('old', 'new'):
        (m / 'links here' / name).write_text(name)
        m.sync()
        wait_for(lambda: (m / 'links here/.scifs/latest').read_text() == name, 'latest is ' + name)
    assert os.readlink(m / 'links here/.scifs/latest') == '../new'


def test_where_nothing_is_there_is_no_latest(m):
    os.makedirs(m / 'empty', exist_ok=True)
    with fails(errno.ENOENT):
        os.readlink(m / 'empty/.scifs/latest')
    assert 'latest' not in os.listdir(m / 'empty/.scifs')


def test_a_directory_of_links_leads_into_the_tree(m):
    links = m / 'tables/.scifs/links'
    assert names(links) == ['dirs', 'files']
    files = [e.name for e in os.scandir(m / 'tables') if e.is_file()]
    assert names(links / 'files') == sorted(files)
    assert os.path.samefile(links / 'files' / files[0], m / 'tables' / files[0])
    with fails(errno.EPERM, errno.EACCES, errno.EROFS):
        (links / 'files/a.json').write_text('{}')


# ---- verbs ----

def test_a_backends_verb_acts_in_its_directory(m):
    put(m / 'tables/.scifs/action', 'mark this one\n', 0)
    answer = json.loads((m / 'tables/.scifs/action').read_text())
    assert answer == {'verb': 'mark this one', 'errno': 0, 'message': '{"mark": "this one"}'}
    put(m / '.scifs/action', 'mark root', 0)
    assert json.loads(m.control('action'))['message'] == '{"mark": "root"}'
    assert json.loads((m / 'tables/.scifs/action').read_text())['verb'] == 'mark this one'


def test_a_backends_word_for_the_mounts_own_verb_is_about_the_directory(m):
    put(m / 'tables/.scifs/action', 'forget', 0)
    assert json.loads((m / 'tables/.scifs/action').read_text())['message'] == 'the next look asks the server'
    with fails(errno.EINVAL):
        put(m / 'tables/.scifs/action', 'forget it', 0)


def test_an_unknown_verb_names_those_of_the_place(m):
    with fails(errno.EINVAL):
        put(m / 'tables/.scifs/action', 'sync', 0)
    assert json.loads((m / 'tables/.scifs/action').read_text())['message'] == 'no such verb; there are: mark forget'


# ---- what is believed, and for how long ----

def test_what_somebody_else_changed_is_seen_within_a_second(mount):
    """Nothing tells of it: what was read is believed for a second, not for the time of listings."""
    m = mount('memory:?papers=1', 'ttl=10m', 'list_ttl=10m')
    put(m / '.scifs/papers/a.json', TITLE % 'a')
    path = m / '.scifs/papers/a.secret'
    assert os.path.exists(path)
    assert path.read_text()
    assert not os.path.exists(path)
    began = time.monotonic()
    assert (m / '.scifs/papers.json').read_text() and time.monotonic() - began < 60


def test_a_slow_server_is_asked_once_for_a_listing_and_its_names(mount):
    m = mount('memory:?papers=1&delay=300ms')
    put(m / '.scifs/papers/a.json', TITLE % 'a')
    began = time.monotonic()
    run('ls', '-l', m / '.scifs/papers')
    assert time.monotonic() - began < 5


def test_a_hundred_papers_are_all_there(mount):
    m = mount('memory:?papers=1')
    for i in range(100):
        put(m / f'.scifs/papers/p{i}.json', TITLE % i)
    assert len(names(m / '.scifs/papers')) == 300 and len(listed(m)) == 100


def test_many_at_once_get_what_each_asked_for(mount):
    m = mount('memory:?papers=1&delay=2ms')
    folder, wrong = m / '.scifs/papers', []

    def work(n):
        try:
            for i in range(8):
                name = f'w{n}-{i}'
                put(folder / f'{name}.json', TITLE % name)
                assert (folder / f'{name}.json').read_text() == TITLE % name
                put(folder / f'{name}.mode', 'off', 0)
                assert f'{name}.mode' in os.listdir(folder)
                assert (folder / f'{name}.secret').read_text().startswith(f'secret-of-{name}-')
                if i % 2:
                    os.unlink(folder / f'{name}.json')
        except Exception as e:
            wrong.append((n, e))
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE)
    assert wrong == [] and sorted(listed(m)) == sorted(f'w{n}-{i}' for n in range(8) for i in range(0, 8, 2))


def test_a_silent_server_holds_up_a_paper_and_nothing_else(mount):
    m = mount('memory:?papers=1&fail=papers:ETIMEDOUT&fail=a.json:ETIMEDOUT')
    with fails(errno.ETIMEDOUT):
        os.listdir(m / '.scifs/papers')
    with fails(errno.ETIMEDOUT):
        put(m / '.scifs/papers/a.json', TITLE % 'a')
    assert m.status()['state'] == 'connected' and os.listdir(m / 'tables')


def test_more_than_can_be_is_refused_with_words(mount):
    m = mount('memory:?papers=1')
    for i in range(1000):
        put(m / f'.scifs/papers/p{i}.json', TITLE % i)
    with fails(errno.ENOSPC):
        put(m / '.scifs/papers/more.json', TITLE % 'more')
    assert len(names(m / '.scifs/papers')) == 3001      # and what was refused
