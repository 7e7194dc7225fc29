"""HTTPS, proxies and HTTP/2 in front of a real Girder: whom we trust, and that a refusal is one line."""
import os
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import PATIENCE, SCIFS, TOP, Mount, run, wait_for

sys.path[:0] = [str(TOP / 'tests/faults'), str(TOP / 'tests/bench')]
from relay import Relay  # noqa: E402
from rig import find_nginx, free_port  # noqa: E402


def certificate(folder, name, host):
    key, cert = folder / f'{name}.key', folder / f'{name}.pem'
    run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-keyout', key, '-out', cert,
        '-subj', f'/CN={host}', '-addext', f'subjectAltName={"IP" if host[0].isdigit() else "DNS"}:{host}')
    return cert, key


def context(cert, key):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    return tls


@pytest.fixture(scope='session')
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tls')
    return {'good': certificate(folder, 'good', '127.0.0.1'), 'other': certificate(folder, 'other', 'elsewhere.example')}


@pytest.fixture
def tls(girder5, keys):
    """An HTTPS server with a certificate of its own making."""
    with Relay(girder5.server.url, tls=context(*keys['good'])) as r:
        yield r


def refused(repo, source, *options, env=None):
    """`scifs mount` in the background, as a user does: its status and what it says."""
    m = Mount(source, *options)
    try:
        done = run(SCIFS, 'mount', source, m.path, '-o', ','.join(['timeout=10s', 'connect_timeout=2s', *options]), check=False,
                   env={**m.environ(), **repo.env, **(env or {})})
        assert not m.mounted()
        return done.returncode, done.stderr
    finally:
        m.clear()


def one_line(text, *words):
    assert text.count('\n') == 1 and text.endswith('\n'), text
    assert all(w in text for w in words), text
    return True


def test_a_certificate_that_nobody_vouches_for_is_refused(girder5, tls, fuse):
    status, text = refused(girder5, f'girder+{tls.url}')
    assert status == 2 and one_line(text, tls.url, 'certificate')
    assert not tls.log                          # not a word was said to it
    status, text = refused(girder5, tls.url)
    assert status == 2 and one_line(text, tls.url, 'certificate')


def test_a_certificate_of_another_name_is_refused(girder5, keys, fuse):
    with Relay(girder5.server.url, tls=context(*keys['other'])) as r:
        status, text = refused(girder5, f'girder+{r.url}', f'ca={keys["other"][0]}')
        assert status == 2 and one_line(text, r.url)
        assert not r.log


def test_a_given_certificate_is_trusted(girder5, tls, keys, mount):
    m = mount(f'girder+{tls.url}', f'ca={keys["good"][0]}', env=girder5.env)
    assert (m / girder5.big).read_bytes() == girder5.files[girder5.big]


def test_insecure_trusts_everybody(girder5, tls, mount):
    m = mount(f'girder+{tls.url}', 'insecure', env=girder5.env)
    assert (m / girder5.big).read_bytes() == girder5.files[girder5.big]


def test_a_missing_ca_file_is_one_line(girder5, tls, fuse):
    status, text = refused(girder5, f'girder+{tls.url}', 'ca=/nowhere/ca.pem')
    assert status in (1, 2) and one_line(text)


def test_https_where_none_is_spoken_is_one_line(girder5, fuse):
    url = girder5.server.url.replace('http:', 'https:')
    status, text = refused(girder5, f'girder+{url}')
    assert status == 2 and one_line(text, url)


def test_http_where_https_is_spoken_is_one_line(girder5, tls, fuse):
    url = tls.url.replace('https:', 'http:')
    status, text = refused(girder5, f'girder+{url}')
    assert status == 2 and one_line(text, url)


def test_a_connection_with_tls_that_breaks_off_is_continued(girder5, tls, keys, mount):
    m = mount(f'girder+{tls.url}', f'ca={keys["good"][0]}', 'cache=none', 'retry_delay=20ms', env=girder5.env)
    for by in ('close', 'reset'):
        tls.rule(path='/download$', cut=100000, by=by, times=2)
    assert (m / girder5.big).read_bytes() == girder5.files[girder5.big]


# ---- proxies ----

def test_a_proxy_is_used(girder5, mount):
    with Relay(None) as proxy:
        m = mount(girder5, f'proxy={proxy.url}', 'cache=none')
        assert (m / girder5.big).read_bytes() == girder5.files[girder5.big]
        assert sum(r.sent for r in proxy.settled()) >= len(girder5.files[girder5.big])


def test_the_environment_names_a_proxy(girder5, mount):
    with Relay(None) as proxy:
        m = mount(girder5, 'cache=none', env={**girder5.env, 'http_proxy': proxy.url})
        assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]
        assert proxy.requests('/download$')
        n = len(proxy.log)
        m = mount(girder5, 'cache=none', env={**girder5.env, 'http_proxy': proxy.url, 'no_proxy': '127.0.0.1'})
        assert (m / girder5.small).read_bytes() == girder5.files[girder5.small]
        assert len(proxy.settled()) == n


def test_a_proxy_sees_nothing_of_https(girder5, tls, keys, mount):
    with Relay(None) as proxy:
        m = mount(f'girder+{tls.url}', f'ca={keys["good"][0]}', f'proxy={proxy.url}', 'cache=none', env=girder5.env)
        assert (m / girder5.odd).read_bytes() == girder5.files[girder5.odd]
        assert proxy.log and {r.method for r in proxy.log} == {'CONNECT'}
        assert tls.requests('/download$')


def test_a_dead_proxy_is_one_line(girder5, fuse):
    with Relay(None) as gone:
        gone.refuse()
        status, text = refused(girder5, girder5.source, f'proxy={gone.url}')
    assert status == 2 and one_line(text)


# ---- HTTP/2 ----

@pytest.fixture
def nginx(girder5, keys, tmp_path):
    """nginx with HTTP/2 in front of the Girder; yields its URL and its log: protocol, connection, request."""
    cert, key = keys['good']
    port = free_port()
    (tmp_path / 'conf').write_text(f'''
daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; worker_processes 1; {"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 512; }}
http {{
    log_format wire "$server_protocol $connection $request_method $request_uri $status";
    access_log {tmp_path}/access.log wire;
    client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy; fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u;
    scgi_temp_path {tmp_path}/s;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {cert}; ssl_certificate_key {key};
        location / {{ proxy_pass {girder5.server.url}; proxy_http_version 1.1; }}
    }}
}}
''')
    process = subprocess.Popen([str(find_nginx()), '-p', str(tmp_path), '-e', f'{tmp_path}/error.log', '-c', f'{tmp_path}/conf'],
                               stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: (tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text() or process.poll() is not None, 'nginx runs')
        assert process.poll() is None, (tmp_path / 'error.log').read_text()
        yield f'https://127.0.0.1:{port}', tmp_path / 'access.log'
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_64_parallel_reads_over_http2(girder5, keys, nginx, mount):
    url, log = nginx
    m = mount(f'girder+{url}', f'ca={keys["good"][0]}', 'cache=none', env=girder5.env)
    paths = [p for p in girder5.files] * 8
    with ThreadPoolExecutor(64) as pool:
        got = list(pool.map(lambda p: (p, (m / p).read_bytes() == girder5.files[p]), paths))
    assert not [p for p, same in got if not same]
    # Parts from all over the big file at once.
    big = girder5.files[girder5.big]

    def part(i):
        with open(m / girder5.big, 'rb') as f:
            f.seek(i * 80000)
            return f.read(5000) == big[i * 80000:i * 80000 + 5000]
    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(part, range(64)))
    lines = [line.split() for line in log.read_text().splitlines()]
    assert {line[0] for line in lines} == {'HTTP/2.0'}
    assert len({line[1] for line in lines}) <= 9            # connections: not one for each request
    assert all(line[4][0] == '2' for line in lines if '/download' in line[3])
