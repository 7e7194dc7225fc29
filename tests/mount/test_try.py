"""The newcomer's first command: tests/try."""
import os

from harness import TOP, run


def test_the_tour_of_memory_works_twice_and_one_command_ends_it(fuse, tmp_path):
    env = dict(os.environ, SCIFS_TRY=str(tmp_path / 'try'))
    for _ in range(2):
        said = run(TOP / 'tests/try', 'memory:', env=env, timeout=600)
        for command in ('ls -lR tables', 'cp -rp tables', 'getfattr -d tables/planets.csv', 'scifs status .', 'df -h .'):
            assert f'$ {command}' in said
        assert 'user.memory.meta.title="The planets"' in said
        for shown in ('the same', 'nothing is owed', 'user.memory.meta.instrument="X1"', f'$ scifs umount {tmp_path}/try/mnt'):
            assert shown in said, shown
        assert 'planets.csv -> ../../../planets.csv' in said
        assert (tmp_path / 'try/mnt/tables/planets.csv').read_bytes() == (tmp_path / 'try/copy/planets.csv').read_bytes()
    run(TOP / 'tests/try', 'end', env=env)
    assert not os.path.ismount(tmp_path / 'try/mnt')
    assert run(TOP / 'tests/try', 'end', env=env)       # nothing to end is no error


def test_it_does_not_touch_a_folder_of_somebody_else(fuse, tmp_path):
    (tmp_path / 'thesis').mkdir()
    (tmp_path / 'thesis/copy').write_text('mine')
    done = run(TOP / 'tests/try', 'memory:', env=dict(os.environ, SCIFS_TRY=str(tmp_path / 'thesis')), check=False)
    assert done.returncode == 1 and 'name another folder' in done.stderr
    assert (tmp_path / 'thesis/copy').read_text() == 'mine'
