"""Start Girder for tests:  python girder_launcher.py PORT DATABASE

This is Girder's own `girder serve` (5.0.x and 3.2.x), with one thing added: the database that the tests use has no
full-text indexes, so a text search looks for whole words with a regular expression (unranked, without stemming).
"""
import re
import sys

sys.path.pop(0)         # this folder: it has a girder.py of its own

from girder.models import model_base  # noqa: E402
from girder.utility import acl_mixin  # noqa: E402


def plain_words(model, query):
    text = (query or {}).get('$text')
    if not text:
        return query
    words = '|'.join(map(re.escape, re.findall(r'\w+', text['$search']))) or '(?!)'
    pattern = f'(^|[^0-9A-Za-z])({words})([^0-9A-Za-z]|$)'
    rest = {key: value for key, value in query.items() if key != '$text'}
    return {'$and': [rest, {'$or': [{field: {'$regex': pattern, '$options': 'i'}} for field in model._textIndex or ['name']]}]}


find = model_base.Model.find
model_base.Model.find = lambda self, query=None, *a, **k: find(self, plain_words(self, query), *a, **k)
model_base.Model._textSearchFilters = lambda self, query, filters=None, fields=None: (
    plain_words(self, {**(filters or {}), '$text': {'$search': query}}), fields)

# There is no score to sort by.
model_base.TEXT_SCORE_SORT_MAX = acl_mixin.TEXT_SCORE_SORT_MAX = 0
permitted = acl_mixin.AccessControlMixin.findWithPermissions
acl_mixin.AccessControlMixin.findWithPermissions = lambda self, *a, aggregateSort=None, **k: permitted(self, *a, **k)

from girder.cli import main  # noqa: E402

sys.argv = ['girder', 'serve', '--mode', 'production', '--host', '127.0.0.1', '--port', sys.argv[1], '--database', sys.argv[2]]
sys.exit(main())
