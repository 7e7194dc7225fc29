#!/usr/bin/python3
"""The arrows between the rooms of src/: every #include is read, and one that goes up, sideways or behind a room's back fails.
So does a file that the map, src/README.md, does not name.

tests/unit/rooms.py [DIR]      DIR holds src/ and mount-helpers/ (default: this checkout)

It first plays made-up includes through the same rules, each of which must be seen to fail: a checker that lets all pass
would otherwise look like a clean house.
"""
import re
import sys
from pathlib import Path

# "may include", besides itself and base
ARROWS = {
    'base': set(),
    'http': set(),
    'cache': set(),
    'backend': {'http'},
    'spool': {'backend'},
    'fs': {'cache', 'spool', 'backend', 'http'},
    'conf': {'fs', 'cache', 'spool', 'backend', 'http'},
    'cli': {'conf', 'fs', 'cache', 'spool', 'backend', 'http'},
}
# A foreign library has one door.
DOORS = [
    (re.compile(r'(^|/)curl/'), lambda f: f.startswith('src/http/'), 'curl is known in src/http only'),
    (re.compile(r'(^|/)fuse'), lambda f: f.startswith('src/fs/'), 'FUSE is known in src/fs only'),
    (re.compile(r'cJSON'), lambda f: f == 'src/base/json.c', 'cJSON has one door, src/base/json.c'),
    (re.compile(r'sqlite'), lambda f: f == 'src/base/db.c', 'SQLite has one door, src/base/db.c'),
    (re.compile(r'xxh|openssl/'), lambda f: f == 'src/base/digest.c', 'xxhash and OpenSSL have one door, src/base/digest.c'),
    (re.compile(r'^ini\.h$'), lambda f: f.startswith('src/conf/'), 'inih is known in src/conf only'),
    (re.compile(r'cmocka'), lambda f: False, 'test code stays in tests/'),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*(<[^>]+>|"[^"]+"|\S+)', re.M)
COMMENT = re.compile(r'/\*.*?\*/', re.S)


def wrong(file, word):
    """Why `file` (from the top of the checkout) may not include `word`, with its brackets or quotes; None when it may."""
    name = word[1:-1]
    if word[0] == '<':
        return next((why for pattern, allowed, why in DOORS if pattern.search(name) and not allowed(file)), None)
    if word[0] != '"':
        return 'an include that is a macro cannot be read'
    if file.startswith('mount-helpers/'):
        return None if name.startswith('mount-helpers/') else 'mount-helpers know nothing of src/'
    at = file.split('/')[1:]
    to = name.split('/')
    if len(to) < 2 or to[0] not in ARROWS:
        return 'an include names the room: "room/file.h"'
    if len(at) < 2:                         # src/main.c
        return None if name == 'cli/cli.h' else 'main.c knows cli/cli.h only'
    room = at[0]
    if room not in ARROWS:
        return f'src/{room} is no room'
    if to[0] not in ARROWS[room] | {room, 'base'}:
        return f'no arrow leads from {room} to {to[0]}'
    # One kind of repository is a folder of its own: what is in it, only it and the table in backend.c may name.
    inner = to[1] if to[0] == 'backend' and len(to) > 2 else None
    own = at[1] if room == 'backend' and len(at) > 2 else None
    if inner and inner != own and not (file == 'src/backend/backend.c' and name == f'backend/{inner}/{inner}.h'):
        return f'nobody but backend.c asks for backend/{inner}, and that for {inner}.h only'
    if to[0] == room and (room != 'backend' or not inner or inner == own):
        return None
    if to[-1] == 'private.h':
        return f'{name} belongs to the files of its room'
    if to[0] not in ('base', 'backend') and name != f'{to[0]}/{to[0]}.h':
        return f'the public header of {to[0]} is {to[0]}/{to[0]}.h'
    if to[0] == 'backend' and not inner and name != 'backend/backend.h':
        return 'the public header of backend is backend/backend.h'
    return None


MADE_UP = [
    # file, include, whether it may
    ('src/cache/table.c', '"http/http.h"', False),
    ('src/cache/table.c', '"base/buf.h"', True),
    ('src/cache/table.c', '"cache/private.h"', True),
    ('src/base/buf.c', '"http/http.h"', False),
    ('src/http/queue.c', '"backend/backend.h"', False),
    ('src/backend/backend.c', '"http/http.h"', True),
    ('src/backend/backend.c', '"http/private.h"', False),
    ('src/backend/backend.c', '"fs/fs.h"', False),
    ('src/backend/backend.c', '"cache/cache.h"', False),
    ('src/backend/backend.c', '"backend/girder/girder.h"', True),
    ('src/backend/backend.c', '"backend/girder/private.h"', False),
    ('src/backend/memory/tree.c', '"backend/girder/girder.h"', False),
    ('src/backend/memory/tree.c', '"backend/memory/private.h"', True),
    ('src/backend/memory/tree.c', '"backend/backend.h"', True),
    ('src/fs/read.c', '"backend/girder/girder.h"', False),
    ('src/fs/read.c', '"cache/private.h"', False),
    ('src/fs/read.c', '"conf/conf.h"', False),
    ('src/fs/read.c', '"spool/spool.h"', True),
    ('src/conf/config.c', '"fs/fs.h"', True),
    ('src/conf/config.c', '"cli/cli.h"', False),
    ('src/cli/mount.c', '"fs/private.h"', False),
    ('src/cli/mount.c', '"cli/limits.h"', True),
    ('src/cli/mount.c', '"limits.h"', False),
    ('src/cli/mount.c', '"../fs/fs.h"', False),
    ('src/main.c', '"fs/fs.h"', False),
    ('src/main.c', '"cli/cli.h"', True),
    ('src/fs/read.c', '<curl/curl.h>', False),
    ('src/http/engine.c', '<curl/curl.h>', True),
    ('src/cli/mount.c', '<fuse_lowlevel.h>', False),
    ('src/cli/mount.c', '<fuse3/fuse.h>', False),
    ('src/cli/mount.c', '<linux/fuse.h>', False),
    ('src/fs/ops.c', '<linux/fuse.h>', True),
    ('src/backend/girder/parse.c', '<cjson/cJSON.h>', False),
    ('src/cache/documents.c', '<sqlite3.h>', False),
    ('src/base/db.c', '<sqlite3.h>', True),
    ('src/cache/disk.c', '<xxhash.h>', False),
    ('src/base/secret.c', '<openssl/crypto.h>', False),
    ('src/cli/mount.c', '<ini.h>', False),
    ('src/cli/mount.c', 'HEADER', False),
    ('src/fs/read.c', '<cmocka.h>', False),
    ('mount-helpers/mount-scifs.c', '"base/buf.h"', False),
    ('mount-helpers/mount-scifs.c', '"mount-helpers/translate.h"', True),
]


def includes(text):
    return INCLUDE.findall(COMMENT.sub(lambda m: re.sub(r'[^\n]', ' ', m.group()), text))


def main():
    top = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent.parent
    bad = [f'the checker itself: {file} including {word} is {"refused" if may else "let pass"}'
           for file, word, may in MADE_UP if (wrong(file, word) is None) != may]
    if includes('/* #include "a/b.h" */\n#include <x.h>\n # include "c/d.h"\n') != ['<x.h>', '"c/d.h"']:
        bad.append('the checker itself: includes are not found')
    seen = 0
    for path in sorted(p for folder in ('src', 'mount-helpers') for p in (top / folder).rglob('*.[ch]')):
        file = path.relative_to(top).as_posix()
        for word in includes(path.read_text(errors='replace')):
            seen += 1
            why = wrong(file, word)
            if why:
                bad.append(f'{file}: includes {word}: {why}')
    text = (top / 'src/README.md').read_text()
    bad += [f'{p.relative_to(top)}: src/README.md does not name it' for p in sorted((top / 'src').rglob('*.c'))
            if p.parent.name not in ('src', 'base') and not re.search(rf'\b{re.escape(p.name)}', text)]
    if not seen:
        bad.append(f'{top}: no includes found')
    for line in bad:
        print(line)
    print(f'rooms: {seen} includes, {len(MADE_UP)} made-up ones, {len(bad)} wrong')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
