"""The files that say what to install agree with each other, with the code and with the environment at hand."""

import ast
import importlib.metadata
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ppdiffusers_ext

ROOT = Path(__file__).resolve().parent.parent
PYTHON_VERSIONS = ("3.10", "3.11", "3.12")
PADDLE_INDEX = "https://www.paddlepaddle.org.cn/packages/stable/"
GPU_SUBSTITUTE = {"paddlepaddle": "paddlepaddle-gpu", "onnxruntime": "onnxruntime-gpu"}
# Installed there without what it needs, which is ONNX Runtime for CPUs: this is the rest of it.
GPU_WITHOUT_DEPENDENCIES = {"insightface": "scikit-image"}

_NOT_OURS = {".git", ".venv", "build", "dist", "output", "exp_output", "pretrained_weights", "__pycache__"}
_CHECKED_SUFFIXES = {".py", ".md", ".yaml", ".yml", ".txt", ".toml", ".ini", ".cfg", ".sh"}
_CHECKED_NAMES = {"Makefile", "run", ".gitignore", ".codespellrc"}
# Absolute paths of one machine: a place below the home or the working folder of whoever wrote the file.
_MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:" + "|".join(("work", "root", "home")) + ")/")


def read_lines(name):
    """The lines of a requirements file without comments and empty lines."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [text for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())]


def read_requirements(name):
    return [Requirement(line) for line in read_lines(name) if not line.startswith("-")]


def names(requirements):
    return {canonicalize_name(requirement.name) for requirement in requirements}


def read_extras():
    """The extras of setup.py, read without running it."""
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS":
            return {
                extra: [Requirement(text) for text in texts] for extra, texts in ast.literal_eval(node.value).items()
            }
    raise AssertionError("setup.py has no EXTRAS")


def pins_for(python_version):
    """The pinned version by package, for one Python version on Linux; fails where two lines apply to one package."""
    environment = {
        "python_version": python_version,
        "python_full_version": f"{python_version}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
    }
    pins = {}
    for constraint in read_requirements("constraints.txt"):
        if constraint.marker is not None and not constraint.marker.evaluate(environment):
            continue
        name = canonicalize_name(constraint.name)
        assert name not in pins, f"{name} is pinned twice for Python {python_version}"
        (specifier,) = constraint.specifier
        pins[name] = specifier.version
    return pins


def installed_version(name):
    """The version without a local part such as `+cu126`, None where the package is not installed."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def direct_requirements():
    return [*read_requirements("requirements.txt"), *(item for extra in read_extras().values() for item in extra)]


def test_constraints_are_exact():
    for constraint in read_requirements("constraints.txt"):
        assert not constraint.url and not constraint.extras, str(constraint)
        assert len(constraint.specifier) == 1, str(constraint)
        (specifier,) = constraint.specifier
        assert specifier.operator == "==" and not specifier.version.endswith("*"), str(constraint)


@pytest.mark.parametrize("python_version", PYTHON_VERSIONS)
def test_direct_requirements_are_pinned(python_version):
    pins = pins_for(python_version)
    for requirement in [*direct_requirements(), *read_requirements("requirements-gpu.txt")]:
        name = canonicalize_name(requirement.name)
        assert name in pins, f"constraints.txt lacks {name}"
        assert requirement.specifier.contains(pins[name], prereleases=True), f"{requirement}, pinned to {pins[name]}"


def test_installed_versions_are_the_pinned_ones():
    pins = pins_for("{}.{}".format(*sys.version_info))
    wrong = []
    for name in sorted(names(read_requirements("requirements.txt"))):
        candidates = (name, GPU_SUBSTITUTE.get(name, name))
        found = next((candidate for candidate in candidates if installed_version(candidate)), None)
        if found is None or installed_version(found) != pins[found]:
            wrong.append(f"{name}: {installed_version(name)} is installed, {pins[name]} is pinned")
    for name in sorted(names(item for extra in read_extras().values() for item in extra)):
        if installed_version(name) not in (None, pins[name]):
            wrong.append(f"{name}: {installed_version(name)} is installed, {pins[name]} is pinned")
    assert not wrong, wrong


def test_all_that_the_requirements_need_is_pinned():
    pins = pins_for("{}.{}".format(*sys.version_info))
    waiting = sorted(names(direct_requirements()))
    seen = set()
    while waiting:
        name = waiting.pop()
        if name in seen or installed_version(name) is None:
            continue
        seen.add(name)
        assert name in pins, f"constraints.txt lacks {name}"
        if installed_version(name) != pins[name]:
            continue  # another version may need other packages
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    assert {"ppdiffusers", "huggingface-hub", "opencv-python"} <= seen


def test_gpu_requirements_follow_the_cpu_requirements():
    gpu_lines = read_lines("requirements-gpu.txt")
    substitutes = GPU_SUBSTITUTE | GPU_WITHOUT_DEPENDENCIES
    expected = {substitutes.get(text, text) for text in map(str, read_requirements("requirements.txt"))}
    expected |= {str(requirement) for requirement in read_extras()["gpu"]}
    assert {str(Requirement(line)) for line in gpu_lines if not line.startswith("-")} == expected

    (option,) = (line for line in gpu_lines if line.startswith("-"))
    assert re.fullmatch(r"--extra-index-url " + re.escape(PADDLE_INDEX) + r"cu\d+/", option)


def imported_modules(folder):
    """The top-level modules outside the standard library and this project that a folder's code imports."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules = [node.module]
            else:
                continue
            for module in modules:
                found.setdefault(module.partition(".")[0], path.relative_to(ROOT).as_posix())
    own = {path.name for path in ROOT.iterdir() if path.is_dir()}
    return {module: path for module, path in found.items() if module not in sys.stdlib_module_names | own}


def modules_of(name):
    """The top-level modules of an installed package (`packages_distributions` misses some on Python 3.10)."""
    distribution = importlib.metadata.distribution(name)
    listed = distribution.read_text("top_level.txt")
    return set(listed.split()) if listed else {file.parts[0].partition(".")[0] for file in distribution.files}


OF_COMFYUI = {"comfy", "folder_paths", "nodes", "torch"}  # there wherever the nodes run


# Of packages that are imported by what needs them, which checks.
CHECKED_EXTRAS = ("cpu", "onnx", "socks", "heic", "server", "data", "ray")


@pytest.mark.parametrize("folder", ["ppdiffusers_ext", "scripts"])
def test_imports_are_required(folder):
    required = names(read_requirements("requirements.txt")) | set(GPU_SUBSTITUTE.values())
    engines = read_extras()
    required |= {name for extra in CHECKED_EXTRAS for name in names(engines[extra])}
    provided = set().union(*(modules_of(name) for name in required if installed_version(name)))
    imported = {
        module: path
        for module, path in imported_modules(folder).items()
        if not (module in OF_COMFYUI and path.startswith("ppdiffusers_ext/comfyui/"))
    }
    missing = {module: path for module, path in imported.items() if module not in provided}
    assert not missing, f"requirements.txt lacks what these modules belong to: {missing}"


def test_import_scan_sees_third_party_modules():
    assert {"paddle", "ppdiffusers", "numpy"} <= set(imported_modules("ppdiffusers_ext"))


def test_setup_reads_the_version_and_the_requirements(monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))

    assert given["name"] == "ppdiffusers_ext"
    assert given["version"] == ppdiffusers_ext.__version__
    assert given["install_requires"] == read_lines("requirements.txt")
    assert {"ppdiffusers_ext", "ppdiffusers_ext.models.animate_anyone"} <= set(given["packages"])
    assert not [package for package in given["packages"] if package.partition(".")[0] != "ppdiffusers_ext"]
    supported = Requirement("python" + given["python_requires"]).specifier
    assert [v for v in ("3.9", *PYTHON_VERSIONS, "3.13") if supported.contains(v)] == list(PYTHON_VERSIONS)


def checked_files():
    for folder, subfolders, files in os.walk(ROOT):
        subfolders[:] = [
            name for name in subfolders if name not in _NOT_OURS and not name.endswith((".egg-info", "_cache"))
        ]
        for name in files:
            if Path(name).suffix in _CHECKED_SUFFIXES or name in _CHECKED_NAMES:
                yield Path(folder, name)


def test_no_file_names_a_place_on_one_machine():
    hits = []
    for path in checked_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if _MACHINE_PATH.search(line):
                hits.append(f"{path.relative_to(ROOT).as_posix()}:{number}: {line.strip()}")
    assert not hits, hits


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cd {}work{}main", True),
        ("'file://{}root{}x'", True),
        ("~{}root{}x", False),
        ("models{}work{}x", False),
        ("https://example.org{}home{}", False),
    ],
)
def test_machine_path_pattern(line, expected):
    assert bool(_MACHINE_PATH.search(line.format("/", "/"))) is expected


def test_checked_files_include_the_known_ones():
    found = {path.relative_to(ROOT).as_posix() for path in checked_files()}
    assert {"setup.py", "Makefile", "requirements.txt", "ruff.toml", ".ci/run", "tests/test_packaging.py"} <= found
