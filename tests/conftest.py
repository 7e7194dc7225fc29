"""Fixtures of the suites on the mount. tests/README.md tells how to write a test with them.

    repo      one of memory:, Girder 5 and Girder 3 with the sample in it (the test runs over each)
    girder    Girder 5 and Girder 3 only
    mnt       repo mounted once for all tests: for those that change nothing and need no options
    gmnt      the same of girder
    reduct    a ReductStore with its sample; with --long also the last and the next of its lines
    mount     a function like harness.Mount that mounts at once and unmounts when the test ends
"""
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

import pytest

# A shell's & leaves the interrupt ignored, for every program below too: Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = [str(Path(__file__).resolve().parent / folder) for folder in ('mount', 'servers', 'faults')]
from harness import GirderRepo, MemoryRepo, Mount, ReductRepo, SCIFS, lack_of_fuse, live  # noqa: E402

TEST_SECONDS = 300              # no test takes so long, however slow the machine: it hangs


def pytest_addoption(parser):
    parser.addoption('--long', action='store_true', help='what is marked `long` too')


def pytest_collection_modifyitems(config, items):
    if not config.getoption('--long'):
        left = [i for i in items if i.get_closest_marker('long')]
        config.hook.pytest_deselected(items=left)
        items[:] = [i for i in items if i not in left]


def pytest_configure(config):
    if not os.access(SCIFS, os.X_OK):
        raise pytest.UsageError(f'{SCIFS} is missing: build it first (tests/run does)')
    # A folder of this session alone: several may run on one machine.
    if not config.option.basetemp:
        config.option.basetemp = tempfile.mkdtemp(prefix='scifs-pytest-')
        config.add_cleanup(lambda: shutil.rmtree(config.option.basetemp, ignore_errors=True))


@pytest.fixture(autouse=True)
def watchdog(request):
    """A test that hangs in a mount cannot be interrupted in Python: end the mounts, and every call in them fails."""
    def bark():
        print(f'{request.node.nodeid} hangs: its mounts are ended', flush=True)
        for m in list(live):
            m.process.send_signal(signal.SIGKILL)
    timer = threading.Timer(TEST_SECONDS, bark)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


@pytest.fixture(scope='session')
def fuse():
    """What cannot mount here is skipped, with the reason."""
    why = lack_of_fuse()
    if why:
        pytest.skip(why)


def _girder(version, tmp_path_factory):
    from girder import Girder
    from girder_sample import fill
    with Girder(version) as server:
        yield GirderRepo(f'girder{version[0]}', server, fill(server), tmp_path_factory.mktemp(f'girder{version[0]}'))


@pytest.fixture(scope='session')
def girder5(tmp_path_factory):
    yield from _girder('5.0', tmp_path_factory)


@pytest.fixture(scope='session')
def girder3(tmp_path_factory):
    yield from _girder('3.2', tmp_path_factory)


@pytest.fixture(scope='session')
def memory():
    return MemoryRepo()


def _reduct(version):
    from reduct import Missing, Reduct, Witness
    from reduct_sample import fill
    try:
        with Reduct(version) as server, Witness(server) as witness:
            yield ReductRepo(f'reduct{version.split(".")[1]}', server, fill(server), witness)
    except Missing as e:
        pytest.skip(str(e).splitlines()[0])


@pytest.fixture(scope='session')
def reduct20():
    yield from _reduct('1.20.11')


@pytest.fixture(scope='session')
def reduct17():
    yield from _reduct('1.17.3')


@pytest.fixture(scope='session')
def reduct21():
    yield from _reduct('1.21.5')


@pytest.fixture(scope='session', params=['reduct20', *(pytest.param(v, marks=pytest.mark.long) for v in ('reduct17', 'reduct21'))])
def reduct(request):
    return request.getfixturevalue(request.param)


# Under sanitizers one Girder will do: what differs between the two is read and written by the same code.
GIRDERS = ['girder5', pytest.param('girder3', marks=pytest.mark.plain)]


@pytest.fixture(scope='session', params=['memory', *GIRDERS])
def repo(request, fuse):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope='session', params=GIRDERS)
def girder(request, fuse):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope='session')
def mnt(repo):
    with Mount(repo.source, env=repo.env) as m:
        yield m


@pytest.fixture(scope='session')
def gmnt(girder):
    with Mount(girder.source, env=girder.env) as m:
        yield m


@pytest.fixture
def m(shared):
    """The mount of a module's `shared` (relay and mount), as if nothing had been before."""
    if shared.m.process.poll() is not None:             # what a test before did to it is not this one's matter
        shared.m.detach()
        shared.m.start()
    shared.relay.clear()
    shared.relay.accept()
    shared.m.give_up()
    return shared.m


@pytest.fixture
def relay(shared, m):
    """The relay that `m` is behind."""
    shared.relay.forget()
    yield shared.relay
    shared.relay.clear()
    shared.relay.accept()
    shared.relay.delay = 0


@pytest.fixture
def mount(fuse):
    """mount(repo_or_source, *options, env=, home=, log_level=, program=) -> a running Mount."""
    mounts = []

    def make(what, *options, env=None, **kw):
        m = Mount(what if isinstance(what, str) else what.source, *options,
                  env=env if env is not None or isinstance(what, str) else what.env, **kw)
        mounts.append(m)
        return m.start()
    yield make
    errors = []
    for m in reversed(mounts):
        try:
            if m.process and m in live:
                m.stop()
        except AssertionError as e:
            errors.append(str(e))
        m.clear()
    assert not errors, '\n'.join(errors)


@pytest.fixture
def far(reduct, relay, mount):
    """far('ttl=1s', path='/BUCKET') -> a mount of a ReductStore behind the module's `relay`: what is asked can be counted."""
    def make(*options, path='', env=None, **kw):
        return mount(f'reduct+{relay.url}{path}', *options, env=reduct.env if env is None else env, **kw)
    return make
