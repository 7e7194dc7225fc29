#!/usr/bin/python3
"""A relay between scifs and an HTTP server on this machine: it makes the faults that a real server cannot be brought to
make, puts distance between the two, and notes what was asked.

    relay.py TO [--delay 50ms] [--rate 20M] [--scenario FILE] [--log FILE] [--port N]

TO is the server's URL, or `proxy` for a forward proxy (CONNECT too) that leads to this machine only. The relay prints its
own URL and runs until it is ended. --scenario is a JSON file {"delay": s, "rate": bytes/s, "refuse": bool, "rules": [...]}
that is looked at again for each request. --log gets a JSON line for each request, with *** in place of secrets.

In a test:

    with Relay(girder.url) as relay:
        relay.rule(path='/download', cut=1000, times=2)         # fields: see Rule
        ...
        assert [r.range for r in relay.settled() if r.path.endswith('/download')] == ...
        relay.clear()

Delay is the round trip: each request waits that long, and a new connection's first request once more, as its handshake would.
Rate is for each connection by itself. A thread a connection: what it does to a request is a straight line to read.
"""
import argparse
import dataclasses
import json
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlsplit

PIECE = 1 << 20                 # bytes moved at once
HEAD_MAX = 1 << 20
SECRET = re.compile(r'^(girder-token|authorization|girder-authorization|proxy-authorization|cookie|girder-otp)$', re.I)
LOCAL = ('127.0.0.1', 'localhost', '::1')


@dataclasses.dataclass(eq=False)
class Rule:
    """What to do with the requests that match. The first rule in the list that matches and has turns left is obeyed."""
    method: str = None          # a regular expression for the whole method
    path: str = None            # a regular expression, searched in path and query
    header: tuple = None        # (name, regular expression): the request has such a header
    skip: int = 0               # so many matching requests go by untouched first
    times: int = None           # and then so many are treated; None: all
    # Instead of asking the server:
    stall: bool = False         # nothing happens until the rule is taken away; then the request goes on
    drop: bool = False          # the connection is reset
    answer: bytes = None        # these very bytes, and the connection is closed
    status: int = None          # an answer of this status, with `headers` and `body`
    redirect: str = None        # a Location, with `status` [302]
    # What is changed about the request that goes on:
    ask: dict = None            # headers set; None as value: removed
    expect: bool = False        # "Expect: 100-continue" is the server's to answer: what it refuses is refused without the body
    ask_cut: int = None         # its body ends after so many bytes, for the server and, `by`, for the client
    # What is changed about the server's answer:
    delay: float = None         # seconds, in place of the relay's
    rate: float = None          # bytes a second, in place of the relay's
    headers: dict = None        # set; None as value: removed
    body: bytes = None          # in place of the body
    replace: list = None        # [[old, new], ...] in the body's text
    edit: object = None         # a function from the parsed JSON to what is sent in its place (bytes are sent as they are)
    flip: int = None            # this byte of the body is inverted
    extra: bytes = None         # after the body, beyond what was announced
    announce: int = None        # Content-Length says so, whatever comes
    cut: int = None             # the body ends after so many bytes:
    lose: bool = False          # the server has done it, and its answer is lost (with `status`: that one comes in its place):
    by: str = 'close'           # by close, reset or stall (nothing more comes until the rule is taken away)
    seen: int = 0
    used: int = 0

    def __post_init__(self):
        for name in ('answer', 'body', 'extra'):
            value = getattr(self, name)
            if isinstance(value, str):
                setattr(self, name, value.encode())
            elif isinstance(value, (dict, list)):
                setattr(self, name, json.dumps(value).encode())

    def takes(self, method, target, headers):
        if self.method and not re.fullmatch(self.method, method):
            return False
        if self.path and not re.search(self.path, target):
            return False
        if self.header and not re.search(self.header[1], headers.get(self.header[0].lower(), '\0')):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.used >= self.times):
            return False
        self.used += 1
        return True

    def whole_body(self):
        """Must the whole body be here before its head can be sent?"""
        return self.replace is not None or self.edit is not None or self.body is not None


@dataclasses.dataclass(eq=False)
class Record:
    """One request, as the log keeps it. Headers by lower-case name; times by time.monotonic()."""
    n: int
    connection: int
    method: str
    target: str
    headers: dict
    began: float
    status: int = 0
    received: int = 0           # bytes of the request's body
    sent: int = 0               # bytes of the answer's body that went to the client
    first: float = None         # when the answer's first byte was sent
    ended: float = None         # None: under way
    end: str = ''               # whole, or why not
    rule: Rule = None

    @property
    def path(self):
        return self.target.split('?')[0]

    @property
    def range(self):
        return self.headers.get('range')

    def line(self):
        d = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != 'rule'}
        d['headers'] = {k: '***' if SECRET.match(k) else v for k, v in self.headers.items()}
        d['target'] = re.sub(r'((?:token|key|password)=)[^&]*', r'\1***', self.target)
        d['range'] = self.range
        return json.dumps(d)


class Gone(Exception):
    """The connection is at its end."""


class Reset(Exception):
    """End the connection with a reset."""


class Closed(Exception):
    """End the connection."""


class Stream:
    """A socket, and what was read from it too early."""

    def __init__(self, sock):
        self.sock = sock
        self.early = b''
        self.piece = memoryview(bytearray(PIECE))

    def some(self, n=PIECE):
        """Up to n bytes, valid until the next call; Gone at the end."""
        if self.early:
            p, self.early = self.early[:n], self.early[n:]
            return p
        got = self.sock.recv_into(self.piece, min(n, PIECE))
        if not got:
            raise Gone('closed')
        return self.piece[:got]

    def until(self, end, limit=HEAD_MAX):
        while end not in self.early:
            if len(self.early) > limit:
                raise Gone('no end of a head')
            more = self.sock.recv(65536)
            if not more:
                raise Gone('closed')
            self.early += more
        p, self.early = self.early.split(end, 1)
        return p

    def head(self):
        """The first line, and the headers as [name, value] in order."""
        lines = self.until(b'\r\n\r\n').decode('latin-1').split('\r\n')
        return lines[0], [[part.strip() for part in line.split(':', 1)] for line in lines[1:] if ':' in line]

    def body(self, length):
        """Pieces of a body: of a length, chunked ('chunked') or to the end (None)."""
        if length == 'chunked':
            while True:
                n = int(self.until(b'\r\n').split(b';')[0], 16)
                if not n:
                    while self.until(b'\r\n'):
                        pass
                    return
                yield from self.body(n)
                self.until(b'\r\n')
        try:
            while length is None or length:
                p = self.some(PIECE if length is None else min(length, PIECE))
                if length is not None:
                    length -= len(p)
                yield p
        except Gone:
            if length is not None:
                raise

    def send(self, p):
        self.sock.sendall(p)

    def close(self, reset=False):
        try:
            if reset:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            else:
                self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def get(headers, name, default=None):
    return next((v for k, v in headers if k.lower() == name), default)


def framing(headers):
    if 'chunked' in get(headers, 'transfer-encoding', '').lower():
        return 'chunked'
    length = get(headers, 'content-length')
    return int(length) if length is not None else None


class Relay:
    """Runs from its making to close(); a context manager. `url` is where clients go. Attributes may be set at any time."""

    def __init__(self, to=None, delay=0.0, rate=None, tls=None, log_file=None, scenario=None, port=0):
        """to: the server's URL, None for a forward proxy. tls: an ssl.SSLContext with which clients are met."""
        self.to = urlsplit(to) if to else None
        self.delay, self.rate, self.tls = delay, rate, tls
        self.log_file, self.scenario, self.scenario_at = log_file, scenario, None
        self.lock = threading.Lock()
        self.rules = []
        self.log = []
        self.connections = 0
        self.closing = False
        self.open = set()
        self.threads = []
        self.listener = self._bind(port)
        self.port = self.listener.getsockname()[1]
        self.url = f'{"https" if tls else "http"}://127.0.0.1:{self.port}'
        self.refused = False
        self._listen()
        self._read_scenario()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- what a test says ----

    def rule(self, **fields):
        """Add a rule, in front of those that are there."""
        r = Rule(**fields)
        with self.lock:
            self.rules.insert(0, r)
        return r

    def clear(self):
        """Take all rules away. What one of them holds up goes on."""
        with self.lock:
            self.rules = []

    def forget(self):
        with self.lock:
            self.log = []

    def requests(self, path='', method=None):
        """The log's records whose path and query match."""
        with self.lock:
            return [r for r in self.log if re.search(path, r.target) and method in (None, r.method)]

    def settled(self):
        """The log once nothing is under way any more: a client has its last byte a moment before that is noted."""
        deadline = time.monotonic() + 30
        while any(r.ended is None for r in self.log) and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.log

    def refuse(self):
        """The port refuses new connections; those that are there are reset."""
        if self.refused:
            return
        self.refused = True
        old, self.listener = self.listener, self._bind(self.port)       # held, but not listened on
        old.shutdown(socket.SHUT_RDWR)          # a close alone would wait for the accept that is under way
        old.close()
        self._drop_all()

    def accept(self):
        """Listen again."""
        if self.refused:
            self.refused = False
            self._listen()

    def close(self):
        if self.closing:
            return
        self.closing = True
        if not self.refused:
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        deadline = time.monotonic() + 30
        while any(t.is_alive() for t in self.threads) and time.monotonic() < deadline:
            self._drop_all()
            time.sleep(0.01)

    # ---- inside ----

    def _bind(self, port):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(('127.0.0.1', port))
        return s

    def _listen(self):
        self.listener.listen(256)
        self._start(self._accept, self.listener)

    def _start(self, what, *args):
        t = threading.Thread(target=what, args=args, daemon=True)
        self.threads = [x for x in self.threads if x.is_alive()] + [t]
        t.start()

    def _drop_all(self):
        with self.lock:
            socks = list(self.open)
        for s in socks:
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                n = self.connections
            self._start(self._serve, sock, n)

    def _read_scenario(self):
        if not self.scenario:
            return
        try:
            at = os.stat(self.scenario)
        except OSError:
            return
        with self.lock:
            if (at.st_mtime_ns, at.st_ino) == self.scenario_at:
                return
            self.scenario_at = (at.st_mtime_ns, at.st_ino)
            with open(self.scenario) as f:
                s = json.load(f)
            self.delay, self.rate = s.get('delay', 0.0), s.get('rate')
            self.rules = [Rule(**r) for r in s.get('rules', [])]
        self.refuse() if s.get('refuse') else self.accept()

    def _keep(self, sock):
        with self.lock:
            self.open.add(sock)
        return Stream(sock)

    def _let_go(self, stream, reset=False):
        if stream:
            with self.lock:
                self.open.discard(stream.sock)
            stream.close(reset)

    def _serve(self, sock, n):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = server = None
        reset = False
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            client = self._keep(sock)
            new = True
            while not self.closing:
                line, headers = client.head()
                self._read_scenario()
                server, more = self._one(client, server, line, headers, n, new)
                new = False
                if not more:
                    break
        except Reset:
            reset = True
        except (OSError, Gone, Closed, ValueError):
            pass
        finally:
            self._let_go(server)
            if client:
                self._let_go(client, reset)
            else:
                sock.close()

    def _choose(self, method, target, headers):
        lower = {k.lower(): v for k, v in headers}
        with self.lock:
            for r in self.rules:
                if r.takes(method, target, lower):
                    return r
        return None

    def _one(self, client, server, line, headers, connection, new):
        """One request. The server's stream, and whether the client's connection goes on."""
        method, target, _ = (line.split(' ') + ['', ''])[:3]
        if method == 'CONNECT':
            return self._tunnel(client, target)
        to = self.to
        if to is None:
            to = urlsplit(target)
            target = to.path + ('?' + to.query if to.query else '')
            if to.hostname not in LOCAL:
                client.send(b'HTTP/1.1 403 Not from here\r\nContent-Length: 0\r\n\r\n')
                return server, False
            self._let_go(server)
            server = None
        rule = self._choose(method, target, headers) or Rule()
        with self.lock:
            rec = Record(len(self.log), connection, method, target, {k.lower(): v for k, v in headers}, time.monotonic(),
                         rule=rule)
            self.log.append(rec)
        try:
            server, more = self._pass(client, server, rec, rule, headers, to, new)
            rec.end = rec.end or 'whole'
            return server, more
        except BaseException as e:
            rec.end = rec.end or f'{type(e).__name__}: {e}'
            raise
        finally:
            rec.ended = time.monotonic()
            if self.log_file:
                with self.lock:
                    self.log_file.write(rec.line() + '\n')
                    self.log_file.flush()

    def _stalled(self, client, rule):
        """Until the rule is gone. Gone when the client is."""
        left = select.poll()
        left.register(client.sock, select.POLLRDHUP)
        while not self.closing:
            with self.lock:
                if rule not in self.rules:
                    return
            if left.poll(20):
                raise Gone('left while it was stalled')
        raise Gone('the relay is closed')

    def _break(self, client, server, rule):
        """The end of both connections, as the rule says."""
        try:
            if rule.by == 'stall':
                self._stalled(client, rule)
        finally:
            self._let_go(server)
        raise Closed if rule.by == 'close' else Reset

    def _pass(self, client, server, rec, rule, headers, to, new):
        delay = self.delay if rule.delay is None else rule.delay
        if delay:
            time.sleep(delay * (2 if new else 1))
        if rule.stall:
            self._stalled(client, rule)
        if rule.drop:
            rec.end = 'dropped'
            raise Reset
        length = framing(headers)
        if get(headers, 'expect', '').lower() == '100-continue' and not rule.expect:
            client.send(b'HTTP/1.1 100 Continue\r\n\r\n')
            headers = [[k, v] for k, v in headers if k.lower() != 'expect']
        made = rule.answer is not None or (rule.status is not None and not rule.lose) or rule.redirect is not None
        if made:
            for p in client.body(length or 0):
                rec.received += len(p)
            return server, self._make(client, rec, rule)
        for k, v in (rule.ask or {}).items():
            headers = [[a, b] for a, b in headers if a.lower() != k.lower()] + ([[k, v]] if v is not None else [])
        server, line, answer = self._ask(client, server, rec, rule, headers, length, to)
        if rule.lose and rule.status is not None:
            self._let_go(server)
            return None, self._make(client, rec, rule)
        if rule.lose:
            rec.status, rec.end = int(line.split(' ')[1]), 'lost'
            self._break(client, server, rule)
        more = self._return(client, server, rec, rule, line, answer, headers)
        return server, more and not (get(headers, 'expect') and rec.received != length)

    def _make(self, client, rec, rule):
        rec.first = time.monotonic()
        if rule.answer is not None:
            client.send(rule.answer)
            rec.sent = len(rule.answer)
            return False
        rec.status = rule.status or 302
        body = rule.body or b''
        headers = {'Content-Length': len(body) if rule.announce is None else rule.announce, **(rule.headers or {})}
        if rule.redirect is not None:
            headers['Location'] = rule.redirect
        text = ''.join(f'{k}: {v}\r\n' for k, v in headers.items() if v is not None)
        client.send(f'HTTP/1.1 {rec.status} From the relay\r\n{text}\r\n'.encode('latin-1') + body)
        rec.sent = len(body)
        return True

    def _ask(self, client, server, rec, rule, headers, length, to):
        """Send the request on, and read the head of its answer."""
        text = f'{rec.method} {rec.target} HTTP/1.1\r\n' + ''.join(
            f'{k}: {v}\r\n' for k, v in headers if k.lower() not in ('proxy-connection', 'proxy-authorization'))
        head = (text + '\r\n').encode('latin-1')
        for turn in (0, 1):
            fresh = server is None
            if fresh:
                sock = socket.create_connection((to.hostname, to.port or 80))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server = self._keep(sock)
            try:
                server.send(head)
                if get(headers, 'expect'):
                    line, answer = server.head()
                    if line.split(' ')[1] != '100':
                        return server, line, answer
                    client.send(b'HTTP/1.1 100 Continue\r\n\r\n')
                if length is not None:
                    for p in client.body(length):
                        if rule.ask_cut is not None and rec.received + len(p) >= rule.ask_cut:
                            p = p[:rule.ask_cut - rec.received]
                            rec.received += len(p)
                            server.send(p)
                            rec.end = 'cut on its way'
                            self._break(client, server, rule)
                        rec.received += len(p)
                        server.send(p if length != 'chunked' else b'%x\r\n%s\r\n' % (len(p), bytes(p)))
                    if length == 'chunked':
                        server.send(b'0\r\n\r\n')
                line, answer = server.head()
                while line.split(' ')[1].startswith('1'):
                    line, answer = server.head()
                return server, line, answer
            except (Gone, OSError):
                # A connection that the server closed while it was idle.
                self._let_go(server)
                if fresh or rec.received:
                    raise
                server = None

    def _return(self, client, server, rec, rule, line, answer, asked):
        rec.status = int(line.split(' ')[1])
        bare = rec.method == 'HEAD' or rec.status in (204, 304)
        length = 0 if bare else framing(answer)
        pieces = server.body(length)
        to_end = length is None
        if rule.whole_body() and not bare:
            whole = b''.join(bytes(p) for p in pieces)
            if rule.body is not None:
                whole = rule.body
            for old, new in rule.replace or []:
                whole = whole.replace(old.encode() if isinstance(old, str) else old, new.encode() if isinstance(new, str) else new)
            if rule.edit is not None:
                made = rule.edit(json.loads(whole))
                whole = made if isinstance(made, bytes) else json.dumps(made).encode()
            pieces, length = iter([whole]), len(whole)
            answer = [[k, v] for k, v in answer if k.lower() not in ('transfer-encoding', 'content-length')]
            answer.append(['Content-Length', str(length)])
        sets = dict(rule.headers or {})
        if rule.announce is not None:
            sets['Content-Length'] = rule.announce
            sets['Transfer-Encoding'] = None
        for k in sets:
            answer = [[a, b] for a, b in answer if a.lower() != k.lower()]
        answer += [[k, str(v)] for k, v in sets.items() if v is not None]
        text = line + '\r\n' + ''.join(f'{k}: {v}\r\n' for k, v in answer) + '\r\n'
        chunked = not bare and rule.announce is None and 'chunked' in get(answer, 'transfer-encoding', '').lower()
        rec.first = time.monotonic()
        client.send(text.encode('latin-1'))
        if self._send_body(client, rec, rule, pieces, chunked):
            return False
        if chunked:
            client.send(b'0\r\n\r\n')
        if rule.extra:
            client.send(rule.extra)
        wrong = rule.announce is not None and rule.announce != rec.sent
        return not (to_end or wrong or 'close' in (get(answer, 'connection', '').lower(), get(asked, 'connection', '').lower()))

    def _send_body(self, client, rec, rule, pieces, chunked):
        """True: it was cut, and the connection is to be closed."""
        rate = self.rate if rule.rate is None else rule.rate
        slice_max = max(1024, int(rate / 100)) if rate else PIECE
        due = time.monotonic()
        for p in pieces:
            view = memoryview(p)
            while len(view):
                n = min(len(view), slice_max)
                if rule.cut is not None:
                    n = min(n, rule.cut - rec.sent)
                part, view = view[:n], view[n:]
                if rule.flip is not None and rec.sent <= rule.flip < rec.sent + n:
                    part = bytearray(part)
                    part[rule.flip - rec.sent] ^= 0xff
                if rate and n:
                    due = max(due, time.monotonic() - 0.05) + n / rate
                    time.sleep(max(0, due - time.monotonic()))
                if n:
                    client.send(part if not chunked else b'%x\r\n%s\r\n' % (n, bytes(part)))
                rec.sent += n
                if rule.cut is not None and rec.sent >= rule.cut:
                    rec.end = 'cut'
                    if rule.by == 'stall':
                        self._stalled(client, rule)
                        raise Reset
                    if rule.by == 'reset':
                        raise Reset
                    return True
        return False

    def _tunnel(self, client, target):
        host, port = target.rsplit(':', 1)
        if self.to is not None or host not in LOCAL:
            client.send(b'HTTP/1.1 403 Not from here\r\nContent-Length: 0\r\n\r\n')
            return None, False
        server = self._keep(socket.create_connection((host, int(port))))
        with self.lock:
            rec = Record(len(self.log), 0, 'CONNECT', target, {}, time.monotonic(), status=200)
            self.log.append(rec)
        client.send(b'HTTP/1.1 200 Connected\r\n\r\n')
        ends = {client.sock: server, server.sock: client}
        if client.early:
            server.send(client.early)
        while True:
            for s in select.select(list(ends), [], [])[0]:
                p = s.recv(PIECE)
                if not p:
                    return server, False
                ends[s].send(p)


class RelayProcess:
    """The same as a process of its own, for benchmarks: the caller's interpreter has no part in it. `say(**scenario)` changes
    what it does; `log()` is a list of dicts."""

    def __init__(self, to, port=0, **scenario):
        self.dir = tempfile.TemporaryDirectory(prefix='scifs-relay-')
        self.scenario = os.path.join(self.dir.name, 'scenario.json')
        self.log_path = os.path.join(self.dir.name, 'log')
        self.say(**scenario)
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), to, '--port', str(port), '--scenario',
                                         self.scenario, '--log', self.log_path], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def say(self, **scenario):
        with open(self.scenario + '.new', 'w') as f:
            json.dump(scenario, f)
        os.replace(self.scenario + '.new', self.scenario)

    def log(self):
        with open(self.log_path) as f:
            return [json.loads(line) for line in f if line.endswith('\n')]

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.dir.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def seconds(text):
    m = re.fullmatch(r'([\d.]+)(ms|s|)', text)
    if not m:
        raise argparse.ArgumentTypeError('a time, as 50ms or 2s')
    return float(m[1]) / (1000 if m[2] == 'ms' else 1)


def size(text):
    m = re.fullmatch(r'([\d.]+)([kMG]?)', text)
    if not m:
        raise argparse.ArgumentTypeError('bytes, as 500k or 20M')
    return float(m[1]) * {'': 1, 'k': 1e3, 'M': 1e6, 'G': 1e9}[m[2]]


def main():
    p = argparse.ArgumentParser(description='a relay that makes faults and distance', epilog='see the head of this file')
    p.add_argument('to', help="the server's URL, or: proxy")
    p.add_argument('--delay', type=seconds, default=0.0)
    p.add_argument('--rate', type=size)
    p.add_argument('--scenario')
    p.add_argument('--log', type=lambda path: os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 'a'))
    p.add_argument('--port', type=int, default=0)
    a = p.parse_args()
    relay = Relay(None if a.to == 'proxy' else a.to, a.delay, a.rate, log_file=a.log, scenario=a.scenario, port=a.port)
    print(relay.url, flush=True)
    try:
        while True:
            time.sleep(0.2)
            relay._read_scenario()
    except KeyboardInterrupt:
        relay.close()


if __name__ == '__main__':
    main()
