"""The command line as a user meets it: in the background, each bad input one line and its exit status, how a mount ends,
where options and credentials come from, and mount(8)."""
import ctypes
import errno
import http.server
import json
import os
import pty
import pwd
import re
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import tempfile
import termios
import threading
import time
from pathlib import Path

import pytest
from harness import BUILD, PATIENCE, REPORT, SCIFS, wait_for

DONE, USAGE, REACH, MOUNT, PART, OTHER = range(6)
libc = ctypes.CDLL(None, use_errno=True)


class Shell:
    """scifs as it is called from a shell, with a home of its own and none of the developer's configuration."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.home = folder / 'home'
        self.mnt = folder / 'mnt'
        self.home.mkdir()
        self.mnt.mkdir()
        self.env = {k: os.environ[k] for k in ('PATH', 'LANG', 'TMPDIR') if k in os.environ}
        self.env.update(HOME=str(self.home), XDG_CACHE_HOME=str(self.home / 'cache'), XDG_CONFIG_HOME=str(self.home / 'config'),
                        XDG_STATE_HOME=str(self.home / 'state'),
                        ASAN_OPTIONS='detect_leaks=1:abort_on_error=0', UBSAN_OPTIONS='print_stacktrace=1:halt_on_error=1')

    def __call__(self, *words, env=None, **kw):
        done = subprocess.run([str(SCIFS), *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=PATIENCE, env={**self.env, **(env or {})}, cwd=self.folder, **kw)
        assert not REPORT.search(done.stderr), done.stderr
        return done

    def mount(self, *words, source='memory:', **kw):
        done = self('mount', source, self.mnt, *words, **kw)
        assert done.returncode == DONE, done.stderr
        return done

    def refused(self, status, *words, env=None, **kw):
        """It fails with this status and one line, which is returned."""
        done = self(*words, env=env, **kw)
        assert done.returncode == status, f'status {done.returncode}: {done.stderr}'
        assert done.stdout == ''
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith('scifs: '), done.stderr
        assert mounted(self.mnt) <= 1
        return lines[0]

    def config(self, text, mode=0o600):
        path = self.home / 'config/scifs/scifs.conf'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def status(self):
        return json.loads((self.mnt / '.scifs/status.json').read_text())

    def owed(self):
        """What `scifs uploads` lists: name -> state."""
        return {row['name']: row['state'] for row in json.loads(self('uploads', '--json', self.mnt).stdout)}

    def end(self):
        """Unmount; what is still owed is given up."""
        assert self('uploads', 'drop', '--yes', self.mnt, 'all').returncode == DONE
        done = self('umount', '--wait=0', self.mnt)
        assert done.returncode in (DONE, PART), done.stderr

    def options(self):
        return json.loads((self.mnt / '.scifs/config.json').read_text())


def mounted(path):
    """How many file systems lie on it."""
    return sum(line.split()[4].replace('\\040', ' ') == str(path) for line in open('/proc/self/mountinfo'))


def is_gone(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] in 'ZX'
    except FileNotFoundError:
        return True


@pytest.fixture
def sh(tmp_path):
    shell = Shell(tmp_path)
    yield shell
    for path in [Path(line.split()[4].replace('\\040', ' ')) for line in open('/proc/self/mountinfo')]:
        if tmp_path in path.parents:
            subprocess.run(['umount', '-l', str(path)] if os.geteuid() == 0 else ['fusermount3', '-uz', str(path)], check=True)


class NothingHere(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.fixture
def plain():
    """The port of a web server that is no repository."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), NothingHere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture
def nobody_there():
    """A port that refuses: bound, so that nobody else gets it, but not listened to."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        yield s.getsockname()[1]


@pytest.fixture
def tls(tmp_path):
    """(port, certificate) of an https server whose certificate nobody has signed."""
    key, cert = tmp_path / 'key.pem', tmp_path / 'cert.pem'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', str(key), '-out', str(cert), '-days', '2',
                    '-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'], check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), NothingHere)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, cert
    server.shutdown()
    server.server_close()


def as_root():
    return pytest.mark.skipif(os.geteuid() != 0, reason='a namespace of its own for mounts needs root')


# ---- in the background ----

def test_mount_returns_when_the_mount_answers(sh, fuse):
    sh.mount()
    assert mounted(sh.mnt) == 1
    assert (sh.mnt / 'README.txt').read_bytes()
    assert sh('umount', sh.mnt).returncode == DONE


def test_the_background_process_keeps_nothing_of_the_shell(sh, fuse):
    sh.mount()
    pid = sh.status()['pid']
    assert os.readlink(f'/proc/{pid}/cwd') == '/'
    assert [os.readlink(f'/proc/{pid}/fd/{n}') for n in (0, 1, 2)] == ['/dev/null'] * 3
    assert os.getsid(pid) != os.getsid(0)
    sh('umount', sh.mnt)


def test_umount_returns_when_the_process_has_ended(sh, fuse):
    sh.mount()
    pid = sh.status()['pid']
    assert sh('umount', sh.mnt).returncode == DONE
    assert is_gone(pid) and mounted(sh.mnt) == 0


def test_who_ends_the_waiting_command_ends_the_mount_too(sh):
    with socket.create_server(('127.0.0.1', 0)) as mute:       # takes connections, says nothing
        p = subprocess.Popen([str(SCIFS), 'mount', f'girder+http://127.0.0.1:{mute.getsockname()[1]}', str(sh.mnt)], env=sh.env,
                             stderr=subprocess.DEVNULL)
        mute.settimeout(PATIENCE)
        mute.accept()[0].close()                # the background process is at work
        child = wait_for(lambda: Path(f'/proc/{p.pid}/task/{p.pid}/children').read_text().split(), 'the background process')[0]
        p.terminate()
        p.wait(PATIENCE)
        wait_for(lambda: is_gone(child), 'the background process ends with the command')


@pytest.mark.parametrize('sig', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_foreground_unmounts(sh, fuse, sig):
    p = subprocess.Popen([str(SCIFS), 'mount', '-f', 'memory:', str(sh.mnt)], env=sh.env, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: mounted(sh.mnt), 'it is mounted')
    wait_for(lambda: (sh.mnt / 'README.txt').exists(), 'it answers')
    p.send_signal(sig)
    _, err = p.communicate(timeout=PATIENCE)
    assert p.returncode == DONE and not REPORT.search(err), err
    assert mounted(sh.mnt) == 0


def test_a_log_file_is_written_and_only_for_oneself(sh, fuse):
    sh.mount('-o', 'log=the.log,log_level=debug')
    sh('umount', sh.mnt)
    log = sh.folder / 'the.log'
    assert log.stat().st_mode & 0o777 == 0o600
    assert 'memory: is mounted on' in log.read_text() and 'is unmounted from' in log.read_text()


def test_no_core_and_no_environment_can_be_taken_of_it(sh, fuse):
    sh.mount(env={'SCIFS_TOKEN': 'do-not-show-this'})
    pid = sh.status()['pid']
    assert b'do-not-show-this' not in Path(f'/proc/{pid}/environ').read_bytes()
    assert 'Max core file size        0                    0' in Path(f'/proc/{pid}/limits').read_text()
    assert os.stat(f'/proc/{pid}/environ').st_uid == 0          # what is not dumpable belongs to root
    sh('umount', sh.mnt)


# ---- where it cannot be mounted ----

def test_a_missing_mount_point_is_named(sh):
    assert 'nowhere: the mount point does not exist: mkdir it first' in sh.refused(MOUNT, 'mount', 'memory:', sh.folder / 'nowhere')


def test_a_mount_point_that_is_a_file_is_named(sh):
    (sh.folder / 'file').write_text('')
    assert 'file: the mount point is not a directory' in sh.refused(MOUNT, 'mount', 'memory:', sh.folder / 'file')


def test_a_mount_point_that_is_not_empty_is_named(sh):
    (sh.mnt / 'precious').write_text('')
    assert f'{sh.mnt}: the mount point is not empty' in sh.refused(MOUNT, 'mount', 'memory:', sh.mnt)
    assert os.listdir(sh.mnt) == ['precious']


def test_a_second_mount_on_the_same_directory_is_refused(sh, fuse):
    sh.mount()
    assert f'a scifs is mounted there already: scifs umount {sh.mnt}' in sh.refused(MOUNT, 'mount', 'memory:', 'mnt')
    assert mounted(sh.mnt) == 1
    sh('umount', sh.mnt)


def test_a_mount_point_may_have_a_blank(sh, fuse):
    odd = sh.folder / 'my data'
    odd.mkdir()
    assert sh('mount', 'memory:', odd).returncode == DONE
    assert 'mounted there already' in sh.refused(MOUNT, 'mount', 'memory:', odd)
    assert sh('umount', 'my data').returncode == DONE
    assert mounted(odd) == 0


def test_a_dead_mount_of_its_own_is_detached_first(sh, fuse):
    sh.mount()
    pid = sh.status()['pid']
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid), 'it is dead')
    sh.mount()
    assert mounted(sh.mnt) == 1 and (sh.mnt / 'README.txt').read_bytes()
    assert sh('umount', sh.mnt).returncode == DONE


def test_a_dead_mount_can_be_unmounted(sh, fuse):
    sh.mount()
    pid = sh.status()['pid']
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid), 'it is dead')
    assert 'the mount is dead: scifs umount it' in sh.refused(MOUNT, 'status', sh.mnt)
    assert sh('umount', sh.mnt).returncode == DONE
    assert mounted(sh.mnt) == 0


def in_namespace(sh, script, **kw):
    """A shell in a mount namespace of its own."""
    return subprocess.run(['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', script], capture_output=True, text=True,
                          env=sh.env, timeout=PATIENCE, cwd=sh.folder, **kw)


@as_root()
def test_no_dev_fuse_is_named(sh):
    done = in_namespace(sh, f'mount -t tmpfs none /dev; mknod /dev/null c 1 3; exec {SCIFS} mount memory: {sh.mnt}')
    assert done.returncode == MOUNT, done.stderr
    assert done.stderr == 'scifs: /dev/fuse: No such file or directory: modprobe fuse, or ask who runs this machine\n'


@as_root()
def test_a_dev_fuse_that_is_something_else_is_no_mount(sh):
    done = in_namespace(sh, f'mount --bind /dev/null /dev/fuse; exec {SCIFS} mount memory: {sh.mnt}')
    assert done.returncode == MOUNT, done.stderr
    assert done.stderr == 'scifs: /dev/fuse: it is not the device of FUSE: ask who runs this machine\n'


def as_nobody(sh, script):
    """A shell as root in a namespace where everybody may use /dev/fuse; $NOBODY runs a command as one without rights."""
    there = Path(tempfile.mkdtemp(prefix='scifs-cli-', dir='/tmp'))
    try:
        there.chmod(0o755)
        shutil.copy(SCIFS, there / 'scifs')
        for name in ('home', 'mnt'):
            (there / name).mkdir()
            os.chown(there / name, 65534, 65534)
        os.mknod(there / 'fuse', 0o666 | stat.S_IFCHR, os.makedev(10, 229))
        (there / 'fuse').chmod(0o666)
        keep = ' '.join(f'{k}={sh.env[k]}' for k in ('ASAN_OPTIONS', 'UBSAN_OPTIONS'))
        prefix = f'setpriv --reuid %d --regid %d --clear-groups env -i PATH={there}:/usr/bin:/bin HOME={there}/home {keep}'
        done = subprocess.run(['unshare', '--mount', '--propagation', 'private', 'sh', '-c',
                               f'NOBODY="{prefix % (65534, 65534)}"; OTHER="{prefix % (65533, 65533)}"; mount --bind fuse /dev/fuse\n{script}'],
                              capture_output=True, text=True, timeout=PATIENCE, cwd=there)
        assert not REPORT.search(done.stderr), done.stderr
        return done.stdout, done.stderr.replace(str(there) + '/', '')
    finally:
        shutil.rmtree(there, ignore_errors=True)        # a process that ends may be quicker


@as_root()
def test_a_user_without_rights_mounts_and_unmounts(sh, fuse):
    out, err = as_nobody(sh, '''
        $NOBODY scifs mount memory: mnt && $NOBODY cat mnt/empty.dat && stat -c %u mnt 2>/dev/null; $NOBODY stat -c %u mnt
        $NOBODY scifs umount mnt; echo $?; grep -c "$PWD/mnt" /proc/self/mountinfo''')
    assert (out, err) == ('65534\n0\n0\n', '')


@as_root()
def test_the_mount_of_somebody_else_is_left_alone(sh, fuse):
    out, err = as_nobody(sh, '$NOBODY scifs mount memory: mnt; $OTHER scifs umount $PWD/mnt; echo $?; $NOBODY scifs umount mnt; echo $?')
    assert out == '3\n0\n'
    assert err == 'scifs: mnt: it is the mount of user 65534: only that user and root may end it\n'


@as_root()
def test_root_ends_the_mount_of_a_user_and_says_that_it_may_not_ask(sh, fuse):
    out, err = as_nobody(sh, '$NOBODY scifs mount memory: mnt; ./scifs umount mnt; echo $?; grep -c "$PWD/mnt" /proc/self/mountinfo')
    assert out == '0\n0\n'
    assert err == 'scifs: mnt: Permission denied: what it owes is not known\n'


@as_root()
def test_what_a_user_without_rights_lacks_is_named(sh, fuse):
    home = pwd.getpwuid(65534).pw_dir
    if os.path.exists(home):
        pytest.skip(f'nobody has a home here: {home}')
    out, err = as_nobody(sh, '''
        $OTHER scifs mount memory: mnt
        mkdir -p home/.config/scifs; touch home/.config/scifs/scifs.conf; chmod 600 home/.config/scifs/scifs.conf
        $NOBODY scifs mount memory: mnt
        rm home/.config/scifs/scifs.conf
        $NOBODY env -u HOME scifs mount memory: mnt -o 'log=~/log'
        mount --bind /dev/null /etc/fuse.conf
        $NOBODY scifs mount memory: mnt -o allow_other
        mount --bind /dev/null /usr/bin/fusermount3
        $NOBODY scifs mount memory: mnt''')
    assert out == '' and err.splitlines() == [
        'scifs: mnt: the mount point must be a directory that you may write to: Permission denied',
        'scifs: home/.config/scifs/scifs.conf: it cannot be read: Permission denied',
        f'scifs: {home}/log: the log cannot be written: No such file or directory',
        'scifs: option allow_other: root must put the line user_allow_other into /etc/fuse.conf first',
        'scifs: fusermount3 is missing: install fuse3, or mount as root']


@as_root()
def test_an_unprivileged_user_is_told_of_dev_fuse(sh):
    if os.stat('/dev/fuse').st_mode & 0o6:
        pytest.skip('everybody may use /dev/fuse here')
    reachable = Path(f'/tmp/scifs-cli-{os.getpid()}')
    reachable.mkdir(mode=0o777)
    try:
        shutil.copy(SCIFS, reachable / 'scifs')
        (reachable / 'mnt').mkdir()
        os.chown(reachable / 'mnt', 65534, 65534)
        done = subprocess.run([str(reachable / 'scifs'), 'mount', 'memory:', str(reachable / 'mnt')], user=65534, group=65534,
                              capture_output=True, text=True, timeout=PATIENCE, env={'PATH': sh.env['PATH']})
        assert done.returncode == MOUNT and 'scifs: /dev/fuse: Permission denied: ask who runs this machine' in done.stderr
    finally:
        shutil.rmtree(reachable)


# ---- options and configuration ----

def test_each_bad_word_is_named(sh):
    cases = [
        (['mount'], 'SOURCE is missing'),
        (['mount', 'memory:'], 'DIR is missing'),
        (['mount', 'memory:', 'mnt', 'more'], 'not also "more"'),
        (['mount', 'memory:', 'mnt', '-q'], 'there is no flag "-q"'),
        (['mount', 'memory:', 'mnt', '-o'], '-o needs options'),
        (['mount', 'memory:', 'mnt', '-o', 'tll=1s'], 'there is no option "tll": did you mean "ttl"?'),
        (['mount', 'memory:', 'mnt', '--read-prat=1M'], 'did you mean "read_part"?'),
        (['mount', 'memory:', 'mnt', '-o', 'ttl=soon'], 'option ttl is "soon" but should be a time'),
        (['mount', 'memory:', 'mnt', '-o', 'items=dir'], 'option items is of girder: it says nothing to memory:'),
        (['mount', 'memory:', 'mnt', '-o', 'fsync=never'], 'option fsync is "never" but should be remote|local'),
        (['mount', 'memory:', 'mnt', '-o', 'ca=/nowhere/ca.pem'], '/nowhere/ca.pem: the certificates of option ca cannot be read'),
        (['mount', 'memory:', 'mnt', '-o', 'log=/nowhere/log'], '/nowhere/log: the log cannot be written'),
        (['mount', 'memory:?fiels=3', 'mnt'], 'there is no word "fiels"'),
        (['mount', 'what-is-this', 'mnt'], 'what-is-this: not a source'),
        (['mount', 'girder+ftp://x', 'mnt'], 'girder+ftp://x'),
        (['umont', 'mnt'], 'there is no command "umont": did you mean "umount"?'),
        (['umount'], 'scifs umount [--wait=TIME] DIR'),
        (['umount', '--wait=soon', 'mnt'], '--wait= needs a time'),
        (['sync'], 'scifs sync PATH'),
        (['uploads'], 'DIR is missing'),
        (['uploads', 'retry'], 'DIR is missing'),
        (['uploads', 'retry', 'mnt'], 'which one is missing'),
        (['uploads', 'drop', 'mnt', 'x'], 'an ID of the list or all is wanted, not "x"'),
        (['uploads', 'list', 'mnt', '1'], 'not also "1"'),
        (['uploads', '--jsno', 'mnt'], 'there is no flag "--jsno"'),
        (['status', '--jsno', 'mnt'], 'there is no flag "--jsno"'),
        (['version', 'x'], 'version'),
        ([], 'a command is missing'),
    ]
    for words, says in cases:
        assert says in sh.refused(USAGE, *words)


def test_what_is_repeated_of_bad_input_cannot_steer_the_terminal(sh):
    for words in (['mount', 'bad\x1b[31m', 'mnt'], ['mount', 'memory:', 'mnt', '-o', 'x\x1b]0;title\x07y'], ['st\x1b[2Jatus'], ['umount', 'a\nb']):
        done = sh(*words)
        assert done.returncode in (USAGE, MOUNT)
        assert re.fullmatch(r'scifs: [ -~]+\n', done.stderr), done.stderr


@pytest.mark.parametrize('words', [['-o', 'token=abcdefgh'], ['--token=abcdefgh'], ['--api-key=abcdefgh'], ['-opassword=abcdefgh'],
                                   ['--header=X-Gate: abcdefgh']])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(sh, words):
    line = sh.refused(USAGE, 'mount', 'memory:', 'mnt', *words)
    assert 'does not belong on a command line' in line and 'abcdefgh' not in line


def test_a_password_in_the_source_is_refused_and_not_repeated(sh):
    line = sh.refused(USAGE, 'mount', 'girder+https://me:abcdefgh@host.invalid', 'mnt')
    assert 'abcdefgh' not in line and 'use -o credentials=FILE' in line


def test_a_broken_configuration_is_named_with_its_line(sh):
    path = sh.config('ttl = 5s\n\n[memory:]\nttl\n')
    assert f'{path}:4: ' in sh.refused(USAGE, 'mount', 'memory:', 'mnt')
    sh.config('ttl = 5s\nmemroy = 64M\n')
    assert f'{path}:2: there is no option "memroy": did you mean "memory"?' in sh.refused(USAGE, 'mount', 'memory:', 'mnt')


def test_a_configuration_that_cannot_be_read_is_named(sh):
    path = sh.home / 'config/scifs/scifs.conf'
    path.mkdir(parents=True)
    assert f'{path}: ' in sh.refused(USAGE, 'mount', 'memory:', 'mnt')


def test_a_configuration_with_a_secret_that_others_may_read_is_refused(sh):
    path = sh.config('[memory:]\ntoken = abcdefgh\n', 0o644)
    line = sh.refused(USAGE, 'mount', 'memory:', 'mnt')
    assert f'chmod 600 {path}' in line and 'abcdefgh' not in line


def test_a_credentials_file_that_others_may_read_is_refused(sh):
    (sh.folder / 'key').write_text('api_key = abcdefgh\n')
    (sh.folder / 'key').chmod(0o640)
    line = sh.refused(USAGE, 'mount', 'memory:', 'mnt', '-o', 'credentials=key')
    assert f'chmod 600 {sh.folder}/key' in line and 'abcdefgh' not in line


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(sh, fuse):
    sh.config('ttl = 11s\nlist_ttl = 11s\nnegative_ttl = 11s\n[memory:]\nlist_ttl = 12s\n')
    sh.mount('-o', 'ttl=33s', env={'SCIFS_TTL': '22s', 'SCIFS_LIST_TTL': '22s'})
    o = sh.options()
    sh('umount', sh.mnt)
    assert (o['ttl'], o['list_ttl'], o['negative_ttl'], o['soft_wait']) == ('33s', '22s', '11s', '1s')


def test_a_profile_names_a_source(sh, fuse):
    sh.config('[mine]\nsource = memory:?files=3\nttl = 12s\n')
    sh.mount('--show-control', source='mine')
    names, options = os.listdir(sh.mnt), sh.options()
    sh('umount', sh.mnt)
    assert len(names) == 4 and '.scifs' in names
    assert options['ttl'] == '12s'


# ---- servers ----

def test_a_refused_port_is_named(sh, nobody_there):
    for source in (f'http://127.0.0.1:{nobody_there}', f'girder+http://127.0.0.1:{nobody_there}'):
        assert f'http://127.0.0.1:{nobody_there}: cannot be reached: ' in sh.refused(REACH, 'mount', source, 'mnt')


def test_a_host_that_is_not_there_is_named(sh):
    assert 'https://no.such.host.invalid: cannot be reached: ' in sh.refused(REACH, 'mount', 'girder+https://no.such.host.invalid', 'mnt')


def test_a_server_of_no_known_kind_is_named(sh, plain):
    assert f'http://127.0.0.1:{plain}: no repository of a known kind answers there' in sh.refused(REACH, 'mount', f'http://127.0.0.1:{plain}', 'mnt')
    assert f'http://127.0.0.1:{plain}: no Girder answers there' in sh.refused(REACH, 'mount', f'girder+http://127.0.0.1:{plain}', 'mnt')


def test_a_certificate_that_nobody_signed_is_refused_until_it_is_trusted(sh, tls):
    port, cert = tls
    source = f'girder+https://127.0.0.1:{port}'
    assert 'certificate' in sh.refused(REACH, 'mount', source, 'mnt')
    for option in (f'ca={cert.name}', 'insecure'):
        assert 'no Girder answers there' in sh.refused(REACH, 'mount', source, 'mnt', '-o', option)


def test_https_to_a_port_that_speaks_none_is_named(sh, plain):
    assert 'does this port speak https?' in sh.refused(REACH, 'mount', f'girder+https://127.0.0.1:{plain}', 'mnt')


def test_a_plain_address_is_asked_what_it_is(sh, girder):
    sh.mount(source=girder.server.url)
    assert sh.status()['backend'] == 'girder'
    sh('umount', sh.mnt)


def test_a_wrong_login_is_named(sh, girder):
    source = girder.source
    for env, says in (({'SCIFS_TOKEN': 'not-a-token-at-all'}, 'the token is unknown or has expired'),
                      ({'SCIFS_API_KEY': 'not-a-key-at-all'}, 'the API key is wrong or disabled'),
                      ({'SCIFS_USER': 'admin', 'SCIFS_PASSWORD': 'not-the-password'}, 'the name or the password is wrong')):
        line = sh.refused(REACH, 'mount', source, 'mnt', env=env)
        assert says in line and 'not-a' not in line and 'not-the' not in line


def test_a_path_that_is_not_there_is_named(sh, girder):
    line = sh.refused(REACH, 'mount', f'{girder.source}/collection/Nowhere', 'mnt', env=girder.env)
    assert 'there is no /collection/Nowhere' in line


def test_each_way_to_log_in_works(sh, girder):
    key = sh.folder / 'key'
    key.touch(0o600)
    key.write_text(f'api_key = {girder.server.api_key}\n')
    ways = [(['-o', 'credentials=key'], {}), ([], {'SCIFS_TOKEN': girder.server.admin_token}), ([], {'SCIFS_API_KEY': girder.server.api_key}),
            ([], {'SCIFS_USER': 'admin', 'SCIFS_PASSWORD': 'secret1'})]
    for words, env in ways:
        sh.mount(*words, source=girder.source, env=env)
        identity = sh.status()['identity']
        sh('umount', sh.mnt)
        assert identity.startswith('user/'), (words, identity)
    sh.config(f'[{girder.server.url}]\napi_key = {girder.server.api_key}\n')
    sh.mount(source=girder.source)
    assert sh.status()['identity'].startswith('user/')
    assert girder.server.api_key not in (sh.mnt / '.scifs/config.json').read_text()
    sh('umount', sh.mnt)


def echoes(fd):
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)


def on_terminal(sh, words, answer, env, question=None):
    """Run it on a terminal of its own; answers the first question: this one, or one whose answer is not shown; None: there is none.
    (exit status, what was shown, whether the terminal echoes then)"""
    pid, fd = pty.fork()
    if pid == 0:
        termios.tcsetwinsize(0, (24, 500))      # wide enough for the mount's path, wherever that is
        os.execve(SCIFS, [str(SCIFS), *map(str, words)], {**sh.env, **env})
    shown, answered, end = b'', False, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not select.select([fd], [], [], 1)[0]:
            continue
        try:
            piece = os.read(fd, 4096)
        except OSError:         # its last process has let go of the terminal
            break
        if not piece:
            break
        shown += piece
        if answer and not answered and (question or b': ') in shown:
            if not question:
                wait_for(lambda: not echoes(fd), 'nothing is shown of what is typed')
            os.write(fd, answer)
            answered = True
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    echo = echoes(fd)
    os.close(fd)
    return status, shown.decode(), echo


def test_a_missing_password_is_asked_for_on_a_terminal(sh, girder):
    status, shown, echo = on_terminal(sh, ['mount', girder.source, sh.mnt], b'secret1\n', {'SCIFS_USER': 'admin'})
    assert status == DONE and echo, shown
    assert 'Password of admin' in shown and 'secret1' not in shown
    assert sh.status()['identity'].startswith('user/')
    sh('umount', sh.mnt)


@pytest.mark.parametrize('answer, status', [(b'\x03', -signal.SIGINT), (b'\n', REACH)], ids=['Ctrl-C', 'nothing'])
def test_a_question_that_is_not_answered_leaves_the_terminal_as_it_was(sh, nobody_there, answer, status):
    ended, shown, echo = on_terminal(sh, ['mount', f'girder+http://127.0.0.1:{nobody_there}', sh.mnt], answer, {'SCIFS_USER': 'me'})
    assert ended == status and echo, shown
    assert 'Password of me at' in shown


def test_a_missing_password_without_a_terminal_is_named(sh, nobody_there):
    line = sh.refused(REACH, 'mount', f'girder+http://127.0.0.1:{nobody_there}', 'mnt', env={'SCIFS_USER': 'me'}, start_new_session=True)
    assert f'me at http://127.0.0.1:{nobody_there}: a user without a password' in line and 'SCIFS_PASSWORD' in line


def test_a_header_goes_with_each_request(sh, tmp_path):
    seen = []

    class Gate(NothingHere):
        def do_GET(self):
            seen.append((self.path, self.headers['X-Gate']))
            self.send_error(404)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Gate)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f'http://127.0.0.1:{server.server_port}'
        sh.config(f'[{url}]\nheader = X-Gate: open sesame\n')
        sh.refused(REACH, 'mount', f'girder+{url}', 'mnt')
        assert seen and all(gate == 'open sesame' for _, gate in seen), seen
        sh.config('[http://127.0.0.1:1]\nheader = X-Gate: open sesame\n')
        seen.clear()
        sh.refused(REACH, 'mount', f'girder+{url}', 'mnt')
        assert seen and all(gate is None for _, gate in seen), seen
    finally:
        server.shutdown()
        server.server_close()


def test_neither_log_nor_controls_nor_proc_hold_a_secret(sh, girder):
    key = girder.server.api_key
    sh.config(f'[{girder.server.url}]\napi_key = {key}\nheader = X-Gate: open-sesame\n')
    sh.mount('-o', f'log=the.log,log_level=debug', source=girder.source)
    pid = sh.status()['pid']
    text = ''.join((sh.mnt / '.scifs' / n).read_text() for n in ('config.json', 'server.json', 'status.json', 'errors', 'events', 'stats'))
    text += ''.join(Path(f'/proc/{pid}/{n}').read_text(errors='replace') for n in ('cmdline', 'environ', 'mountinfo'))
    assert os.listdir(sh.mnt / 'collection')
    sh('umount', sh.mnt)
    log = (sh.folder / 'the.log').read_text()
    assert 'http: GET' in log and '/api_key/token' in log
    for secret in (key, 'open-sesame'):
        assert secret not in log and secret not in text


# ---- the other commands ----

def test_umount_of_what_is_no_scifs_leaves_it_alone(sh):
    assert 'nothing is mounted there' in sh.refused(MOUNT, 'umount', sh.mnt)
    assert 'what is mounted there is no scifs' in sh.refused(MOUNT, 'umount', '/proc')
    assert os.path.exists('/proc/self')


def test_umount_names_who_keeps_it_busy(sh, fuse):
    sh.mount()
    with open(sh.mnt / 'README.txt'):
        line = sh.refused(MOUNT, 'umount', sh.mnt)
        assert f'in use by {os.getpid()} (' in line
    assert sh('umount', sh.mnt).returncode == DONE


def test_umount_does_not_wait_for_a_file_that_is_being_written(sh, fuse):
    sh.mount()
    with open(sh.mnt / 'new.txt', 'wb', buffering=0) as f:
        f.write(b'1')
        assert f'in use by {os.getpid()} (' in sh.refused(MOUNT, 'umount', sh.mnt)
        assert f.write(b'2')
    assert (sh.mnt / 'new.txt').read_bytes() == b'12'
    assert sh('umount', sh.mnt).returncode == DONE


def test_refresh_and_status_touch_nothing_that_is_no_scifs(sh):
    (sh.folder / 'file').write_text('')
    assert 'it is not in a scifs mount' in sh.refused(MOUNT, 'refresh', 'file')
    assert 'it is not in a scifs mount' in sh.refused(MOUNT, 'status', '.')
    assert os.listxattr(sh.folder / 'file') == []


def test_status_tells_what_the_mount_is(sh, fuse):
    sh.mount()
    text = sh('status', sh.mnt).stdout
    as_json = json.loads(sh('status', '--json', sh.mnt).stdout)
    sh('umount', sh.mnt)
    assert re.search(rf'^mountpoint +{re.escape(str(sh.mnt))}$', text, re.M)
    assert as_json['source'] == 'memory:' and as_json['state'] == 'connected'


def test_refresh_shows_what_has_changed(sh, girder):
    folder = girder.server.make_folder(girder.ids['sample'], f'refresh-{os.getpid()}', 'collection')
    sh.mount('-o', 'ttl=1h,list_ttl=1h,negative_ttl=1h', source=girder.source, env=girder.env)
    there = sh.mnt / 'collection/Sample' / f'refresh-{os.getpid()}'
    assert os.listdir(there) == []
    girder.server.make_folder(folder, 'new')
    assert os.listdir(there) == []
    assert sh('refresh', there).returncode == DONE
    assert os.listdir(there) == ['new']
    sh('umount', sh.mnt)


# ---- what is owed ----

STUCK = 'memory:?fail=stuck.dat:EHOSTDOWN'      # its upload never gets through, and is tried again and again


@pytest.fixture
def kept(sh):
    """A source whose content outlives the mount."""
    return f'memory:?store={sh.folder}/store'


def test_uploads_lists_what_is_owed_and_sync_waits_for_it(sh, fuse):
    sh.mount('-o', 'quiet=1h')
    assert sh('uploads', sh.mnt).stdout == 'nothing is owed\n'
    (sh.mnt / 'nested/not public/new.txt').write_text('12345')
    (sh.mnt / 'other.txt').write_text('1')
    (sh.mnt / '.DS_Store').write_text('never leaves')
    lines = sh('uploads', sh.mnt).stdout.splitlines()
    assert lines[0].split() == ['ID', 'STATE', 'SIZE', 'SENT', 'NAME'] and len(lines) == 3
    assert len(sh('uploads', 'list', sh.mnt / 'nested').stdout.splitlines()) == 2
    assert re.search(r' queued +5 B +0 B +/nested/not public/new.txt$', '\n'.join(lines), re.M)
    assert re.search(r'^uploads +2 files \(6 B\); room for ', sh('status', sh.mnt).stdout, re.M)
    assert sh('sync', sh.mnt / 'nested').returncode == DONE
    assert sh.owed() == {'other.txt': 'queued'}
    assert sh('sync', sh.mnt).returncode == DONE
    assert sh.owed() == {}
    assert sh('umount', sh.mnt).returncode == DONE


def test_what_was_refused_is_named_tried_again_and_given_up(sh, fuse):
    sh.mount('-o', 'quiet=0', source='memory:?refuse=once.txt:EDQUOT:1&refuse=never.txt:EACCES')
    (sh.mnt / 'once.txt').write_text('1')
    (sh.mnt / 'never.txt').write_text('1')
    done = sh('sync', sh.mnt)
    assert done.returncode == PART and '  /once.txt: refused' in done.stderr and '  /never.txt: refused' in done.stderr
    assert re.search(r'refused .* /never.txt: refused on demand$', sh('uploads', sh.mnt).stdout, re.M)
    assert sh('uploads', 'retry', sh.mnt, 'all').returncode == DONE
    wait_for(lambda: sh.owed() == {'never.txt': 'refused'}, 'one lands, the other is refused again')
    assert 'it wants --yes' in sh.refused(USAGE, 'uploads', 'drop', sh.mnt, 'all')
    number = json.loads(sh('uploads', '--json', sh.mnt).stdout)[0]['id']
    assert f'there is no upload {number + 1}' in sh.refused(OTHER, 'uploads', 'drop', '--yes', sh.mnt, number + 1)
    status, shown, _ = on_terminal(sh, ['uploads', 'drop', sh.mnt, number], b'n\n', {}, b'[y/N] ')
    assert status == DONE and '/never.txt' in shown and sh.owed() == {'never.txt': 'refused'}
    status, shown, _ = on_terminal(sh, ['uploads', 'drop', sh.mnt, number], b'y\n', {}, b'[y/N] ')
    assert status == DONE and sh.owed() == {}
    assert sorted(n for n in os.listdir(sh.mnt) if n in ('once.txt', 'never.txt')) == ['once.txt']
    assert sh('umount', sh.mnt).returncode == DONE


def test_umount_does_not_wait_for_what_was_refused_and_names_it(sh, fuse):
    sh.mount('-o', 'quiet=0', source='memory:?refuse=never.txt:EACCES')
    (sh.mnt / 'never.txt').write_text('1')
    wait_for(lambda: sh.owed() == {'never.txt': 'refused'}, 'it is refused')
    done = sh('umount', sh.mnt)
    assert done.returncode == PART and mounted(sh.mnt) == 0
    assert f'1 refused and kept in {sh.home}/state/scifs' in done.stderr and '  /never.txt: refused' in done.stderr
    sh.mount()                                  # where nobody refuses it any more
    assert sh.owed() == {'never.txt': 'refused'} and (sh.mnt / 'never.txt').read_text() == '1'
    sh.end()


def test_interrupted_waiting_leaves_the_mount_and_names_what_is_owed(sh, fuse):
    sh.mount('-o', 'quiet=0', source=STUCK)
    (sh.mnt / 'stuck.dat').write_bytes(b'x' * 2048)
    for words in (['sync', sh.mnt], ['umount', sh.mnt]):
        p = subprocess.Popen([str(SCIFS), *map(str, words)], env=sh.env, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: int(re.search(r'SigCgt:\s*(\w+)', Path(f'/proc/{p.pid}/status').read_text())[1], 16) & 2, 'it waits')
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=PATIENCE)
        assert p.returncode == PART and 'still owed' in err and re.search('  /stuck.dat: (queued|uploading), 2.0 KiB', err), err
        assert mounted(sh.mnt) == 1 and (sh.mnt / 'stuck.dat').stat().st_size == 2048
    sh.end()


def test_umount_with_the_server_gone_ends_after_its_limit_and_keeps_all(sh, fuse, kept):
    sh.mount('-o', 'quiet=0', source=kept + '&fail=stuck.dat:EHOSTDOWN')
    (sh.mnt / 'stuck.dat').write_text('precious')
    pid = sh.status()['pid']
    done = sh('umount', '--wait=100ms', sh.mnt)
    assert done.returncode == PART and mounted(sh.mnt) == 0 and is_gone(pid)
    assert f'1 file (8 B) not sent, kept in {sh.home}/state/scifs' in done.stderr and '  /stuck.dat: ' in done.stderr
    sh.mount(source=kept)
    assert (sh.mnt / 'stuck.dat').read_text() == 'precious'
    assert sh('umount', sh.mnt).returncode == DONE              # the server is back
    assert [p.read_text() for p in (sh.folder / 'store').glob('*.data')] == ['precious']


def test_umount_waits_and_shows_what_is_left(sh, fuse):
    sh.mount('-o', 'quiet=1h', source='memory:?updelay=6s')
    (sh.mnt / 'new.txt').write_text('12345')
    status, shown, _ = on_terminal(sh, ['umount', sh.mnt], None, {})
    assert status == DONE and mounted(sh.mnt) == 0
    assert f'{sh.mnt}: 1 file (5 B)' in shown


@pytest.mark.parametrize('how', ['SIGTERM', 'fusermount3'])
def test_an_unmounted_process_sends_what_is_owed(sh, fuse, kept, how):
    sh.mount('-o', 'quiet=1h', source=kept)
    (sh.mnt / 'new.txt').write_text('12345')
    pid = sh.status()['pid']
    if how == 'SIGTERM':
        os.kill(pid, signal.SIGTERM)
    else:
        subprocess.run(['fusermount3', '-u', str(sh.mnt)], check=True, timeout=PATIENCE)
    wait_for(lambda: is_gone(pid), 'the process ends')
    assert mounted(sh.mnt) == 0
    assert [p.read_text() for p in (sh.folder / 'store').glob('*.data')] == ['12345']


def test_a_second_signal_ends_the_sending_and_all_is_kept(sh, fuse):
    p = subprocess.Popen([str(SCIFS), 'mount', '-f', STUCK, str(sh.mnt), '-o', 'quiet=0'], env=sh.env, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: mounted(sh.mnt), 'it is mounted')
    (sh.mnt / 'stuck.dat').write_text('precious')
    p.send_signal(signal.SIGTERM)
    wait_for(lambda: mounted(sh.mnt) == 0, 'it is unmounted')
    assert p.poll() is None
    p.send_signal(signal.SIGTERM)
    _, err = p.communicate(timeout=PATIENCE)
    assert p.returncode == PART and not REPORT.search(err), err
    assert f'still owed to {STUCK}: they are kept in {sh.home}/state/scifs' in err
    sh.mount(source=STUCK)
    assert (sh.mnt / 'stuck.dat').read_text() == 'precious'
    sh.end()


def test_two_mounts_of_one_source_both_write(sh, fuse, kept):
    other = sh.folder / 'other'
    other.mkdir()
    sh.mount('-o', 'quiet=1h', source=kept)
    assert sh('mount', kept, other, '-o', 'quiet=1h').returncode == DONE
    (sh.mnt / 'mine.txt').write_text('mine')
    (other / 'theirs.txt').write_text('theirs')
    assert sh.owed() == {'mine.txt': 'queued'}                  # each has its own
    assert sh('umount', other).returncode == DONE
    assert sh('refresh', sh.mnt).returncode == DONE
    assert (sh.mnt / 'theirs.txt').read_text() == 'theirs'
    assert sh('umount', sh.mnt).returncode == DONE
    assert sorted(p.read_text() for p in (sh.folder / 'store').glob('*.data')) == ['mine', 'theirs']


def test_a_mount_whose_process_hangs_does_not_hang_umount(sh, fuse):
    sh.mount()
    pid = sh.status()['pid']
    os.kill(pid, signal.SIGSTOP)
    try:
        done = sh('umount', sh.mnt)
        assert 'its process does not answer: what it owes is not known' in done.stderr
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid), 'it is dead')


def test_a_read_only_mount_refuses_every_change(sh, fuse):
    sh.mount('-o', 'ro')
    file, folder = sh.mnt / 'README.txt', sh.mnt / 'tables'
    changes = {
        'open': lambda: open(file, 'r+'), 'create': lambda: open(sh.mnt / 'new', 'x'), 'mkdir': lambda: (sh.mnt / 'new').mkdir(),
        'unlink': lambda: file.unlink(), 'rename': lambda: file.rename(sh.mnt / 'new'), 'truncate': lambda: os.truncate(file, 0),
        'chmod': lambda: file.chmod(0o600), 'utime': lambda: os.utime(file), 'rmdir': lambda: folder.rmdir(),
        'symlink': lambda: (sh.mnt / 'new').symlink_to('https://example.org'), 'setxattr': lambda: os.setxattr(file, 'user.memory.meta.a', b'1'),
    }
    for name, change in changes.items():
        with pytest.raises(OSError) as e:
            change()
        assert e.value.errno == errno.EROFS, name
    assert sh('uploads', sh.mnt).stdout == 'nothing is owed\n' and sh('sync', sh.mnt).returncode == DONE
    assert sh('umount', sh.mnt).returncode == DONE
    assert not (sh.home / 'state').exists()


def test_a_state_directory_that_cannot_be_used_is_named_with_the_ways_on(sh, fuse):
    (sh.folder / 'file').write_text('')
    line = sh.refused(MOUNT, 'mount', 'memory:', 'mnt', '-o', 'state=file')
    assert f'{sh.folder}/file' in line and '-o state=DIR' in line and '-o ro' in line
    sh.mount('-o', 'state=file,ro')
    assert sh('umount', sh.mnt).returncode == DONE


def test_the_journal_of_a_newer_release_is_left_alone(sh, fuse):
    sh.mount()
    assert sh('umount', sh.mnt).returncode == DONE
    journals = [p for p in (sh.home / 'state').rglob('*') if p.is_file() and p.read_bytes()[:6] == b'SQLite']
    assert journals
    for path in journals:
        with sqlite3.connect(path) as db:
            db.execute('PRAGMA user_version = 1000')
        db.close()
    before = {p: p.read_bytes() for p in journals}
    assert 'newer' in sh.refused(MOUNT, 'mount', 'memory:', 'mnt')
    assert {p: p.read_bytes() for p in journals} == before


# ---- mount(8), umount(8), fusermount3, descriptors ----

def test_fusermount3_ends_a_mount(sh, fuse):
    sh.mount()
    pid = sh.status()['pid']
    subprocess.run(['fusermount3', '-u', str(sh.mnt)], check=True, timeout=PATIENCE)
    wait_for(lambda: is_gone(pid), 'the process ends')
    assert mounted(sh.mnt) == 0


@as_root()
def test_a_mount_handed_down_as_a_descriptor_is_served(sh, fuse):
    fd = os.open('/dev/fuse', os.O_RDWR)
    assert libc.mount(b'memory', str(sh.mnt).encode(), b'fuse.scifs', 2 | 4,
                      f'fd={fd},rootmode=40000,user_id=0,group_id=0,default_permissions'.encode()) == 0, os.strerror(ctypes.get_errno())
    done = sh('mount', 'memory:', f'/dev/fd/{fd}', pass_fds=[fd])
    os.close(fd)
    assert done.returncode == DONE, done.stderr
    assert (sh.mnt / 'README.txt').read_bytes()
    assert sh('umount', sh.mnt).returncode == DONE


def test_a_descriptor_that_is_not_there_is_named(sh):
    assert '/dev/fd/77: there is no such descriptor' in sh.refused(MOUNT, 'mount', 'memory:', '/dev/fd/77')
    with open('/dev/zero') as zero:
        n = zero.fileno()
        assert f'/dev/fd/{n}: this descriptor is not /dev/fuse' in sh.refused(MOUNT, 'mount', 'memory:', f'/dev/fd/{n}', pass_fds=[n])


def with_helper(sh, script):
    """A shell whose /sbin has this build's mount.scifs: mount(8) looks nowhere else."""
    farm = sh.folder / 'sbin'
    farm.mkdir()
    real = os.path.realpath('/sbin')
    for name in os.listdir(real):
        (farm / name).symlink_to(f'{sh.folder}/real/{name}')
    (sh.folder / 'real').mkdir()
    if not (farm / 'mount.scifs').is_symlink():
        (farm / 'mount.scifs').symlink_to(BUILD / 'mount-helpers/mount.scifs')
    # mount(8) lets its helper see neither PATH nor HOME.
    return in_namespace(sh, f'''mount --bind {real} real; mount --bind sbin {real}
        mount -t tmpfs none /usr/local/bin; ln -s {SCIFS} /usr/local/bin/scifs
        {script}''')


@as_root()
def test_a_line_of_fstab_mounts_and_umount_ends_it(sh, fuse):
    (sh.folder / 'fstab').write_text(f'memory: {sh.mnt} scifs noauto,nofail,_netdev,x-systemd.automount,allow_other,uid=1234,ttl=7s 0 0\n')
    done = with_helper(sh, f'''
        mount -T fstab {sh.mnt}
        cat mnt/README.txt >/dev/null
        stat -c %u mnt/README.txt
        cat mnt/.scifs/config.json
        pid=$(sed 's/.*"pid": //; s/,.*//' mnt/.scifs/status.json)
        umount {sh.mnt}
        for i in $(seq 500); do [ -d /proc/$pid ] || break; sleep 0.1; done
        [ ! -d /proc/$pid ] && ! mountpoint -q {sh.mnt} && echo ended''')
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == '1234' and lines[-1] == 'ended'
    assert '"ttl": "7s"' in lines[1] and '"allow_other": "yes"' in lines[1]


@as_root()
def test_mount_t_scifs_passes_on_why_it_failed(sh, fuse):
    done = with_helper(sh, f'mount -t scifs memory: {sh.mnt} -o tll=1s || echo status $?')
    assert done.stdout == 'status 1\n'
    assert 'there is no option "tll": did you mean "ttl"?' in done.stderr


@as_root()
def test_findmnt_and_df_name_the_source(sh, fuse):
    sh.mount()
    assert subprocess.run(['findmnt', '-no', 'SOURCE,FSTYPE', str(sh.mnt)], capture_output=True, text=True).stdout.split() == ['memory:', 'fuse.scifs']
    assert subprocess.run(['df', '--output=source', str(sh.mnt)], capture_output=True, text=True).stdout.split()[1] == 'memory:'
    sh('umount', sh.mnt)
