"""`.scifs`: documents about things and about the mount. (search/, by-id/ and by-url/ have a suite of their own, and so has writing:
test_metadata.py.)"""
import errno
import json
import os
import re

import pytest
from harness import SCIFS, run


def test_it_is_in_every_directory_and_listed_in_none(repo, mnt):
    for where, dirs, files in os.walk(mnt / repo.top):
        assert '.scifs' not in dirs + files
        assert os.path.isdir(os.path.join(where, '.scifs'))
        assert 'metadata.json' in os.listdir(os.path.join(where, '.scifs'))
        assert len(dirs) < 100
    assert '.scifs' not in os.listdir(mnt.path)


def test_there_is_none_below_a_file_or_below_itself(repo, mnt):
    with pytest.raises(NotADirectoryError):
        os.stat(mnt / repo.text / '.scifs')
    with pytest.raises(FileNotFoundError):
        os.stat(mnt / '.scifs/.scifs')
    with pytest.raises(FileNotFoundError):
        os.stat(mnt / '.scifs/no such control')


def test_show_control_lists_it(mount):
    m = mount('memory:', 'show_control')
    assert '.scifs' in os.listdir(m.path) and '.scifs' in os.listdir(m / 'tables')


def test_cp_r_does_not_see_it(repo, mnt, tmp_path):
    run('cp', '-r', mnt / repo.folder, tmp_path / 'copy')
    assert [w for w, d, f in os.walk(tmp_path / 'copy') if '.scifs' in d + f] == []


def test_the_directorys_document_is_the_servers_own(girder, gmnt):
    assert json.loads(gmnt.control('metadata.json', girder.folder)) == girder.server.rest('GET', f'folder/{girder.ids["data"]}')


def test_a_childs_document_is_the_servers_own_with_its_files(girder, gmnt):
    (item,) = girder.server.rest('GET', 'item', {'folderId': girder.ids['data'], 'name': 'planets.csv'})
    files = girder.server.rest('GET', f'item/{item["_id"]}/files')
    assert json.loads(gmnt.control('meta/planets.csv.json', girder.folder)) == {**item, 'files': files}


def test_numbers_in_a_document_keep_every_digit(girder, gmnt):
    text = gmnt.control('meta/numbers.json.json', girder.folder)
    for digits in ('9007199254740993', '9223372036854775807', '-9223372036854775808'):
        assert digits in text


def test_there_is_a_document_for_each_child(repo, mnt):
    children = os.listdir(mnt / repo.folder)
    assert sorted(os.listdir(mnt / repo.folder / '.scifs/meta')) == sorted(f'{n}.json' for n in children)
    for name in children:
        assert json.loads(mnt.control(f'meta/{name}.json', repo.folder))['name'] == name
    with pytest.raises(FileNotFoundError):
        mnt.control('meta/nothing.json', repo.folder)


def test_status_tells_what_is_mounted_and_how_it_is(repo, mnt):
    status = mnt.status()
    assert status['source'] == repo.source and status['mountpoint'] == str(mnt.path)
    assert status['state'] == 'connected' and status['pid'] == mnt.process.pid
    assert status['backend'] == ('memory' if repo.name == 'memory' else 'girder')


def test_scifs_status_prints_it(repo, mnt):
    assert f'{repo.source}\n' in run(SCIFS, 'status', mnt.path)
    assert json.loads(run(SCIFS, 'status', '--json', mnt.path))['source'] == repo.source


def test_stats_are_prometheus_text_and_count(repo, mount):
    m = mount(repo)
    text = m.control('stats')
    for line in text.splitlines():
        assert re.fullmatch(r'# (TYPE|HELP) \w+ .+|\w+(\{.*\})? [0-9.e+]+', line), line
    (m / repo.odd).read_bytes()
    assert m.stats()['scifs_read_bytes_total'] >= 100003
    assert m.stats()['scifs_reads_total'] > 0


def test_config_has_the_options_in_force(repo, mount):
    config = json.loads(mount(repo, 'ttl=7s', 'connections=3').control('config.json'))
    assert config['ttl'] == '7s' and config['connections'] == '3'


def test_no_control_and_no_log_tells_the_key(girder, mount):
    m = mount(girder, log_level='debug')
    os.listdir(m / girder.top)
    key = girder.server.api_key
    for where, dirs, files in [(m / '.scifs', [], ['status.json', 'stats', 'errors', 'events', 'config.json', 'server.json', 'uploads.json', 'action'])]:
        for name in files:
            assert key not in (where / name).read_text(), name
    assert 'POST' in m.log and key not in m.log
    pid = m.process.pid
    assert key.encode() not in open(f'/proc/{pid}/cmdline', 'rb').read()
    assert key.encode() not in open(f'/proc/{pid}/environ', 'rb').read()


def test_server_json_tells_who_answers(girder, gmnt):
    server = json.loads(gmnt.control('server.json'))
    me = girder.server.rest('GET', 'user/me')
    assert server['kind'] == 'girder' and server['identity'] == f'user/{me["_id"]}'
    assert server['version']['release'].startswith(girder.server.version[0])


def test_texts_about_the_mount_cannot_be_written_and_do_not_harm_it(repo, mnt):
    for name in ('status.json', 'stats', 'server.json', 'uploads.json'):
        with pytest.raises(OSError) as e:
            (mnt / '.scifs' / name).write_text('x')
        assert e.value.errno == errno.EACCES
    for call in (os.unlink, os.rmdir):
        with pytest.raises(OSError):
            call(mnt / '.scifs/status.json')
    assert mnt.status()['state'] == 'connected'


def test_a_control_is_as_long_as_it_says_or_says_nothing(repo, mnt):
    """Programs that trust st_size read all of a document."""
    for name in ('metadata.json', 'status.json'):
        path = mnt / '.scifs' / name
        first = path.read_text()
        assert run('cat', path).strip().startswith(first[:10])
        json.loads(first)


def test_refresh_shows_what_is_new_on_the_server_at_once(girder, mount):
    server = girder.server
    folder = server.make_folder(girder.ids['sample'], 'refreshed', 'collection')
    try:
        m = mount(girder, 'ttl=10m', 'list_ttl=10m')
        assert os.listdir(m / 'collection/Sample/refreshed') == []
        server.upload(folder, 'new.txt', b'new\n')
        assert os.listdir(m / 'collection/Sample/refreshed') == []
        run(SCIFS, 'refresh', m / 'collection/Sample/refreshed')
        assert os.listdir(m / 'collection/Sample/refreshed') == ['new.txt']
        assert (m / 'collection/Sample/refreshed/new.txt').read_bytes() == b'new\n'
    finally:
        server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})


def test_refresh_of_what_is_no_mount_says_so(tmp_path):
    done = run(SCIFS, 'refresh', tmp_path, check=False)
    assert done.returncode == 3 and 'not in a scifs mount' in done.stderr


def test_an_error_is_a_line_in_errors_of_its_directory_and_of_the_root(mount):
    m = mount('memory:?fail=planets.csv:EIO', 'cache=none')
    with pytest.raises(OSError) as e:
        (m / 'tables/planets.csv').read_bytes()
    assert e.value.errno == errno.EIO
    for line in (m.errors()[-1], m.errors('tables')[-1]):
        assert line['errno'] == errno.EIO and line['path'] == '/tables/planets.csv'
        assert 'failing on demand' in line['message'] and line['time'] and line['op'] == 'read'
    assert m.errors('images') == []
