"""Random operations on a mount come to what they come to on a local disk, also over uploads and remounts.

SCIFS_MODEL=N plays N sequences, other ones each time; without it the same few in each run. A sequence that has once found something
stands below as an example.
"""
import itertools
import os

import pytest
from harness import Mount
from hypothesis import HealthCheck, Phase, given, settings
from model import Pair, operations

MANY = int(os.environ.get('SCIFS_MODEL', 0))
number = itertools.count()


if MANY:
    @pytest.fixture
    def watchdog():
        """Nobody waits for it but who has asked for so many."""


@pytest.fixture(scope='module')
def place(fuse, tmp_path_factory):
    store = tmp_path_factory.mktemp('store')
    with Mount(f'memory:?store={store}', 'quiet=10ms', 'upload_chunk=20k', 'held=1h', log_level='debug' if MANY else 'info') as m:
        yield m, tmp_path_factory.mktemp('local')


# Nothing is made shorter: what it finds depends on time as well, and a shorter one that passes says nothing.
@settings(max_examples=MANY or 12, derandomize=not MANY, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large])
@given(operations())
def test_a_mount_does_what_a_local_disk_does(place, played):
    m, local = place
    n = next(number)
    pair = Pair(m, f'{n}', local / f'{n}')
    try:
        for operation in played:
            pair.play(operation)
        pair.play(('sync',))
    except AssertionError as e:
        raise AssertionError(f'{e}\nplayed: {played}\n{m.log[-5000:]}') from None
    finally:
        pair.close()
