#!/usr/bin/python3
"""A real Girder on this machine, for tests and for a person who wants one to play with.

    tests/servers/girder.py [--version 5.0|3.2] [--no-sample] [--folder DIR] [--json FILE]

prints the address and the credentials and runs until Ctrl-C. As a module:

    with Girder('5.0') as server:       # installed if missing, started, bootstrapped
        server.url, server.api_key      # and .api, .admin_token, .read_key, .user_key, .folder
        server.pause(); server.cont(); server.kill(); server.restart()

The server and its database listen on 127.0.0.1 only, on ports that the system gave, keep their data in one folder (removed at
the end unless it was named) and die with the process that started them.
"""
import argparse
import base64
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from environment import environment  # noqa: E402
from process import (  # noqa: E402
    RestError, Server, end, free_port, hand_out, spawn, tidy_on_sigterm, until_interrupted, wait_ready)

VERSIONS = ('5.0', '3.2')
ADMIN, PASSWORD = 'admin', 'secret1'
USER = 'alice'


class Girder(Server):
    VERSIONS = VERSIONS

    def __init__(self, version='5.0', folder=None, environ=None):
        """`environ` is added to the server's environment: GIRDER_SETTING_CORE_..., say."""
        super().__init__('girder', version, folder, environ)
        self.blobs = self.folder / 'blobs'
        self.port = self.database_port = None
        self.database = None
        self.admin_token = self.api_key = self.read_key = self.user_key = None

    # ---- processes ----

    @property
    def url(self):
        return f'http://127.0.0.1:{self.port}'

    @property
    def api(self):
        return f'{self.url}/api/v1'

    @property
    def database_url(self):
        return f'mongodb://127.0.0.1:{self.database_port}/girder'

    @property
    def python(self):
        return environment(f'girder-{self.version}') / 'bin/python'

    def _answers(self):
        try:
            with urllib.request.urlopen(f'{self.api}/system/version', timeout=5) as r:
                return r.status == 200
        except OSError:
            return False

    def _listens(self):
        try:
            socket.create_connection(('127.0.0.1', self.database_port), 5).close()
            return True
        except OSError:
            return False

    def _start_database(self):
        log = self.folder / 'db.log'
        for _ in range(5):
            self.database_port = free_port()
            self.database = spawn(
                [self.python.parent / 'secantusd-py', '--host', '127.0.0.1', '--port', self.database_port, '--standalone',
                 '--storage-path', self.folder / 'db', '--cache-size', '128M'], log, self.folder)
            if wait_ready(self.database, self._listens, log):
                return
        raise RuntimeError(f'the database does not start:\n{log.read_text(errors="replace")[-2000:]}')

    def _start_server(self):
        env = dict(os.environ, GIRDER_CONFIG=str(self.folder / 'girder.cfg'), GIRDER_FILESYSTEMASSETSTORE_RESERVED_MBYTES='1',
                   GIRDER_WORKER_TASK_ALWAYS_EAGER='true', **self.environ)
        for _ in range(5):
            # The same port again after a restart: mounts know it.
            port, self.port = self.port, self.port or free_port()
            self.server = spawn([self.python, HERE / 'girder_launcher.py', self.port, self.database_url], self.log, self.folder, env)
            if wait_ready(self.server, self._answers, self.log):
                return
            self.port = port
        raise RuntimeError(f'Girder does not start:\n{self.log.read_text(errors="replace")[-2000:]}')

    def start(self):
        try:
            for sub in ('db', 'blobs', 'log'):
                (self.folder / sub).mkdir(parents=True, exist_ok=True)
            (self.folder / 'girder.cfg').write_text(f'[logging]\nlog_root = "{self.folder}/log"\n')
            if not self.database:
                self._start_database()
            self._start_server()
            if not self.admin_token:
                self._bootstrap()
        except BaseException:
            self.stop()
            raise
        return self

    def end_all(self, how):
        super().end_all(how)
        end(self.database, how)
        self.database = None

    # ---- requests ----

    def rest(self, method, path, params=None, data=None, token=None, content_type='application/octet-stream', anonymous=False):
        """One request, as the admin unless told otherwise; the parsed JSON. `params` travel as a form unless there is `data`
        (bytes, or a value that is sent as JSON) or the method is GET."""
        url, headers = f'{self.api}/{path}', {'Accept': 'application/json'}
        params = {k: v if isinstance(v, str) else json.dumps(v) for k, v in (params or {}).items()}
        if not anonymous and (token or self.admin_token):
            headers['Girder-Token'] = token or self.admin_token
        if method == 'GET' or data is not None:
            if params:
                url += '?' + urllib.parse.urlencode(params)
        else:
            data, content_type = urllib.parse.urlencode(params).encode(), 'application/x-www-form-urlencoded'
        if data is not None and not isinstance(data, bytes):
            data, content_type = json.dumps(data).encode(), 'application/json'
        if data is not None:
            headers['Content-Type'] = content_type
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=600) as r:
                body = r.read()
        except urllib.error.HTTPError as e:
            raise RestError(e.code, e.read().decode(errors='replace'), f'{method} {path}') from None
        return json.loads(body) if body else None

    def login(self, user=ADMIN, password=PASSWORD):
        """A token of this user's."""
        basic = base64.b64encode(f'{user}:{password}'.encode()).decode()
        request = urllib.request.Request(f'{self.api}/user/authentication', headers={'Authorization': f'Basic {basic}'})
        with urllib.request.urlopen(request, timeout=60) as r:
            return json.load(r)['authToken']['token']

    def _bootstrap(self):
        """The first user is the site's admin; then a store, an ordinary user and three keys. Over kept data: only a login."""
        try:
            self.admin_token = self.login()
        except urllib.error.HTTPError:
            people = {'firstName': 'Ada', 'lastName': 'Admin', 'password': PASSWORD}
            self.rest('POST', 'user', {'login': ADMIN, 'email': 'admin@example.org', **people}, anonymous=True)
            self.admin_token = self.login()
            self.rest('POST', 'assetstore', {'name': 'blobs', 'type': 0, 'root': str(self.blobs)})
            self.rest('POST', 'user', {'login': USER, 'email': 'alice@example.org', **people, 'firstName': 'Alice'}, anonymous=True)
            self.rest('PUT', 'system/setting', {'key': 'core.upload_minimum_chunk_size', 'value': 0})
        self.api_key = self.rest('POST', 'api_key', {'name': 'test'})['key']
        self.read_key = self.rest('POST', 'api_key', {'name': 'read only', 'scope': ['core.data.read']})['key']
        self.user_key = self.rest('POST', 'api_key', {'name': 'test'}, token=self.login(USER))['key']

    # ---- filling it ----

    def collection(self, name, public=True):
        return self.rest('POST', 'collection', {'name': name, 'public': public})['_id']

    def make_folder(self, parent, name, parent_type='folder', **more):
        return self.rest('POST', 'folder', {'parentType': parent_type, 'parentId': parent, 'name': name, **more})['_id']

    def make_item(self, folder, name, **more):
        return self.rest('POST', 'item', {'folderId': folder, 'name': name, **more})['_id']

    def upload(self, parent, name, content, parent_type='folder', mime='application/octet-stream'):
        """The new file's document (its itemId tells the item)."""
        params = {'parentType': parent_type, 'parentId': parent, 'name': name, 'size': len(content), 'mimeType': mime}
        if not content:
            return self.rest('POST', 'file', params)
        return self.rest('POST', 'file', params, data=content)

    def replace(self, file, content):
        """New content for a file that exists; its document."""
        begun = self.rest('PUT', f'file/{file}/contents', {'size': len(content)})
        if not content:
            return begun
        return self.rest('POST', 'file/chunk', {'uploadId': begun['_id'], 'offset': 0}, data=content)

    def set_meta(self, kind, identity, meta):
        return self.rest('PUT', f'{kind}/{identity}/metadata', data=meta)

    def insert_many(self, folder, count):
        """`count` items item-000000.txt ... whose content is their own name and a line feed."""
        pattern = self.upload(folder, 'pattern.txt', b'pattern\n', mime='text/plain')['itemId']
        subprocess.run([self.python, HERE / 'girder_insert.py', self.database_url, self.blobs, folder, pattern, str(count)], check=True,
                       stdin=subprocess.DEVNULL, timeout=600)
        self.rest('DELETE', f'item/{pattern}')


def main():
    p = argparse.ArgumentParser(description='Run a real Girder until Ctrl-C.')
    p.add_argument('--version', choices=VERSIONS, default=VERSIONS[0])
    p.add_argument('--no-sample', action='store_true', help='leave it empty')
    p.add_argument('--folder', help='keep the data here; started again over it, everything is there')
    p.add_argument('--json', help='write address and credentials into this file (mode 0600) when it is ready')
    a = p.parse_args()
    tidy_on_sigterm()
    with Girder(a.version, a.folder) as server:
        fresh = not server.rest('GET', 'collection', {'limit': '1'})
        if fresh and not a.no_sample:
            from girder_sample import fill
            fill(server)
        if a.json:
            hand_out(a.json, url=server.url, api_key=server.api_key, read_key=server.read_key, user_key=server.user_key,
                     folder=str(server.folder), server_pid=server.server.pid)
        print(f'Girder {a.version} runs at {server.url}\n'
              f'  admin: {ADMIN} / {PASSWORD}   ordinary user: {USER} / {PASSWORD}\n'
              f'  SCIFS_API_KEY={server.api_key}         everything\n'
              f'  SCIFS_API_KEY={server.read_key}         reading only\n'
              f'  SCIFS_API_KEY={server.user_key}         the ordinary user\n'
              f'  data: {server.folder}\n'
              f'Mount it:  SCIFS_API_KEY=... scifs mount girder+{server.url} DIR\n'
              f'Ctrl-C ends it.', flush=True)
        until_interrupted(server.server, server.log)


if __name__ == '__main__':
    main()
