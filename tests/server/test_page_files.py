"""The page's files are those that ship; nothing that a client writes is a path."""

import pytest

from ppdiffusers_ext.server.page_files import FOLDER, KINDS, page_files
from tests.support.studio import studio


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    with studio(tmp_path_factory.mktemp("studio")) as server:
        yield server


def test_every_file_is_served_as_what_it_is(found):
    assert {"sample/reference.png", "sample/pose.mp4"} <= set(page_files())
    for name, path in page_files().items():
        answer = found.ask("GET", f"/page/{name}")
        assert (answer.status, answer.body) == (200, path.read_bytes())
        assert answer.headers["content-type"] == KINDS[path.suffix]
        assert FOLDER in path.parents or path.parent.name == "assets"


@pytest.mark.parametrize(
    "name",
    ["", "../app.py", "%2e%2e/app.py", "..%2fapp.py", "/etc/passwd", "%2fetc%2fpasswd", "sample", "sample/", ".",
     "sample/../sample/pose.mp4", "sample//pose.mp4", "SAMPLE/pose.mp4", "sample%5cpose.mp4", "sample/pose.mp4%00"],
)  # fmt: skip
def test_no_other_name_is_a_file(found, name):
    answer = found.ask("GET", f"/page/{name}")
    assert answer.status == 404 and answer.json["code"] == "page"
