"""The official client of ReductStore, asked and answering by lines of JSON: reduct.py's Witness runs it.

    {"do": "records", "bucket": "b", "entry": "e"}  ->  {"answer": [...]}  or  {"error": "...", "status": 404}

Whatever takes time says it as an integer, microseconds since 1970 UTC. Contents are hexadecimal digits.
"""
import asyncio
import hashlib
import json
import logging
import os
import sys
import warnings

from reduct import Batch, BucketSettings, Client, QuotaType, ReductError

FOREVER = 2 ** 63 - 1           # told always: what the server takes for the end is wrong after late writes
SECONDS = 130                   # for one request


def told(model):
    return json.loads(model.model_dump_json())


async def record(r, content):
    """What there is to know of it; its content (or, for "sha512", that digest) only when asked for."""
    known = {'ts': r.timestamp, 'entry': r.entry, 'size': r.size, 'content_type': r.content_type, 'labels': dict(r.labels)}
    if content:
        known['content'] = (body := await r.read_all()).hex()
        known['sha512'] = hashlib.sha512(body).hexdigest()
        if content == 'sha512':
            del known['content']
    return known


class Witness:
    """Each method answers one kind of question."""

    def __init__(self, client):
        self.client = client

    async def info(self):
        return told(await self.client.info())

    async def buckets(self):
        return [told(b) for b in await self.client.list()]

    async def bucket(self, bucket):
        """Figures, settings and entries."""
        return told(await (await self.client.get_bucket(bucket)).get_full_info())

    async def create_bucket(self, bucket, **settings):
        if 'quota_type' in settings:
            settings['quota_type'] = QuotaType(settings['quota_type'])
        await self.client.create_bucket(bucket, BucketSettings(**settings))

    async def remove_bucket(self, bucket):
        await (await self.client.get_bucket(bucket)).remove()

    async def entries(self, bucket):
        return [told(e) for e in await (await self.client.get_bucket(bucket)).get_entry_list()]

    async def records(self, bucket, entry, start=None, stop=FOREVER, when=None, content=False):
        """In ascending time. A value that has quotes is told right only by `record`: batches do not escape them."""
        b = await self.client.get_bucket(bucket)
        return [await record(r, content) async for r in b.query(entry, start=start, stop=stop, when=when, head=not content)]

    async def record(self, bucket, entry, ts=None, content=True):
        """The one of that time; without one the latest."""
        async with (await self.client.get_bucket(bucket)).read(entry, timestamp=ts, head=not content) as r:
            return await record(r, content)

    async def write(self, bucket, entry, ts, content='', labels=None, content_type='application/octet-stream'):
        await (await self.client.get_bucket(bucket)).write(entry, bytes.fromhex(content), timestamp=ts, labels=labels or {},
                                                           content_type=content_type)

    async def write_batch(self, bucket, entry, records):
        """What was refused: time -> the server's words."""
        batch = Batch()
        for r in records:
            batch.add(r['ts'], bytes.fromhex(r.get('content', '')), content_type=r.get('content_type'), labels=r.get('labels') or {})
        errors = await (await self.client.get_bucket(bucket)).write_batch(entry, batch)
        return {str(ts): str(error) for ts, error in errors.items()}

    async def update(self, bucket, entry, ts, labels):
        await (await self.client.get_bucket(bucket)).update(entry, ts, labels)

    async def remove(self, bucket, entry, ts):
        await (await self.client.get_bucket(bucket)).remove_record(entry, ts)

    async def remove_entry(self, bucket, entry):
        await (await self.client.get_bucket(bucket)).remove_entry(entry)

    async def rename_entry(self, bucket, old, new):
        await (await self.client.get_bucket(bucket)).rename_entry(old, new)

    async def rename_bucket(self, old, new):
        await (await self.client.get_bucket(old)).rename(new)

    async def attachments(self, bucket, entry):
        return await (await self.client.get_bucket(bucket)).read_attachments(entry)

    async def write_attachments(self, bucket, entry, attachments):
        await (await self.client.get_bucket(bucket)).write_attachments(entry, attachments)

    async def tokens(self):
        return [told(t) for t in await self.client.get_token_list()]


async def answer(witness, what, **fields):
    try:
        return {'answer': await getattr(witness, what)(**fields)}
    except ReductError as e:
        return {'error': e.message, 'status': e.status_code}
    except Exception as e:      # a server that has gone, an answer that breaks off
        return {'error': f'{type(e).__name__}: {e}', 'status': -1}


async def main():
    # An old server is no news.
    warnings.simplefilter('ignore')
    logging.disable()
    async with Client(sys.argv[1], api_token=os.environ.pop('REDUCT_TOKEN') or None, timeout=SECONDS, verify_ssl=False) as client:
        witness = Witness(client)
        while line := await asyncio.to_thread(sys.stdin.readline):
            question = json.loads(line)
            print(json.dumps(await answer(witness, question.pop('do'), **question)), flush=True)


asyncio.run(main())
