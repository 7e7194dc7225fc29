"""Metadata written: attributes, documents, editors on documents, and the verbs and questions below `.scifs`."""
import errno
import json
import os
import pty
import select
import shutil
import subprocess
import time

import pytest
from harness import PATIENCE, Mount, fails, run, wait_for

FILE = 'mine/planets.csv'
META = 'user.memory.meta'


def fill(m):
    """What the tests work on, at the server."""
    os.makedirs(m / 'mine/images')
    for name in (FILE, 'mine/readme.txt', 'mine/images/one.dat'):
        (m / name).write_text(name)
    os.setxattr(m / FILE, META, b'{"title": "The planets", "source": {"room": "4.11"}, "rows": 8}')
    os.setxattr(m / 'mine/readme.txt', f'{META}.title', b'What is here')
    m.sync()
    return m


@pytest.fixture(scope='module')
def shared(fuse):
    """One memory: for all tests that leave things in it as they like them."""
    with Mount('memory:', 'ttl=10m', 'list_ttl=10m') as m:
        yield fill(m)


@pytest.fixture(scope='module')
def held_back(fuse):
    """Uploads begin when they are asked for."""
    with Mount('memory:', 'quiet=10m') as m:
        yield m


def get(path, name):
    return os.getxattr(path, name).decode()


def meta(m, name=FILE):
    """The metadata by the document: not by the attributes."""
    return document(m, name)['meta']


def doc_path(m, name=FILE):
    return m / os.path.dirname(name) / '.scifs/meta' / (os.path.basename(name) + '.json')


def document(m, name=FILE):
    return json.loads(doc_path(m, name).read_text())


def put(path, text, flags=os.O_TRUNC):
    """Write and close, with the error of either."""
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        os.write(fd, text if isinstance(text, bytes) else text.encode())
    finally:
        os.close(fd)


def with_meta(m, value, name=FILE):
    return json.dumps({**document(m, name), 'meta': value})


def act(m, verb):
    put(m / '.scifs/action', verb)
    return json.loads(m.control('action'))


# ---- attributes ----

def test_an_attribute_that_was_set_is_there_at_once_and_in_the_document(shared):
    os.setxattr(shared / FILE, f'{META}.colour', b'red')
    assert get(shared / FILE, f'{META}.colour') == 'red'
    assert meta(shared)['colour'] == 'red'


def test_a_nested_key_is_set_by_its_dotted_name(shared):
    os.setxattr(shared / FILE, f'{META}.place.room', b'4.11')
    os.setxattr(shared / FILE, f'{META}.place.floor', b'4')
    assert meta(shared)['place'] == {'room': 4.11, 'floor': 4}
    assert get(shared / FILE, f'{META}.place.room') == '4.11'


def test_a_value_that_is_json_is_stored_as_that_and_any_other_as_a_string(shared):
    for value, stored in ((b'[1, 2]', [1, 2]), (b'true', True), (b'plain words', 'plain words'), (b'"7"', '7'), (b'', '')):
        os.setxattr(shared / FILE, f'{META}.typed', value)
        assert meta(shared)['typed'] == stored


def test_several_keys_at_once_are_merged(shared):
    os.setxattr(shared / FILE, f'{META}.stays', b'here')
    os.setxattr(shared / FILE, META, b'{"one": 1, "two": {"three": 3}}')
    now = meta(shared)
    assert now['stays'] == 'here' and now['one'] == 1 and now['two'] == {'three': 3}


def test_setting_what_is_shown_already_keeps_its_type(shared):
    """Trap: who copies attributes sets the whole and then each key, by a text that does not tell "7" from 7."""
    os.setxattr(shared / FILE, META, b'{"string": "7", "number": 7}')
    for key in ('string', 'number'):
        os.setxattr(shared / FILE, f'{META}.{key}', b'7')
    assert meta(shared)['string'] == '7' and meta(shared)['number'] == 7


def test_what_was_kept_from_before_a_change_is_not_given_out_after_it(mount):
    """Trap: while the server takes its time, what is kept on disk answers."""
    m = mount('memory:?delay=400ms', 'soft_wait=20ms')
    path = m / 'nested/not public/notes.txt'
    for value in (b'one', b'two'):
        os.setxattr(path, f'{META}.n', value)
        assert os.getxattr(path, f'{META}.n') == value


def test_what_was_removed_is_gone(shared):
    os.setxattr(shared / FILE, f'{META}.passing', b'x')
    os.removexattr(shared / FILE, f'{META}.passing')
    assert 'passing' not in meta(shared)
    with fails(errno.ENODATA):
        os.getxattr(shared / FILE, f'{META}.passing')
    with fails(errno.ENODATA):
        os.removexattr(shared / FILE, f'{META}.passing')


def test_a_callers_conditions_are_kept(shared):
    name = f'{META}.conditional'
    with fails(errno.ENODATA):
        os.setxattr(shared / FILE, name, b'1', os.XATTR_REPLACE)
    os.setxattr(shared / FILE, name, b'1', os.XATTR_CREATE)
    with fails(errno.EEXIST):
        os.setxattr(shared / FILE, name, b'2', os.XATTR_CREATE)
    os.setxattr(shared / FILE, name, b'3', os.XATTR_REPLACE)
    assert get(shared / FILE, name) == '3'


def test_setting_and_removing_what_is_computed_succeeds_and_does_nothing(shared):
    for name in ('user.scifs.id', 'user.scifs.digest', 'user.scifs.state', 'user.scifs.made up', 'user.mime_type', 'user.xdg.origin.url',
                 'user.memory.id'):
        before = get(shared / FILE, name) if name not in ('user.scifs.made up', 'user.xdg.origin.url') else None
        os.setxattr(shared / FILE, name, b'nonsense')
        os.removexattr(shared / FILE, name)
        if before is not None:
            assert get(shared / FILE, name) == before, name


def test_names_of_nobody_are_not_supported(shared):
    for name in ('user.own', 'user.memoryless.x', 'user.girder.meta.x'):
        with fails(errno.ENOTSUP):
            os.setxattr(shared / FILE, name, b'x')
        with fails(errno.ENODATA):
            os.removexattr(shared / FILE, name)
    if os.geteuid() == 0:
        for name in ('security.selinux', 'trusted.x'):
            with fails(errno.ENOTSUP, errno.EOPNOTSUPP):
                os.setxattr(shared / FILE, name, b'x')


def test_a_directory_has_attributes_too(shared):
    os.setxattr(shared / 'mine/images', f'{META}.shown', b'yes')
    assert json.loads(shared.control('metadata.json', 'mine/images'))['meta']['shown'] == 'yes'


def test_a_refused_value_says_why_until_one_is_taken(shared):
    path = shared / 'mine/readme.txt'
    count = len(shared.errors())
    with fails(errno.EINVAL):
        os.setxattr(path, META, b'{"broken": ')
    line = shared.errors()[count]
    assert line['path'] == '/mine/readme.txt' and line['errno'] == errno.EINVAL and line['op'] == 'set_attrs'
    assert get(path, f'{META}.title') == 'What is here'


def test_the_words_of_a_refusal_are_the_things_error_until_a_success(mount):
    m = mount('memory:?refuse=notes.txt:EDQUOT:1')
    path = m / 'nested/not public/notes.txt'
    with fails(errno.EDQUOT):
        os.setxattr(path, f'{META}.a', b'1')
    assert get(path, 'user.scifs.error') == m.errors()[-1]['message'] == 'refused on demand'
    os.setxattr(path, f'{META}.a', b'1')
    with fails(errno.ENODATA):
        os.getxattr(path, 'user.scifs.error')


def test_without_a_right_nothing_is_set_and_nothing_shows_that_it_could_be(shared):
    public = 'tables/planets.csv'
    for name in (f'{META}.a', META):
        with fails(errno.EACCES):
            os.setxattr(shared / public, name, b'1')
    assert shared.errors()[-1]['path'] == f'/{public}' and 'right' in shared.errors()[-1]['message']
    assert not os.stat(doc_path(shared, public)).st_mode & 0o222
    with fails(errno.EACCES):
        put(doc_path(shared, public), '{}')


def test_a_read_only_mount_changes_nothing(mount):
    m = mount('memory:', 'ro')
    for name in (f'{META}.a', 'user.own', 'user.scifs.id'):
        with fails(errno.EROFS):
            os.setxattr(m / 'nested/not public/notes.txt', name, b'1')
    for name in ('metadata.json', 'new', 'call'):
        with fails(errno.EROFS, errno.EACCES):
            put(m / '.scifs' / name, '{}', os.O_CREAT)


def test_a_change_of_attributes_alone_moves_no_content(shared):
    path = shared / 'mine/images/one.dat'
    before = get(path, 'user.scifs.version'), os.stat(path).st_mtime_ns
    os.setxattr(path, f'{META}.a', b'1')
    assert (get(path, 'user.scifs.version'), os.stat(path).st_mtime_ns) == before
    assert shared.uploads() == []


def test_cp_a_between_mounts_takes_metadata_along(shared, tmp_path):
    with Mount('memory:') as other:
        os.setxattr(shared / FILE, f'{META}.taken', b'along')
        said = run('cp', '-a', shared / FILE, other / 'copied.csv', check=False)
        assert (said.returncode, said.stderr) == (0, '')
        other.sync()
        assert meta(other, 'copied.csv') == meta(shared)


def test_rsync_x_between_mounts_is_quiet_and_sends_no_file_the_second_time(shared):
    if not shutil.which('rsync'):
        pytest.skip('rsync is missing')
    with Mount('memory:') as other:
        for _ in range(2):
            said = run('rsync', '-aX', '-i', f'{shared.path}/mine/', f'{other.path}/copied/', check=False)
            assert (said.returncode, said.stderr) == (0, '')
            other.sync()
        # Ids differ, which rsync cannot mend: no line is that of a transfer.
        assert [line for line in said.stdout.splitlines() if not line.startswith('.')] == []
        assert meta(other, 'copied/planets.csv') == meta(shared)


# ---- of what the server does not have yet ----

def test_attributes_of_a_new_file_wait_with_it_and_show_at_once(held_back):
    m = held_back
    (m / 'new.txt').write_text('new\n')
    os.setxattr(m / 'new.txt', f'{META}.a', b'{"b": 1}')
    os.setxattr(m / 'new.txt', f'{META}.gone', b'x')
    os.removexattr(m / 'new.txt', f'{META}.gone')
    os.setxattr(m / 'new.txt', META, b'{"text": "7"}')
    os.setxattr(m / 'new.txt', f'{META}.text', b'7')
    assert get(m / 'new.txt', 'user.scifs.state') == 'queued'
    assert get(m / 'new.txt', f'{META}.a.b') == '1' and f'{META}.a' in os.listxattr(m / 'new.txt')
    for name in (f'{META}.gone', 'user.scifs.id', 'user.scifs.digest', 'user.scifs.version'):
        with fails(errno.ENODATA):
            os.getxattr(m / 'new.txt', name)
    with fails(errno.EEXIST):
        os.setxattr(m / 'new.txt', f'{META}.a', b'2', os.XATTR_CREATE)
    m.sync('new.txt')
    assert meta(m, 'new.txt') == {'a': {'b': 1}, 'text': '7'}
    assert get(m / 'new.txt', 'user.scifs.state') == 'clean' and get(m / 'new.txt', f'{META}.a.b') == '1'


def test_a_computed_attribute_of_a_new_file_is_left_alone_too(held_back):
    (held_back / 'plain.txt').write_text('x')
    os.setxattr(held_back / 'plain.txt', 'user.scifs.id', b'x')
    os.setxattr(held_back / 'plain.txt', 'user.memory.id', b'x')
    held_back.sync()
    assert get(held_back / 'plain.txt', 'user.memory.id') != 'x'


def test_waiting_attributes_outlive_a_crash(mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}/store', 'quiet=10m')
    (m / 'new.txt').write_text('new\n')
    os.setxattr(m / 'new.txt', f'{META}.a', b'kept')
    m.crash()
    m.again()
    assert get(m / 'new.txt', f'{META}.a') == 'kept'
    m.sync()
    assert meta(m, 'new.txt') == {'a': 'kept'}


def test_uploads_of_an_earlier_mount_tell_their_path_before_anybody_has_looked_there(mount, tmp_path):
    m = mount(f'memory:?store={tmp_path}/store', 'quiet=10m')
    os.makedirs(m / 'one/two')
    (m / 'one/two/owed.txt').write_text('x')
    m.crash()
    m.again(cache=False)
    assert m.upload('owed.txt')['path'] == '/one/two/owed.txt'
    m.sync()


def test_opening_the_document_of_a_new_file_for_writing_brings_the_file_to_the_server(held_back):
    m = held_back
    (m / 'fresh.txt').write_text('x')
    with fails(errno.ENODATA):
        document(m, 'fresh.txt')
    fd = os.open(doc_path(m, 'fresh.txt'), os.O_RDWR)
    now = json.loads(os.read(fd, 65536))
    now['meta'] = {'written': 'at close'}
    text = json.dumps(now).encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, text, 0)
    os.close(fd)
    assert meta(m, 'fresh.txt') == {'written': 'at close'}
    assert (m / 'fresh.txt').read_text() == 'x'


# ---- documents ----

def test_a_document_replaces_all_metadata(shared):
    put(doc_path(shared), with_meta(shared, {'only': 'this'}))
    assert meta(shared) == {'only': 'this'}
    assert get(shared / FILE, META) == '{"only": "this"}'


def test_the_text_may_come_in_any_order_and_pieces(shared):
    text = with_meta(shared, {'piece': 'x' * 200000}).encode()
    fd = os.open(doc_path(shared), os.O_WRONLY | os.O_TRUNC)
    for at in range(0, len(text), 50000):
        os.pwrite(fd, text[at:at + 50000], at)
    os.pwrite(fd, text[:10], 0)
    os.close(fd)
    assert len(meta(shared)['piece']) == 200000
    put(doc_path(shared), with_meta(shared, {'only': 'this'}))


def test_broken_json_is_refused_at_close_with_its_place_and_the_text_is_kept(shared):
    before = document(shared)
    path = doc_path(shared)
    with fails(errno.EINVAL):
        put(path, '{\n  "meta": {,}\n}')
    line = shared.errors('mine')[-1]
    assert line['path'] == '/mine/.scifs/meta/planets.csv.json' and 'line 2' in line['message']
    assert document(shared) == before
    kept = path.with_name(path.name + '.refused')
    assert kept.name in os.listdir(path.parent) and kept.read_text() == '{\n  "meta": {,}\n}'
    put(path, json.dumps(before))
    assert not kept.exists()


def test_a_document_is_an_object(shared):
    for text in ('[]', '"x"', '1', '\n'):
        with fails(errno.EINVAL):
            put(doc_path(shared), text)


def test_a_field_that_cannot_be_changed_is_refused_by_close(shared):
    before = document(shared)
    with fails(errno.EINVAL):
        put(doc_path(shared), json.dumps({**before, 'id': 'another'}))
    assert document(shared) == before
    assert shared.errors()[-1]['op'] == 'set_doc' and shared.errors()[-1]['path'] == f'/{FILE}'


def test_opening_or_truncating_alone_sends_nothing(shared):
    before = document(shared)
    count = len(shared.errors())
    os.close(os.open(doc_path(shared), os.O_WRONLY | os.O_TRUNC))
    os.truncate(doc_path(shared), 0)
    assert document(shared) == before
    fd = os.open(doc_path(shared), os.O_WRONLY)
    os.write(fd, json.dumps({**before, 'meta': {'short': 1}}).encode())
    os.close(fd)
    assert meta(shared) == {'short': 1}         # the end of the longer one is not left behind it
    assert len(shared.errors()) == count


def test_what_somebody_else_changed_since_is_not_overwritten(shared):
    path = doc_path(shared, 'mine/readme.txt')
    text = with_meta(shared, {'mine': 1}, 'mine/readme.txt').encode()
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, text)
    os.setxattr(shared / 'mine/readme.txt', f'{META}.theirs', b'1')
    with fails(errno.EBUSY):
        os.close(fd)
    assert meta(shared, 'mine/readme.txt')['theirs'] == 1
    assert path.with_name(path.name + '.refused').read_bytes() == text


def test_cp_copies_a_document_out_and_in(shared, tmp_path):
    """Trap: cp looks for holes, and what it does not read it makes of zeros."""
    put(doc_path(shared), with_meta(shared, {'long': 'x' * 2000}))
    now = document(shared)
    assert os.stat(doc_path(shared)).st_size > 2000
    run('cp', doc_path(shared), tmp_path / 'copy')
    assert json.loads((tmp_path / 'copy').read_text()) == now
    (tmp_path / 'copy').write_text(with_meta(shared, {'by': 'cp'}))
    run('cp', tmp_path / 'copy', doc_path(shared))
    assert meta(shared) == {'by': 'cp'}
    (tmp_path / 'copy').write_text('nonsense')
    assert run('cp', tmp_path / 'copy', doc_path(shared), check=False).returncode != 0


def test_the_mode_shows_what_can_be_written(shared):
    assert os.stat(doc_path(shared)).st_mode & 0o777 == 0o644
    for name in ('status.json', 'stats', 'errors', 'events', 'config.json', 'server.json', 'uploads.json'):
        assert os.stat(shared / '.scifs' / name).st_mode & 0o777 == 0o444
        with fails(errno.EACCES):
            put(shared / '.scifs' / name, 'x')
    assert os.stat(shared / '.scifs/action').st_mode & 0o777 == 0o600


def test_the_document_of_a_file_that_was_replaced_is_that_of_the_new_one(shared):
    (shared / 'twice.txt').write_text('1')
    shared.sync()
    os.setxattr(shared / 'twice.txt', f'{META}.n', b'1')
    assert meta(shared, 'twice.txt') == {'n': 1}
    os.unlink(shared / 'twice.txt')
    (shared / 'twice.txt').write_text('2')
    shared.sync()
    assert meta(shared, 'twice.txt') == {}


# ---- editors ----

def test_sed_i_edits_a_document(shared):
    put(doc_path(shared), with_meta(shared, {'by': 'nobody'}))
    run('sed', '-i', 's/nobody/sed/', doc_path(shared))
    assert meta(shared) == {'by': 'sed'}
    assert [n for n in os.listdir(doc_path(shared).parent) if n.startswith('sed')] == []


def test_sed_i_says_when_it_was_refused(shared):
    before = document(shared)
    done = run('sed', '-i', 's/"meta"/meta/', doc_path(shared), check=False)
    assert done.returncode != 0 and document(shared) == before


@pytest.mark.parametrize('way', ['backupcopy=no', 'backupcopy=yes', 'backupcopy=auto', 'nobackup nowritebackup'])
def test_vim_edits_a_document(shared, way):
    if not shutil.which('vim'):
        pytest.skip('vim is missing')
    path = doc_path(shared)
    put(path, with_meta(shared, {'by': 'nobody', 'and': 'x' * 5000}))
    run('vim', '-es', '-u', 'NONE', '-c', f'set backupskip= swapfile backup {way}', '-c', 's/"x*"/"less"/', '-c', 's/nobody/vim/', '-c', 'wq', path)
    assert meta(shared) == {'by': 'vim', 'and': 'less'}
    left = path.with_name(path.name + '~')
    if left.exists():
        assert json.loads(left.read_text())['meta']['by'] == 'nobody'
        left.unlink()
    assert [n for n in os.listdir(path.parent) if n.startswith(('.', '4913')) or n.endswith('~')] == []


def test_vim_says_when_it_was_refused(shared):
    if not shutil.which('vim'):
        pytest.skip('vim is missing')
    before = document(shared)
    done = run('vim', '-es', '-u', 'NONE', '-c', 's/"meta"/meta/', '-c', 'wq', doc_path(shared), check=False)
    assert done.returncode != 0 and document(shared) == before


def test_nano_edits_a_document(shared):
    if not shutil.which('nano'):
        pytest.skip('nano is missing')
    put(doc_path(shared), with_meta(shared, {'by': 'nobody'}))
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.update(TERM='vt100', LINES='24', COLUMNS='80')
        os.execvp('nano', ['nano', '--ignorercfiles', str(doc_path(shared))])

    def answer(keys, words):
        """Type, and wait for what nano says to it."""
        said = b''
        os.write(fd, keys)
        end = time.monotonic() + PATIENCE
        while words not in said:
            assert time.monotonic() < end, said
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    said += os.read(fd, 65536)
                except OSError:
                    break
    try:
        answer(b'', b'Exit')
        answer(b'\x1c', b'Search')              # replace
        answer(b'nobody\r', b'with')             # only what is new on the screen is drawn
        answer(b'nano\r', b'All')
        answer(b'a', b'ccurrence')
        answer(b'\x0f', b'Name')
        answer(b'\r', b'Wrote')
        os.write(fd, b'\x18')
    finally:
        os.close(fd)
        os.waitpid(pid, 0)
    assert meta(shared) == {'by': 'nano'}


def test_an_editors_own_files_stay_here(shared):
    path = shared / 'mine/images/.scifs/meta/.one.dat.json.swp'
    path.write_bytes(b'swap' * 1000)
    with open(path, 'r+b') as f:
        f.seek(2)
        f.write(b'XX')
    assert path.read_bytes()[:6] == b'swXXsw' and os.stat(path).st_size == 4000
    os.chmod(path, 0o600)
    os.utime(path, (1, 1))
    os.rename(path, path.with_name('other~'))
    assert sorted(n for n in os.listdir(path.parent) if not n.endswith('.json')) == ['other~']
    os.unlink(path.with_name('other~'))
    assert shared.uploads() == []


def test_a_removed_one_is_readable_for_who_has_it_open(shared):
    path = shared / '.scifs/4913'
    with open(path, 'w+b') as f:
        f.write(b'first')
        f.flush()
        os.unlink(path)
        path.write_bytes(b'second')
        f.seek(0)
        assert f.read() == b'first'
    assert path.read_bytes() == b'second'
    path.unlink()


def test_they_are_few_and_small(mount):
    m = mount('memory:')
    with fails(errno.EFBIG):
        (m / '.scifs/big').write_bytes(bytes((1 << 20) + 1))
    (m / '.scifs/big').unlink()
    with fails(errno.ENOSPC):
        for i in range(65):
            (m / f'.scifs/{i}').write_bytes(b'x')
    assert i == 64


def test_controls_stay_where_they_are(shared):
    c = shared / '.scifs'
    (c / 'own').write_text('{}')
    for call in (lambda: os.unlink(c / 'status.json'), lambda: os.rename(c / 'own', c / 'status.json'),
                 lambda: os.rename(c / 'status.json', c / 'x'), lambda: os.mkdir(c / 'd'), lambda: os.symlink('a', c / 'l'),
                 lambda: os.rename(c / 'meta', c / 'x'), lambda: os.unlink(doc_path(shared))):
        with fails(errno.EPERM, errno.EACCES):
            call()
    with fails(errno.EXDEV):
        os.rename(c / 'own', shared / 'own')
    with fails(errno.ENOENT):
        (c / 'meta/nothing.json').write_text('{}')
    os.unlink(c / 'own')


# ---- verbs ----

def test_an_unknown_verb_fails_in_write_and_says_which_there_are(shared):
    with fails(errno.EINVAL):
        put(shared / '.scifs/action', 'bogus\n')
    said = json.loads(shared.control('action'))
    assert said['verb'] == 'bogus' and said['errno'] == errno.EINVAL and 'sync' in said['message']
    assert shared.errors()[-1]['message'] == said['message']
    for verb in ('drain soon', 'retry', 'flush now', 'drop', 'sync\nflush'):
        with fails(errno.EINVAL):
            put(shared / '.scifs/action', verb)


def test_the_last_reply_is_an_attribute_too(shared):
    act(shared, 'flush\n')
    assert get(shared / '.scifs/action', 'user.scifs.result') == shared.control('action')
    assert os.listxattr(shared / '.scifs/action') == ['user.scifs.result']
    assert json.loads(shared.control('action'))['errno'] == 0


def test_a_shells_redirection_is_a_verb(shared):
    run('sh', '-c', f'echo refresh /mine > {shared.path}/.scifs/action')
    done = run('sh', '-c', f'echo refresh /no such thing > {shared.path}/.scifs/action', check=False)
    assert done.returncode != 0 and json.loads(shared.control('action'))['verb'] == 'refresh /no such thing'


def test_sync_waits_for_what_lies_below_its_path(held_back):
    m = held_back
    os.makedirs(m / 'nested dir')
    (m / 'nested dir/with blanks.txt').write_text('1')
    (m / 'other.txt').write_text('2')
    assert m.upload('with blanks.txt')['path'] == '/nested dir/with blanks.txt' and m.upload('with blanks.txt')['state'] == 'queued'
    act(m, 'sync /nested dir/with blanks.txt\n')
    assert not m.upload('with blanks.txt') and m.upload('other.txt')
    act(m, 'sync')
    assert m.uploads() == []


def test_status_and_stats_count_what_is_owed(held_back):
    (held_back / 'counted.txt').write_text('12345')
    (held_back / '.counted.dat.Xy12ab').write_text('half')
    status = held_back.status()
    assert status['writable'] is True
    assert status['uploads']['owed'] == 2 and status['uploads']['held'] == 1 and status['uploads']['refused'] == 0
    assert status['uploads']['bytes'] == 9 and status['uploads']['room'] > 0
    assert held_back.stats()['scifs_uploads'] == 2 and held_back.stats()['scifs_uploads_held'] == 1
    assert get(held_back / '.counted.dat.Xy12ab', 'user.scifs.state') == 'held'
    os.unlink(held_back / '.counted.dat.Xy12ab')
    os.unlink(held_back / 'counted.txt')
    assert held_back.status()['uploads']['owed'] == 0


def test_a_refused_upload_says_why_and_is_retried_or_dropped_by_a_word(mount):
    m = mount('memory:?refuse=bad.txt:EDQUOT:2', 'quiet=100ms')
    (m / 'bad.txt').write_text('x')
    number = m.refused('bad.txt')['id']
    assert get(m / 'bad.txt', 'user.scifs.state') == 'refused' and get(m / 'bad.txt', 'user.scifs.error') == 'refused on demand'
    assert m.status()['uploads']['refused'] == 1
    act(m, f'retry {number}')
    m.refused('bad.txt')
    act(m, 'retry all')
    wait_for(lambda: not m.uploads(), 'it is taken')
    with fails(errno.ENODATA):
        os.getxattr(m / 'bad.txt', 'user.scifs.error')
    for verb in (f'retry {number}', f'drop {number}', 'drop 0', 'drop all'):
        with fails(errno.ENOENT):
            act(m, verb)


def test_an_upload_under_way_tells_how_far_it_is_and_waiting_for_it_can_be_broken_off(mount):
    m = mount('memory:?updelay=60s', 'quiet=100ms')
    (m / 'slow.bin').write_bytes(bytes(100000))
    waiting = subprocess.Popen(['sh', '-c', f'exec printf "sync /slow.bin" > {m.path}/.scifs/action'], stderr=subprocess.DEVNULL)
    wait_for(lambda: get(m / 'slow.bin', 'user.scifs.state') == 'uploading', 'it is under way')
    assert get(m / 'slow.bin', 'user.scifs.progress') == '0/100000' and 'user.scifs.progress' in os.listxattr(m / 'slow.bin')
    assert waiting.poll() is None
    waiting.terminate()
    assert waiting.wait(PATIENCE) != 0
    act(m, f'drop {m.upload("slow.bin")["id"]}')
    assert m.uploads() == []


def test_drop_gives_an_upload_up(mount):
    m = mount('memory:?refuse=bad.txt:EACCES', 'quiet=100ms')
    (m / 'bad.txt').write_text('x')
    act(m, f'drop {m.refused("bad.txt")["id"]}')
    assert m.uploads() == [] and 'bad.txt' not in os.listdir(m.path)


# ---- a repository's own controls ----

def test_a_question_is_answered_through_the_handle_that_asked_it(shared):
    one, two = (os.open(shared / '.scifs/call', os.O_RDWR) for _ in range(2))
    os.write(one, b'first ')
    os.write(one, b'question')
    os.write(two, b'another')
    assert json.loads(os.read(two, 65536))['question'] == 'another'
    assert json.loads(os.read(one, 65536))['question'] == 'first question'
    assert os.read(one, 65536) == b'' == os.read(two, 65536)
    os.write(one, b'next')
    assert json.loads(os.read(one, 65536))['question'] == 'next'
    assert json.loads(os.pread(one, 65536, 0))['question'] == 'next'
    os.close(one)
    os.close(two)


def test_a_shell_can_ask(shared):
    said = run('bash', '-c', f'exec 3<> {shared.path}/.scifs/call; echo hello >&3; cat <&3')
    assert json.loads(said)['question'] == 'hello'


def test_a_backends_directory_is_an_ordinary_tree(shared):
    os.mkdir(shared / '.scifs/shelf/box')
    (shared / '.scifs/shelf/box/a.txt').write_text('a')
    shared.sync()
    os.setxattr(shared / '.scifs/shelf/box/a.txt', f'{META}.k', b'v')
    assert meta(shared, '.scifs/shelf/box/a.txt') == {'k': 'v'}
    assert os.listdir(shared / '.scifs/shelf') == ['box'] and 'shelf' in os.listdir(shared / '.scifs')
    shutil.rmtree(shared / '.scifs/shelf/box')
    assert os.listdir(shared / '.scifs/shelf') == []


# ---- the same of a Girder ----

@pytest.fixture
def own(girder, mount):
    """(mount, path from its root, id) of an item of this test alone."""
    server = girder.server
    folder = server.make_folder(girder.ids['sample'], 'metadata', 'collection')
    server.upload(folder, 'a.txt', b'text\n')
    (item,) = server.rest('GET', 'item', {'folderId': folder, 'name': 'a.txt'})
    yield mount(girder, 'quiet=100ms'), 'collection/Sample/metadata/a.txt', item['_id']
    server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


def test_a_girders_metadata_is_set_removed_and_edited(girder, own):
    m, path, item = own

    def there():
        return girder.server.rest('GET', f'item/{item}')
    os.setxattr(m / path, 'user.girder.meta.instrument.name', b'X')
    assert there()['meta'] == {'instrument': {'name': 'X'}} and get(m / path, 'user.girder.meta.instrument.name') == 'X'
    os.setxattr(m / path, 'user.girder.meta', b'{"rows": 8, "cut": true}')
    assert there()['meta'] == {'instrument': {'name': 'X'}, 'rows': 8, 'cut': True}
    os.removexattr(m / path, 'user.girder.meta.cut')
    assert 'cut' not in there()['meta']
    os.setxattr(m / path, 'user.girder.description', b'words')
    assert there()['description'] == 'words' and get(m / path, 'user.girder.description') == 'words'
    run('sed', '-i', 's/"rows": *8/"rows": 9, "more": 9007199254740993/', doc_path(m, path))
    assert there()['meta'] == {'instrument': {'name': 'X'}, 'rows': 9, 'more': 9007199254740993}
    # Trap: the first :w moves fields that the text of the second one still has as they were.
    if shutil.which('vim'):
        run('vim', '-es', '-u', 'NONE', '-c', 's/"rows": 9/"rows": 10/', '-c', 'w', '-c', 's/"rows": 10/"rows": 11/', '-c', 'wq', doc_path(m, path))
        assert there()['meta']['rows'] == 11
    with fails(errno.EINVAL):
        os.setxattr(m / path, 'user.girder.meta.$bad', b'1')
    assert get(m / path, 'user.scifs.error') == m.errors()[-1]['message'] != ''
    os.setxattr(m / path, 'user.girder.sha512', b'computed')
    assert m.uploads() == [] and (m / path).read_bytes() == b'text\n'


def test_a_girder_answers_any_request(girder5, mount):
    server = girder5.server
    folder = server.make_folder(girder5.ids['sample'], 'asked', 'collection')
    try:
        m = mount(girder5, 'ttl=10m', 'list_ttl=10m')
        assert os.listdir(m / 'collection/Sample/asked') == []

        def ask(question):
            fd = os.open(m / '.scifs/rest', os.O_RDWR)
            os.write(fd, json.dumps(question).encode())
            answer = b''
            while part := os.read(fd, 65536):
                answer += part
            os.close(fd)
            return json.loads(answer)
        assert ask({'method': 'GET', 'path': 'user/me'})['body']['_id'] == server.rest('GET', 'user/me')['_id']
        made = ask({'method': 'POST', 'path': 'item', 'parameters': {'folderId': folder, 'name': 'made by rest'}})
        assert made['status'] == 200
        assert os.listdir(m / 'collection/Sample/asked') == ['made by rest']    # though listings are believed for long
        assert ask({'method': 'GET', 'path': 'item/0'})['status'] == 400
    finally:
        server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


def test_with_the_official_clients_names_things_can_be_made(girder5, mount):
    server = girder5.server
    folder = server.make_folder(girder5.ids['sample'], 'named', 'collection')
    try:
        m = mount(girder5, 'names=girder')
        top = m / 'collection/Sample/named'
        (top / 'a_b.txt').write_text('x')
        os.mkdir(top / 'd_e')
        os.rename(top / 'd_e', top / 'f')
        m.sync()
        assert [i['name'] for i in server.rest('GET', 'item', {'folderId': folder})] == ['a_b.txt']
        assert [f['name'] for f in server.rest('GET', 'folder', {'parentType': 'folder', 'parentId': folder})] == ['f']
        with fails(errno.EINVAL):
            (top / '\\x').write_text('it would be shown as _x')
    finally:
        server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


def test_remove_takes_a_folder_with_all_that_is_in_it_and_owed_of_it_in_a_few_requests(girder5, mount):
    server = girder5.server
    server.make_folder(girder5.ids['sample'], 'removed', 'collection')
    m = mount(girder5, 'ttl=10m', 'list_ttl=10m', 'quiet=10m')
    top = m / 'collection/Sample/removed'
    for i in range(20):
        (top / f'{i}.txt').write_text('sent')
    os.makedirs(top / 'deep/er')
    m.sync()
    (top / 'deep/er/owed').write_text('not sent')
    (top / '1.txt').write_text('sent once')
    before = m.stats()['scifs_http_requests_total']
    with open(m / '.scifs/action', 'w') as f:
        f.write('remove /collection/Sample/removed')
    assert m.stats()['scifs_http_requests_total'] - before < 10
    assert m.uploads() == []
    wait_for(lambda: not os.path.lexists(top), 'the kernel is told')
    assert 'removed' not in [f['name'] for f in server.rest('GET', 'folder', {'parentType': 'collection', 'parentId': girder5.ids['sample']})]


def test_remove_says_so_where_the_server_has_no_such_request(shared):
    os.makedirs(shared / 'kept/in')
    with fails(errno.ENOTSUP), open(shared / '.scifs/action', 'w', buffering=1) as f:
        f.write('remove /kept\n')
    assert 'rm -r' in shared.control('action') and os.listdir(shared / 'kept') == ['in']
