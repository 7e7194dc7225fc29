"""The relay itself, against a small server of the test's own."""
import hashlib
import http.client
import http.server
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest

from relay import Relay, RelayProcess

CONTENT = bytes((i * 7 + i // 251) & 255 for i in range(300000))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def do_GET(self):
        body, status = CONTENT, 200
        if self.path.startswith('/json'):
            body = b'{"name": "a", "size": 1}'
        if 'Range' in self.headers:
            first, last = (int(x) for x in self.headers['Range'].split('=')[1].split('-'))
            body, status = CONTENT[first:last + 1], 206
        self.send_response(status)
        if status == 206:
            self.send_header('Content-Range', f'bytes {first}-{last}/{len(CONTENT)}')
        if self.path == '/chunked':
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            for i in range(0, len(body), 1000):
                self.wfile.write(b'%x\r\n%s\r\n' % (len(body[i:i + 1000]), body[i:i + 1000]))
            self.wfile.write(b'0\r\n\r\n')
            return
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_expect_100(self):
        if self.path == '/refused':
            self.send_response(417)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return False
        return super().handle_expect_100()

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        answer = hashlib.md5(body).hexdigest().encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


@pytest.fixture(scope='module')
def server():
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{s.server_port}'
    s.shutdown()
    s.server_close()


@pytest.fixture
def relay(server):
    with Relay(server) as r:
        yield r


def connect(relay):
    u = urlsplit(relay.url)
    return http.client.HTTPConnection(u.hostname, u.port, timeout=30)


def get(relay, path='/f', headers={}, method='GET', body=None):
    c = connect(relay)
    c.request(method, path, body, headers)
    a = c.getresponse()
    data = a.read()
    c.close()
    return a.status, data


def test_passes_bytes_and_logs_them(relay):
    assert get(relay) == (200, CONTENT)
    assert get(relay, '/f?x=1', {'Range': 'bytes=10-19', 'Girder-Token': 's'}) == (206, CONTENT[10:20])
    a, b = relay.settled()
    assert (a.method, a.path, a.range, a.status, a.sent, a.end) == ('GET', '/f', None, 200, len(CONTENT), 'whole')
    assert (b.target, b.range, b.sent, b.headers['girder-token']) == ('/f?x=1', 'bytes=10-19', 10, 's')
    assert a.began <= a.first <= a.ended
    assert '"s"' not in b.line() and '***' in b.line()


def test_passes_chunks_and_request_bodies(relay):
    assert get(relay, '/chunked') == (200, CONTENT)
    assert get(relay, '/p', method='POST', body=CONTENT)[1] == hashlib.md5(CONTENT).hexdigest().encode()
    assert relay.settled()[1].received == len(CONTENT)


def test_keeps_connections(relay):
    c = connect(relay)
    for i in range(3):
        c.request('GET', '/f')
        assert c.getresponse().read() == CONTENT
    c.close()
    assert relay.connections == 1 and len(relay.log) == 3


def test_rules_match_by_method_path_header_and_turn(relay):
    relay.rule(method='GET', path='^/a', header=('Range', '=10-'), skip=1, times=1, status=418)
    r = {'Range': 'bytes=10-19'}
    assert [get(relay, '/a', r)[0] for _ in range(3)] == [206, 418, 206]
    relay.rule(method='GET', path='^/a', header=('Range', '=10-'), status=418)
    assert get(relay, '/a')[0] == 200 and get(relay, '/b', r)[0] == 206
    assert get(relay, '/a', r)[0] == 418
    relay.clear()
    assert get(relay, '/a', r)[0] == 206


def test_makes_statuses_redirects_and_raw_answers(relay):
    relay.rule(path='^/s', status=503, headers={'Retry-After': '7'}, body=b'why')
    relay.rule(path='^/r', redirect='http://elsewhere/')
    relay.rule(path='^/x', answer=b'SSH-2.0\r\n')
    c = connect(relay)
    c.request('GET', '/s')
    a = c.getresponse()
    assert (a.status, a.getheader('Retry-After'), a.read()) == (503, '7', b'why')
    c.request('GET', '/r')
    a = c.getresponse()
    assert (a.status, a.getheader('Location'), a.read()) == (302, 'http://elsewhere/', b'')
    with pytest.raises(http.client.BadStatusLine):
        get(relay, '/x')


def test_changes_bodies(relay):
    relay.rule(path='^/json1', edit=lambda j: {**j, 'size': -1})
    relay.rule(path='^/json2', replace=[['"a"', '"b"']])
    relay.rule(path='^/json3', body='{"no": ')
    relay.rule(path='^/flip', flip=200000)
    assert json.loads(get(relay, '/json1')[1]) == {'name': 'a', 'size': -1}
    assert json.loads(get(relay, '/json2')[1])['name'] == 'b'
    assert get(relay, '/json3')[1] == b'{"no": '
    flipped = get(relay, '/flip')[1]
    assert [i for i in range(len(CONTENT)) if flipped[i] != CONTENT[i]] == [200000]


def test_changes_requests(relay):
    relay.rule(ask={'Range': None})
    assert get(relay, '/f', {'Range': 'bytes=10-19'}) == (200, CONTENT)


def asks(relay, path, body):
    """POST that waits for the server's word before its body, as http.client cannot: the status, and the body's answer."""
    with socket.create_connection(('127.0.0.1', relay.port)) as s, s.makefile('rb') as f:
        s.sendall(f'POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n'.encode())
        status = int(f.readline().split()[1])
        if status == 100:
            f.readline()
            s.sendall(body)
            status = int(f.readline().split()[1])
        return status


def test_lets_the_server_answer_who_asks_before_the_body(relay):
    relay.rule(path='/refused', expect=True)
    relay.rule(path='/taken', expect=True)
    assert asks(relay, '/refused', CONTENT) == 417 and asks(relay, '/taken', CONTENT) == 200
    refused, taken = relay.settled()
    assert refused.received == 0 and taken.received == len(CONTENT) and taken.status == 200


@pytest.mark.parametrize('by', ['close', 'reset'])
def test_cuts_bodies(relay, by):
    relay.rule(path='/f', cut=12345, by=by)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as e:
        get(relay)
    if by == 'close':
        assert e.value.partial == CONTENT[:12345]
    assert relay.settled()[0].sent == 12345


class Taker(http.server.BaseHTTPRequestHandler):
    """Notes how much of each body came."""
    protocol_version = 'HTTP/1.1'
    came = []

    def log_message(self, *_):
        pass

    def do_PUT(self):
        self.came.append(len(self.rfile.read(int(self.headers['Content-Length']))))
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()


@pytest.fixture
def taker():
    s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Taker)
    s.handle_error = lambda *_: None            # who was cut off gets no answer
    threading.Thread(target=s.serve_forever, daemon=True).start()
    Taker.came = []
    with Relay(f'http://127.0.0.1:{s.server_port}') as r:
        yield r
    s.shutdown()
    s.server_close()


def soon(condition):
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


@pytest.mark.parametrize('by', ['close', 'reset'])
@pytest.mark.parametrize('cut', [0, 12345])
def test_cuts_bodies_on_their_way_to_the_server(taker, by, cut):
    rule = taker.rule(ask_cut=cut, by=by, times=1)
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        get(taker, '/p', method='PUT', body=CONTENT)
    soon(lambda: Taker.came == [cut])           # it came to the server so, and the server saw its end
    assert rule.used and (taker.settled()[0].received, taker.log[0].status) == (cut, 0)
    assert get(taker, '/p', method='PUT', body=CONTENT)[0] == 200


@pytest.mark.parametrize('by', ['close', 'reset'])
def test_loses_answers(taker, by):
    taker.rule(lose=True, by=by, times=1)
    with pytest.raises((http.client.BadStatusLine, ConnectionError)):
        get(taker, '/p', method='PUT', body=CONTENT)
    assert Taker.came == [len(CONTENT)] and (taker.settled()[0].status, taker.log[0].end) == (200, 'lost')
    assert get(taker, '/p', method='PUT', body=CONTENT)[0] == 200


def test_gives_another_answer_to_what_the_server_has_done(taker):
    taker.rule(lose=True, status=400, headers={'X-Why': 'so'}, times=1)
    assert get(taker, '/p', method='PUT', body=CONTENT) == (400, b'')
    assert Taker.came == [len(CONTENT)] and taker.settled()[0].status == 400
    assert get(taker, '/p', method='PUT', body=CONTENT)[0] == 200


@pytest.mark.parametrize('rule', [{'ask_cut': 1000}, {'lose': True}])
def test_stands_still_on_the_way_and_before_the_answer(taker, rule):
    taker.rule(**rule, by='stall')
    ended = []

    def ask():
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            get(taker, '/p', method='PUT', body=CONTENT)
        ended.append(True)
    t = threading.Thread(target=ask)
    t.start()
    soon(lambda: taker.log and taker.log[0].end)
    t.join(0.2)
    assert not ended
    taker.clear()
    t.join(30)
    assert ended


def test_lies_about_the_length(relay):
    relay.rule(path='/more', extra=b'extra')
    relay.rule(path='/long', announce=len(CONTENT) + 5)
    relay.rule(path='/short', announce=10)
    assert get(relay, '/short')[1] == CONTENT[:10]
    with pytest.raises(http.client.IncompleteRead) as e:
        get(relay, '/long')
    assert e.value.partial == CONTENT
    u = urlsplit(relay.url)
    with socket.create_connection((u.hostname, u.port)) as s:
        s.sendall(b'GET /more HTTP/1.1\r\nConnection: close\r\n\r\n')
        assert b''.join(iter(lambda: s.recv(1 << 20), b'')).endswith(CONTENT[-10:] + b'extra')


def test_stalls_until_it_is_told(relay):
    relay.rule(path='/f', stall=True)
    got = []
    t = threading.Thread(target=lambda: got.append(get(relay)))
    t.start()
    while not relay.log:
        time.sleep(0.01)
    t.join(0.2)
    assert not got
    relay.clear()
    t.join(30)
    assert got == [(200, CONTENT)]


def test_refuses_and_accepts_again_on_the_same_port(relay):
    assert get(relay)[0] == 200
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        get(relay)
    relay.accept()
    assert get(relay)[0] == 200


def test_delays_and_slows(relay):
    relay.delay, relay.rate = 0.1, 1e6
    c = connect(relay)
    then = time.monotonic()
    c.request('GET', '/f')
    c.getresponse().read()
    first = time.monotonic() - then
    c.request('GET', '/f', headers={'Range': 'bytes=0-9'})
    c.getresponse().read()
    assert first >= 0.2 + 0.2       # a handshake and a round trip, and most of 300 kB at 1 MB/s
    assert time.monotonic() - then - first >= 0.1


def test_is_a_forward_proxy(server):
    with Relay(None) as proxy:
        c = connect(proxy)
        c.request('GET', server + '/f?q')
        assert c.getresponse().read() == CONTENT
        assert proxy.log[0].target == '/f?q'
        c = connect(proxy)
        c.set_tunnel('127.0.0.1', urlsplit(server).port)
        c.request('GET', '/f')
        assert c.getresponse().read() == CONTENT
        assert proxy.log[1].method == 'CONNECT'
        c.close()


def test_meets_clients_with_tls(server, tmp_path):
    key, cert = tmp_path / 'key', tmp_path / 'cert'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key,
                    '-out', cert, '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1'], check=True,
                   capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    with Relay(server, tls=tls) as r:
        c = http.client.HTTPSConnection('127.0.0.1', r.port, context=ssl.create_default_context(cafile=cert), timeout=30)
        c.request('GET', '/f')
        assert c.getresponse().read() == CONTENT
        c.close()


def test_is_a_process_too(server):
    with RelayProcess(server) as r:
        assert get(r, '/f?token=abc', {'Girder-Token': 's3cret'}) == (200, CONTENT)
        r.say(rules=[{'path': '^/f', 'status': 429}])
        assert get(r)[0] == 429
        r.say(refuse=True)
        for _ in range(3000):
            try:
                get(r)
            except ConnectionRefusedError:
                break
            except (OSError, http.client.HTTPException):
                pass            # the ones that were there end with a reset
            time.sleep(0.01)
        else:
            pytest.fail('never refused')
        while len(r.log()) < 2:
            time.sleep(0.01)
        log = r.log()
        assert [e['status'] for e in log[:2]] == [200, 429] and log[0]['sent'] == len(CONTENT)
        assert 's3cret' not in json.dumps(log) and 'abc' not in json.dumps(log)
        assert os.stat(r.log_path).st_mode & 0o77 == 0
