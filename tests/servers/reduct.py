#!/usr/bin/python3
"""A real ReductStore on this machine, for tests and for a person who wants one to play with.

    tests/servers/reduct.py [--version 1.20.11|1.17.3|1.21.5] [--no-sample] [--folder DIR] [--json FILE]
    tests/servers/reduct.py --build             # builds the program if it is missing, and prints its path
    tests/servers/reduct.py --can-build         # status 0 if it is there or could be built; else says what is missing

prints the address and a token and runs until Ctrl-C. As a module:

    with Reduct() as server:                    # built if missing, started
        server.url, server.token, server.api    # and .folder, .log
        server.pause(); server.cont(); server.kill(); server.restart()
        server.write('bucket', 'entry', 1000, b'content', {'label': 'value'})

The program is built from source by cargo, once, and kept in ~/.cache/scifs-tests. The server listens on 127.0.0.1 only, on a
port that the system gave, keeps its data in one folder (removed at the end unless it was named) and dies with the process that
started it.
"""
import argparse
import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from environment import cache, environment  # noqa: E402
from process import (  # noqa: E402
    RestError, Server, die_with_parent, end, free_port, hand_out, spawn, tidy_on_sigterm, until_interrupted, wait_ready)

# The first is the tests' own. The second is the last that takes late writes without losing any, the third the first without
# limit, include and exclude in queries: with --long.
VERSIONS = ('1.20.11', '1.17.3', '1.21.5')
LEAST_RUST = (1, 91)
BUILD_SECONDS = 3600            # it takes 4 to 15 minutes on two cores
AGAIN_SECONDS = 3600            # what failed is not tried anew by each test that asks for it
REST_SECONDS = 130              # a lock in the server takes up to 60 s to give up, and a batch may meet two
BATCH = 80                      # records: the server takes 100 headers, of any kind
BATCH_BYTES = 8 << 20
FOREVER = 2 ** 63 - 1           # the end of a query is always told: the server's own idea of it is wrong after late writes


# ---- the program ----

class Missing(RuntimeError):
    """There is no such server here, and this machine has not what building one takes."""


class Unbuilt(Missing):
    """It has, and building failed all the same: the first line says why, cargo's own words follow."""


def _rust(program):
    """The version of this compiler as numbers; () if it does not run."""
    try:
        said = subprocess.run([str(program), '--version'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.match(r'rustc (\d+)\.(\d+)', said)
    return (int(found[1]), int(found[2])) if found else ()


def toolchain():
    """cargo and its compiler, new enough: in the PATH, where rustup puts them, or with the version in the name as Ubuntu has them."""
    best = ()
    for folder in [*os.environ.get('PATH', '').split(':'), Path.home() / '.cargo/bin']:
        for compiler in sorted(Path(folder or '.').glob('rustc*')):
            named = re.fullmatch(r'rustc(-[0-9.]+)?', compiler.name)
            cargo = compiler.with_name(f'cargo{named[1] or ""}') if named else None
            if not named or not os.access(cargo, os.X_OK):
                continue
            version = _rust(compiler)
            if version >= LEAST_RUST:
                return cargo, compiler
            best = max(best, version)
    there = f'has Rust {".".join(map(str, best))}' if best else 'has no Rust'
    raise Missing(f'this machine {there}, and ReductStore is built with {".".join(map(str, LEAST_RUST))} or newer')


def can_build(version=VERSIONS[0]):
    """Raises Missing unless the program is there or could be built."""
    if not (cache() / f'reduct-{version}/bin/reductstore').exists():
        toolchain()
        for tool in ('cc', 'protoc'):
            if not shutil.which(tool):
                raise Missing(f'{tool} is missing, which building ReductStore takes')


def _build(version, work):
    cargo, compiler = toolchain()
    # Little optimisation: the tests wait for the build, hardly for the server. The target folder would be 0.9 GB.
    env = dict(os.environ, CARGO_TARGET_DIR=str(work / 'target'), CARGO_PROFILE_RELEASE_OPT_LEVEL='1',
               CARGO_PROFILE_RELEASE_CODEGEN_UNITS='16', CARGO_PROFILE_RELEASE_STRIP='symbols', RUSTC=str(compiler))
    command = [str(cargo), 'install', 'reductstore', '--version', version, '--no-default-features', '--features', 'fs-backend',
               '--root', str(work / 'root')]

    def aside():
        die_with_parent()
        os.nice(10)
    for locked in (['--locked'], []):
        try:
            run = subprocess.run(command + locked, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 errors='replace', env=env, cwd=work, preexec_fn=aside, timeout=BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            raise Unbuilt(f'ReductStore {version} cannot be built here within {BUILD_SECONDS} s') from None
        # A lock file may name what can no longer be had (1.21.5's does): newer ones of those crates will do.
        if run.returncode == 0 or not re.search(r'^ *error: failed to select a version.*locked to', run.stdout, re.M):
            break
    if run.returncode:
        why = re.search(r'^ *(error.*)', run.stdout, re.M)
        raise Unbuilt(f'ReductStore {version} cannot be built here: {why[1] if why else "cargo failed"}\n'
                      f'{" ".join(command + locked)} failed:\n{run.stdout[-4000:]}')


def binary(version=VERSIONS[0]) -> Path:
    """The server's program, built if it is missing: that takes minutes, so others do it in between. Raises Missing, or Unbuilt with
    cargo's own words."""
    if version not in VERSIONS:
        raise ValueError(f'{version}: one of {", ".join(VERSIONS)}')
    home, work, words = (cache() / f'reduct-{version}{more}' for more in ('', '.building', '.failed'))
    program = home / 'bin/reductstore'
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / f'reduct-{version}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if program.exists():
            return program
        can_build(version)
        if words.exists() and time.time() - words.stat().st_mtime < AGAIN_SECONDS:
            raise Unbuilt(words.read_text())
        print(f'building ReductStore {version} into {home}', file=sys.stderr, flush=True)
        # The rename is what makes it count; what a killed builder left goes first.
        shutil.rmtree(work, ignore_errors=True)
        try:
            work.mkdir()
            _build(version, work)
            shutil.rmtree(home, ignore_errors=True)
            os.rename(work / 'root', home)
        except Unbuilt as e:
            words.write_text(str(e))
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return program


# ---- the server ----

class Record(NamedTuple):
    """One record. `content` is None where only the rest was asked for."""
    ts: int
    content: bytes = b''
    labels: dict = {}
    content_type: str = 'application/octet-stream'
    size: int = None


class Answer(NamedTuple):
    status: int
    headers: object             # as email.message: any case, several of one name
    body: bytes


def _listens(pid, port):
    """This very process listens there: a probe alone would also believe another server that has taken the port meanwhile."""
    try:
        with open('/proc/net/tcp') as f:
            lines = [line.split() for line in f][1:]
        sockets = {f'socket:[{w[9]}]' for w in lines if w[3] == '0A' and w[1].endswith(f':{port:04X}')}
        return any(os.readlink(fd.path) in sockets for fd in os.scandir(f'/proc/{pid}/fd'))
    except OSError:
        return False            # it ended, or closed a file between two looks


def _told(values):
    """The labels in the rest of a batched header: NAME=VALUE,NAME="VALUE, WITH COMMAS" (quotes within are not escaped)."""
    labels = {}
    while values:
        name, _, values = values.partition('=')
        quoted = re.match(r'"(.*?)"(?:,|$)', values)
        if quoted:
            value, values = quoted[1], values[quoted.end():]
        else:
            value, _, values = values.partition(',')
        labels[name] = value
    return labels


class Reduct(Server):
    VERSIONS = VERSIONS

    def __init__(self, version=VERSIONS[0], folder=None, environ=None):
        """`environ` is added to the server's environment, RS_... say; None takes a variable out of it (RS_API_TOKEN: no login)."""
        super().__init__('reduct', version, folder, environ)
        self.port = None
        self.minor = int(version.split('.')[1])
        self.token = self.environ.get('RS_API_TOKEN', secrets.token_hex(16))      # may do everything; None: anybody may

    # ---- process ----

    @property
    def url(self):
        """With the path that RS_API_BASE_PATH gives, without a slash at the end."""
        scheme = 'https' if self.environ.get('RS_CERT_PATH') else 'http'
        return f'{scheme}://127.0.0.1:{self.port}{self.environ.get("RS_API_BASE_PATH") or "/"}'.rstrip('/')

    @property
    def api(self):
        return f'{self.url}/api/v1'

    def _ready(self):
        if not _listens(self.server.pid, self.port):
            return False
        try:
            return self.request('GET', 'ready', token='').status == 200
        except (RestError, OSError):
            return False

    def start(self):
        try:
            program = binary(self.version)
            (self.folder / 'data').mkdir(parents=True, exist_ok=True)
            for _ in range(5):
                # The same port again after a restart: mounts know it.
                port, self.port = self.port, self.port or free_port()
                # glibc keeps the 19 MiB that each ranged read takes in the server, unless told to give large pieces back.
                env = {**{k: v for k, v in os.environ.items() if not k.startswith('RS_')}, 'MALLOC_MMAP_THRESHOLD_': '1000000',
                       'RS_DATA_PATH': str(self.folder / 'data'), 'RS_HOST': '127.0.0.1', 'RS_PORT': str(self.port),
                       'RS_API_TOKEN': self.token, **self.environ}
                if self.environ.get('RS_API_TOKEN', '') is None and self.minor >= 21:
                    env['RS_DISABLE_AUTH'] = 'true'     # from then on it has to be said
                self.server = spawn([program], self.log, self.folder, {k: v for k, v in env.items() if v is not None})
                if wait_ready(self.server, self._ready, self.log):
                    return self
                self.port = port
            raise RuntimeError(f'ReductStore does not start:\n{self.log.read_text(errors="replace")[-2000:]}')
        except BaseException:
            self.stop()
            raise

    # ---- requests ----

    def request(self, method, path, data=None, headers=None, token=None) -> Answer:
        """One request, with the token that may do everything unless told otherwise ('' is none). RestError from 400 on; its `body` is
        the server's own sentence."""
        headers = dict(headers or {})
        token = self.token if token is None else token
        if token:
            headers['Authorization'] = f'Bearer {token}'
        if data is not None:
            headers.setdefault('Content-Type', 'application/octet-stream')
        # Its certificate is one that a test has made for it.
        context = ssl._create_unverified_context() if self.url.startswith('https') else None
        request = urllib.request.Request(f'{self.api}/{path}', data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=REST_SECONDS, context=context) as r:
                return Answer(r.status, r.headers, r.read())
        except urllib.error.HTTPError as e:
            e.close()
            raise RestError(e.code, e.headers.get('x-reduct-error') or e.reason, f'{method} {path}') from None

    def rest(self, method, path, data=None, token=None):
        """One request of JSON; the parsed answer, or None."""
        headers = {'Content-Type': 'application/json'} if data is not None else {}
        body = self.request(method, path, None if data is None else json.dumps(data).encode(), headers, token).body
        return json.loads(body) if body else None

    def bucket(self, name, **settings):
        self.rest('POST', f'b/{name}', settings)

    def make_token(self, name, read=(), write=(), full_access=False):
        """Its value. `read` and `write` name buckets."""
        return self.rest('POST', f'tokens/{name}', {'full_access': full_access, 'read': list(read), 'write': list(write)})['value']

    # ---- records ----

    @staticmethod
    def _path(bucket, entry, ts=None):
        return f'b/{bucket}/{urllib.parse.quote(entry)}' + ('' if ts is None else f'?ts={ts}')

    def write(self, bucket, entry, ts, content=b'', labels=None, content_type='application/octet-stream', token=None):
        labels = {f'x-reduct-label-{name}': value for name, value in (labels or {}).items()}
        self.request('POST', self._path(bucket, entry, ts), content, {'Content-Type': content_type, **labels}, token)

    def _count(self, bucket, entry):
        return sum(e['record_count'] for e in self.rest('GET', f'b/{bucket}')['entries'] if e['name'] == entry)

    @contextlib.contextmanager
    def writing(self, bucket, entry, ts, content, labels=None):
        """Meanwhile this record is being written: the server has half of it, and counts it. Afterwards it is whole."""
        before, go, middle, failed = self._count(bucket, entry), threading.Event(), len(content) // 2, []

        def halves():
            yield content[:middle]
            go.wait()
            yield content[middle:]

        def send():
            labels_ = {f'x-reduct-label-{name}': value for name, value in (labels or {}).items()}
            try:
                self.request('POST', self._path(bucket, entry, ts), halves(), {'Content-Length': str(len(content)), **labels_})
            except Exception as e:
                failed.append(e)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            while self._count(bucket, entry) == before and sender.is_alive():
                time.sleep(0.01)
            yield
        finally:
            go.set()
            sender.join()
        if failed:
            raise failed[0]

    def _one(self, method, bucket, entry, ts, token):
        a = self.request(method, self._path(bucket, entry, ts), token=token)
        mark = 'x-reduct-label-'
        labels = {name[len(mark):]: value for name, value in a.headers.items() if name.startswith(mark)}
        return Record(int(a.headers['x-reduct-time']), a.body if method == 'GET' else None, labels, a.headers['content-type'],
                      int(a.headers['content-length']))

    def read(self, bucket, entry, ts=None, token=None) -> Record:
        """The record of that time; the latest without one."""
        return self._one('GET', bucket, entry, ts, token)

    def head(self, bucket, entry, ts=None, token=None) -> Record:
        return self._one('HEAD', bucket, entry, ts, token)

    def update(self, bucket, entry, ts, labels):
        """Set these labels; an empty value takes one away."""
        self.request('PATCH', self._path(bucket, entry, ts), headers={f'x-reduct-label-{name}': value for name, value in labels.items()})

    def remove(self, bucket, entry, ts):
        """One record. Without a time the server would remove the entry and all below: `DELETE b/BUCKET/ENTRY` is for that."""
        self.request('DELETE', self._path(bucket, entry, int(ts)))

    def write_batch(self, bucket, entry, records):
        """Write Records in ascending time, batch by batch. time -> the server's words for each that it refused."""
        errors, part, records = {}, [], sorted(records, key=lambda r: r.ts)
        if self.minor < 18:             # it waits for more when a batch ends with an empty one
            for r in [r for r in records if not r.content]:
                try:
                    self.write(bucket, entry, r.ts, b'', r.labels, r.content_type)
                except RestError as e:
                    errors[r.ts] = f'{e.status},{e.body}'
            records = [r for r in records if r.content]

        def send():
            headers, body = {}, bytearray()
            for r in part:
                told = [str(len(r.content)), r.content_type]
                for name, value in r.labels.items():
                    if value.startswith('"') or '"' in value and ',' in value or ',' in r.content_type:
                        raise ValueError(f'{name}={value!r} cannot be told in a batch')
                    told.append(f'{name}="{value}"' if ',' in value else f'{name}={value}')
                headers[f'x-reduct-time-{r.ts}'] = ','.join(told)
                body += r.content
            a = self.request('POST', f'{self._path(bucket, entry)}/batch', bytes(body), headers)
            mark = 'x-reduct-error-'
            errors.update({int(name[len(mark):]): text for name, text in a.headers.items() if name.startswith(mark)})
            part.clear()
        for r in records:
            if len(part) == BATCH or part and sum(len(p.content) for p in part) + len(r.content) > BATCH_BYTES:
                send()
            part.append(r)
        if part:
            send()
        return errors

    def records(self, bucket, entry, start=0, stop=FOREVER, when=None, content=False):
        """The Records of a time span in ascending time, without their content unless asked for it."""
        query = {'query_type': 'QUERY', 'start': start, 'stop': stop, 'only_metadata': not content, **({'when': when} if when else {})}
        number = self.rest('POST', f'{self._path(bucket, entry)}/q', query)['id']
        found, mark, last = [], 'x-reduct-time-', False
        while not last:
            a = self.request('GET' if content else 'HEAD', f'{self._path(bucket, entry)}/batch?q={number}')
            if a.status == 204:
                break
            last, at = a.headers.get('x-reduct-last') == 'true', 0
            for ts, told in sorted((int(name[len(mark):]), value) for name, value in a.headers.items() if name.startswith(mark)):
                size, content_type, labels = (told.split(',', 2) + [''])[:3]
                found.append(Record(ts, a.body[at:at + int(size)] if content else None, _told(labels), content_type, int(size)))
                at += int(size)
        return found


# ---- the witness ----

class WitnessError(Exception):
    def __init__(self, status, message):
        super().__init__(f'{status} {message}')
        self.status = status


class Witness:
    """The official client, in a process and an environment of its own: what it says is there is there.

        witness('records', bucket='b', entry='e')       # servers/reduct_witness.py tells what it can be asked

    Contents travel as hexadecimal digits: bytes.fromhex()."""

    def __init__(self, server):
        self.server, self.lock = server, threading.Lock()
        # -I: this folder has a reduct.py too. Neither an argument nor a file may hold the token.
        self.process = subprocess.Popen([str(environment('reduct') / 'bin/python'), '-I', str(HERE / 'reduct_witness.py'), server.url],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent,
                                        env=dict(os.environ, REDUCT_TOKEN=server.token or ''))

    def __call__(self, what, **fields):
        with self.lock:
            self.process.stdin.write(json.dumps({'do': what, **fields}) + '\n')
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f'the witness has ended: status {self.process.wait(20)}')
        answer = json.loads(line)
        if 'error' in answer:
            raise WitnessError(answer['status'], answer['error'])
        return answer['answer']

    def close(self):
        self.process.stdin.close()
        end(self.process)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main():
    p = argparse.ArgumentParser(description='Run a real ReductStore until Ctrl-C.')
    p.add_argument('--version', choices=VERSIONS, default=VERSIONS[0])
    p.add_argument('--no-sample', action='store_true', help='leave it empty')
    p.add_argument('--folder', help='keep the data here; started again over it, everything is there, but for the token')
    p.add_argument('--json', help='write address and token into this file (mode 0600) when it is ready')
    p.add_argument('--build', action='store_true', help='only build it, and print the path of the program')
    p.add_argument('--can-build', action='store_true', help='only tell whether it is there or could be built')
    a = p.parse_args()
    tidy_on_sigterm()
    try:
        if a.can_build:
            can_build(a.version)
            return
        if a.build:
            print(binary(a.version))
            return
    except RuntimeError as e:
        sys.exit(str(e))
    with Reduct(a.version, a.folder) as server:
        fresh = not any(not b['name'].startswith('$') for b in server.rest('GET', 'list')['buckets'])
        if fresh and not a.no_sample:
            from reduct_sample import fill
            fill(server)
        if a.json:
            hand_out(a.json, url=server.url, token=server.token, folder=str(server.folder), server_pid=server.server.pid)
        print(f'ReductStore {a.version} runs at {server.url}\n'
              f'  token: {server.token} (may do everything)\n'
              f'  data: {server.folder}\n'
              f'Ctrl-C ends it.', flush=True)
        until_interrupted(server.server, server.log)


if __name__ == '__main__':
    main()
