"""What the suites on ReductStore read is really there."""
from harness import sha512


def test_the_sample_is_there_by_two_accounts(reduct):
    """By plain requests and by the official client, which cannot read a batch with some of the awkward labels: those one by one."""
    server, witness = reduct.server, reduct.witness
    assert {b['name'] for b in witness('buckets') if b['name'][0] != '$'} == {'sensors', 'empty', 'ring', 'limited'}
    for (bucket, entry), records in reduct.records.items():
        if not records:
            continue
        got = server.records(bucket, entry)
        assert [(r.ts, r.size, r.content_type) for r in got] == [(r.ts, r.size, r.content_type) for r in records]
        if entry == 'awkward':
            assert [server.read(bucket, entry, r.ts) for r in records] == records
            seen = [witness('record', bucket=bucket, entry=entry, ts=r.ts) for r in records]
        else:
            assert [r.labels for r in got] == [r.labels for r in records]
            seen = witness('records', bucket=bucket, entry=entry, content='sha512')
        assert [(r['ts'], r['sha512'], r['content_type'], r['labels']) for r in seen] == [
            (r.ts, sha512(r.content), r.content_type, r.labels) for r in records]
    entries = {e['name']: e['record_count'] for e in witness('entries', bucket='sensors')}
    assert entries == {entry: len(records) for (bucket, entry), records in reduct.records.items() if bucket == 'sensors'}
    if 'site' in entries:
        assert witness('attachments', bucket='sensors', entry='site/a') == {'calibration': {'gain': 1.5, 'by': 'Jürgen'}}
    settings = {name: witness('bucket', bucket=name)['settings'] for name in ('ring', 'limited')}
    assert settings['ring']['quota_type'] == 'FIFO' and settings['limited']['quota_type'] == 'HARD'
