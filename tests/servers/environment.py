"""Python environments for the tests, made once and kept in ~/.cache/scifs-tests.

An environment is a folder named after its list (tests/requirements/NAME.txt), the list's hash and Python's version. Whoever
needs one first makes it under a lock; a file written last says that it is whole, so a half-made one is never used.
"""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

LISTS = Path(__file__).resolve().parent.parent / 'requirements'


def cache() -> Path:
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'scifs-tests'


def _python() -> str:
    """The system's own: an environment made from another environment would die with it."""
    return getattr(sys, '_base_executable', None) or sys.executable


def environment(name: str) -> Path:
    """The folder of the environment NAME, made if it is missing. Raises RuntimeError with pip's own words."""
    wanted = LISTS / f'{name}.txt'
    mark = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:10]
    folder = cache() / f'{name}-{mark}'
    done = folder / 'complete'
    cache().mkdir(parents=True, exist_ok=True)
    with open(cache() / f'{name}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        print(f'installing {name} into {folder}', file=sys.stderr, flush=True)
        for command in ([_python(), '-m', 'venv', str(folder)],
                        [str(folder / 'bin/pip'), 'install', '--quiet', '--no-input', '--disable-pip-version-check',
                         '--requirement', str(wanted)]):
            run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if run.returncode:
                raise RuntimeError(f'{" ".join(command)} failed:\n{run.stdout[-4000:]}')
        done.touch()
    return folder


if __name__ == '__main__':
    print(environment(sys.argv[1]))
