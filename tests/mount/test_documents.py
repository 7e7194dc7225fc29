"""What the manual says, held against the program: the same options, controls and attributes; and pages that a reader can show."""
import os
import re
import shutil
import subprocess

import pytest
from harness import BUILD, SCIFS, TOP, run

PAGES = ['scifs.1', 'scifs.conf.5', 'scifs.7', 'mount.scifs.8']
MAN = BUILD / 'packaging/man'


def shown_options():
    text = run(SCIFS, 'mount', '--help')
    return re.findall(r'^  ([a-z_]+) +\S', text, re.M)


@pytest.mark.parametrize('page', PAGES)
def test_a_manual_page_has_no_fault(page):
    if not shutil.which('mandoc'):
        pytest.skip('mandoc is missing')
    done = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', str(MAN / page)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('page', ['scifs.1', 'scifs.conf.5'])
def test_the_manual_lists_the_options_of_the_program_and_no_other(page):
    listed = shown_options()
    assert len(listed) > 35 and len(set(listed)) == len(listed)
    manual = re.findall(r'^\.TP\n\\fB([a-z_]+)\\fR', (MAN / page).read_text(), re.M)
    assert sorted(set(manual) - {'source'}) == sorted(listed)


def test_the_manual_names_every_command():
    commands = re.findall(r'^  scifs ([a-z]+)', run(SCIFS, '--help'), re.M)
    assert commands == ['mount', 'umount', 'sync', 'uploads', 'status', 'refresh', 'version']
    assert sorted(re.findall(r'^\.SS (\w+)', (MAN / 'scifs.1').read_text(), re.M)) == sorted(commands)


def test_the_manual_names_every_control(mnt):
    page = (MAN / 'scifs.7').read_text().replace('\\-', '-')
    names = os.listdir(mnt / '.scifs')
    assert len(names) >= 8
    assert [n for n in names if n not in page] == []


def test_the_manual_names_every_attribute_of_the_core(mnt, repo):
    page = (MAN / 'scifs.7').read_text()
    names = [n for n in os.listxattr(mnt / repo.text) if not n.startswith(('user.girder.', 'user.memory.'))]
    assert len(names) >= 6
    assert [n for n in names if n not in page] == []


def test_bash_completes_options():
    script = f'''. {BUILD}/packaging/completion/scifs
        compopt() {{ :; }}
        COMP_WORDS=(scifs mount -o ro,read_pa); COMP_CWORD=3; _scifs; echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(scifs um); COMP_CWORD=1; _scifs; echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(scifs mount --list-); COMP_CWORD=2; _scifs; echo "${{COMPREPLY[@]}}"'''
    assert run('bash', '-c', script).splitlines() == ['ro,read_parallel= ro,read_part=', 'umount', '--list-ttl=']


def test_what_the_documents_point_to_is_there():
    for document in ('README.md', 'src/README.md', 'tests/README.md', 'mount-helpers/README.md'):
        folder = (TOP / document).parent
        for target in re.findall(r'\]\((?!https?:)([^)#]+)\)', (TOP / document).read_text()):
            assert (folder / target).exists(), f'{document}: {target}'


def test_installing_puts_everything_where_it_is_looked_for(tmp_path):
    run('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', tmp_path, timeout=300)
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file()}
    assert found == {'usr/local/bin/scifs', 'sbin/mount.scifs', *(f'usr/local/share/man/man{p[-1]}/{p}' for p in PAGES),
                     'usr/local/share/bash-completion/completions/scifs', 'usr/local/share/zsh/site-functions/_scifs'}
    assert run(tmp_path / 'usr/local/bin/scifs', '--version').startswith('scifs ')
