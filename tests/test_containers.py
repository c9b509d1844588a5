"""The images and the compose file: every step has what it needs, and what they promise is true of the code."""

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ppdiffusers_ext.commands import COMMANDS
from scripts.serve import TOKEN, make_parser
from tests.support.dockerfiles import Step, read_ignored, read_stages, sent_files
from tests.test_packaging import PYTHON_VERSIONS, pins_for, read_extras
from tests.test_wheel import environment, expected_members

ROOT = Path(__file__).parents[1]
FILES = ("Dockerfile", "Dockerfile.gpu")
STAGES = {name: read_stages(ROOT / name) for name in FILES}
# What a stage may say; ADD, which also downloads and unpacks, is none of it.
INSTRUCTIONS = set("RUN ENV WORKDIR COPY USER VOLUME EXPOSE HEALTHCHECK ENTRYPOINT CMD".split())
COMPOSE = ROOT / "compose.yaml"
# What a checkout may have that is nobody else's business.
PRIVATE = (
    ".git/config .env .venv/bin/python output/demo/a.mp4 pretrained_weights/unet.pt exp_output/a log/a data/a.mp4 "
    "tests/goldens/a person.png key.pem compose.yaml scripts/__pycache__/a.pyc ppdiffusers_ext/data/__pycache__/a.pyc"
).split()
every_file = pytest.mark.parametrize("name", FILES)


def health_check(stage):
    value = stage.last("HEALTHCHECK").value
    return dict(re.findall(r"--([\w-]+)=(\S+)", value)), Step("CMD", value.partition("CMD ")[2]).words


def pip_calls(stage):
    """The words of the stage's installations, and the steps before each."""
    for place, step in enumerate(stage.steps):
        if step.name == "RUN" and " pip " in step.value:
            yield step.words, stage.steps[:place]


def serving_options(stage):
    """What the image's command gives its program, read by the program's own parser."""
    words = stage.last("CMD").words
    assert stage.last("ENTRYPOINT").words == ["ppdiffusers-ext"]
    assert words[0] in {name for names in COMMANDS.values() for name in names}
    return make_parser().parse_args(words[1:])


@every_file
def test_steps_are_known_and_their_shell_lines_parse(name):
    for stage in STAGES[name]:
        assert {step.name for step in stage.steps} <= INSTRUCTIONS
        for step in stage.all("RUN"):
            check = subprocess.run(["sh", "-n", "-c", step.value], capture_output=True, text=True)
            assert check.returncode == 0 and not check.stderr, step
            assert not re.search(r"\bcurl\b|\bwget\b|\bsudo\b|://", step.value), step
            for call in re.findall(r"apt-get install ([^&]*)", step.value):
                assert {"--yes", "--no-install-recommends"} <= set(call.split()), step
                assert step.value.startswith("apt-get update && ") and "rm -rf /var/lib/apt/lists/*" in step.value
        for setting in stage.all("ENV"):
            assert all("=" in word for word in setting.words), setting
            assert not re.search("TOKEN|SECRET|PASSWORD", setting.value)  # images keep them for all to read


@every_file
def test_base_images_are_versions_that_are_supported(name):
    (image,) = {stage.image for stage in STAGES[name]}
    if name == "Dockerfile":
        assert re.fullmatch(r"python:([\d.]+)-slim-[a-z]+", image)[1] in PYTHON_VERSIONS
    else:
        version = re.fullmatch(r"nvidia/cuda:(\d+)\.(\d+)\.\d+-cudnn-runtime-ubuntu24\.04", image)
        folder = re.search(r"stable/cu(\d+)/\n", (ROOT / "requirements-gpu.txt").read_text().partition("\n--extra")[2])
        assert version[1] + version[2] == folder[1]  # that of Paddle's wheels


@every_file
def test_copied_files_are_there_and_sent_to_the_build(name):
    is_ignored, names = read_ignored(ROOT), {stage.name for stage in STAGES[name]}
    for stage in STAGES[name]:
        for step in stage.all("COPY"):
            origin, sources, _ = step.copied
            assert origin is None or origin in names
            for source in sources if origin is None else ():
                assert (ROOT / source).exists(), source
                assert not is_ignored(source) and sent_files(ROOT, is_ignored, source), source


def test_nothing_else_is_sent_to_a_build():
    is_ignored = read_ignored(ROOT)
    assert [path for path in PRIVATE if not is_ignored(path)] == []
    copied = {source for name in FILES for step in STAGES[name][0].all("COPY") for source in step.copied[1]}
    assert {path.name for path in ROOT.iterdir() if not is_ignored(path.name)} == copied


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ("*", "a", True),
        ("*", "a/b/c", True),
        ("*\n!a", "a/b", False),
        ("*\n!a\n**/b", "a/b", True),
        ("*\n!a\n**/b", "a/c/b/d", True),
        ("*\n!a\n**/b\n!a/b", "a/b", False),
        ("*.txt", "a/b.txt", False),
        ("**/*.txt", "a/b.txt", True),
        ("a?", "ab", True),
        ("/a/", "a", True),
        ("# a\n\nb", "a", False),
        ("a.b", "aXb", False),
    ],
)
def test_ignored_paths_are_those_of_docker(rules, path, expected, tmp_path):
    (tmp_path / ".dockerignore").write_text(rules)
    assert read_ignored(tmp_path)(path) is expected


def test_image_is_built_of_what_its_steps_copy(tmp_path):
    """The package of the copied files has what that of the whole checkout has."""
    is_ignored = read_ignored(ROOT)
    for step in STAGES["Dockerfile"][0].all("COPY"):
        _, sources, target = step.copied
        for path in (path for source in sources for path in sent_files(ROOT, is_ignored, source)):
            inside = Path(path).relative_to(sources[0]) if (ROOT / sources[0]).is_dir() else Path(path).name
            file = tmp_path / "source" / target / inside
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, file)
    build = [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path / "built")]
    subprocess.run(build, cwd=tmp_path / "source", check=True, env=environment(), capture_output=True)
    files = (path for path in (tmp_path / "built").rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path / "built").as_posix() for path in files} == expected_members()
    copied = [{source for step in STAGES[name][0].all("COPY") for source in step.copied[1]} for name in FILES]
    assert copied[1] == copied[0] | {"requirements-gpu.txt"}


@every_file
def test_installations_are_pinned_and_have_their_files(name):
    stage, pins = STAGES[name][0], pins_for("3.12")
    assert "/opt/venv/bin" in stage.settings()["PATH"]
    for words, before in pip_calls(stage):
        assert words[:4] == ["python", "-m", "pip", "install"]
        there = {source for step in before if step.name == "COPY" for source in step.copied[1]}
        options = dict(zip(words, words[1:]))
        assert options["-c"] == options.get("--build-constraint", "constraints.txt") == "constraints.txt"
        assert {options["-c"], options.get("-r", options["-c"])} <= there, words
        taken = {option for option in options if option.startswith("-")}
        values = {options[option] for option in taken & {"-c", "-r", "--build-constraint"}}
        for word in words[4:]:
            if word.startswith("."):
                assert set(re.findall(r"[\w]+", word)) <= read_extras().keys()
                assert "setup.py" in there and "--build-constraint" in words
            elif word not in taken | values:
                assert canonicalize_name(Requirement(word).name) in pins, words


def test_images_install_the_server():
    cpu, gpu = ([words for words, _ in pip_calls(STAGES[name][0])] for name in FILES)
    assert any(".[server]" in words for words in cpu)
    packages = {requirement.name for requirement in read_extras()["server"]}
    assert any(packages == set(words[4:]) - {"-c", "constraints.txt"} for words in gpu)
    assert not any(".[server]" in words for words in gpu)  # Paddle for CPUs would come along
    assert any({"--no-deps", "insightface", "."} <= set(words) for words in gpu)


@every_file
def test_image_runs_as_a_user_who_owns_what_is_written(name):
    stage = STAGES[name][-1]
    number = stage.last("USER").value.split(":")[0]
    assert number.isdecimal() and int(number) >= 1000
    lines = [step.value for step in stage.all("RUN")]
    (user,) = (found[2] for line in lines if (found := re.search(r"useradd --uid (\d+) .* (\w+)$", line)))
    assert f"useradd --uid {number} " in " ".join(lines)
    made = {
        folder
        for line in lines
        if line.startswith(f"install --directory --owner={user} --group={user} ")
        for folder in line.split()
        if folder.startswith("/")
    }
    volumes = set(stage.last("VOLUME").words)
    assert volumes <= made
    options = serving_options(stage)
    for folder in (options.data, options.models, options.loras):
        assert folder in made and any(Path(folder).is_relative_to(volume) for volume in volumes)
    assert stage.last("WORKDIR").value == options.models  # below which commands look for pretrained_weights
    order = [step.name for step in stage.steps]
    assert order.index("USER") > max(place for place, step in enumerate(stage.steps) if step.name == "RUN")


@every_file
def test_command_listens_where_the_image_says(name):
    stage = STAGES[name][-1]
    options = serving_options(stage)
    assert options.host == "0.0.0.0" and str(options.port) == stage.last("EXPOSE").value
    assert options.token is None  # which images and lists of processes would tell
    assert options.device == ("gpu" if name == "Dockerfile.gpu" else "auto")
    _, words = health_check(stage)
    assert f"'127.0.0.1', {options.port}," in words[2]


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers /health with the server's `status`, and anything else with 404."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(self.server.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@every_file
@pytest.mark.parametrize(
    ("status", "expected"), [(200, True), (503, False), (404, False), (302, False), (None, False)]
)
def test_health_check_tells_whether_the_server_takes_jobs(name, status, expected):
    settings, words = health_check(STAGES[name][-1])
    assert words[:2] == ["python", "-c"] and {"interval", "timeout", "start-period", "retries"} == settings.keys()
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.status, server.asked = status, []
        port = server.server_address[1]
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        proxies = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
        command = [sys.executable, "-I", "-c", words[2].replace("7860", str(port))]
        check = subprocess.run(command, env={**os.environ, **proxies}, capture_output=True)
        if status is not None:
            server.shutdown()
    assert (check.returncode == 0) is (status == 200)
    assert server.asked == ([] if status is None else ["/health"])


def test_images_differ_in_what_they_compute_on_alone():
    shared = []
    for name in FILES:
        steps = [(step.name, step.value) for step in STAGES[name][-1].steps]
        assert steps[-1][0] == "CMD"
        shared.append(
            [(kind, value.replace(" python3", "").replace(', "--device", "gpu"', "")) for kind, value in steps]
        )
    assert shared[0] == shared[1]


def services():
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def test_compose_starts_the_page_alone_unless_told():
    assert [name for name, service in services().items() if "profiles" not in service] == ["studio"]
    assert services()["studio"]["build"] == "."
    gpu = services()["studio-gpu"]
    assert gpu["profiles"] == ["gpu"] and gpu["build"] == {"context": ".", "dockerfile": "Dockerfile.gpu"}
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


@pytest.mark.parametrize("service", ["studio", "studio-gpu"])
def test_compose_publishes_for_this_machine_and_keeps_data(service):
    given, stage = services()[service], STAGES["Dockerfile"][-1]
    port = stage.last("EXPOSE").value
    assert given["ports"] == [f"127.0.0.1:${{PORT:-{port}}}:{port}"]
    assert given["environment"] == {TOKEN: f"${{{TOKEN}:-}}"}  # empty: the server makes one
    mounts = dict(mount.split(":")[::-1] for mount in given["volumes"])
    assert mounts.keys() == set(stage.last("VOLUME").words)
    assert set(mounts.values()) == yaml.safe_load(COMPOSE.read_text())["volumes"].keys()
    assert given["init"] is True  # which buries the worker's children
    assert given["cap_drop"] == ["ALL"] and given["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in given and "user" not in given
