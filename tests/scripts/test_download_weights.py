"""The command, as a user meets it: what it prints, what it leaves, and its exit codes."""

import fcntl
import hashlib
import io
import json
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ppdiffusers_ext.pipelines.published import PUBLISHED
from ppdiffusers_ext.weights.entries import File, Weights
from ppdiffusers_ext.weights.exchange import Patience
from scripts.download_weights import main
from tests.support.server import Page, Server, clean_environment

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "scripts/download_weights.py")
CONTENT = bytes(range(256)) * 2000
NO_SYSTEM = "no system"
# Entries of the real table, of which nothing is said but the names.
UNKNOWN = [
    weights
    for weights in PUBLISHED
    if weights.sources[0].startswith("hf://")
    and all(file.size is None and file.sha256 is None and not file.is_archive for file in weights.files)
]


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    clean_environment(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server():
    with Server() as server:
        for path in ("/a.bin", "/b/c.bin", "/x.bin"):
            server.pages[path] = Page(CONTENT, etag='"1"')
        yield server


@pytest.fixture
def registry(server):
    return (
        Weights(
            "net",
            ("animate_anyone",),
            "net",
            (server.url,),
            (File("a.bin"), File("b/c.bin", size=len(CONTENT))),
            "MIT",
            "pose2vid",
        ),
        Weights("extra", ("other",), "extra", (server.url,), (File("x.bin"),), "MIT", "training", by_default=False),
    )


@pytest.fixture
def command(registry, capsys):
    """Run it: gives the exit code, and what it printed, with `dest` for --dest, of all systems if none is named."""

    def call(*arguments, dest="weights"):
        if not {"--system", "--only", "--list", "--verify", NO_SYSTEM} & set(arguments):
            arguments = ("--system", "all", *arguments)
        arguments = [argument for argument in arguments if argument != NO_SYSTEM]
        patience = Patience(attempts=2, first_wait=0.01, longest_wait=0.05)
        code = main(["--dest", str(dest), *arguments], registry=registry, patience=patience)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return SimpleNamespace(code=code, out=printed.out, err=printed.err, lines=printed.out.splitlines())

    return call


@pytest.fixture
def refuse(command, server):
    """It must exit with 2, say one `error:` line with these words, ask for nothing and write nothing."""

    def check(*arguments, words, dest="weights"):
        before = sorted(Path.cwd().rglob("*"))
        result = command(*arguments, dest=dest)
        assert result.code == 2
        (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
        for word in words:
            assert word in line
        assert server.requests == []
        assert sorted(Path.cwd().rglob("*")) == before

    return check


def test_downloads_what_is_missing(command, server):
    result = command()
    assert result.code == 0
    table = [line.split() for line in result.lines]
    assert table[0] == ["name", "file", "size", "state"]
    assert table[1] == ["net", "net/a.bin", "512.0", "kB", "missing"]  # its size was asked for
    assert table[2] == ["net", "net/b/c.bin", "512.0", "kB", "missing"]
    assert result.lines[3].startswith("to fetch: 2 files, 1.0 MB; free at weights: ")
    assert result.lines[4] == "all there: 2 files in weights"
    assert sorted(result.err.splitlines()) == ["fetched  net/a.bin", "fetched  net/b/c.bin"]
    assert Path("weights/net/b/c.bin").read_bytes() == CONTENT
    assert [path for method, path, _ in server.requests if method == "HEAD"] == ["/a.bin"]


def test_second_run_asks_for_nothing(command, server):
    assert command().code == 0
    server.requests.clear()
    result = command()
    assert result.code == 0
    assert "to fetch: 0 files" in result.out
    assert result.err == ""
    assert server.requests == []


def test_size_that_nobody_knows(command, server):
    server.pages["/a.bin"].head = False
    result = command()
    assert result.code == 0
    assert result.lines[1].split() == ["net", "net/a.bin", "unknown", "missing"]
    assert "to fetch: 2 files, 512.0 kB and 1 of unknown size" in result.out


def test_what_is_left_of_an_earlier_run_is_shown(command):
    Path("weights/net").mkdir(parents=True)
    Path("weights/net/.a.bin.part").write_bytes(CONTENT[:2000])
    assert "missing, 2.0 kB are here" in command().out


def test_failure(command, server):
    del server.pages["/a.bin"]
    result = command()
    assert result.code == 1
    lines = result.err.splitlines()
    assert lines[-1] == "error: missing: 1 file of 2; the same command tries again"
    assert "missing  net/a.bin" in lines
    assert f"    {server.url}/a.bin: the server answers 404 (Not Found)" in lines
    assert Path("weights/net/b/c.bin").exists()


def test_extras_are_fetched_when_named(command):
    assert command("--only", "extra").code == 0
    assert sorted(str(path) for path in Path("weights").rglob("*.bin")) == ["weights/extra/x.bin"]


def test_system(command):
    assert command("--system", "animate_anyone", "--only", "net", "--jobs", "1").code == 0
    assert Path("weights/net/a.bin").exists()


def test_list(command, server):
    result = command("--list")
    assert result.code == 0
    assert result.lines[0].split() == "name files size there".split()
    assert result.lines[1].split() == "net 2 512.0 kB and 1 of unknown size no".split()
    assert result.lines[2] == "    animate_anyone; needed by pose2vid; licence: MIT"
    assert result.lines[3].split() == "extra (extra) 1 unknown no".split()
    assert not Path("weights").exists()
    command()
    assert command("--list").lines[1].endswith("yes")
    Path("weights/net/a.bin").unlink()
    assert command("--list").lines[1].endswith("1 missing")


def test_list_of_all_that_is_published_fits_100_columns(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    for weights in PUBLISHED:
        assert any(line.startswith(f"{weights.name} ") for line in lines)
        assert weights.licence.split()[0] in " ".join(lines)
    assert "unknown" not in " ".join(lines)


def test_offline(command, server):
    result = command("--offline")
    assert result.code == 1
    assert result.lines == ["missing     net/a.bin", "missing     net/b/c.bin"]
    assert result.err.splitlines()[-1] == "error: missing from weights, or wrong: 2 files of 2"
    assert server.requests == []
    assert not Path("weights").exists()
    command()
    server.requests.clear()
    result = command("--offline")
    assert result.code == 0
    assert result.lines == ["present     net/a.bin", "present     net/b/c.bin"]
    assert server.requests == []


def put(name, content):
    path = Path("weights") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_offline_records_what_was_put_there_by_hand(command, server):
    put("net/a.bin", CONTENT)
    put("net/b/c.bin", CONTENT[:-1])
    result = command("--offline")
    assert result.code == 1
    assert result.lines[0] == "checked     net/a.bin"
    assert result.lines[1].startswith("wrong       net/b/c.bin: ")
    put("net/b/c.bin", CONTENT)
    assert command("--offline").lines == ["present     net/a.bin", "checked     net/b/c.bin"]
    assert command("--verify").code == 0
    assert server.requests == []


def archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("pack/one.onnx", b"1")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", [["--offline"], []], ids=["offline", "online"])
def test_an_archive_that_was_put_there_by_hand_is_unpacked(server, mode, capsys):
    file = File("pack", remote="v1/p.zip", size=len(archive()), members=("one.onnx",))
    registry = (Weights("packed", ("one",), "models", (server.url,), (file,), "MIT", "tests"),)
    put("models/p.zip", archive())
    arguments = ["--dest", "weights", "--system", "one"]
    assert main([*arguments, *mode], registry=registry) == 0
    assert Path("weights/models/pack/one.onnx").read_bytes() == b"1"
    assert Path("weights/models/p.zip").exists()  # it is the user's
    assert main([*arguments, "--offline"], registry=registry) == 0
    assert "present     models/pack" in capsys.readouterr().out
    assert server.requests == []
    for damaged in (archive()[:-1], archive()[:-30] + bytes(30)):
        shutil.rmtree("weights")
        put("models/p.zip", damaged)
        assert main([*arguments, *mode], registry=registry) == 1
        assert "move it away" in (printed := capsys.readouterr()).out + printed.err
        assert Path("weights/models/p.zip").read_bytes() == damaged
        assert not Path("weights/models/pack").exists()


# --- which system


@pytest.mark.parametrize("mode", [[], ["--offline"], ["--print-urls"], ["--verify"]])
def test_without_a_system_it_refuses_with_their_sizes(refuse, mode):
    sizes = "animate_anyone (512.0 kB and 1 of unknown size), other (0 B), or all is accepted"
    refuse(NO_SYSTEM, *mode, words=["no --system", sizes, "--only"])


def test_verify_without_a_system_hashes_what_is_there(command):
    command()
    assert command("--verify").lines == ["ok          net/a.bin", "ok          net/b/c.bin"]


@pytest.mark.parametrize("answer", ["1", "animate_anyone", "all", "3", "4", "", "\x1b[31m", "9" * 5000, "\xff"])
def test_at_a_terminal_it_asks(command, monkeypatch, answer):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    asked = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    monkeypatch.setattr(sys, "stderr", asked)
    is_fine = answer in ("1", "animate_anyone", "all", "3")
    assert command(NO_SYSTEM, "--offline").code == (1 if is_fine else 2)
    assert "which system?\n  1  animate_anyone" in asked.getvalue() and "  3  all\n" in asked.getvalue()
    assert is_fine or "is not one of them; animate_anyone, other or all is accepted" in asked.getvalue()


# --- the ways out


@pytest.mark.parametrize("mode", [[], ["--offline"]])
def test_what_fails_names_three_ways_out(command, server, mode):
    del server.pages["/a.bin"]
    err = command(*mode).err
    for word in ("--mirror URL", "HF_ENDPOINT=URL", "--print-urls", "--offline"):
        assert word in err


def test_a_machine_without_a_network_is_told_within_five_seconds(tmp_path):
    """With the real registry, and the real resolver of a machine that knows only itself."""
    endpoint = {"HF_ENDPOINT": "http://hub.invalid", "http_proxy": "", "https_proxy": ""}
    started = time.monotonic()
    result = run("--only", UNKNOWN[0].name, cwd=tmp_path, **endpoint)
    assert time.monotonic() - started < 5
    assert result.returncode == 1
    assert "the name hub.invalid cannot be resolved" in result.stderr and "three ways" in result.stderr


def test_addresses_for_aria2(command, server):
    result = command("--print-urls", "--mirror", "http://mirror.invalid/m")
    assert result.code == 0 and server.requests == [] and not Path("weights").exists()
    entries = []
    for line in result.lines:
        # The format of aria2c's manual: addresses of one file between tabs, then its options on indented lines.
        if line.startswith("#"):
            continue
        if line.startswith(" "):
            name, _, value = line.strip().partition("=")
            entries[-1][1][name] = value
        else:
            entries.append((line.split("\t"), {}))
    assert [(urls, options["dir"], options["out"]) for urls, options in entries] == [
        (["http://mirror.invalid/m/net/a.bin", f"{server.url}/a.bin"], "weights/net", "a.bin"),
        (["http://mirror.invalid/m/net/b/c.bin", f"{server.url}/b/c.bin"], "weights/net/b", "c.bin"),
    ]
    assert "note: 512.0 kB and 1 of unknown size" in result.err


RUN = {
    "wget": ["sh"],
    "curl": ["curl", "--silent", "--show-error", "--config", "-"],
    "aria2": ["aria2c", "--input-file=-"],
}


@pytest.mark.parametrize("program", RUN)
@pytest.mark.parametrize("dest", ["weights", 'a "folder" \\ of $HOME; it\'s', "\u4e2d\u6587/*"])
def test_the_programs_fetch_what_is_listed(command, server, program, dest):
    if shutil.which("aria2c" if program == "aria2" else program) is None:
        pytest.skip(f"{program} is not installed")
    result = command("--print-urls", program, dest=dest)
    assert result.code == 0
    subprocess.run(RUN[program], input=result.out, text=True, check=True, capture_output=True, timeout=30)
    assert command("--offline", dest=dest).code == 0
    assert (Path(dest) / "net/b/c.bin").read_bytes() == CONTENT
    assert command("--print-urls", program, dest=dest).out.count(server.url) == 0


def test_addresses_of_archives_lead_beside_their_folders(capsys):
    assert main(["--print-urls", "curl", "--only", "antelopev2", "--dest", "w"]) == 0
    assert 'output = "w/stable_animator/models/antelopev2.zip"' in capsys.readouterr().out


def test_verify(command, server):
    command()
    server.requests.clear()
    result = command("--verify")
    assert result.code == 0
    assert result.lines == ["ok          net/a.bin", "ok          net/b/c.bin"]
    data = bytearray(CONTENT)
    data[1000] ^= 1
    Path("weights/net/a.bin").write_bytes(data)
    Path("weights/net/b/c.bin").unlink()
    result = command("--verify")
    assert result.code == 1
    assert result.lines[0].startswith("wrong       net/a.bin: its sha256 is ")
    assert result.lines[1].startswith("missing     net/b/c.bin")
    assert server.requests == []


def test_verify_does_not_vouch_for_what_nobody_checked(command):
    Path("weights/net/b").mkdir(parents=True)
    Path("weights/net/a.bin").write_bytes(CONTENT)
    Path("weights/net/b/c.bin").write_bytes(CONTENT)
    result = command("--verify")
    assert result.code == 1
    assert result.lines[0].startswith("unrecorded  net/a.bin")
    assert command().code == 0
    assert command("--verify").code == 0


# --- bad input


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--system", "nobody"], ["'nobody'", "animate_anyone, other"]),
        (["--only", "nobody"], ["'nobody'", "net, extra"]),
        (["--system", "other", "--only", "net"], ["'net'", "extra"]),
        (["--mirror", "example.org"], ["--mirror", "example.org", "http://"]),
        (["--jobs", "0"], ["--jobs", "1 to 32"]),
        (["--jobs", "many"], ["--jobs"]),
        (["--list", "--verify"], ["--verify", "--list"]),
        (["--offline", "--print-urls"], ["--offline"]),
        (["--print-urls", "ftp"], ["--print-urls"]),
        (["--min-rate", "-1"], ["--min-rate", "0 to"]),
        (["--min-rate", "nan"], ["--min-rate", "0 to"]),
        (["--min-rate", "1e300"], ["--min-rate", "0 to"]),
        (["--mirror", "http://[foo/"], ["--mirror"]),
        (["--mirror", "http://h/\x1b[31m"], ["--mirror"]),
        (["--mirror", "http://h/" + "a" * 5000], ["--mirror"]),
        (["somewhere"], ["somewhere"]),
    ],
)
def test_bad_options(refuse, arguments, words):
    refuse(*arguments, words=words)


@pytest.mark.parametrize(
    ("dest", "word"),
    [("a\0b", "is no text"), ("\ud800", "is no text"), ("a" * 5000, "--dest")],
    ids=["null", "surrogate", "long"],
)
@pytest.mark.parametrize("mode", [[], ["--list"], ["--verify"], ["--offline"], ["--print-urls"]])
def test_destination_that_cannot_be(refuse, mode, dest, word):
    refuse(*mode, words=[word], dest=dest)


@pytest.mark.parametrize("dest", ["a\nb", "\x1b[31m", "a "])
def test_destination_that_a_list_cannot_hold(refuse, dest):
    refuse("--print-urls", words=["a list of addresses cannot hold"], dest=dest)


def test_socks_proxy_without_pysocks(refuse, monkeypatch):
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:1080")
    monkeypatch.delenv("no_proxy", raising=False)
    refuse("--mirror", "http://mirror.invalid", words=["all_proxy", "PySocks", "pip install pysocks"])


@pytest.mark.parametrize("mode", [[], ["--list"], ["--verify"], ["--offline"]])
def test_destination_is_a_file(refuse, mode):
    Path("weights").write_text("")
    refuse(*mode, words=["--dest 'weights' is not a folder"])


def test_destination_cannot_be_written(refuse):
    refuse(words=["/proc/none", "accepted"], dest="/proc/none")


def test_bad_endpoint(refuse, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "hub.example.org")
    refuse(words=["HF_ENDPOINT", "hub.example.org"])


def test_bad_token(refuse, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_\u017c\u00f3\u0142w")
    refuse(words=["token", "HF_TOKEN"])


@pytest.mark.parametrize("mode", [[], ["--list"], ["--verify"], ["--offline"]])
def test_damaged_record(refuse, mode):
    Path("weights").mkdir()
    Path("weights/checksums.json").write_text("{")
    refuse(*mode, words=["weights/checksums.json is damaged"])


def test_disk_too_small(command, server, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    result = command()
    assert result.code == 2
    assert "net/a.bin" in result.out
    assert "1024000 bytes are needed" in result.err
    assert [method for method, _, _ in server.requests] == ["HEAD"]


# --- the real command in a process of its own


def run(*arguments, cwd, script=(SCRIPT,), **environment):
    values = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *script, *arguments], cwd=cwd, env=values, capture_output=True, text=True, timeout=60
    )


def test_as_a_file_from_another_folder(tmp_path):
    result = run("--list", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert PUBLISHED[0].name in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_as_a_module(tmp_path):
    result = run(
        "--offline",
        "--system",
        "all",
        "--dest",
        str(tmp_path / "w"),
        cwd=ROOT,
        script=("-m", "scripts.download_weights"),
    )
    assert result.returncode == 1, result.stderr
    assert "missing" in result.stdout


def put_on_hub(server, weights):
    repository = weights.sources[0].removeprefix("hf://")
    for file in weights.files:
        server.pages[f"/{repository}/resolve/main/{file.remote or file.path}"] = Page(CONTENT)


@pytest.mark.skipif(not UNKNOWN, reason="the table knows all hashes")
def test_endpoint_and_token_of_the_environment(server, tmp_path):
    weights = UNKNOWN[0]
    put_on_hub(server, weights)
    result = run("--only", weights.name, cwd=tmp_path, HF_ENDPOINT=server.url, HF_TOKEN="hf_secret")
    assert result.returncode == 0, result.stderr
    for file in weights.files:
        assert (tmp_path / "pretrained_weights" / weights.folder / file.path).read_bytes() == CONTENT
    assert {headers.get("authorization") for _, _, headers in server.requests} == {"Bearer hf_secret"}


@pytest.mark.skipif(not UNKNOWN, reason="the table knows all hashes")
def test_mirror_gets_no_token(server, tmp_path):
    weights = UNKNOWN[0]
    put_on_hub(server, weights)
    result = run("--only", weights.name, "--mirror", server.url, cwd=tmp_path, HF_TOKEN="hf_secret")
    assert result.returncode == 0, result.stderr
    assert {headers.get("authorization") for _, _, headers in server.requests} == {None}


IN_A_PROCESS = """
import sys
sys.path.insert(0, {root!r})
from scripts.download_weights import main
from ppdiffusers_ext.weights.entries import File, Weights
entry = Weights("net", ("one",), "net", ({url!r},), (File("a.bin"),), "MIT", "tests")
sys.exit(main(["--system", "all", *sys.argv[1:]], registry=(entry,)))
"""


def script_for(server):
    return ("-c", IN_A_PROCESS.format(root=str(ROOT), url=server.url))


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("behaviour", [{"delay": 0.2}, {"stalls": 600_000}], ids=["slow", "stalled"])
def test_ctrl_c_keeps_what_is_there(server, tmp_path, behaviour):
    server.pages["/a.bin"] = Page(CONTENT * 2, etag='"1"', **behaviour)
    process = subprocess.Popen(
        [sys.executable, *script_for(server), "--dest", str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    part = tmp_path / "net/.a.bin.part"
    wait_for(lambda: part.exists() and part.stat().st_size > 300_000)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - started < 6
    assert "error: stopped by Ctrl-C" in err
    assert "Traceback" not in err
    assert 0 < part.stat().st_size < 2 * len(CONTENT)
    server.pages["/a.bin"] = Page(CONTENT * 2, etag='"1"')
    assert run("--dest", str(tmp_path), cwd=tmp_path, script=script_for(server)).returncode == 0
    assert (tmp_path / "net/a.bin").read_bytes() == CONTENT * 2
    assert "Range" in server.got("/a.bin")[-1]


def test_the_second_of_two_says_that_it_waits(server, tmp_path):
    server.pages["/a.bin"].delay = 0.3
    arguments = [sys.executable, *script_for(server), "--dest", str(tmp_path)]
    first = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "net/.a.bin.part").exists())
    second = run("--dest", str(tmp_path), cwd=tmp_path, script=script_for(server))
    assert first.wait(30) == 0
    assert second.returncode == 0
    assert f"note: another download into {tmp_path} is under way; waiting" in second.stderr
    assert "to fetch: 0 files" in second.stdout
    assert len(server.got("/a.bin")) == 1


def test_bar_on_a_terminal(server, tmp_path):
    server.pages["/a.bin"].statuses = [(503, {"Retry-After": "0"})]
    terminal, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    arguments = [sys.executable, *script_for(server), "--dest", str(tmp_path)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=other)
    os.close(other)
    shown = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the end of a terminal
            break
    os.close(terminal)
    assert process.wait(30) == 0
    text = shown.decode()
    assert "100%" in text and "512k/512k" in text and "1 of 1 files done, 0 failed" in text
    assert "note: " in text and "trying again in 0 s" in text
    assert "fetched" not in text


def test_record_is_for_people(command):
    command()
    record = json.loads(Path("weights/checksums.json").read_text())["files"]["net/a.bin"]
    assert list(record) == ["size", "sha256", "source", "trust", "date"]
    assert record["sha256"] == hashlib.sha256(CONTENT).hexdigest()
