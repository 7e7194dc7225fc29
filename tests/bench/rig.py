"""What the jobs stand on: servers, mounts, the memory of mounted programs, caches made cold. Everything that is started here
is ended here, and every wait has an end."""
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(TOP / 'tests/servers'), str(TOP / 'tests/faults')]
from girder import Girder  # noqa: E402
from reduct import Missing, Reduct, can_build  # noqa: E402
from relay import RelayProcess  # noqa: E402

MIB = 1 << 20
BUDGET = 256 * MIB              # scifs's default; said aloud, so that a small machine's default is not measured by chance
OVER_BUDGET = 64 * MIB
MOUNT_SECONDS = 60              # to get up
LIFE_SECONDS = 600              # a mount that lives longer hangs: it is cut off
libc = ctypes.CDLL(None)


class Unavailable(Exception):
    """This machine lacks something; the text says what."""


def die_with_parent():
    libc.prctl(1, signal.SIGKILL)       # PR_SET_PDEATHSIG


def run(command, timeout=600, **kw):
    return subprocess.run([str(c) for c in command], check=True, timeout=timeout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, **kw).stdout


def timed(command, timeout=LIFE_SECONDS):
    """Seconds that a command takes; its output goes nowhere. It must succeed."""
    begun = time.monotonic()
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          timeout=timeout)
    took = time.monotonic() - begun
    if done.returncode:
        raise RuntimeError(f'{" ".join(map(str, command))[:200]}: status {done.returncode}: {done.stderr.decode(errors="replace")[-500:]}')
    return took


def rounds(n, entrants):
    """A B C A B C ...: {name: [what each call of its function gave]}. One after the other, so that a busy minute hits all."""
    got = {name: [] for name in entrants}
    for _ in range(n):
        for name, once in entrants.items():
            got[name].append(once())
    return got


def cache_folder():
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'scifs-tests'


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


# ---- tools: found, or fetched into ~/.cache/scifs-tests ----

def from_package(package, inside):
    """A file of a Debian package, unpacked beside the system instead of being installed: no service is started, nothing changes."""
    folder = cache_folder() / 'packages' / package
    if not (folder / inside).exists():
        print(f'fetching {package}', file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix='scifs-bench-package-') as where:
            try:
                run(['apt-get', 'download', package], cwd=where, stderr=subprocess.PIPE)
            except subprocess.CalledProcessError:
                if os.geteuid() == 0:
                    run(['apt-get', 'update', '-qq'])
                run(['apt-get', 'download', package], cwd=where)
            run(['dpkg', '-x', next(Path(where).glob('*.deb')), f'{where}/out'])
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(f'{where}/out', folder)
    return folder / inside


def find_nginx():
    found = shutil.which('nginx', path=os.environ.get('PATH', '') + ':/usr/sbin')
    return Path(found) if found else from_package('nginx', 'usr/sbin/nginx')


def find_rclone():
    """The newest: built from its newest release where there is Go, else the distribution's."""
    mine = cache_folder() / 'bin/rclone'
    go = shutil.which('go') or ('/usr/local/go/bin/go' if Path('/usr/local/go/bin/go').exists() else None)
    if not mine.exists() and go:
        print('building the newest rclone: some minutes, once', file=sys.stderr, flush=True)
        try:
            run([go, 'install', 'github.com/rclone/rclone@latest'], timeout=1800, env=dict(os.environ, GOBIN=str(mine.parent)), cwd='/',
                stderr=subprocess.PIPE)
        except subprocess.CalledProcessError as e:
            print(f'go install failed, the distribution\'s instead: {e.stderr[-300:]}', file=sys.stderr)
    return mine if mine.exists() else Path(shutil.which('rclone') or from_package('rclone', 'usr/bin/rclone'))


def compiled(source, name, *flags):
    """A program of one file, compiled when it is older than its source."""
    program = cache_folder() / 'bin' / name
    if not program.exists() or program.stat().st_mtime < Path(source).stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        run([os.environ.get('CC', 'cc'), '-O2', '-o', program, source, *flags])
    return program


def find_passthrough():
    """libfuse's own example, from the package that the build needs anyway."""
    inside = 'usr/share/doc/libfuse3-dev/examples/passthrough_ll.c'
    source = Path('/') / inside
    if not source.exists():             # images of containers leave the documents out
        source = from_package('libfuse3-dev', inside)
    return compiled(source, 'passthrough_ll', *run(['pkg-config', '--cflags', '--libs', 'fuse3']).split())


# ---- memory ----

def memory_of(pid):
    """(resident now, most ever) in bytes, (0, 0) when it is gone."""
    try:
        text = Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return 0, 0
    found = {k: int(v) * 1024 for k, v in re.findall(r'^(VmRSS|VmHWM):\s+(\d+) kB', text, re.M)}
    return found.get('VmRSS', 0), found.get('VmHWM', 0)


class Peak(threading.Thread):
    """Watches a process's resident memory until it ends."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, threading.Event()
        self.start()

    def look(self):
        self.peak = max(self.peak, *memory_of(self.pid))

    def run(self):
        while not self.over.wait(0.1):
            self.look()

    def end(self):
        self.look()
        self.over.set()
        return self.peak


# ---- mounts ----

def mounted(folder):
    """The device number's minor of what is mounted there, or None. Never enters the mount."""
    for line in Path('/proc/self/mountinfo').read_text().splitlines():
        words = line.split()
        if words[4].encode().decode('unicode_escape') == str(folder):
            return words[2].split(':')[1]
    return None


class Mount:
    """A mounted program in the foreground: up when __enter__ returns, gone when __exit__ does."""

    def __init__(self, rig, who, command, folder, env=None):
        self.rig, self.who, self.command, self.path, self.env = rig, who, command, Path(folder), env
        self.log = rig.folder / f'{who}.log'

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.log, 'wb') as out:
            self.process = subprocess.Popen([str(c) for c in self.command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            env=self.env, preexec_fn=die_with_parent)
        self.pid = self.process.pid
        self.memory = Peak(self.pid)
        self.clock = threading.Timer(LIFE_SECONDS, self.cut)
        self.clock.daemon = True
        self.clock.start()
        end = time.monotonic() + MOUNT_SECONDS
        while not mounted(self.path):
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise RuntimeError(f'{self.who} does not mount: {self.log.read_text(errors="replace")[-1000:]}')
            time.sleep(0.01)
        return self

    def cut(self):
        """Whoever hangs in it is let go with an error."""
        minor = mounted(self.path)
        try:
            Path(f'/sys/fs/fuse/connections/{minor}/abort').write_text('1')
        except OSError:
            pass
        self.process.kill()

    def __exit__(self, *_):
        peak = self.memory.end()
        for _ in range(50):
            if not mounted(self.path):
                break
            subprocess.run(['fusermount3', '-u', str(self.path)], stderr=subprocess.DEVNULL, timeout=60)
            time.sleep(0.02)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.cut()
            self.process.wait()
        self.clock.cancel()
        if mounted(self.path):
            subprocess.run(['fusermount3', '-u', '-z', str(self.path)], stderr=subprocess.DEVNULL, timeout=60)
        self.rig.note_memory(self.who, max(peak, self.memory.peak))

    def stats(self):
        """scifs's own counters, as numbers."""
        text = (self.path / '.scifs/stats').read_text()
        return {k: int(v) for k, v in re.findall(r'^(\w+) (\d+)$', text, re.M)}


class Nginx:
    """Serves a folder on a port of its own."""

    def __init__(self, folder, root):
        self.root = root
        folder.mkdir()
        for _ in range(5):
            port = free_port()
            self.url = f'http://127.0.0.1:{port}'
            temps = ''.join(f'{kind}_temp_path {folder}/{kind}; ' for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
            (folder / 'nginx.conf').write_text(
                f'{"user root; " if os.geteuid() == 0 else ""}daemon off; worker_processes 2; pid {folder}/pid; error_log {folder}/error.log;\n'
                f'events {{ worker_connections 1024; }}\n'
                f'http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; {temps}\n'
                f'  server {{ listen 127.0.0.1:{port}; root {root}; autoindex on; }} }}\n')
            self.process = subprocess.Popen([str(find_nginx()), '-p', str(folder), '-c', 'nginx.conf'], stdin=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
            for _ in range(500):
                if self.process.poll() is not None:
                    break
                try:
                    socket.create_connection(('127.0.0.1', port), 5).close()
                    return
                except OSError:
                    time.sleep(0.02)
        raise RuntimeError(f'nginx does not start: see {folder}/error.log')

    def close(self):
        self.process.terminate()
        self.process.wait(20)


class Rig:
    """One run's servers, files and mounts, in one folder that goes with it."""

    def __init__(self, scifs):
        self.scifs = scifs
        self.folder = Path(tempfile.mkdtemp(prefix='scifs-bench-'))
        self.www = self.folder / 'www'
        self.www.mkdir()
        self.ends, self.number, self.memory, self.job = [], 0, [], None
        self.made = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in reversed(self.ends):
            end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def once(self, name, make):
        """Made when it is first asked for."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def note_memory(self, who, peak):
        self.memory.append((self.job, who, peak))

    # ---- servers ----

    @property
    def nginx(self):
        def make():
            n = Nginx(self.folder / 'nginx', self.www)
            self.ends.append(n.close)
            return n
        return self.once('nginx', make)

    @property
    def girder(self):
        """A real Girder, with a collection `bench` whose folders the jobs make."""
        def make():
            g = Girder('5.0').start()
            self.ends.append(g.stop)
            g.collection_id = g.collection('bench')
            return g
        return self.once('girder', make)

    @property
    def reduct(self):
        """A real ReductStore with a bucket `bench`, whose entries the jobs make."""
        def make():
            try:
                can_build()
            except Missing as e:
                raise Unavailable(str(e)) from None
            r = Reduct().start()
            self.ends.append(r.stop)
            r.bucket('bench')
            return r
        return self.once('reduct', make)

    def relay(self, to, delay=0.05):
        """The same server, `delay` seconds of round trip away."""
        def make():
            r = RelayProcess(to, delay=delay)
            self.ends.append(r.close)
            return r
        return self.once(f'relay {to} {delay}', make)

    def folder_of(self, name):
        """The id of a folder in `bench`."""
        return self.once(f'folder {name}', lambda: self.girder.make_folder(self.girder.collection_id, name, parent_type='collection'))

    def link(self, folder, name, url, size):
        self.girder.rest('POST', 'file', {'parentType': 'folder', 'parentId': self.folder_of(folder), 'name': name, 'linkUrl': url,
                                          'size': size})

    # ---- files ----

    def file(self, name, size):
        """A file below nginx's root, of bytes that nothing compresses."""
        path = self.www / name

        def make():
            path.parent.mkdir(parents=True, exist_ok=True)
            block = os.urandom(min(size, 8 * MIB))
            with open(path, 'wb') as f:
                for at in range(0, size, len(block)):
                    f.write(block[:size - at])
            return path
        return self.once(f'file {name}', make)

    # ---- mounts ----

    def place(self, what):
        self.number += 1
        return self.folder / f'{what}-{self.number}'

    def place_in_memory(self, what):
        """The same on a file system that no disk is behind."""
        if not os.path.ismount('/dev/shm'):
            raise Unavailable('there is no file system in memory at /dev/shm')
        self.number += 1
        path = Path(f'/dev/shm/{self.folder.name}-{what}-{self.number}')
        self.ends.append(lambda: shutil.rmtree(path, ignore_errors=True))
        return path

    def mount_scifs(self, source, *options, cache=None, secret=None, who='scifs'):
        """`secret` goes into its environment: {SCIFS_TOKEN: ...}."""
        env = {k: v for k, v in os.environ.items() if not k.startswith('SCIFS_')}
        env.update(secret or {}, XDG_STATE_HOME=str(self.place('state')))
        words = ','.join([f'memory={BUDGET}', f'cache={cache or "none"}', *options])
        return Mount(self, who, [self.scifs, 'mount', source, folder := self.place('mnt'), '-f', '-o', words], folder, env)

    def mount_girder(self, *options, via=None, cache=None, who='scifs'):
        """The collection `bench` (behind a relay, perhaps), with an empty cache on disk unless one is given."""
        return self.mount_scifs(f'girder+{via or self.girder.url}/collection/bench', *options, cache=cache or self.place('cache'),
                                secret={'SCIFS_API_KEY': self.girder.api_key}, who=who)

    def mount_reduct(self, *options, cache=None, who='scifs'):
        """The bucket `bench`, with an empty cache on disk unless one is given."""
        return self.mount_scifs(f'reduct+{self.reduct.url}/bench', *options, cache=cache or self.place('cache'),
                                secret={'SCIFS_TOKEN': self.reduct.token}, who=who)

    def mount_rclone(self, url, *options, who='rclone'):
        folder = self.place('rclone')
        return Mount(self, who, [find_rclone(), 'mount', '--config', '/dev/null', '--cache-dir', self.folder / 'rclone-cache',
                                 '--http-url', f'{url}/', ':http:', folder, *options], folder)

    def mount_passthrough(self, source, *options):
        """libfuse's passthrough_ll over a folder of this machine: what the kernel and libfuse allow at most."""
        folder = self.place('passthrough')
        return Mount(self, 'passthrough_ll', [find_passthrough(), '-f', '-o', ','.join([f'source={source}', *options]), folder], folder)

    # ---- cold ----

    def drop_pages(self):
        """Nothing of any file is in the kernel's memory any more."""
        os.sync()
        try:
            Path('/proc/sys/vm/drop_caches').write_text('3')
        except OSError:
            if subprocess.run(['sudo', '-n', 'sh', '-c', 'echo 3 >/proc/sys/vm/drop_caches'], stderr=subprocess.DEVNULL).returncode:
                raise Unavailable('dropping the page cache needs root') from None

    @staticmethod
    def warm(path):
        """All of it in the kernel's memory."""
        for p in [path] if path.is_file() else [f for f in path.rglob('*') if f.is_file()]:
            with open(p, 'rb') as f:
                while f.read(8 * MIB):
                    pass

    def load(self, what, path, count):
        """Operations a second."""
        program = compiled(TOP / 'tests/bench/load.c', 'load')
        return float(run([program, what, path, count], timeout=LIFE_SECONDS))


def versions(peers, reduct):
    """What is measured on what. `peers`: with rclone and nginx, which are fetched or built for that; `reduct`: with a ReductStore."""
    def first(command):
        try:
            done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
            return (done.stdout + done.stderr).strip().splitlines()[0]
        except (OSError, IndexError, subprocess.TimeoutExpired):
            return 'none'
    client = re.search(r'^reduct-py==(.*)$', (TOP / 'tests/requirements/reduct.txt').read_text(), re.M)
    model = re.search(r'^model name\s*: (.*)$', Path('/proc/cpuinfo').read_text(), re.M)
    return {'scifs': first(['git', '-C', TOP, 'describe', '--always', '--dirty']), 'kernel': os.uname().release,
            'processors': os.cpu_count(), 'processor': model[1] if model else os.uname().machine,
            'curl': first(['curl', '--version']).split(' (')[0], 'libfuse': first(['pkg-config', '--modversion', 'fuse3']),
            **({'rclone': first([find_rclone(), 'version']), 'nginx': first([find_nginx(), '-v']).split(': ')[-1]} if peers else {}),
            **({'ReductStore': Reduct.VERSIONS[0], 'reduct-py': client[1]} if reduct else {})}


def median(values):
    return statistics.median(values)


def dump(path, value):
    with open(path, 'a') as f:
        f.write(json.dumps(value) + '\n')
