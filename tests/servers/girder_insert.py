"""Put many small items into a folder, straight into the database: by REST each would take 10 ms.

python girder_insert.py DATABASE BLOBS FOLDER-ID ITEM-ID COUNT    (with the server's own Python)

ITEM-ID names an item in that folder, made by REST with one file of its own name: its documents are the pattern. Item number N
is called item-NNNNNN.txt and holds that name and a line feed.
"""
import copy
import hashlib
import sys
from pathlib import Path

import bson
import pymongo

database, blobs, folder, pattern, count = sys.argv[1:]
folder, pattern = bson.ObjectId(folder), bson.ObjectId(pattern)
db = pymongo.MongoClient(database).get_default_database()
item, file = db.item.find_one({'_id': pattern}), db.file.find_one({'itemId': pattern})
items, files, size = [], [], 0
for n in range(int(count)):
    name = f'item-{n:06d}.txt'
    content = f'{name}\n'.encode()
    sha = hashlib.sha512(content).hexdigest()
    path = f'{sha[:2]}/{sha[2:4]}/{sha}'
    where = Path(blobs) / path
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(content)
    one, its = copy.deepcopy(item), copy.deepcopy(file)
    one.update(_id=bson.ObjectId(), name=name, lowerName=name, folderId=folder, size=len(content), meta={'number': n})
    its.update(_id=bson.ObjectId(), name=name, itemId=one['_id'], size=len(content), sha512=sha, path=path)
    items.append(one)
    files.append(its)
    size += len(content)
for start in range(0, len(items), 1000):
    db.item.insert_many(items[start:start + 1000])
    db.file.insert_many(files[start:start + 1000])
db.folder.update_one({'_id': folder}, {'$inc': {'size': size}})
