"""YAML and JSON, made of their own pieces or of anything."""

from hypothesis import strategies as st

from ppdiffusers_ext.errors import shown
from ppdiffusers_ext.files import parse_json, parse_yaml, read_json, read_yaml
from tests.support.fuzzing import fuzz, refused_or_read

WORDS = (
    *(
        "a",
        "b: ",
        "- ",
        "? ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "\n",
        "\n  ",
        "&x ",
        "*x",
        "<<: ",
        "|\n",
        ">\n",
        "'",
        '"',
    ),
    *("!!int ", "!!python/name:os.system ", "!!set ", "!<x> ", "%YAML 9\n", "---\n", "...\n", "# ", "\\u", "\\ud800"),
    *(
        "0x_",
        "0x1",
        "1e999",
        "-.inf",
        ".nan",
        "2024-13-45",
        "30:60",
        "9" * 5000,
        "NaN",
        "Infinity",
        "null",
        "true",
        "~",
    ),
    *("[" * 3000, "{a: " * 60, '{"a":' * 3000, "\0", "\x1b[31m", "\ufeff", "\ud800"),
)
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=12).map("".join))


@fuzz(text=TEXTS)
def test_text_of_yaml(text):
    with refused_or_read():
        assert len(shown(parse_yaml(text, "configuration", "YAML is needed"))) <= 80


@fuzz(text=TEXTS)
def test_text_of_json(text):
    with refused_or_read():
        assert len(shown(parse_json(text, "configuration", "JSON is needed"))) <= 80


@fuzz(content=st.one_of(st.binary(), TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_files(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    for read in (read_yaml, read_json):
        with refused_or_read():
            read(path, "configuration", "one is needed")


@fuzz(name=st.one_of(st.text(), st.text(min_size=200), st.sampled_from(["/dev/zero", "/tmp", "a" * 5000])))
def test_names(name):
    with refused_or_read():
        read_yaml(name)
