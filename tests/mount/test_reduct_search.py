"""What an expression below .scifs/search/ finds in a ReductStore: links to the records, by their labels and times."""
import errno
import json
import os
import sys
import urllib.parse

import pytest
from harness import TOP, errno_of, fails, put, run, wait_for

sys.path.insert(0, str(TOP / 'tests/faults'))
from reduct import Record  # noqa: E402
from relay import Relay  # noqa: E402

START = 1795353600000000        # 2026-11-22T13:20:00
SECOND = 1000000
FIRST = 1772323200000000        # 2026-03-01, the sample's first time
DAY, HOUR = 24 * 3600 * SECOND, 3600 * SECOND
CLASSES = ('cat', 'dog', 's1', '7', '010', '-1.5', 'true', 'a b', '&x', '$y', '10 s')
SOON = ('ttl=500ms', 'list_ttl=500ms')


@pytest.fixture(scope='module')
def bucket(reduct):
    """BUCKET/in: 50 records, a second apart, with labels `n` (0..49), `class` (each of CLASSES in turn; every fifth has none), and two files
    with names, one of them in two versions. BUCKET/in/sub or BUCKET/other: three more."""
    server, name = reduct.server, 'search'
    server.bucket(name)
    for i in range(50):
        labels = {'n': str(i), **({'class': CLASSES[i % len(CLASSES)]} if i % 5 else {})}
        server.write(name, 'in', START + i * SECOND, b'%d' % i, labels=labels)
    for i, (file, kind) in enumerate([('named.txt', 'old'), ('other.txt', 'new'), ('named.txt', 'new')]):
        server.write(name, 'in', START + (100 + i) * SECOND, b'named', labels={'filename': file, 'kind': kind})
    for i in range(3):
        server.write(name, 'side', START + i * SECOND, b'side', labels={'n': str(i), 'class': 'cat'})
    return name


@pytest.fixture(scope='module')
def m(reduct, bucket, fuse):
    from harness import Mount
    with Mount(reduct.source, *SOON, env=reduct.env) as m:
        yield m


def where(m, expr, directory):
    return m / directory / '.scifs/search' / expr.replace('%', '%25').replace('/', '%2F')


def found(m, expr, directory):
    """The microseconds since START of what it finds in an entry; each link is followed."""
    there = where(m, expr, directory)
    names = os.listdir(there)
    for name in names:
        assert (there / name).is_symlink() and (there / name).is_file()
    return sorted((int(n.rsplit('/')[-1].rsplit('%2F')[-1].split('.')[0]) - START) // SECOND for n in names)


def of_class(kind):
    return [i for i in range(50) if i % 5 and CLASSES[i % len(CLASSES)] == kind]


# ---- terms ----

@pytest.mark.parametrize('kind', CLASSES)
def test_a_label_is_found_by_its_text_whatever_the_server_takes_it_for(m, bucket, kind):
    expected = of_class(kind)
    assert expected and found(m, f'class={kind}', f'{bucket}/in') == expected


def test_not_equal_is_another_value_and_not_none(m, bucket):
    assert found(m, 'class!=cat', f'{bucket}/in') == [i for i in range(50) if i % 5 and CLASSES[i % len(CLASSES)] != 'cat']


@pytest.mark.parametrize('expr, expected', [
    ('n>44', range(45, 50)), ('n>=44', range(44, 50)), ('n<3', range(3)), ('n<=3', range(4)), ('n>10,n<14', range(11, 14)), ('n=8', [8]),
    ('n=8.0', [8]), ('n>=-5,n<2.5', range(3)), ('has=class,n<4', [1, 2, 3]), ('n=no such', []),
])
def test_numbers_are_compared_as_numbers(m, bucket, expr, expected):
    assert found(m, expr, f'{bucket}/in') == list(expected)


@pytest.mark.parametrize('expr, expected', [
    ('from=2026-11-22T13:20:05Z,to=2026-11-22T13:20:08Z', [5, 6, 7]), (f'from={START + 47 * SECOND},has=n', [47, 48, 49]),
    ('to=2026-11-22T13:20:02', [0, 1]), ('from=2026-11-22T14:20:48+01:00;to=2026-11-22T13:21:00Z', [48, 49]),
    ('n>=0;limit=3', [0, 1, 2]), ('limit=2,n>7', [8, 9]), ('n>=0,each_n=20', [0, 20, 40]), ('n>=4,each_t=15s', [4, 19, 34, 49]),
])
def test_times_and_counts_bound_what_is_found(m, bucket, expr, expected):
    assert found(m, expr, f'{bucket}/in') == expected


def test_a_condition_of_the_servers_own_is_a_name_too(m, bucket):
    when = json.dumps({'$and': [{'$gt': ['&n', 20]}, {'$in': ['&class', 'cat', 'dog']}]})
    assert found(m, when, f'{bucket}/in') == sorted(i for i in of_class('cat') + of_class('dog') if i > 20)
    assert found(m, when + ';limit=1', f'{bucket}/in') == [min(i for i in of_class('cat') + of_class('dog') if i > 20)]


# ---- of the sample ----

def contents(m, where_, expr):
    """Of what is found, in order, through its links."""
    there = where(m, expr, where_)
    return [(there / name).read_bytes() for name in os.listdir(there)]


def camera(reduct, takes):
    return [r.content for r in reduct.records['sensors', 'camera'] if takes(r)]


@pytest.mark.parametrize('expr, takes', [
    ('station=north', lambda r: r.labels['station'] == 'north'),
    ('station!=north', lambda r: r.labels['station'] == 'south'),
    ('frame>=10,frame<20', lambda r: 10 <= int(r.labels['frame']) < 20),
    ('frame=7', lambda r: r.labels['frame'] == '7'),
    ('exposure>1.5,station=south', lambda r: float(r.labels['exposure']) > 1.5 and r.labels['station'] == 'south'),
    ('from=2026-03-02', lambda r: r.ts >= FIRST + DAY),
    ('from=2026-03-01T09:00:00Z,to=2026-03-01T14:00:00Z', lambda r: FIRST + 9 * HOUR <= r.ts < FIRST + 14 * HOUR),
    (f'from={FIRST + 1},frame<5', lambda r: r.ts > FIRST and int(r.labels['frame']) < 5),
    ('has=frame,limit=5', lambda r: int(r.labels['frame']) < 5),
    ('has=nothing', lambda r: False),
    ('{"&frame": {"$gt": 30}}', lambda r: int(r.labels['frame']) > 30),
    ('{"$or": [{"&frame": {"$eq": 1}}, {"&frame": {"$eq": 3}}]}', lambda r: r.labels['frame'] in ('1', '3')),
], ids=lambda x: x if isinstance(x, str) else '')
def test_terms_and_conditions_choose_records(reduct, m, expr, takes):
    assert contents(m, 'sensors/camera', expr) == camera(reduct, takes)


@pytest.mark.parametrize('value', ['s1', '5m', 'd-2', '&score', '$in', '@x', '#ctx', 'nan', '010', 'a/b', '"quoted"', 'say "hi"', 'a=b=c', '='])
def test_values_that_the_server_would_take_for_something_else_are_found(reduct, m, value):
    wanted = [r.content for r in reduct.records['sensors', 'awkward'] if r.labels.get('value') == value]
    assert wanted and contents(m, 'sensors/awkward', f'value={value}') == wanted


# ---- where ----

def test_a_link_is_named_by_time_and_leads_to_the_record(m, bucket):
    there = where(m, 'n=8', f'{bucket}/in')
    (name,) = os.listdir(there)
    assert name == f'{START + 8 * SECOND}.bin'
    assert os.path.samefile(there / name, m / bucket / 'in/2026.11.22/13' / name) and (there / name).read_bytes() == b'8'


def test_a_file_with_a_name_is_found_by_its_newest_record(m, bucket):
    there = where(m, 'kind=new', f'{bucket}/in')
    assert set(os.listdir(there)) == {'named.txt', 'other.txt'}
    assert all(os.path.samefile(there / n, m / bucket / 'in' / n) for n in os.listdir(there))
    assert found(m, 'kind=old', f'{bucket}/in') == []


def test_a_bucket_finds_in_all_its_entries_and_the_root_in_all_buckets(m, bucket):
    names = set(os.listdir(where(m, 'n=1', bucket)))
    assert names == {f'in%2F{START + SECOND}.bin', f'side%2F{START + SECOND}.bin'}
    assert found(m, 'n=1', bucket) == [1, 1]
    assert {f'{bucket}%2F{n}' for n in names} <= set(os.listdir(where(m, 'n=1', '')))


def test_a_day_and_an_hour_find_what_is_in_them(m, bucket):
    assert found(m, 'n<3', f'{bucket}/in/2026.11.22') == [0, 1, 2]
    assert found(m, 'n<3', f'{bucket}/in/2026.11.22/13') == [0, 1, 2]


def test_entries_in_an_entry_are_below_it(reduct, m):
    if reduct.server.minor < 19:
        pytest.skip('servers before 1.19 have no entries in entries')
    reduct.server.bucket('nested')
    for entry in ('a', 'a/b', 'ab'):
        reduct.server.write('nested', entry, START, b'x', labels={'k': 'v'})
    wait_for((m / 'nested/a/b').is_dir, 'it is seen')
    assert sorted(os.listdir(where(m, 'k=v', 'nested/a'))) == [f'{START}.bin', f'b%2F{START}.bin']
    assert os.path.samefile(where(m, 'k=v', 'nested/a') / f'b%2F{START}.bin', m / f'nested/a/b/{START}.bin')


# ---- what is none ----

@pytest.mark.parametrize('name', ['.git', 'HEAD', 'plain words', '.hidden', 'node_modules', '._x=y'])
def test_a_name_that_is_no_expression_is_not_there_and_asks_nothing(reduct, m, bucket, mount, name):
    with Relay(reduct.server.url) as relay:
        m = mount(f'reduct+{relay.url}', *SOON, env=reduct.env)
        os.listdir(m / bucket)
        relay.forget()
        assert errno_of(os.stat, m / bucket / 'in/.scifs/search' / name) == errno.ENOENT
        assert not [q for q in relay.settled() if q.method == 'POST']


@pytest.mark.parametrize('expr, words', [
    ('from=yesterday', 'from=yesterday'), ('n=1;limit=no', 'limit=no'), ('n=1;colour=red', 'colour'), ('=x', 'label'), ('a b=c', 'a b'),
    ('n=1,plain', 'plain'), ('n!3=', '!='), ('{"n": ', 'JSON'), ('{"#batch_records": 30000}', '#batch_records'),
    ('{"&n": {"$eq": 9223372036854775808}}', 'larger'), ('n=1,each_n=0', 'each_n'), ('n=1,each_t=fast', 'each_t'),
])
def test_a_broken_expression_is_refused_and_says_why(m, bucket, expr, words):
    assert errno_of(os.listdir, where(m, expr, f'{bucket}/in')) == errno.EINVAL
    assert [e for e in m.errors(f'{bucket}/in') if e['op'] == 'query' and e['errno'] == errno.EINVAL and words in e['message']]


def test_a_condition_that_the_server_refuses_has_its_words(m, bucket):
    assert errno_of(os.listdir, where(m, '{"&n": {"$no_such": 1}}', f'{bucket}/in')) == errno.EINVAL
    assert [e for e in m.errors(f'{bucket}/in') if e['op'] == 'query' and e.get('status') == 422 and '$no_such' in e['message']]


def test_the_server_lives_after_all_of_that(reduct, m, bucket):
    assert reduct.server.server.poll() is None and found(m, 'n=8', f'{bucket}/in') == [8]


def test_a_search_without_the_right_finds_nothing(reduct, mount):
    name = 'writeonly'
    reduct.server.bucket(name)
    try:
        other = mount(reduct.source, env={'SCIFS_TOKEN': reduct.server.make_token(name, write=[name])})
        assert errno_of(os.stat, where(other, 'a=b', name)) == errno.EACCES
    finally:
        reduct.server.request('DELETE', f'b/{name}')


# ---- expressions kept under a name ----

@pytest.fixture
def search(m, bucket):
    """BUCKET/in/.scifs/search, with nothing in it."""
    folder = m / bucket / 'in/.scifs/search'
    for name in [n for n in os.listdir(folder) if not (folder / n).is_dir()]:
        (folder / name).unlink()
    return folder


def long_condition(wanted):
    """One of some thousand bytes that finds these."""
    return {'$in': ['&n', *wanted, *range(1000, 2000)]}


def test_a_condition_of_some_thousand_bytes_is_kept_under_a_name(m, bucket, search):
    text = json.dumps(long_condition([3, 7]))
    assert len(text) > 5000
    put(search / 'long.json', text)
    assert found(m, 'long', f'{bucket}/in') == [3, 7]
    assert (search / 'long.json').read_text() == text and sorted(os.listdir(search)) == ['long', 'long.json']


def test_a_condition_of_64_kib_reaches_the_server(m, bucket, search):
    text = json.dumps({'$in': ['&n', 5]})
    put(search / 'full.json', text[:-1] + ' ' * ((64 << 10) - len(text)) + '}')
    assert found(m, 'full', f'{bucket}/in') == [5]
    with fails(errno.EFBIG):
        put(search / 'full.json', text + ' ' * (64 << 10))


def test_it_is_the_same_as_the_expression(m, bucket, search):
    when = json.dumps({'$gt': ['&n', 44]})
    for text in (when, f'\n {when}\n', f'{when};limit=3', 'n>44', 'n>44;limit=3\n'):
        put(search / 'mine.json', text)
        assert os.listdir(search / 'mine') == os.listdir(where(m, text.strip(), f'{bucket}/in'))


@pytest.mark.parametrize('members, expected', [
    ({'when': {'$gt': ['&n', 44]}}, range(45, 50)), ({'when': {'$gt': ['&n', 44]}, 'limit': 2}, [45, 46]), ({'limit': '2'}, [0, 1]),
    ({'from': '2026-11-22T13:20:05Z', 'to': START + 8 * SECOND}, [5, 6, 7]), ({'when': {'&n': {'$lt': 40}}, 'each_n': 10}, range(0, 40, 10)),
    ({'when': {}, 'each_t': '15s', 'to': '2026-11-22T13:20:50Z'}, [0, 15, 30, 45]),
])
def test_an_object_says_times_and_counts_beside_the_condition(m, bucket, search, members, expected):
    text = json.dumps(members, indent=2)
    put(search / 'mine.json', text)
    assert found(m, 'mine', f'{bucket}/in') == list(expected) == found(m, text, f'{bucket}/in')


def test_in_a_bucket_and_the_root_it_finds_below(m, bucket):
    for directory in (bucket, ''):
        put(m / directory / '.scifs/search/mine.json', json.dumps(long_condition([1])))
    assert set(os.listdir(m / bucket / '.scifs/search/mine')) == {f'in%2F{START + SECOND}.bin', f'side%2F{START + SECOND}.bin'}
    assert {f'{bucket}%2Fin%2F{START + SECOND}.bin', f'{bucket}%2Fside%2F{START + SECOND}.bin'} <= set(os.listdir(m / '.scifs/search/mine'))
    for directory in (bucket, ''):
        os.unlink(m / directory / '.scifs/search/mine.json')


@pytest.mark.parametrize('text, words', [
    ('{"n": ', 'JSON'), ('[1]', 'operator'), ('plain words', 'operator'), ('"x"', 'operator'), ('{"when": 1}', 'when'), ('{"limit": 0}', 'limit'),
    ('{"when": {}, "$and": []}', '$and'), ('{"from": "yesterday"}', 'from'), ('{"from": {"a": 1}}', 'from'), ('n=1,plain', 'plain'),
    ('{"when": {"#batch_records": 1}}', '#batch_records'), ('{"when": {}} {}', 'JSON'),
])
def test_a_wrong_text_is_refused_at_close_and_says_why(m, bucket, search, text, words):
    put(search / 'mine.json', 'n=8')
    with fails(errno.EINVAL):
        put(search / 'mine.json', text)
    assert [e for e in m.errors(f'{bucket}/in') if e['op'] == 'query' and e['errno'] == errno.EINVAL and words in e['message']]
    assert found(m, 'mine', f'{bucket}/in') == [8] and (search / 'mine.json.refused').read_text() == text


@pytest.mark.parametrize('directory', ['search/in', 'search/in/2026.11.22', 'search', ''])
def test_a_condition_that_the_server_does_not_know_is_refused_at_close_with_its_words(m, bucket, directory):
    text = json.dumps({'&n': {'$no_such': directory}})
    with fails(errno.EINVAL):
        put(m / directory / '.scifs/search/wrong.json', text)
    assert [e for e in m.errors(directory) if e['op'] == 'query' and e.get('status') == 422 and '$no_such' in e['message']]
    os.unlink(m / directory / '.scifs/search/wrong.json.refused')


def test_writing_it_anew_asks_anew(m, bucket, search):
    put(search / 'mine.json', '{"limit": 1}')
    assert found(m, 'mine', f'{bucket}/in') == [0]
    put(search / 'mine.json', '{"limit": 2}')
    assert found(m, 'mine', f'{bucket}/in') == [0, 1]
    os.rename(search / 'mine.json', search / 'other.json')
    assert errno_of(os.stat, search / 'mine') == errno.ENOENT and found(m, 'other', f'{bucket}/in') == [0, 1]
    os.unlink(search / 'other.json')
    assert errno_of(os.stat, search / 'other') == errno.ENOENT and os.listdir(search) == []


def test_a_file_of_any_name_beside_it_is_renamed_over_it(m, bucket, search):
    put(search / 'mine.json', 'n=1')
    put(search / 'tmp', '{"when": {"&n": {"$eq": 4}}}')
    os.rename(search / 'tmp', search / 'mine.json')
    assert found(m, 'mine', f'{bucket}/in') == [4] and sorted(os.listdir(search)) == ['mine', 'mine.json']


def test_what_it_costs_to_keep_and_to_list_them(reduct, bucket, mount):
    with Relay(reduct.server.url) as relay:
        m = mount(f'reduct+{relay.url}', *SOON, env=reduct.env)
        folder = m / bucket / 'in/.scifs/search'
        os.listdir(folder)
        relay.forget()
        put(folder / 'terms.json', 'n=1')
        assert not [q for q in relay.settled() if q.method == 'POST']
        put(folder / 'mine.json', '{"$gt": ["&n", 45]}')
        assert len([q for q in relay.settled() if q.method == 'POST']) == 1     # is it a condition?
        relay.forget()
        assert run('ls', '-l', folder).count('.json') == 2
        assert relay.settled() == []
        assert len(os.listdir(folder / 'mine')) == 4
        relay.forget()
        assert len(os.listdir(folder / 'mine')) == 4 and relay.settled() == []
        put(folder / 'mine.json', '{"$gt": ["&n", 45]}')
        relay.forget()
        assert len(os.listdir(folder / 'mine')) == 4 and relay.settled()


def test_a_silent_server_refuses_no_text(reduct, bucket, mount):
    with Relay(reduct.server.url) as relay:
        m = mount(f'reduct+{relay.url}', 'timeout=2s', *SOON, env=reduct.env)
        folder = m / bucket / 'in/.scifs/search'
        os.listdir(folder)
        relay.refuse()
        put(folder / 'mine.json', '{"$gt": ["&n", 45]}')
        relay.accept()
        wait_for(lambda: not json.loads((m / '.scifs/status.json').read_text())['state'] == 'silent', 'it answers again')
        assert len(os.listdir(folder / 'mine')) == 4


# ---- what it costs ----

def test_many_are_found_by_few_requests_and_their_links_by_none(reduct, mount):
    reduct.server.bucket('many')
    reduct.server.write_batch('many', 'in', [Record(START + i, b'x', {'k': 'v'}, 'text/plain', 1) for i in range(3500)])
    with Relay(reduct.server.url) as relay:
        m = mount(f'reduct+{relay.url}', env=reduct.env)
        os.listdir(m / 'many')
        relay.forget()
        there = where(m, 'k=v', 'many/in')
        assert len(os.listdir(there)) == 3500
        assert len([q for q in relay.settled() if q.path.startswith('/api/v1/b/many/in')]) <= 4
        relay.forget()
        assert run('ls', '-l', there).count(' -> ') == 3500
        assert len(relay.settled()) < 40


@pytest.fixture(scope='module')
def wide(reduct):
    """A bucket of 40 entries: three records in each, whose labels are those of the one before but for `n`, and of other types."""
    reduct.server.bucket('wide')
    for i in range(40):
        reduct.server.write_batch('wide', f'e{i:02}', [
            Record(START + k * SECOND + i, b'x', {'n': str(k), 'place': f'{i}, here', **({'odd': 'yes'} if k == 1 else {})},
                   'text/plain' if k < 2 else 'image/png', 1) for k in range(3)])
    return 'wide'


def names_in(n, ext, entries=range(40)):
    return sorted(f'e{i:02}%2F{START + n * SECOND + i}.{ext}' for i in entries)


def test_many_entries_are_asked_together(reduct, wide, mount):
    if reduct.server.minor < 18:
        pytest.skip('servers before 1.18 have no queries of several entries')
    with Relay(reduct.server.url) as relay:
        m = mount(f'reduct+{relay.url}', *SOON, env=reduct.env)
        os.listdir(m / wide)
        relay.forget()
        assert sorted(os.listdir(where(m, 'n=2', wide))) == names_in(2, 'png')
        asked = [(q.method, q.path) for q in relay.settled() if q.path != f'/api/v1/b/{wide}']
        assert asked[0] == ('POST', f'/api/v1/io/{wide}/q') and set(asked[1:]) == {('HEAD', f'/api/v1/io/{wide}/read')} and len(asked) <= 4


def test_labels_and_types_are_each_records_own(m, wide):
    assert sorted(os.listdir(where(m, 'odd=yes', wide))) == names_in(1, 'txt')
    assert sorted(os.listdir(where(m, '{"&place": {"$eq": "7, here"}}', wide))) == sorted(names_in(0, 'txt', [7]) + names_in(1, 'txt', [7]) + names_in(2, 'png', [7]))
    assert sorted(os.listdir(where(m, 'has=n,each_n=3', wide))) == names_in(0, 'txt')


@pytest.mark.parametrize('fault', [{'drop': True}, {'lose': True, 'by': 'reset'}, {'headers': {'x-reduct-entries': 'other'}}, {'headers': {'x-reduct-start-ts': 'soon'}}],
                         ids=['dropped', 'lost', 'of others', 'nonsense'])
def test_a_page_of_several_entries_that_cannot_be_believed_is_no_loss(reduct, wide, mount, fault):
    if reduct.server.minor < 18:
        pytest.skip('servers before 1.18 have no queries of several entries')
    with Relay(reduct.server.url) as relay:
        m = mount(f'reduct+{relay.url}', *SOON, env=reduct.env)
        os.listdir(m / wide)
        rule = relay.rule(method='HEAD', path='/io/.*read', **fault)
        assert sorted(os.listdir(where(m, 'n=1', wide))) == names_in(1, 'txt') and rule.used
