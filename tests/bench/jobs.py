"""The jobs: each a function of the rig that measures and gives rows. Their ids are those of the numbers that scifs holds itself
to; README.md tells them in words."""
import concurrent.futures
import os
import shutil
import subprocess
import time

from rig import BUDGET, MIB, OVER_BUDGET, median, rounds, run, timed

ROUND_TRIP = 0.05


class Row:
    """One measure of several entrants: values[who] is a list, one for each round. `more`: more is better."""

    def __init__(self, job, name, unit, values, more=False, goals=()):
        self.job, self.name, self.unit, self.values, self.more = job, name, unit, values, more
        self.goals = [g for g in goals if g.who in values]
        self.compared = unit in ('s', 'ms', 'MB/s', '1/s')      # else it is counted, and the most of it tells

    def best(self, who):
        return (min if self.compared and not self.more else max)(self.values[who])

    def middle(self, who):
        return median(self.values[who])

    def ratio(self, who, of, best=False):
        """How many times as good `who` is as `of`."""
        value = self.best if best else self.middle
        a, b = value(who), value(of)
        if not self.more:
            a, b = b, a
        return a / b if b else float('inf')

    def data(self):
        return {'job': self.job, 'name': self.name, 'unit': self.unit, 'more_is_better': self.more, 'values': self.values,
                'goals': [{'who': g.who, 'text': g.text, 'value': g.value(self), 'reached': g.reached(self)} for g in self.goals]}


class Times:
    """A goal: `who` is at least `least` times as good as `of`."""

    def __init__(self, of, least, who='scifs'):
        self.of, self.least, self.who = of, least, who
        self.text = f'>= {least:.3g} of {of}'

    def value(self, row):
        return row.ratio(self.who, self.of) if self.of in row.values else None

    def reached(self, row):
        return self.of in row.values and self.value(row) >= self.least


class AtMost:
    """A goal: no more than a number, in the row's unit."""

    def __init__(self, most, who='scifs', worst=False):
        self.most, self.who, self.worst = most, who, worst
        self.text = f'<= {most:g}'

    def value(self, row):
        return max(row.values[self.who]) if self.worst else row.middle(self.who)

    def reached(self, row):
        return self.value(row) <= self.most


def speeds(size, seconds):
    """MB/s of what took so long."""
    return {who: [size / s / 1e6 for s in got] for who, got in seconds.items()}


def curl(rig, *urls, header=None, options=()):
    """Seconds of one plain curl that throws all away. What is secret goes into a file, not into its arguments."""
    words = rig.place('curl')
    lines = [f'header = "{header}"'] if header else []
    for u in urls:
        lines += [f'url = "{u}"', 'output = /dev/null']
    with open(os.open(words, os.O_WRONLY | os.O_CREAT, 0o600), 'w') as f:
        f.write('\n'.join(lines) + '\n')
    try:
        return timed(['curl', '-sSfL', '-K', words, *options])
    finally:
        os.unlink(words)


def token(rig):
    return f'Girder-Token: {rig.girder.admin_token}'


# ---- B1: the wire, one after the other ----

def sequential(rig):
    size = 1024 * MIB
    big = rig.file('big.dat', size)
    rig.once('link big', lambda: rig.link('wire', 'big.dat', f'{rig.nginx.url}/big.dat', size))
    rig.warm(big)

    def scifs(who, **kw):
        cache = rig.place('cache')
        with rig.mount_girder(cache=cache, who=who, **kw) as m:
            os.stat(m.path / 'wire/big.dat')
            took = timed(['cat', m.path / 'wire/big.dat'])
        shutil.rmtree(cache, ignore_errors=True)
        return took

    def scifs_memory():
        with rig.mount_girder(cache='none', who='scifs, no disk') as m:
            os.stat(m.path / 'wire/big.dat')
            return timed(['cat', m.path / 'wire/big.dat'])

    def rclone():
        with rig.mount_rclone(rig.nginx.url) as m:
            os.stat(m.path / 'big.dat')
            return timed(['cat', m.path / 'big.dat'])

    def kernel():
        with rig.mount_passthrough(rig.www) as m:
            os.stat(m.path / 'big.dat')
            return timed(['cat', m.path / 'big.dat'])

    got = rounds(3, {'scifs': lambda: scifs('scifs'), 'curl': lambda: curl(rig, f'{rig.nginx.url}/big.dat'), 'rclone': rclone,
                     'scifs, no disk': scifs_memory, 'passthrough_ll': kernel})
    yield Row('B1', 'sequential read of 1 GiB, loopback, a link item to nginx', 'MB/s', speeds(size, got), more=True,
              goals=[Times('curl', 0.5), Times('rclone', 1.5)])

    size = 256 * MIB
    own = rig.once('own file', lambda: rig.girder.upload(rig.folder_of('own'), 'big.dat', os.urandom(size)))

    def from_girder():
        cache = rig.place('cache')
        with rig.mount_girder(cache=cache) as m:
            os.stat(m.path / 'own/big.dat')
            took = timed(['cat', m.path / 'own/big.dat'])
        shutil.rmtree(cache, ignore_errors=True)
        return took

    got = rounds(3, {'scifs': from_girder,
                     'curl': lambda: curl(rig, f'{rig.girder.api}/file/{own["_id"]}/download', header=token(rig))})
    yield Row('B1', 'sequential read of 256 MiB from Girder itself, held against its sha512', 'MB/s', speeds(size, got), more=True)


# ---- B4: the first byte ----

def first_byte(rig):
    count, size = 12, 2 * MIB
    far = rig.relay(rig.nginx.url, ROUND_TRIP)
    names = [f'{n:02d}.dat' for n in range(count)]
    own = []
    for n in names:
        rig.file(f'first/{n}', size)
        rig.link('first', n, f'{far.url}/first/{n}', size)
        own.append(rig.girder.upload(rig.folder_of('first-own'), n, os.urandom(size))['_id'])
    by_girder = f'{rig.girder.api}/file/{first_file(rig, "first")}/download'
    slow_girder = rig.relay(rig.girder.url, ROUND_TRIP)

    def touch(path):
        os.stat(path)
        time.sleep(0.1)                 # what an earlier read left under way ends
        begun = time.monotonic()
        fd = os.open(path, os.O_RDONLY)
        os.pread(fd, 1, 0)
        took = time.monotonic() - begun
        os.close(fd)
        return took * 1000

    def curl_second(first, second, header=None):
        """The second of two on one connection."""
        words = rig.place('curl')
        with open(os.open(words, os.O_WRONLY | os.O_CREAT, 0o600), 'w') as f:
            f.write(f'header = "{header}"\n' if header else '')
            f.write(''.join(f'url = "{u}"\noutput = /dev/null\n' for u in (first, second)))
        out = run(['curl', '-sSfL', '-r', '0-0', '-w', '%{time_starttransfer}\n', '-K', words])
        return float(out.split('\n')[1]) * 1000

    def turn(paths):
        left = iter(paths)
        return lambda: touch(next(left))

    with rig.mount_girder() as m, rig.mount_rclone(far.url) as r:
        for folder in (m.path / 'first', r.path / 'first'):
            subprocess.run(['ls', '-l', str(folder)], stdout=subprocess.DEVNULL, check=True, timeout=120)
            touch(folder / names[0])
        got = rounds(count - 1, {'scifs': turn(m.path / 'first' / n for n in names[1:]),
                                 'curl': lambda: curl_second(f'{far.url}/first/{names[0]}', f'{far.url}/first/{names[1]}'),
                                 'curl by Girder': lambda: curl_second(by_girder, by_girder, token(rig)),
                                 'rclone': turn(r.path / 'first' / n for n in names[1:])})
    yield Row('B4', 'first byte, warm connection, a link item to nginx 50 ms away', 'ms', got,
              goals=[AtMost(ROUND_TRIP * 1000 + 5)])

    with rig.mount_girder(via=slow_girder.url) as m:
        subprocess.run(['ls', '-l', str(m.path / 'first-own')], stdout=subprocess.DEVNULL, check=True, timeout=120)
        touch(m.path / 'first-own' / names[0])
        urls = [f'{slow_girder.url}/api/v1/file/{i}/download' for i in own]
        got = rounds(count - 1, {'scifs': turn(m.path / 'first-own' / n for n in names[1:]),
                                 'curl': lambda: curl_second(urls[0], urls[1], token(rig))})
    yield Row('B4', 'first byte, warm connection, from a Girder 50 ms away', 'ms', got, goals=[AtMost(ROUND_TRIP * 1000 + 5)])


def first_file(rig, folder):
    """The id of a file in a folder of `bench`."""
    item = rig.girder.rest('GET', 'item', {'folderId': rig.folder_of(folder), 'limit': '1'})[0]['_id']
    return rig.girder.rest('GET', f'item/{item}/files', {'limit': '1'})[0]['_id']


# ---- B5: a long listing ----

def long_listing(rig):
    count = 10000
    rig.once('many', lambda: rig.girder.insert_many(rig.folder_of('many'), count))
    for n in range(count):
        rig.file(f'many/item-{n:06d}.txt', 16)
    listing = [f'{rig.girder.api}/folder?parentType=folder&parentId={rig.folder_of("many")}&limit=0&sort=name',
               f'{rig.girder.api}/item?folderId={rig.folder_of("many")}&limit=0&sort=name']
    requests, again = {}, {}

    def scifs(who, *options):
        with rig.mount_girder(*options, who=who) as m:
            os.listdir(m.path)
            before = m.stats()['scifs_http_requests_total']
            took = timed(['ls', '-l', m.path / 'many'])
            middle = m.stats()['scifs_http_requests_total']
            timed(['ls', '-l', m.path / 'many'])
            requests.setdefault(who, []).append(middle - before)
            again.setdefault(who, []).append(m.stats()['scifs_http_requests_total'] - middle)
        return took

    def rclone():
        with rig.mount_rclone(rig.nginx.url) as m:
            return timed(['ls', '-l', m.path / 'many'])

    got = rounds(3, {'scifs, assume-single': lambda: scifs('scifs, assume-single', 'items=assume-single'),
                     'curl': lambda: curl(rig, *listing, header=token(rig)), 'rclone': rclone})
    got.update(rounds(1, {'scifs': lambda: scifs('scifs')}))
    yield Row('B5', 'ls -l of 10,000 entries: time', 's', got)
    yield Row('B5', 'ls -l of 10,000 entries: requests', 'requests', requests,
              goals=[AtMost(count + 2), AtMost(2, who='scifs, assume-single')])
    yield Row('B5', 'the same again: requests', 'requests', again, goals=[AtMost(0), AtMost(0, who='scifs, assume-single')])


# ---- B6: many small files ----

def small_files(rig):
    count, size = (2000 if rig.full else 200), 4096
    names = [f'{n:04d}.dat' for n in range(count)]
    far = rig.relay(rig.nginx.url, ROUND_TRIP)
    slow_girder = rig.relay(rig.girder.url, ROUND_TRIP)
    for n in names:
        rig.file(f'small/{n}', size)
    own = rig.folder_of('small-own')
    rig.folder_of('small')              # here, not by four threads at once

    def make(name):
        rig.link('small', name, f'{far.url}/small/{name}', size)
        return rig.girder.upload(own, name, (rig.www / 'small' / name).read_bytes())['_id']

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(make, names))

    def copy(path):
        target = rig.place('copy')
        took = timed(['cp', '-r', path, target])
        if len(os.listdir(target)) != count:
            raise RuntimeError(f'{len(os.listdir(target))} files came of {count}')
        shutil.rmtree(target)
        return took

    def scifs(folder, via, *options, who='scifs'):
        with rig.mount_girder(*options, via=via, who=who) as m:
            os.listdir(m.path)
            return copy(m.path / folder)

    def rclone():
        with rig.mount_rclone(far.url) as m:
            os.listdir(m.path)
            return copy(m.path / 'small')

    def curls(urls, header=None):
        return curl(rig, *urls, header=header, options=['--parallel', '--parallel-max', '8'])

    n = 3 if not rig.full else 1
    got = rounds(n, {'scifs': lambda: scifs('small', None),
                     'curl, 8 connections': lambda: curls([f'{far.url}/small/{x}' for x in names]), 'rclone': rclone})
    yield Row('B6', f'cp -r of {count} files of 4 KiB, link items to nginx 50 ms away', 's', got,
              goals=[Times('curl, 8 connections', 0.7), Times('rclone', 6)])
    got = rounds(n, {'scifs': lambda: scifs('small-own', slow_girder.url),
                     'scifs, assume-single': lambda: scifs('small-own', slow_girder.url, 'items=assume-single', who='scifs, assume-single'),
                     'curl, 8 connections': lambda: curls([f'{slow_girder.url}/api/v1/file/{i}/download' for i in ids], token(rig))})
    yield Row('B6', f'cp -r of {count} files of 4 KiB from a Girder 50 ms away', 's', got, goals=[Times('curl, 8 connections', 0.7)])


# ---- B7: the disk cache ----

def second_read(rig):
    size = 1024 * MIB
    big = rig.file('big.dat', size)
    rig.once('link big', lambda: rig.link('wire', 'big.dat', f'{rig.nginx.url}/big.dat', size))
    cache = rig.place('cache')
    full = ('--vfs-cache-mode', 'full')
    lacking = []
    for _ in range(4):                  # a disk that is slower than the wire leaves holes, to be filled the next time
        with rig.mount_girder(cache=cache) as m:
            before = m.stats()['scifs_http_received_bytes_total']
            timed(['cat', m.path / 'wire/big.dat'])
            fetched = m.stats()['scifs_http_received_bytes_total'] - before
        lacking.append(fetched / MIB)
        if fetched < MIB:
            break
    with rig.mount_rclone(rig.nginx.url, *full) as m:
        timed(['cat', m.path / 'big.dat'])

    def read(mount, name, cold, kept):
        with mount as m:
            os.stat(m.path / name)
            if cold:
                rig.drop_pages()
            else:
                rig.warm(kept)
            return timed(['cat', m.path / name])

    def cat():
        rig.drop_pages()
        return timed(['cat', big])

    def entrants(cold):
        return {'scifs': lambda: read(rig.mount_girder(cache=cache), 'wire/big.dat', cold, cache),
                'rclone': lambda: read(rig.mount_rclone(rig.nginx.url, *full), 'big.dat', cold, rig.folder / 'rclone-cache')}

    got = rounds(3, {**entrants(True), 'cat': cat})
    yield Row('B7', 'second read of 1 GiB from the disk cache, all pages cold', 'MB/s', speeds(size, got), more=True,
              goals=[Times('cat', 0.8)])
    got = rounds(3, {**entrants(False), 'passthrough_ll': lambda: read(rig.mount_passthrough(rig.www), 'big.dat', False, big)})
    yield Row('B7', "second read of 1 GiB, the cache's pages warm, the mount's cold", 'MB/s', speeds(size, got), more=True,
              goals=[Times('passthrough_ll', 0.9)])
    yield Row('B7', 'what one read of 1 GiB left out of the disk cache', 'MiB', {'scifs': lacking[1:2]})
    shutil.rmtree(cache)
    shutil.rmtree(rig.folder / 'rclone-cache', ignore_errors=True)


# ---- B8: memory ----

def memory(rig):
    """64 readers at once. What each other job needed is in the rows that the run adds at its end."""
    count, size = 64, 32 * MIB
    for n in range(count):
        rig.file(f'readers/{n:02d}.dat', size)
        rig.once(f'link reader {n}', lambda: rig.link('readers', f'{n:02d}.dat', f'{rig.nginx.url}/readers/{n:02d}.dat', size))

    def readers(path):
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            for done in [pool.submit(timed, ['cat', path / f'{n:02d}.dat']) for n in range(count)]:
                done.result()
        return time.monotonic() - begun

    def scifs():
        with rig.mount_girder() as m:
            os.listdir(m.path / 'readers')
            return readers(m.path / 'readers')

    def rclone():
        with rig.mount_rclone(rig.nginx.url) as m:
            return readers(m.path / 'readers')

    got = rounds(1, {'scifs': scifs, 'rclone': rclone})
    yield Row('B8', '64 readers of 32 MiB each, together', 'MB/s', speeds(count * size, got), more=True)


def memory_rows(notes):
    """The most that each program had in memory, by job."""
    for job in sorted({j for j, _, _ in notes}):
        got = {}
        for j, who, peak in notes:
            if j == job:
                got.setdefault(who, []).append(peak / MIB)
        mine = [who for who in got if who.startswith('scifs')]
        yield Row('B8', f'most resident memory in {job}', 'MiB', got,
                  goals=[AtMost((BUDGET + OVER_BUDGET) / MIB, who=who, worst=True) for who in mine])


# ---- B9: writing ----

def writing(rig):
    size, slices = 1024 * MIB, 16
    length = size // slices
    parts = [rig.file(f'slices/{n:02d}', length) for n in range(slices)]
    for p in parts:
        rig.warm(p)
    folder, girder = rig.folder_of('written'), rig.girder
    closed, synced = [], []

    def take_away(name):
        (item,) = girder.rest('GET', 'item', {'folderId': folder, 'name': name})
        (file,) = girder.rest('GET', f'item/{item["_id"]}/files')
        if file['size'] != size:
            raise RuntimeError(f'{file["size"]} bytes came of {size}')
        girder.rest('DELETE', f'item/{item["_id"]}')
        return file.get('sha512')

    def scifs():
        with rig.mount_girder() as m:
            os.listdir(m.path / 'written')
            closed.append(timed(['bash', '-c', 'exec cat "$@" >"$0"', m.path / 'written/scifs.dat', *parts]))
            synced.append(timed([rig.scifs, 'sync', m.path]))
        sums.add(take_away('scifs.dat'))
        return closed[-1] + synced[-1]

    def chunks():
        """One curl over one connection: a request for each chunk, in order, as Girder wants them."""
        begun = time.monotonic()
        upload = girder.rest('POST', 'file', {'parentType': 'folder', 'parentId': folder, 'name': 'curl.dat', 'size': str(size)})['_id']
        words = rig.place('curl')
        with open(os.open(words, os.O_WRONLY | os.O_CREAT, 0o600), 'w') as f:
            f.write('next\n'.join(f'url = "{girder.api}/file/chunk?uploadId={upload}&offset={n * length}"\nupload-file = "{p}"\nrequest = "POST"\n'
                                  f'header = "{token(rig)}"\nheader = "Content-Type: application/octet-stream"\nheader = "Expect:"\n'
                                  'fail\nsilent\nshow-error\noutput = /dev/null\n' for n, p in enumerate(parts)))
        timed(['curl', '-K', words])
        took = time.monotonic() - begun
        os.unlink(words)
        sums.add(take_away('curl.dat'))
        return took

    sums = set()
    got = rounds(3, {'scifs': scifs, 'curl, chunk by chunk': chunks})
    if len(sums) != 1:
        raise RuntimeError(f'not the same bytes: {sums}')
    yield Row('B9', 'write 1 GiB into a Girder, then scifs sync', 's', got, goals=[Times('curl, chunk by chunk', 1 / 1.5)])
    yield Row('B9', 'of that: until close has returned', 's', {'scifs': closed})
    yield Row('B9', 'of that: until scifs sync has returned', 's', {'scifs': synced})


# ---- B10: what the kernel and libfuse allow ----

def operations(rig):
    size, count = 128 * MIB, 30000
    rig.file('kernel/file.dat', size)
    rig.warm(rig.www / 'kernel/file.dat')
    with rig.mount_scifs('memory:?files=1&size=128M') as m, rig.mount_passthrough(rig.www / 'kernel') as p:
        mine, theirs = m.path / 'file-000000.dat', p.path / 'file.dat'
        timed(['cat', mine])
        timed(['cat', theirs])

        def counted(what, counter):
            """Each one did reach scifs."""
            before = m.stats()[counter]
            rate = rig.load(what, mine, count)
            if m.stats()[counter] - before < count:
                raise RuntimeError(f'the kernel answered itself: {m.stats()[counter] - before} of {count} came')
            return rate

        got = rounds(5, {'scifs': lambda: counted('stat', 'scifs_getattrs_total'), 'passthrough_ll': lambda: rig.load('stat', theirs, count)})
        yield Row('B10', 'getattr', '1/s', got, more=True, goals=[Times('passthrough_ll', 0.8)])
        got = rounds(5, {'scifs': lambda: counted('read', 'scifs_reads_total'), 'passthrough_ll': lambda: rig.load('read', theirs, count)})
        yield Row('B10', 'cached reads of 4 KiB', '1/s', got, more=True, goals=[Times('passthrough_ll', 0.8)])


JOBS = {'B1': sequential, 'B4': first_byte, 'B5': long_listing, 'B6': small_files, 'B7': second_read, 'B8': memory, 'B9': writing, 'B10': operations}
PEERS = {'B1', 'B4', 'B5', 'B6', 'B7', 'B8'}     # what rclone and nginx have a part in
