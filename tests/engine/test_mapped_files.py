"""Memory of mapped files: given back, and nothing lost."""

import mmap

import pytest

from ppdiffusers_ext.engine.mapped_files import _mappings, forget, forgetting

SIZE = 64 * 2**20


def resident(path):
    """Kilobytes of a file's mappings that are in memory."""
    total, counts = 0, False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            if "-" in line.split()[0]:
                counts = str(path) in line
            elif counts and line.startswith("Rss:"):
                total += int(line.split()[1])
    return total


@pytest.fixture
def file(tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * (SIZE // 256))
    return tmp_path / "weights.bin"


def mapped(path, access=mmap.ACCESS_READ):
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=access)


def test_memory_of_what_was_read_is_given_back_and_the_content_stays(file):
    data = mapped(file)
    assert sum(data[::4096]) == 0 and resident(file) > SIZE // 2048
    forget(file)
    assert resident(file) == 0
    assert data[255] == 255 and data[: SIZE // 2] == bytes(range(256)) * (SIZE // 512)


def test_memory_is_given_back_while_the_file_is_read(file):
    data, highest = mapped(file), 0
    with forgetting(file):
        for start in range(0, SIZE, 2**20):
            assert data[start + 255] == 255
            highest = max(highest, resident(file))
    assert highest > 0 and resident(file) == 0


def test_what_could_have_been_written_to_is_left_alone(file):
    data = mapped(file, mmap.ACCESS_COPY)
    data[0] = 7
    forget(file)
    assert data[0] == 7
    assert list(_mappings(file)) == []
