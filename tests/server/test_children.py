"""The place of the server's children behind it, for the system's scheduler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppdiffusers_ext.server import children, probing, worker
from ppdiffusers_ext.server.children import child_environment

GROUP = Path("/proc/self/autogroup")
CODE = """
import os, pathlib
from ppdiffusers_ext.server.children import step_back
step_back()
group = pathlib.Path("/proc/self/autogroup")
print(os.getpriority(os.PRIO_PROCESS, 0), *(group.read_text().split()[-1:] if group.exists() else []))
"""


@pytest.mark.parametrize("has_session", [True, False])
def test_a_child_gives_way_and_so_does_its_session_if_it_is_its_own(has_session):
    command = [sys.executable, "-c", CODE]
    told = subprocess.run(command, env=child_environment(), start_new_session=has_session, capture_output=True)
    assert told.returncode == 0, told.stderr
    priority, *group = told.stdout.decode().split()
    assert int(priority) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    if GROUP.exists():  # which is an empty file in a session that the system put into no group of its own
        assert group == ["10"] if has_session else group == GROUP.read_text().split()[-1:]


def test_where_the_system_has_no_such_thing_a_child_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(children.os, "nice", lambda _: (_ for _ in ()).throw(PermissionError()))
    monkeypatch.setattr(children, "_GROUP", tmp_path / "nowhere" / "autogroup")
    children.step_back()


@pytest.mark.parametrize("module", [worker, probing])
def test_each_child_gives_way_before_anything_else(module, monkeypatch):
    class First(Exception):
        pass

    def step_back():
        raise First

    monkeypatch.setattr(module, "step_back", step_back)
    with pytest.raises(First):
        module.main([])
