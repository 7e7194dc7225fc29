"""What the suites on ReductStore stand on, without scifs: the server (servers/reduct.py), its sample and the witness."""
import os
import subprocess
import sys

import pytest
from harness import TOP, run, sha512, wait_for
from process import RestError
from reduct import BATCH, VERSIONS, Missing, Record, Reduct, Witness, WitnessError, binary

pytestmark = pytest.mark.plain


@pytest.fixture(params=[VERSIONS[0], *(pytest.param(v, marks=pytest.mark.long) for v in VERSIONS[1:])])
def server(request):
    """An empty one of the test's own."""
    try:
        with Reduct(request.param) as s:
            s.bucket('b')
            yield s
    except Missing as e:
        pytest.skip(str(e).splitlines()[0])


def test_what_was_written_is_read_back(server):
    server.write('b', 'e', 1000, b'one', {'kind': 'a, "b" = c'}, 'text/plain')
    server.write('b', 'e', 2000)
    assert server.read('b', 'e', 1000) == Record(1000, b'one', {'kind': 'a, "b" = c'}, 'text/plain', 3)
    assert server.head('b', 'e', 1000) == Record(1000, None, {'kind': 'a, "b" = c'}, 'text/plain', 3)
    assert server.read('b', 'e').ts == 2000
    server.update('b', 'e', 1000, {'kind': '', 'more': '1'})
    assert server.head('b', 'e', 1000).labels == {'more': '1'}
    server.remove('b', 'e', 1000)
    with pytest.raises(RestError) as gone:
        server.read('b', 'e', 1000)
    assert gone.value.status == 404 and '1000' in gone.value.body


def test_batches_carry_any_number_and_tell_what_was_refused(server):
    many = [Record(1000 + n, b'%d' % n, {'n': str(n), 'list': 'a,b' if n % 2 else 'c'}, 'text/plain') for n in range(3 * BATCH + 7)]
    assert server.write_batch('b', 'e', reversed(many)) == {}
    known = [r._replace(size=len(r.content)) for r in many]
    assert server.records('b', 'e', content=True) == known
    assert server.records('b', 'e', 1010, 1013) == [r._replace(content=None) for r in known[10:13]]
    assert [r.ts for r in server.records('b', 'e', when={'&n': {'$eq': 5}})] == [1005]
    errors = server.write_batch('b', 'e', [Record(1000), Record(5000)])
    assert list(errors) == [1000] and errors[1000].startswith('409')


def test_the_witness_sees_what_was_written_and_writes_what_is_seen(server):
    with Witness(server) as witness:
        server.write('b', 'e', 1000, b'one', {'kind': 'x'}, 'text/plain')
        assert witness('record', bucket='b', entry='e', ts=1000) == {
            'ts': 1000, 'entry': 'e', 'size': 3, 'content_type': 'text/plain', 'labels': {'kind': 'x'}, 'content': b'one'.hex(),
            'sha512': sha512(b'one')}
        witness('write', bucket='b', entry='e', ts=2000, content=b'\0\xff'.hex(), labels={'a': 'b'}, content_type='image/png')
        assert server.read('b', 'e', 2000) == Record(2000, b'\0\xff', {'a': 'b'}, 'image/png', 2)
        assert witness('write_batch', bucket='b', entry='e', records=[{'ts': 2000}, {'ts': 3000, 'content': '61'}]).keys() == {'2000'}
        assert [r['ts'] for r in witness('records', bucket='b', entry='e')] == [1000, 2000, 3000]
        assert [e['record_count'] for e in witness('entries', bucket='b')] == [3]
        with pytest.raises(WitnessError) as gone:
            witness('record', bucket='b', entry='e', ts=4000)
        assert gone.value.status == 404
        server.kill()
        with pytest.raises(WitnessError):
            witness('buckets')
        server.start()
        assert 'b' in [b['name'] for b in witness('buckets')]


def test_a_crash_keeps_every_acknowledged_record(server):
    for n in range(200):
        server.write('b', 'e', 1000 + n, b'%d' % n)
    port = server.port
    server.kill()
    with pytest.raises(OSError):
        server.rest('GET', 'info')
    server.start()
    assert server.port == port
    assert [r.content for r in server.records('b', 'e', content=True)] == [b'%d' % n for n in range(200)]


def test_it_goes_on_where_it_was_stopped(server):
    server.write('b', 'e', 1000, b'one')
    first = server.server.pid
    server.restart()
    assert server.server.pid != first and server.read('b', 'e', 1000).content == b'one'


def test_a_paused_one_says_nothing_until_it_may_go_on(server):
    server.pause()
    asked = subprocess.Popen([sys.executable, '-c', f'import urllib.request; urllib.request.urlopen("{server.api}/alive", timeout=60)'])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            asked.wait(0.5)
        server.cont()
        assert asked.wait(60) == 0
    finally:
        server.cont()
        asked.kill()
        asked.wait()


def test_two_at_once_share_neither_port_nor_data(server):
    with Reduct(server.version) as other:
        assert other.port != server.port and other.folder != server.folder
        assert [b['name'] for b in other.rest('GET', 'list')['buckets'] if b['name'][0] != '$'] == []
        with pytest.raises(RestError) as refused:
            other.rest('GET', 'info', token=server.token)
        assert refused.value.status == 401


def test_a_taken_port_is_not_believed(server):
    with Reduct(server.version) as other:
        other.kill()
        other.port = server.port        # as if another had been quicker
        with pytest.raises(RuntimeError, match='does not start'):
            other.start()
    assert server.rest('GET', 'info')['version'] == server.version


def test_settings_reach_it(server):
    with Reduct(server.version, environ={'RS_API_BASE_PATH': '/store/', 'RS_API_TOKEN': None, 'RS_SYSTEM_EVENTS_ENABLED': 'false'}) as other:
        assert other.url.endswith('/store') and other.token is None
        assert other.rest('GET', 'me')['name'] == 'AUTHENTICATION-DISABLED'


def test_a_token_can_less(server):
    server.bucket('mine')
    reader = server.make_token('reader', read=['mine'])
    assert [b['name'] for b in server.rest('GET', 'list', token=reader)['buckets']] == ['mine']
    with pytest.raises(RestError) as refused:
        server.write('mine', 'e', 1000, token=reader)
    assert refused.value.status == 403


def test_it_dies_with_what_started_it():
    try:
        binary()
    except Missing as e:
        pytest.skip(str(e).splitlines()[0])
    script = 'from reduct import Reduct\nimport os, signal\nwith Reduct() as s:\n print(s.server.pid, s.folder, flush=True)\n signal.pause()\n'
    parent = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, text=True,
                              env=dict(os.environ, PYTHONPATH=str(TOP / 'tests/servers')))
    try:
        pid, folder = parent.stdout.readline().split()
    finally:
        parent.kill()
        parent.wait()
    wait_for(lambda: not os.path.exists(f'/proc/{pid}') or open(f'/proc/{pid}/stat').read().split()[2] == 'Z', 'the server is gone')
    run('rm', '-r', folder)


# ---- building it, with a cargo that only plays ----

@pytest.fixture
def build(tmp_path):
    """build(SCRIPT) -> what `reduct.py --build` (or that command) ends with, where cargo is that script; `build.calls` is what it was
    called with."""
    def make(script, *command):
        for name, text in (('cargo', f'echo "$*" >>{tmp_path}/calls\n{script}'), ('rustc', 'echo rustc 1.99.0'), ('protoc', ':'), ('cc', ':')):
            (tmp_path / name).write_text(f'#!/bin/sh\n{text}\n')
            (tmp_path / name).chmod(0o755)
        done = run(sys.executable, *(command or (TOP / 'tests/servers/reduct.py', '--build', '--version', '1.21.5')), check=False,
                   env=dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', XDG_CACHE_HOME=str(tmp_path / 'cache')))
        make.calls = (tmp_path / 'calls').read_text().splitlines()
        return done
    return make


PLACE = 'while [ "$1" != --root ]; do shift; done; mkdir -p "$2/bin" && : >"$2/bin/reductstore"'


def test_a_lock_file_that_cannot_be_had_is_left_out(build):
    done = build('case "$*" in *--locked*) echo \'error: failed to select a version for the requirement `x = "^1"` (locked to 1.0.11)\'; exit 101;; esac\n'
                 + PLACE)
    assert done.returncode == 0 and os.path.exists(done.stdout.strip())
    assert ['--locked' in call for call in build.calls] == [True, False]


def test_what_cannot_be_built_says_why_and_is_not_tried_again_at_once(build):
    for _ in range(2):
        done = build('echo "   Compiling x"; echo "error: could not compile"; exit 101')
        assert done.returncode == 1 and 'ReductStore 1.21.5 cannot be built here: error: could not compile' in done.stderr
    assert len(build.calls) == 1 and '--locked' in build.calls[0]


def test_what_needs_it_is_skipped_then_with_the_reason(build):
    done = build('echo "error: no crates today"; exit 101', '-m', 'pytest', '-c', TOP / 'tests/pytest.ini', TOP / 'tests/backend/test_reduct_sample.py')
    assert done.returncode == 0 and '1 skipped' in done.stdout and 'cannot be built here: error: no crates today\n' in done.stdout, done
