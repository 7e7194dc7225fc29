"""The sample data of the ReductStore that tests, benchmarks and people use: every shape of bucket, entry, time and label that scifs
must read. Everything is the same in each run, the times too: they count from the first of March 2026 (UTC).

    bucket sensors
      camera       pictures on three days, with a day's first and last microsecond, labelled
      uploads      files with names of their own (label filename, percent-encoded) and times; one name three times
      burst        an hour with more than 10,000 tiny records, and one record in the next hour
      large        a record of 40 MiB between two small ones
      kinds        content types, none that is known too; 0 bytes, 1 byte
      awkward      labels that a parser, a query or a batch gets wrong
      site, site/a, site/a/b, site/c      entries within entries; site/a has an attachment (from 1.19 on)
    bucket empty   nothing
    bucket ring    FIFO: nearly full, of small blocks: what is written next drives out what is oldest
    bucket limited HARD: half full, what would be more than 1 MB is refused
"""
import hashlib
from datetime import datetime, timezone

from girder_sample import noise
from reduct import Record

START = int(datetime(2026, 3, 1, tzinfo=timezone.utc).timestamp()) * 1000000
SECOND, HOUR, DAY = 1000000, 3600 * 1000000, 24 * 3600 * 1000000
BURST = 10500
LARGE = 40 << 20
QUOTA = 1000000
PNG = b'\x89PNG\r\n\x1a\n'

# Label and name: what is no plain text in a query is percent-encoded, and so is a first byte that would make it a number, a word of
# the query language or a duration.
NAMED = [('notes.txt', 'notes.txt'), ('table.csv', 'table.csv'), ('report.pdf', 'report.pdf'), ('two%20words.txt', 'two words.txt'),
         ('gr%C3%BCn%20%CE%A9.dat', 'grün Ω.dat'), ('a%2Cb%3B%22c%22.txt', 'a,b;"c".txt'), ('100%25.txt', '100%.txt'), ('%32024', '2024'),
         ('%731', 's1'), ('%74rue', 'true'), ('%24in.txt', '$in.txt'), ('=a=b.txt', '=a=b.txt'), ('camera', 'camera')]
VERSIONED = 'table.csv'         # three records of this name

AWKWARD = ['a, b', 'say "hi"', '"quoted"', '"a","b"', 'ends with "', 'a=b=c', '=', '010', '10', '1e3', '-0', '0x10', '5m', 's1', 'd-2', 'us9',
           's1 m2', '2026-03-01', '2026-03-01T00:00:00Z', 'true', 'false', 'null', 'nan', 'inf', '&score', '$in', '@x', '#ctx', '{"a":1}', '[1]',
           'a%2Fb', 'a/b', '../..', 'back\\slash', "it's", 'two  words', '*', 'x' * 4000]


def _attachment(server, entry, key, content):
    server.write('sensors', f'{entry}/$meta', START, content, {'key': key}, 'application/json')


def records(nested=True) -> dict:
    """(bucket, entry) -> its Records in ascending time; without entries in entries for a server that knows none."""
    found = {}
    camera, n = found.setdefault(('sensors', 'camera'), []), 0
    for day in (0, 1, 4):
        for hour in (0, 9, 13, 23):
            for within in (0, 20 * 60 * SECOND + 30500000 + 1, HOUR - 1):
                labels = {'station': ('north', 'south')[n % 2], 'exposure': f'{n / 8:.3f}', 'frame': str(n)}
                content = b'\xff\xd8\xff\xe0' + noise(100 + n, 2000 + 37 * n)
                camera.append(Record(START + day * DAY + hour * HOUR + within, content, labels, 'image/jpeg'))
                n += 1
    uploads = found.setdefault(('sensors', 'uploads'), [])
    for n, (label, _) in enumerate([*NAMED, (VERSIONED, VERSIONED), (VERSIONED, VERSIONED)]):
        labels = {'filename': label, 'mtime': f'{1700000000 + n}.{123456789 + n}'}
        kind = {'txt': 'text/plain', 'csv': 'text/csv', 'pdf': 'application/pdf'}.get(label.rsplit('.', 1)[-1], 'application/octet-stream')
        uploads.append(Record(START + 5 * DAY + n * SECOND, f'{label}, record {n}\n'.encode() * (n + 1), labels, kind))
    found['sensors', 'burst'] = [Record(START + 2 * DAY + 10 * HOUR + n * (HOUR // BURST), b'%08d' % n, {'n': str(n)}, 'text/plain')
                                 for n in range(BURST)] + [Record(START + 2 * DAY + 11 * HOUR, b'the next hour', {}, 'text/plain')]
    found['sensors', 'large'] = [Record(START + 3 * DAY, b'before\n', {}, 'text/plain'),
                                 Record(START + 3 * DAY + 1, hashlib.shake_128(b'large').digest(LARGE), {'kind': 'large'}),
                                 Record(START + 3 * DAY + 2, b'after\n', {}, 'text/plain')]
    kinds = [('application/octet-stream', noise(1, 100)), ('text/plain', b'plain\n'), ('text/csv', b'a,b\n1,2\n'),
             ('application/json', b'{"a": 1}'), ('image/png', PNG), ('application/x-unheard-of', b'?'), ('text/plain', b''), ('application/octet-stream', b'')]
    found['sensors', 'kinds'] = [Record(START + n, content, {'kind': str(n)}, kind) for n, (kind, content) in enumerate(kinds)]
    found['sensors', 'awkward'] = [Record(START + n * SECOND, b'%d' % n, {'value': value, 'after': 'yes'}) for n, value in enumerate(AWKWARD)]
    found['sensors', 'awkward'] += [Record(START + HOUR, b'many', {f'label-{n:02d}': f'value {n}' for n in range(60)}),
                                    Record(START + HOUR + 1, b'', {'a.b': '1', 'a_b': '2', 'a-b': '3', '9': 'a number for a name'})]
    if nested:
        for n, (entry, count) in enumerate((('site/a/b', 3), ('site/a', 2), ('site/c', 1))):
            found['sensors', entry] = [Record(START + n * HOUR + i * DAY, f'{entry} {i}\n'.encode(), {'at': entry}, 'text/plain')
                                       for i in range(count)]
        found['sensors', 'site'] = []
    found['ring', 'log'] = [Record(START + n * HOUR, noise(300 + n, 50000), {'n': str(n)}) for n in range(15)]
    found['limited', 'log'] = [Record(START + n * HOUR, noise(400 + n, 50000), {'n': str(n)}) for n in range(10)]
    return {where: [r._replace(size=len(r.content)) for r in content] for where, content in found.items()}


def fill(server) -> dict:
    """Put all of it in; what records() tells, for this server."""
    nested = tuple(map(int, server.version.split('.'))) >= (1, 19)
    server.bucket('sensors')
    server.bucket('empty')
    server.bucket('ring', quota_type='FIFO', quota_size=QUOTA, max_block_size=100000)
    server.bucket('limited', quota_type='HARD', quota_size=QUOTA)
    content = records(nested)
    for (bucket, entry), all_of_it in content.items():
        if entry == 'awkward':
            for r in all_of_it:     # a batch could not tell some of them
                server.write(bucket, entry, r.ts, r.content, r.labels, r.content_type)
        else:
            errors = server.write_batch(bucket, entry, all_of_it)
            if errors:
                raise RuntimeError(f'{bucket}/{entry}: {errors}')
    if nested:
        _attachment(server, 'site/a', 'calibration', b'{"gain": 1.5, "by": "J\\u00fcrgen"}')
    return content
