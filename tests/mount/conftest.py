"""Fixtures of the mount suites. tests/README.md tells how to write a test with them.

    repo      one of memory:, Girder 5 and Girder 3 with the sample in it (the test runs over each)
    girder    Girder 5 and Girder 3 only
    mnt       repo mounted once for all tests: for those that change nothing and need no options
    gmnt      the same of girder
    mount     a function like harness.Mount that mounts at once and unmounts when the test ends
"""
import os
import shutil
import signal
import tempfile
import threading

import pytest
from harness import GirderRepo, MemoryRepo, Mount, SCIFS, lack_of_fuse, live

TEST_SECONDS = 300              # no test takes so long, however slow the machine: it hangs


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


@pytest.fixture(scope='session', params=['memory', 'girder5', 'girder3'])
def repo(request, fuse):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope='session', params=['girder5', 'girder3'])
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
def mount(fuse):
    """mount(repo_or_source, *options, env=, home=, log_level=) -> a running Mount."""
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
    assert not errors, '\n'.join(errors)
