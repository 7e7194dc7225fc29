"""The official client of ReductStore as an entrant: one job in a process of its own, in the environment that tests/requirements/reduct.txt
describes. What it needed, in seconds, is all that it prints: from the connection's being there to the last record, without Python's start.

    reduct_client.py URL BUCKET list|read|write ENTRY [FOLDER]      $REDUCT_TOKEN is the token

`list` asks for all records of the entry without their contents, `read` writes each into a file of FOLDER, `write` makes a record of
each file of FOLDER, in batches.
"""
import asyncio
import logging
import os
import sys
import time
import warnings
from pathlib import Path

from reduct import Batch, Client

FOREVER = 2 ** 63 - 1           # the end is always told: the server's own idea of it is wrong after late writes
BATCH = 80                      # records: the server takes 100 headers


async def list_records(bucket, entry):
    return [(r.timestamp, r.size) async for r in bucket.query(entry, start=0, stop=FOREVER, head=True)]


async def read(bucket, entry, folder):
    async for r in bucket.query(entry, start=0, stop=FOREVER):
        (folder / f'{r.timestamp}.bin').write_bytes(await r.read_all())


async def write(bucket, entry, folder):
    at = time.time_ns() // 1000
    files = sorted(folder.iterdir())
    for n in range(0, len(files), BATCH):
        batch = Batch()
        for f in files[n:n + BATCH]:
            batch.add(at, f.read_bytes(), labels={'filename': f.name})
            at += 1
        if errors := await bucket.write_batch(entry, batch):
            raise RuntimeError(f'{len(errors)} records were refused: {next(iter(errors.values()))}')


async def main(url, name, what, entry, folder=None):
    warnings.simplefilter('ignore')
    logging.disable()
    does = {'list': list_records, 'read': read, 'write': write}[what]
    async with Client(url, api_token=os.environ['REDUCT_TOKEN'], timeout=130) as client:
        bucket = await client.get_bucket(name)
        begun = time.monotonic()
        await does(bucket, entry, *([Path(folder)] if folder else []))
        print(time.monotonic() - begun)


asyncio.run(main(*sys.argv[1:]))
