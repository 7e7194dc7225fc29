"""The jobs over a real ReductStore, as those of jobs.py. All records are filled in once a run, in the entries of one bucket."""
import datetime
import filecmp
import http.client
import math
import os
import shutil
import signal
import time
import urllib.parse

from jobs import AtMost, Row, Times, curl, speeds
from rig import MIB, TOP, rounds, run, timed
from environment import environment

HOUR = 3600 * 1000000
BEGIN = 1767225600 * 1000000    # 1 January 2026: nothing is written later than now
BATCH = 80                      # records: the server takes 100 headers
PAGE = 3000                     # records that scifs is told of by one request


# ---- what they stand on ----

def windows(ts):
    """The day and the hour in which a record stands."""
    return f'{datetime.datetime.fromtimestamp(ts // 1000000, datetime.timezone.utc):%Y.%m.%d/%H}'


def fill(rig, entry, times, content=lambda: b''):
    """Records at these ascending times, by one connection that is kept: the server loses records of an entry that come by two."""
    def make():
        server = rig.reduct
        address = urllib.parse.urlsplit(server.api)
        line = http.client.HTTPConnection(address.hostname, address.port, timeout=130)
        for n in range(0, len(times), BATCH):
            bodies = {ts: content() for ts in times[n:n + BATCH]}
            line.request('POST', f'{address.path}/b/bench/{entry}/batch', b''.join(bodies.values()),
                         {'Authorization': f'Bearer {server.token}', **{f'x-reduct-time-{ts}': f'{len(b)},' for ts, b in bodies.items()}})
            answer = line.getresponse()
            said = answer.read()
            refused = [text for name, text in answer.getheaders() if name.startswith('x-reduct-error')]
            if answer.status != 200 or refused:
                raise RuntimeError(f'{entry}: {answer.status} {refused or said}')
        line.close()
        must_hold(rig, entry, len(times))
        return times
    rig.once(f'entry {entry}', make)


def copy_entry(rig, entry, *others):
    """Entries with the same records. Files are copied while the server is down: it takes 0.1 ms for a record that is sent to it."""
    rig.reduct.end_all(signal.SIGTERM)
    bucket = rig.reduct.folder / 'data/bench'
    for name in others:
        shutil.copytree(bucket / entry, bucket / name)
    rig.reduct.start()
    for name in others:
        must_hold(rig, name, len(rig.made[f'entry {entry}']))


def must_hold(rig, entry, count):
    (found,) = [e['record_count'] for e in rig.reduct.rest('GET', 'b/bench')['entries'] if e['name'] == entry]
    if found != count:
        raise RuntimeError(f'{entry} has {found} records, not {count}')


def client(rig, what, entry, folder=None):
    """Seconds that the official client says it took."""
    command = [environment('reduct') / 'bin/python', '-I', TOP / 'tests/bench/reduct_client.py', rig.reduct.url, 'bench', what, entry]
    return float(run(command + ([folder] if folder else []), env=dict(os.environ, REDUCT_TOKEN=rig.reduct.token)))


def requests(mount):
    return mount.stats()['scifs_http_requests_total']


# ---- B11: a long listing ----

def hour_listing(rig):
    count = 10000               # the most that one directory shows
    times = [BEGIN + n * (HOUR // count) for n in range(count)]
    fill(rig, 'many', times, lambda: os.urandom(16))
    hour = 'many/' + windows(BEGIN)
    asked, again = {}, {}

    def scifs(who, known):
        with rig.mount_reduct(who=who) as m:
            os.listdir((m.path / hour).parent if known else m.path)
            before = requests(m)
            took = timed(['ls', '-l', m.path / hour])
            middle = requests(m)
            timed(['ls', '-l', m.path / hour])
            asked.setdefault(who, []).append(middle - before)
            again.setdefault(who, []).append(requests(m) - middle)
        return took

    got = rounds(3, {'scifs': lambda: scifs('scifs', True), 'scifs, by its path': lambda: scifs('scifs, by its path', False),
                     'reduct-py': lambda: client(rig, 'list', 'many')})
    yield Row('B11', 'ls -l of an hour of 10,000 records: time', 's', got)
    yield Row('B11', 'ls -l of an hour of 10,000 records: requests', 'requests', asked, goals=[AtMost(2 + math.ceil(count / PAGE))])
    yield Row('B11', 'the same again: requests', 'requests', again, goals=[AtMost(0), AtMost(0, who='scifs, by its path')])


# ---- B12: many small records, read ----

def same_files(one, other, names):
    """Both folders hold these files and no others, byte for byte."""
    for folder in (one, other):
        if sorted(os.listdir(folder)) != names:
            raise RuntimeError(f'{folder}: {len(os.listdir(folder))} files, or others, instead of {len(names)}')
    wrong = filecmp.cmpfiles(one, other, names, shallow=False)[1:]
    if any(wrong):
        raise RuntimeError(f'not the same bytes: {wrong}'[:500])


def small_records(rig):
    count, size = 5000, 4096
    times = [BEGIN + n * (HOUR // count) for n in range(count)]
    fill(rig, 'small', times, lambda: os.urandom(size))
    names = sorted(f'{ts}.bin' for ts in times)
    copies = []                 # in memory: where ext4 has just deleted thousands of files, making one takes it up to a millisecond

    def copy(mount, path, below=''):
        target = rig.place_in_memory('copy')
        with mount as m:
            os.listdir(m.path)
            took = timed(['cp', '-r', m.path / path, target])
        copies.append(target / below)
        return took

    def reduct_py():
        target = rig.place_in_memory('copy')
        target.mkdir()
        copies.append(target)
        return client(rig, 'read', 'small', target)

    def of_memory():
        """The same program over as many files that nobody has to be asked for."""
        target = rig.place_in_memory('copy')
        with rig.mount_scifs(f'memory:?files={count}&size={size}', who='scifs of memory:') as m:
            os.listdir(m.path)
            return timed(['cp', '-r', m.path, target])

    def kernel():
        """What cp, the kernel and libfuse take, whoever serves the files: they lie in memory."""
        target = rig.place_in_memory('copy')
        source = copies[0]
        with rig.mount_passthrough(source) as m:
            os.listdir(m.path)
            took = timed(['cp', '-r', m.path, target])
        copies.append(target)
        return took

    got = rounds(3, {'scifs': lambda: copy(rig.mount_reduct(), 'small', windows(BEGIN)), 'reduct-py': reduct_py,
                     'scifs, no disk': lambda: copy(rig.mount_reduct(cache='none', who='scifs, no disk'), 'small', windows(BEGIN)),
                     'scifs of memory:': of_memory, 'passthrough_ll': kernel})
    for other in copies[1:]:
        same_files(copies[0], other, names)
    yield Row('B12', f'cp -r of {count:,} records of 4 KiB', 's', got, goals=[Times('reduct-py', 1)])


# ---- B13: many small files, written ----

def small_files_written(rig):
    count, fewer, size = 5000, 2000, 4096

    def files(form, count):
        folder = rig.place('source')
        folder.mkdir()
        for n in range(count):
            (folder / form.format(n)).write_bytes(os.urandom(size))
        return folder

    source, digits = files('frame-{:04d}.dat', count), files('{:04d}.dat', fewer)
    closed, synced, asked = {}, {}, {}

    def scifs(who, folder, *options):
        entry = rig.place('written').name
        with rig.mount_reduct(*options, who=who) as m:
            os.mkdir(m.path / entry)
            before = requests(m)
            closed.setdefault(who, []).append(timed(['cp', '-r', f'{folder}/.', m.path / entry]))
            synced.setdefault(who, []).append(timed([rig.scifs, 'sync', m.path]))
            asked.setdefault(who, []).append(requests(m) - before)
        must_hold(rig, entry, len(os.listdir(folder)))
        return closed[who][-1] + synced[who][-1]

    def reduct_py():
        entry = rig.place('written').name
        took = client(rig, 'write', entry, source)
        must_hold(rig, entry, count)
        return took

    def disk():
        """What the promise of close costs at least: each file's bytes are on the disk before the next one is begun."""
        into = rig.place('promised')
        begun = time.monotonic()
        with open(into, 'wb', buffering=0) as f:
            for file in source.iterdir():
                f.write(file.read_bytes())
                os.fdatasync(f)
        took = time.monotonic() - begun
        os.unlink(into)
        return took

    got = rounds(3, {'scifs': lambda: scifs('scifs', source), 'reduct-py': reduct_py,
                     'scifs, state in memory': lambda: scifs('scifs, state in memory', source, f'state={rig.place_in_memory("state")}'),
                     'fdatasync each': disk})
    yield Row('B13', f'write {count:,} files of 4 KiB, then scifs sync', 's', got,
              goals=[Times('reduct-py', 0.5), Times('reduct-py', 0.5, who='scifs, state in memory')])
    yield Row('B13', 'of that: until cp has returned', 's', closed)
    yield Row('B13', 'of that: until scifs sync has returned', 's', synced)
    yield Row('B13', 'of that: requests', 'requests', asked)
    asked = {}
    got = rounds(1, {'scifs': lambda: scifs('scifs', digits)})
    yield Row('B13', f'write {fewer:,} files of 4 KiB whose names are digits, then scifs sync', 's', got)
    yield Row('B13', 'of that: requests', 'requests', asked)
    shutil.rmtree(source)
    shutil.rmtree(digits)


# ---- B14: a large record ----

def large_record(rig):
    size = 1024 * MIB
    block = os.urandom(8 * MIB)
    server = rig.reduct
    address = urllib.parse.urlsplit(server.api)
    line = http.client.HTTPConnection(address.hostname, address.port, timeout=130)
    line.request('POST', f'{address.path}/b/bench/large?ts={BEGIN}', (block for _ in range(size // len(block))),
                 {'Authorization': f'Bearer {server.token}', 'Content-Length': str(size), 'Content-Type': 'application/octet-stream'})
    answer = line.getresponse()
    if answer.status != 200:
        raise RuntimeError(f'{answer.status} {answer.read()}')
    line.close()
    name = f'large/{windows(BEGIN)}/{BEGIN}.bin'

    def scifs(who, cache):
        with rig.mount_reduct(cache=cache, who=who) as m:
            os.stat(m.path / name)
            took = timed(['cat', m.path / name])
        if cache != 'none':
            shutil.rmtree(cache, ignore_errors=True)
        return took

    got = rounds(3, {'scifs': lambda: scifs('scifs', rig.place('cache')),
                     'curl': lambda: curl(rig, f'{server.api}/b/bench/large?ts={BEGIN}', header=f'Authorization: Bearer {server.token}'),
                     'scifs, no disk': lambda: scifs('scifs, no disk', 'none')})
    yield Row('B14', 'sequential read of a record of 1 GiB', 'MB/s', speeds(size, got), more=True, goals=[Times('curl', 0.5)])
    server.request('DELETE', 'b/bench/large')


# ---- B15: a tree that does not fit into the budget ----

def million(rig):
    """What it needed is in the rows that the run adds at its end."""
    entries, hours, each = [f'e{n}' for n in range(8)], 25, 5000       # too many records each to be asked for at once
    count = len(entries) * hours * each
    fill(rig, entries[0], [BEGIN + h * HOUR + n * (HOUR // each) for h in range(hours) for n in range(each)])
    rig.once('copies', lambda: copy_entry(rig, *entries))
    asked = []

    def scifs():
        listing = rig.place('listing')
        with rig.mount_reduct() as m:
            os.listdir(m.path)
            before = requests(m)
            took = timed(['bash', '-c', 'exec ls -lR "$@" >"$0"', listing, *[m.path / e for e in entries]])
            asked.append(requests(m) - before)
        found = int(run(['grep', '-c', r'^-.*\.bin$', listing]))
        if found != count:
            raise RuntimeError(f'{found} files were listed of {count}')
        os.unlink(listing)
        return took

    got = rounds(1, {'scifs': scifs})
    yield Row('B15', f'ls -lR of {count:,} records, {len(entries)} entries of {hours} hours', 's', got)
    yield Row('B15', 'of that: requests', 'requests', {'scifs': asked})


JOBS = {'B11': hour_listing, 'B12': small_records, 'B13': small_files_written, 'B14': large_record, 'B15': million}
