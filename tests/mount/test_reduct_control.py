"""Control files of a ReductStore: what it tells of itself, and what it administers, as files below `.scifs`. Each act is looked at from outside, by
requests of the tests' own or by the official client."""
import contextlib
import errno
import json
import os
import stat
import subprocess
import time

import pytest
from harness import Mount, fails, put, run, wait_for
from relay import Relay

START = 1772323200000000        # the sample's first time
HOUR = 3600 * 1000000


@pytest.fixture(scope='module')
def m(reduct, fuse):
    # What the tests make at the server is seen at once.
    with Mount(reduct.source, 'ttl=10ms', 'list_ttl=10ms', 'negative_ttl=10ms', env=reduct.env) as m:
        yield m


@pytest.fixture
def rest(reduct):
    return reduct.server.rest


def load(path):
    return json.loads(path.read_text())


def since(reduct, version):
    if reduct.server.minor < version:
        pytest.skip(f'this server is older than 1.{version}')


@contextlib.contextmanager
def bucket(reduct, m, name, entries=(), **settings):
    """A bucket with a record in each of these entries, which the mount has seen."""
    reduct.server.bucket(name, **settings)
    for entry in entries:
        reduct.server.write(name, entry, START, b'x')
    try:
        for path in (name, *(f'{name}/{entry}' for entry in entries)):
            wait_for(lambda: os.path.isdir(m / path), f'{path} is seen')
        yield name
    finally:
        with contextlib.suppress(Exception):
            reduct.server.rest('DELETE', f'b/{name}')


@contextlib.contextmanager
def gone_afterwards(reduct, *paths):
    try:
        yield
    finally:
        for path in paths:
            with contextlib.suppress(Exception):
                reduct.server.rest('DELETE', path)


@pytest.fixture
def poor(reduct, mount):
    """A mount whose token may only read one bucket."""
    token = reduct.server.make_token('poor', read=['sensors'])
    try:
        yield mount(reduct.source, env={'SCIFS_TOKEN': token})
    finally:
        reduct.server.rest('DELETE', 'tokens/poor')


# ---- what it tells ----

def test_info_and_list_are_the_servers_own(reduct, m, rest):
    info = load(m / '.scifs/info.json')
    assert info['version'] == rest('GET', 'info')['version'] and info['bucket_count'] >= 4
    assert sorted(b['name'] for b in load(m / '.scifs/list.json')['buckets']) == sorted(b['name'] for b in rest('GET', 'list')['buckets'])


def test_me_tells_whose_token_it_is(m, rest):
    assert load(m / '.scifs/me.json')['permissions']['full_access'] is True
    assert load(m / '.scifs/me.json')['name'] == rest('GET', 'me')['name']


def test_alive_and_ready_are_one_or_nought(m):
    assert (m / '.scifs/alive').read_text() == '1\n' and (m / '.scifs/ready').read_text() == '1\n'


def test_a_bucket_tells_of_itself_its_settings_and_its_entries(m, rest):
    there = rest('GET', 'b/sensors')
    assert load(m / 'sensors/.scifs/info.json')['name'] == 'sensors'
    assert load(m / 'sensors/.scifs/settings.json') == there['settings']
    assert {e['name'] for e in load(m / 'sensors/.scifs/entries.json')} == {e['name'] for e in there['entries']}


def test_an_entry_tells_of_itself(m, reduct):
    info = load(m / 'sensors/camera/.scifs/info.json')
    assert info['name'] == 'camera' and info['record_count'] == len(reduct.records['sensors', 'camera'])


def test_what_can_only_be_read_says_so(m):
    for name in ('info.json', 'list.json', 'me.json', 'alive', 'tokens.json'):
        with fails(errno.EPERM, errno.EACCES):
            put(m / '.scifs' / name, '{}', 0)
    with fails(errno.EPERM):
        os.unlink(m / '.scifs/info.json')


def test_what_is_below_scifs_follows_what_it_is_about(m, reduct):
    names = set(os.listdir(m / '.scifs'))
    assert {'info.json', 'list.json', 'me.json', 'alive', 'ready', 'tokens', 'tokens.json', 'replications', 'replications.json',
            'buckets'} <= names
    assert ('lifecycles' in names) == (reduct.server.minor >= 20) and 'settings.json' not in names
    assert {'info.json', 'settings.json', 'entries.json', 'action'} <= set(os.listdir(m / 'sensors/.scifs'))
    below = set(os.listdir(m / 'sensors/camera/.scifs'))
    assert {'info.json', 'latest', 'action'} <= below and 'tokens' not in below and ('attachments' in below) == (reduct.server.minor >= 19)


# ---- tokens ----

def test_a_token_is_made_by_writing_a_document_and_works(reduct, m, rest):
    with gone_afterwards(reduct, 'tokens/made'):
        put(m / '.scifs/tokens/made.json', {'full_access': False, 'read': ['sensors'], 'write': []})
        there = rest('GET', 'tokens/made')
        assert there['permissions'] == {'full_access': False, 'read': ['sensors'], 'write': []}
        assert load(m / '.scifs/tokens/made.json')['permissions'] == there['permissions']
        value = (m / '.scifs/tokens/made.secret').read_text().strip()
        assert reduct.server.rest('GET', 'me', token=value)['name'] == 'made'


def test_permissions_by_name_are_taken_by_every_server(reduct, m, rest):
    with gone_afterwards(reduct, 'tokens/named'):
        put(m / '.scifs/tokens/named.json', {'permissions': {'full_access': False, 'read': [], 'write': ['ring']}})
        assert rest('GET', 'tokens/named')['permissions']['write'] == ['ring']


def test_a_tokens_secret_is_read_once_by_the_mounter_alone(reduct, m):
    with gone_afterwards(reduct, 'tokens/once'):
        put(m / '.scifs/tokens/once.json', {'full_access': False, 'read': [], 'write': []})
        secret = m / '.scifs/tokens/once.secret'
        assert stat.S_IMODE(os.stat(secret).st_mode) & 0o077 == 0
        assert secret.read_text().startswith('once-')
        with fails(errno.ENOENT):
            open(secret)
        assert 'once.secret' not in os.listdir(m / '.scifs/tokens') and 'once.json' in os.listdir(m / '.scifs/tokens')


def test_a_secret_is_in_no_log_no_reply_and_no_list(reduct, mount):
    m = mount(reduct.source, env=reduct.env, log_level='debug')
    with gone_afterwards(reduct, 'tokens/quiet'):
        put(m / '.scifs/tokens/quiet.json', {'full_access': False, 'read': [], 'write': []})
        reply = os.getxattr(m / '.scifs/tokens/quiet.json', 'user.scifs.result').decode()
        assert json.loads(reply)['name'] == 'quiet'
        told = reply + ''.join(m.control(name) for name in ('tokens/quiet.json', 'tokens.json', 'errors', 'events'))
        value = (m / '.scifs/tokens/quiet.secret').read_text().strip()
        assert value and value not in told and value not in m.log and 'tokens/quiet' in m.log


def test_rotate_gives_another_secret_and_ends_the_old_one(reduct, m):
    since(reduct, 19)
    with gone_afterwards(reduct, 'tokens/turning'):
        put(m / '.scifs/tokens/turning.json', {'full_access': False, 'read': [], 'write': []})
        old = (m / '.scifs/tokens/turning.secret').read_text().strip()
        put(m / '.scifs/tokens/rotate', 'turning\n', 0)
        new = (m / '.scifs/tokens/turning.secret').read_text().strip()
        assert new != old and reduct.server.rest('GET', 'me', token=new)['name'] == 'turning'
        with pytest.raises(Exception, match='401'):
            reduct.server.rest('GET', 'me', token=old)


def test_rotating_what_is_not_there_fails_in_write(reduct, m):
    since(reduct, 19)
    with fails(errno.ENOENT):
        put(m / '.scifs/tokens/rotate', 'nobody', 0)


def test_a_token_cannot_be_changed(reduct, m):
    with gone_afterwards(reduct, 'tokens/fixed'):
        put(m / '.scifs/tokens/fixed.json', {'full_access': False, 'read': [], 'write': []})
        with fails(errno.EPERM):
            put(m / '.scifs/tokens/fixed.json', {'full_access': True})
        assert 'cannot be changed' in m.errors()[-1]['message']


def test_rm_removes_a_token(reduct, m, rest):
    put(m / '.scifs/tokens/passing.json', {'full_access': False, 'read': [], 'write': []})
    run('rm', m / '.scifs/tokens/passing.json')
    assert 'passing' not in [t['name'] for t in rest('GET', 'tokens')['tokens']]
    assert not os.path.exists(m / '.scifs/tokens/passing.secret')


def test_the_servers_own_token_is_not_removed(m, rest):
    name = rest('GET', 'me')['name']
    with fails(errno.EPERM):
        os.unlink(m / f'.scifs/tokens/{name}.json')
    assert name in [t['name'] for t in rest('GET', 'tokens')['tokens']]


def test_a_token_that_the_server_refuses_is_refused_by_close_with_its_words(m, rest):
    with fails(errno.EINVAL):
        put(m / '.scifs/tokens/bad.json', {'full_access': 'perhaps'})
    assert m.errors()[-1]['status'] == 422 and 'bad' not in [t['name'] for t in rest('GET', 'tokens')['tokens']]
    assert load(m / '.scifs/tokens/bad.json.refused') == {'full_access': 'perhaps'}
    os.unlink(m / '.scifs/tokens/bad.json.refused')


def test_a_token_of_somebody_elses_shows_within_a_second(reduct, m):
    os.listdir(m / '.scifs/tokens')
    reduct.server.make_token('others')
    with gone_afterwards(reduct, 'tokens/others'):
        began = time.monotonic()
        wait_for(lambda: 'others.json' in os.listdir(m / '.scifs/tokens'), 'it is listed')
        assert time.monotonic() - began < 20
        assert load(m / '.scifs/tokens/others.json')['name'] == 'others' and not os.path.exists(m / '.scifs/tokens/others.secret')


def test_the_list_of_tokens_is_the_servers_own(m, rest):
    assert [t['name'] for t in load(m / '.scifs/tokens.json')['tokens']] == [t['name'] for t in rest('GET', 'tokens')['tokens']]


# ---- rights ----

def test_without_full_access_nothing_is_listed_or_made(poor):
    for name in ('tokens', 'replications', 'buckets'):
        assert os.path.isdir(poor / '.scifs' / name)
        with fails(errno.EACCES):
            os.listdir(poor / '.scifs' / name)
        assert poor.errors()[-1]['message']
        with fails(errno.EACCES):
            os.close(os.open(poor / f'.scifs/{name}/x.json', os.O_WRONLY | os.O_CREAT))
    assert load(poor / '.scifs/me.json')['name'] == 'poor'


def test_without_full_access_settings_are_read_and_not_opened_for_writing(poor, rest):
    assert load(poor / 'sensors/.scifs/settings.json') == rest('GET', 'b/sensors')['settings']
    with fails(errno.EACCES):
        os.open(poor / 'sensors/.scifs/settings.json', os.O_WRONLY)
    assert 'full access' in poor.errors()[-1]['message']


def test_without_the_right_to_write_no_attachment_is_made_and_nothing_deleted(reduct, poor, rest):
    if reduct.server.minor >= 19:
        with fails(errno.EACCES):
            os.close(os.open(poor / 'sensors/camera/.scifs/attachments/x.json', os.O_WRONLY | os.O_CREAT))
    with fails(errno.EACCES):
        put(poor / 'sensors/camera/.scifs/action', 'delete', 0)
    assert 'camera' in [e['name'] for e in rest('GET', 'b/sensors')['entries']]


# ---- buckets ----

def test_a_bucket_is_made_with_its_settings_in_one(reduct, m, rest):
    with gone_afterwards(reduct, 'b/made'):
        put(m / '.scifs/buckets/made.json', {'quota_type': 'FIFO', 'quota_size': 12345678, 'max_block_records': 77})
        there = rest('GET', 'b/made')['settings']
        assert (there['quota_type'], there['quota_size'], there['max_block_records']) == ('FIFO', 12345678, 77)
        assert 'made' in os.listdir(m.path) and load(m / '.scifs/buckets/made.json') == there


def test_settings_are_changed_in_part(reduct, m, rest):
    with bucket(reduct, m, 'part', quota_type='FIFO', quota_size=1000000):
        put(m / 'part/.scifs/settings.json', {'quota_size': 2000000}, os.O_TRUNC)
        there = rest('GET', 'b/part')['settings']
        assert there['quota_size'] == 2000000 and there['quota_type'] == 'FIFO'
        assert load(m / 'part/.scifs/settings.json') == there


def test_settings_are_edited_as_the_whole_document_too(reduct, m, rest):
    with bucket(reduct, m, 'whole', quota_type='HARD', quota_size=1000000):
        document = rest('GET', 'b/whole')
        document['settings']['quota_size'] = 3000000
        put(m / 'whole/.scifs/settings.json', document, os.O_TRUNC)
        assert rest('GET', 'b/whole')['settings']['quota_size'] == 3000000
        run('sed', '-i', 's/3000000/4000000/', m / 'whole/.scifs/settings.json')
        assert rest('GET', 'b/whole')['settings']['quota_size'] == 4000000


def test_a_bucket_of_no_possible_name_is_refused_at_create(m):
    with fails(errno.EINVAL):
        os.close(os.open(m / '.scifs/buckets/no.dots.json', os.O_WRONLY | os.O_CREAT))
    assert 'letters' in m.errors()[-1]['message']


def test_settings_that_are_none_are_refused_at_close(reduct, m, rest):
    with bucket(reduct, m, 'none', quota_type='FIFO', quota_size=1000000):
        with fails(errno.EINVAL):
            put(m / 'none/.scifs/settings.json', {'quota_type': 'NOSUCH'}, os.O_TRUNC)
        assert m.errors()[-1]['status'] == 422 and rest('GET', 'b/none')['settings']['quota_type'] == 'FIFO'


def test_a_bucket_is_not_removed_by_its_settings(m, rest):
    with fails(errno.EPERM):
        os.unlink(m / '.scifs/buckets/sensors.json')
    assert 'sensors' in [b['name'] for b in rest('GET', 'list')['buckets']]


# ---- replications, lifecycles ----

SETTINGS = {'src_bucket': 'sensors', 'dst_bucket': 'elsewhere', 'dst_host': 'http://127.0.0.1:1', 'dst_token': 'a real one', 'entries': ['camera']}


@pytest.fixture
def copying(reduct, m):
    with gone_afterwards(reduct, 'replications/copy'):
        put(m / '.scifs/replications/copy.json', SETTINGS)
        yield m / '.scifs/replications'


def test_a_replication_is_made_and_shown(reduct, copying, rest):
    there = rest('GET', 'replications/copy')
    assert there['settings']['src_bucket'] == 'sensors' and there['settings']['entries'] == ['camera']
    assert load(copying / 'copy.json')['settings'] == there['settings']
    assert 'a real one' not in (copying / 'copy.json').read_text()
    assert 'copy' in [x['name'] for x in load(copying.parent / 'replications.json')['replications']]


def test_what_was_read_can_be_written_back_and_nothing_masked_goes(reduct, copying, rest):
    document = load(copying / 'copy.json')
    document['settings']['entries'] = ['uploads']
    document['settings']['dst_token'] = '***'
    put(copying / 'copy.json', document)
    assert rest('GET', 'replications/copy')['settings']['entries'] == ['uploads']
    put(copying / 'copy.json', {**SETTINGS, 'dst_token': None, 'entries': []})
    assert rest('GET', 'replications/copy')['settings']['entries'] == []


def test_a_new_one_with_a_mask_for_a_token_is_refused(reduct, m, rest):
    with fails(errno.EINVAL):
        put(m / '.scifs/replications/masked.json', {**SETTINGS, 'dst_token': '***'})
    assert 'masked' not in [x['name'] for x in rest('GET', 'replications')['replications']]
    os.unlink(m / '.scifs/replications/masked.json.refused')


def test_a_replication_of_no_bucket_has_the_servers_words(m):
    with fails(errno.ENOENT):
        put(m / '.scifs/replications/lost.json', {**SETTINGS, 'src_bucket': 'nowhere'})
    assert 'nowhere' in m.errors()[-1]['message']
    os.unlink(m / '.scifs/replications/lost.json.refused')


def test_a_mode_is_read_and_written_and_fails_in_write(reduct, copying, rest):
    since(reduct, 18)
    assert (copying / 'copy.mode').read_text() == 'enabled\n'
    subprocess.run(['sh', '-c', 'echo paused > copy.mode'], cwd=copying, check=True)
    assert rest('GET', 'replications/copy')['settings']['mode'] == 'paused' and (copying / 'copy.mode').read_text() == 'paused\n'
    fd = os.open(copying / 'copy.mode', os.O_WRONLY)
    try:
        with fails(errno.EINVAL):
            os.write(fd, b'sometimes\n')
    finally:
        os.close(fd)


def test_before_modes_there_is_none(reduct, copying):
    assert ('copy.mode' in os.listdir(copying)) == (reduct.server.minor >= 18)


def test_filters_that_the_server_would_ignore_are_refused(reduct, m, rest):
    since(reduct, 21)
    with fails(errno.EINVAL):
        put(m / '.scifs/replications/all.json', {**SETTINGS, 'include': {'a': 'b'}})
    assert 'all' not in [x['name'] for x in rest('GET', 'replications')['replications']]
    os.unlink(m / '.scifs/replications/all.json.refused')


def test_rm_removes_a_replication(copying, rest):
    run('rm', copying / 'copy.json')
    assert 'copy' not in [x['name'] for x in rest('GET', 'replications')['replications']] and 'copy.mode' not in os.listdir(copying)


def test_a_lifecycle_is_made_changed_and_removed(reduct, m, rest):
    since(reduct, 20)
    folder = m / '.scifs/lifecycles'
    with gone_afterwards(reduct, 'lifecycles/old'):
        put(folder / 'old.json', {'type': 'delete', 'bucket': 'ring', 'older_than': '30d'})
        assert rest('GET', 'lifecycles/old')['settings']['older_than'] == '30d'
        assert (folder / 'old.mode').read_text() == 'enabled\n'
        put(folder / 'old.mode', 'disabled', 0)
        assert rest('GET', 'lifecycles/old')['settings']['mode'] == 'disabled'
        document = load(folder / 'old.json')
        document['settings']['older_than'] = '60d'
        put(folder / 'old.json', document)
        assert rest('GET', 'lifecycles/old')['settings']['older_than'] == '60d'
        assert 'old' in [x['name'] for x in load(m / '.scifs/lifecycles.json')['lifecycles']]
        run('rm', folder / 'old.json')
        assert rest('GET', 'lifecycles')['lifecycles'] == []


# ---- attachments ----

def test_the_samples_attachment_is_read(reduct, m):
    since(reduct, 19)
    folder = m / 'sensors/site/a/.scifs/attachments'
    (name,) = os.listdir(folder)
    assert name.endswith('.json') and load(folder / name)


def test_an_attachment_is_made_replaced_and_removed(reduct, m):
    since(reduct, 19)
    with bucket(reduct, m, 'attached', ['entry']):
        folder = m / 'attached/entry/.scifs/attachments'
        assert os.listdir(folder) == []
        for text in ('{"a":  1}', '{"a": 18446744073709551615}'):
            put(folder / 'calibration.json', text)
            assert (folder / 'calibration.json').read_text() == text + '\n'
            assert list(reduct.witness('attachments', bucket='attached', entry='entry')) == ['calibration']
        found = reduct.server.records('attached', 'entry/$meta', content=True)
        assert found[-1].content == b'{"a": 18446744073709551615}' and found[-1].labels['key'] == 'calibration'
        run('rm', folder / 'calibration.json')
        assert os.listdir(folder) == []
        with fails(errno.ENOENT):
            open(folder / 'calibration.json')


def test_a_key_with_a_slash_is_a_file_too(reduct, m):
    since(reduct, 19)
    with bucket(reduct, m, 'slashed', ['entry']):
        folder = m / 'slashed/entry/.scifs/attachments'
        put(folder / 'cam%2F1.json', '{"n": 1}')
        assert [r.labels['key'] for r in reduct.server.records('slashed', 'entry/$meta')] == ['cam/1']
        assert os.listdir(folder) == ['cam%2F1.json'] and load(folder / 'cam%2F1.json') == {'n': 1}


def test_scifs_own_attachment_is_not_shown(reduct, m):
    since(reduct, 19)
    with bucket(reduct, m, 'own', ['entry']):
        reduct.server.write('own', 'entry/$meta', 2000, b'{}', {'key': 'scifs'}, 'application/json')
        assert os.listdir(m / 'own/entry/.scifs/attachments') == []
        with fails(errno.EINVAL, errno.ENOENT):
            put(m / 'own/entry/.scifs/attachments/scifs.json', '{}')


# ---- the newest record ----

def test_latest_leads_to_the_newest_record(reduct, m):
    newest = reduct.records['sensors', 'camera'][-1]
    assert (m / 'sensors/camera/.scifs/latest').read_bytes() == newest.content
    assert os.readlink(m / 'sensors/camera/.scifs/latest').endswith(f'{newest.ts}.jpg')


def test_latest_follows_what_is_written(reduct, m):
    with bucket(reduct, m, 'growing', ['log']):
        for n in range(1, 4):
            reduct.server.write('growing', 'log', START + n * HOUR, b'%d' % n, content_type='text/plain')
            wait_for(lambda: (m / 'growing/log/.scifs/latest').read_bytes() == b'%d' % n, 'the newest is shown')


def test_latest_of_files_with_names_leads_to_the_file(reduct, m):
    newest = reduct.records['sensors', 'uploads'][-1]
    assert os.readlink(m / 'sensors/uploads/.scifs/latest') == '../' + newest.labels['filename']
    assert (m / 'sensors/uploads/.scifs/latest').read_bytes() == newest.content


def test_an_entry_without_records_has_no_latest(reduct, m):
    since(reduct, 19)
    with fails(errno.ENOENT):
        os.readlink(m / 'sensors/site/.scifs/latest')


# ---- delete ----

def test_delete_removes_an_entry_with_all_records(reduct, m, rest):
    with bucket(reduct, m, 'doomed', ['entry', 'other']):
        assert sorted(os.listdir(m / 'doomed')) == ['entry', 'other']
        put(m / 'doomed/entry/.scifs/action', 'delete\n', 0)
        wait_for(lambda: [e['name'] for e in rest('GET', 'b/doomed')['entries']] == ['other'], 'the entry is gone')
        assert os.listdir(m / 'doomed') == ['other']


def test_delete_removes_a_bucket(reduct, m, rest):
    with bucket(reduct, m, 'gone', ['entry']):
        assert 'gone' in os.listdir(m.path)
        put(m / 'gone/.scifs/action', 'delete', 0)
        wait_for(lambda: 'gone' not in [b['name'] for b in rest('GET', 'list')['buckets']], 'the bucket is gone')
        assert 'gone' not in os.listdir(m.path)


def test_what_is_removed_and_made_again_has_its_controls_each_time(m):
    """At once: the server deletes behind its answer. The kernel may know the controls of the earlier ones for long, and they have the same numbers."""
    for _ in range(40):
        os.mkdir(m / 'again')
        assert load(m / 'again/.scifs/info.json')['name'] == 'again'
        put(m / 'again/.scifs/action', 'delete', 0)
        assert not (m / 'again').exists()


def test_delete_of_something_else_is_refused(m, rest):
    with fails(errno.EINVAL):
        put(m / 'sensors/camera/.scifs/action', 'delete everything', 0)
    assert 'camera' in [e['name'] for e in rest('GET', 'b/sensors')['entries']]


def test_the_servers_own_bucket_is_left_alone(reduct, m, rest):
    since(reduct, 20)
    if '$system' not in [b['name'] for b in rest('GET', 'list')['buckets']]:
        pytest.skip('this server has no $system yet')
    assert load(m / '$system/.scifs/info.json')['name'] == '$system'
    with fails(errno.EACCES):           # as any change there
        put(m / '$system/.scifs/action', 'delete', 0)
    with fails(errno.EPERM):
        os.open(m / '$system/.scifs/settings.json', os.O_WRONLY)


# ---- answers that get lost ----

@pytest.fixture
def relay(reduct):
    with Relay(reduct.server.url) as r:
        yield r


@pytest.fixture
def through(relay, reduct, mount):
    """A mount that reaches the server through the relay."""
    return mount(f'reduct+{relay.url}', env=reduct.env)


def asked(relay, method, path):
    return [r for r in relay.settled() if r.method == method and r.path.split('?')[0].endswith(path)]


def test_a_replication_whose_answer_was_lost_is_made_once(reduct, relay, through, rest):
    with gone_afterwards(reduct, 'replications/doubt'):
        relay.rule(method='POST', path='replications/doubt', lose=True, times=1)
        put(through / '.scifs/replications/doubt.json', SETTINGS)
        assert rest('GET', 'replications/doubt')['settings']['src_bucket'] == 'sensors'
        assert len(asked(relay, 'POST', 'replications/doubt')) == 1


def test_a_token_whose_value_was_lost_is_told_by_close(reduct, relay, through, rest):
    """Only that answer has it: neither a second token nor a success would be true."""
    with gone_afterwards(reduct, 'tokens/doubt'):
        relay.rule(method='POST', path='tokens/doubt', lose=True, times=1)
        with pytest.raises(OSError):
            put(through / '.scifs/tokens/doubt.json', {'full_access': False, 'read': [], 'write': []})
        assert 'rotate it' in through.errors()[-1]['message'] and len(asked(relay, 'POST', 'tokens/doubt')) == 1
        assert 'doubt' in [t['name'] for t in rest('GET', 'tokens')['tokens']]
        if reduct.server.minor >= 19:
            put(through / '.scifs/tokens/rotate', 'doubt', 0)
            assert (through / '.scifs/tokens/doubt.secret').read_text().startswith('doubt-')


def test_a_replication_that_never_arrived_is_an_error(relay, through, rest):
    relay.rule(method='POST', path='replications/never', drop=True)
    with pytest.raises(OSError):
        put(through / '.scifs/replications/never.json', SETTINGS)
    assert 'never' not in [x['name'] for x in rest('GET', 'replications')['replications']]


def test_an_attachment_whose_answer_was_lost_is_made_once(reduct, relay, through):
    since(reduct, 19)
    with bucket(reduct, through, 'doubtful', ['entry']):
        relay.rule(method='POST', path=r'meta\?ts=', lose=True, times=1)
        put(through / 'doubtful/entry/.scifs/attachments/a.json', '{"n": 1}')
        assert [r.labels['key'] for r in reduct.server.records('doubtful', 'entry/$meta')] == ['a']


def test_settings_are_sent_again_until_there_is_an_answer(reduct, relay, through, rest):
    with bucket(reduct, through, 'again', quota_type='FIFO', quota_size=1000000):
        relay.rule(method='PUT', path='b/again', lose=True, times=1)
        put(through / 'again/.scifs/settings.json', {'quota_size': 2000000}, os.O_TRUNC)
        assert rest('GET', 'b/again')['settings']['quota_size'] == 2000000


# ---- other mounts ----

def test_the_mount_of_one_bucket_administers_the_server_too(reduct, mount):
    m = mount(f'{reduct.source}/sensors', env=reduct.env)
    assert load(m / '.scifs/info.json')['name'] == 'sensors' and 'tokens.json' in os.listdir(m / '.scifs')
    assert load(m / '.scifs/tokens.json')['tokens']


def test_a_mount_for_reading_only_changes_nothing(reduct, mount, rest):
    m = mount(reduct.source, 'ro', env=reduct.env)
    with fails(errno.EROFS):
        put(m / '.scifs/tokens/never.json', {'full_access': False, 'read': [], 'write': []})
    with fails(errno.EROFS):
        put(m / 'sensors/camera/.scifs/action', 'delete', 0)
    assert load(m / '.scifs/tokens.json') and 'never' not in [t['name'] for t in rest('GET', 'tokens')['tokens']]


def test_a_silent_server_is_soon_not_alive(reduct, mount):
    m = mount(reduct.source, env=reduct.env)
    assert (m / '.scifs/alive').read_text() == '1\n'
    reduct.server.pause()
    try:
        time.sleep(1.1)
        began = time.monotonic()
        assert (m / '.scifs/alive').read_text() == '0\n'
        assert time.monotonic() - began < 30
    finally:
        reduct.server.cont()
