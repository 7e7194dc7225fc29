"""Every byte that a mount gives is the repository's own."""
import os
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from harness import noise, sha512


def test_every_file_has_the_bytes_that_the_witness_has(repo, mnt):
    assert {p: sha512((mnt / p).read_bytes()) for p in repo.files} == {p: sha512(b) for p, b in repo.files.items()}


def test_sizes_are_those_of_the_bytes(repo, mnt):
    assert {p: (mnt / p).stat().st_size for p in repo.files} == {p: len(b) for p, b in repo.files.items()}


def test_a_read_beyond_the_end_is_empty(repo, mnt):
    """Girder answers a range past the end with 206 and the whole file."""
    with open(mnt / repo.odd, 'rb') as f:
        f.seek(100003)
        assert f.read(10) == b''
        f.seek(1 << 40)
        assert f.read(10) == b''


@pytest.mark.parametrize('offset,count', [(0, 1), (1, 4095), (4095, 2), (99999, 100), (65536, 34467)])
def test_a_part_is_that_part(repo, mnt, offset, count):
    done = subprocess.run(['dd', f'if={mnt / repo.odd}', 'bs=1', f'skip={offset}', f'count={count}', 'status=none'],
                          capture_output=True, timeout=120, check=True)
    assert done.stdout == repo.files[repo.odd][offset:offset + count]


def test_items_that_are_taken_for_files_unseen_have_their_bytes(girder, mount):
    """items=assume-single: a listing tells what is needed for ls -l, but not yet which file's bytes they are."""
    m = mount(girder, 'items=assume-single')
    wanted = {p: b for p, b in girder.files.items() if p.rpartition('/')[0] == girder.folder}
    assert (m / girder.folder).is_dir() and wanted
    os.listdir(m / girder.folder)
    assert {p: (m / p).read_bytes() for p in wanted} == wanted


# ---- links: items whose bytes lie elsewhere ----

class Elsewhere(BaseHTTPRequestHandler):
    """Another host, which keeps what it was asked."""
    protocol_version = 'HTTP/1.1'
    content = noise(77, 300000) * 20
    asked = []

    def do_GET(self):
        self.asked.append({k.lower(): v for k, v in self.headers.items()})
        part = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
        body = self.content
        if part:
            first, last = int(part[1]), min(int(part[2] or len(body) - 1), len(body) - 1)
            body = body[first:last + 1]
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {first}-{last}/{len(self.content)}')
        else:
            self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def link(girder):
    """Path in the mount of an item that leads to Elsewhere."""
    httpd = ThreadingHTTPServer(('127.0.0.1', 0), Elsewhere)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    Elsewhere.asked.clear()
    folder = girder.server.make_folder(girder.ids['sample'], 'leads away', 'collection')
    girder.server.rest('POST', 'file', {'parentType': 'folder', 'parentId': folder, 'name': 'far.dat',
                                        'linkUrl': f'http://127.0.0.1:{httpd.server_port}/far.dat'})
    yield 'collection/Sample/leads away/far.dat'
    girder.server.rest('DELETE', 'resource', {'resources': {'folder': [folder]}})
    httpd.shutdown()
    httpd.server_close()


def test_a_link_item_is_a_file_with_the_bytes_of_where_it_leads(girder, mount, link):
    """Trap: a link has neither size nor type, and its answer is a redirect."""
    m = mount(girder)
    assert (m / link).stat().st_size == 6000000
    assert (m / link).read_bytes() == Elsewhere.content
    assert Elsewhere.asked


def test_a_part_of_a_link_item_is_asked_for_as_a_part(girder, mount, link):
    """Trap: Range must be sent again to where a redirect leads."""
    m = mount(girder)
    with open(m / link, 'rb', buffering=0) as f:
        assert os.pread(f.fileno(), 100, 4000000) == Elsewhere.content[4000000:4000100]
    assert all('range' in asked for asked in Elsewhere.asked) and Elsewhere.asked


def test_no_secret_goes_where_a_link_leads(girder, mount, link):
    """Trap: curl repeats custom headers at a redirect, the token among them."""
    m = mount(girder)
    (m / link).read_bytes()
    assert Elsewhere.asked
    for asked in Elsewhere.asked:
        assert not {'girder-token', 'authorization', 'cookie'} & set(asked)
        assert girder.server.api_key not in str(asked)


def test_a_link_to_the_server_itself_is_read_too(girder, gmnt):
    for name in ('to a file.dat', 'with a size.dat'):
        assert sha512((gmnt / 'collection/Sample/Links' / name).read_bytes()) == sha512(girder.files[girder.big])


def test_a_link_to_nowhere_fails_alone(girder, gmnt):
    with pytest.raises(OSError):
        (gmnt / 'collection/Sample/Links/to nowhere').read_bytes()
    assert len(os.listdir(gmnt / 'collection/Sample/Links')) == 3
