"""The sample data of the Girder that tests and tour use: every shape of tree, name and metadata that scifs must read.

    collection Sample (public)
      Data       what people have: tables, binary files, folders in folders, metadata, items of several files
      Links      items that lead to another address
      Names      names that POSIX cannot hold, twins, leading dots, 255 bytes and more
      Unservable names that the server stores but cannot send (a folder of their own: the official client stops there)
      Many       2,000 small items
      Private    nobody but the admin may read it
    collection Closed (not public)
    users admin and alice with their Public and Private folders
"""
import struct

MASK = 2 ** 64 - 1


def noise(seed: int, size: int) -> bytes:
    """splitmix64, as the memory backend's: the same bytes in each run."""
    out = bytearray()
    for i in range((size + 7) // 8):
        z = (seed + (i + 1) * 0x9e3779b97f4a7c15) & MASK
        z = ((z ^ z >> 30) * 0xbf58476d1ce4e5b9) & MASK
        z = ((z ^ z >> 27) * 0x94d049bb133111eb) & MASK
        out += struct.pack('<Q', z ^ z >> 31)
    return bytes(out[:size])


PLANETS = b'''name,mass_1e24kg,diameter_km,moons
Mercury,0.330,4879,0
Venus,4.87,12104,0
Earth,5.97,12756,1
Mars,0.642,6792,2
Jupiter,1898,142984,95
Saturn,568,120536,146
'''

PLANETS_META = {
    'title': 'The planets', 'license': 'CC0-1.0', 'rows': 6, 'checked': True, 'keywords': ['astronomy', 'planets'],
    'source': {'agency': 'none', 'year': 2026, 'contact': {'name': 'Jürgen Ø', 'room': '4.11'}},
}

# As text: Python's own floats would round what must come back digit for digit.
NUMBERS_META = ('{"beyond_double": 9007199254740993, "int64_max": 9223372036854775807, "int64_min": -9223372036854775808, '
                '"half": 0.5, "zero": 0, "no": false, "empty_text": "", "empty_list": [], "empty_object": {}, '
                '"lists": [[1, 2], [3, [4]]], "key with space": 1, "schön": "\\ud83d\\ude00", "nested": {"a.b": 1, "$c": 2}}')

NAMES = [
    'two  words.txt', 'grün Ω 日本.txt', 'emoji 😀.txt', '100% sure.txt', 'a%2Fb.txt', 'a/b.txt', '/leading.txt', 'back\\slash.txt',
    '~', '~home.txt', 'tilde~12345678.txt', '..', '.', '.hidden', '..two dots', '.scifs', '-rf', 'line\nfeed.txt', 'tab\there.txt',
    'bell\x07.txt', 'del\x7f.txt', '"quotes\' `id` $HOME', 'CAPS.TXT', 'caps.txt', 'e\u0301 decomposed.txt',
    '\u00e9 composed.txt', 'a' * 251 + '.txt', 'b' * 252 + '.txt', 'ü' * 150 + '.dat', 'no extension', 'a+b & c=d?#.txt',
    'CON', 'colon:here.txt', 'star*?.txt', 'looks like (1).txt',
]

UNSERVABLE = ['20°C.dat', 'Größe.txt', '± 5 µm.txt', '© 2026.txt', 'c1\x85.txt']


def _data(g, sample):
    data = g.make_folder(sample, 'Data', 'collection', description='What people have')
    g.set_meta('folder', data, {'project': 'tour', 'contact': {'mail': 'a@example.org'}})
    g.upload(data, 'README.txt', b'Sample data of scifs.\n\nTry: getfattr -d planets.csv\n', mime='text/plain')
    planets = g.upload(data, 'planets.csv', PLANETS, mime='text/csv')
    g.set_meta('item', planets['itemId'], PLANETS_META)
    g.rest('PUT', f'item/{planets["itemId"]}', {'description': 'Six planets of the solar system'})
    numbers = g.upload(data, 'numbers.json', NUMBERS_META.encode(), mime='application/json')
    g.rest('PUT', f'item/{numbers["itemId"]}/metadata', data=NUMBERS_META.encode(), content_type='application/json')
    for name, seed, size in (('empty.dat', 0, 0), ('one.dat', 11, 1), ('noise-4k.dat', 12, 4096), ('noise-odd.dat', 13, 100003),
                             ('noise-1m.dat', 14, 1 << 20), ('noise-5m.dat', 15, (5 << 20) + 7)):
        file = g.upload(data, name, noise(seed, size))
    deep = data
    for name in ('a', 'b', 'c'):
        deep = g.make_folder(deep, name)
    g.upload(deep, 'deep.txt', b'Three folders down.\n', mime='text/plain')
    g.make_folder(data, 'empty folder')
    several = g.make_item(data, 'several files')
    g.upload(several, 'part1.dat', noise(21, 5000), 'item')
    g.upload(several, 'part2.dat', noise(22, 6000), 'item')
    g.upload(several, 'several files', b'named as its item\n', 'item')
    other = g.make_item(data, 'named otherwise')
    g.upload(other, 'original.dat', noise(23, 7000), 'item')
    g.make_item(data, 'empty item')
    fat = g.upload(data, 'fat.txt', b'its metadata is larger than an attribute can be\n', mime='text/plain')
    g.set_meta('item', fat['itemId'], {'short': 'fits', 'long': 'x' * 70000, 'many': {f'key{i:04d}': i for i in range(2000)}})
    return data, file['_id']


def _links(g, sample, file):
    links = g.make_folder(sample, 'Links', 'collection')
    for name, url, more in (('to a file.dat', f'{g.api}/file/{file}/download', {}),
                            ('with a size.dat', f'{g.api}/file/{file}/download', {'size': (5 << 20) + 7}),
                            ('to nowhere', 'http://127.0.0.1:9/gone', {})):
        g.rest('POST', 'file', {'parentType': 'folder', 'parentId': links, 'name': name, 'linkUrl': url, **more})
    return links


def _names(g, sample):
    names = g.make_folder(sample, 'Names', 'collection')
    for name in NAMES:
        g.upload(names, name, f'{name!r}\n'.encode(), mime='text/plain')
    g.upload(names, 'blanks.txt  ', b'the file keeps the blanks that its item loses\n', mime='text/plain')
    twice = g.make_item(names, 'same name twice')
    for text in (b'one\n', b'two\n'):
        g.upload(twice, 'twin.dat', text, 'item')
    # Moves are what makes duplicates: the server does not look.
    aside = g.make_folder(sample, 'aside', 'collection')
    for text in (b'one twin\n', b'the other twin\n'):
        item = g.upload(aside, 'twin.txt', text, mime='text/plain')['itemId']
        g.rest('PUT', f'item/{item}', {'folderId': names})
    item = g.upload(aside, 'both', b'a file of a folder\'s name\n', mime='text/plain')['itemId']
    g.upload(g.make_folder(names, 'both'), 'inside.txt', b'inside of the folder\n', mime='text/plain')
    g.rest('PUT', f'item/{item}', {'folderId': names})
    g.rest('DELETE', 'resource', {'resources': {'folder': [aside]}})
    return names


def fill(g) -> dict:
    """Put all of it in; the ids of what tests ask for by id."""
    sample = g.collection('Sample')
    ids = {'sample': sample}
    ids['data'], file = _data(g, sample)
    ids['links'] = _links(g, sample, file)
    ids['names'] = _names(g, sample)
    unservable = ids['unservable'] = g.make_folder(sample, 'Unservable', 'collection')
    for n, name in enumerate(UNSERVABLE):
        g.upload(unservable, name, noise(40 + n, 3000 + n))
    many = ids['many'] = g.make_folder(sample, 'Many', 'collection')
    g.insert_many(many, 2000)
    private = ids['private'] = g.make_folder(sample, 'Private', 'collection', public=False)
    g.upload(private, 'secret.txt', b'nobody but the admin reads this\n', mime='text/plain')
    closed = ids['closed'] = g.collection('Closed', public=False)
    g.upload(g.make_folder(closed, 'Inside', 'collection'), 'closed.txt', b'closed\n', mime='text/plain')
    return ids
