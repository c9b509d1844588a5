import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# Folders beside the package -> their names inside it, in a wheel.
SHIPPED = {"scripts": "commands", "configs": "configs", "assets": "assets"}
# Endings of the package's files that are no Python: presets, architectures, the page, requirements of ComfyUI's nodes.
PACKAGE_DATA = ("yaml", "html", "css", "js", "json", "svg", "txt")
NOT_SHIPPED = ("__init__.py", "__pycache__", ".*")  # the package has a commands/__init__.py of its own

# Exact versions are in constraints.txt.
EXTRAS = {
    # Not paddlepaddle-gpu: its 3.x versions are on Paddle's index only, and it takes the place of paddlepaddle.
    # requirements-gpu.txt installs both.
    "gpu": ["onnx", "onnxruntime-gpu"],
    # Engines (--engine openvino and --engine onnx).
    "cpu": ["onnx", "openvino"],
    "onnx": ["onnx", "onnxruntime"],
    # Downloads through a SOCKS proxy.
    "socks": ["pysocks"],
    # The page and REST (scripts.serve).
    "server": ["fastapi", "starlette", "anyio", "uvicorn", "h11", "python-multipart"],
    # Pictures of telephones.
    "heic": ["pillow-heif"],
    # From raw videos to a training set (scripts.prepare_videos), and the same on many machines (--engine ray).
    "data": ["scenedetect", "rapidocr-onnxruntime", "pyclipper", "shapely"],
    "ray": ["ray"],
    # Another reader of videos, beside which training_clips measures this project's own.
    "bench": ["decord"],
    # Which changes of the code its tests do not notice (make mutate).
    "mutate": ["mutmut"],
    "test": [
        "pytest",
        "pytest-xdist",
        "pytest-timeout",
        "ruff",
        "codespell",
        "mypy",
        "import-linter",
        "hypothesis",
        "pysocks",
        "safetensors",
        "onnx",
        "onnxruntime",
        "openvino",
        "pillow-heif",
        "decord",
        "fastapi",
        "starlette",
        "anyio",
        "uvicorn",
        "h11",
        "python-multipart",
        "playwright",
        "nbclient",
        "ipykernel",
        "dockerfile-parse",
        "scenedetect",
        "rapidocr-onnxruntime",
        "pyclipper",
        "shapely",
        "ray",
    ],
}


class BuildWithShippedFiles(build_py):
    """Copies into a wheel what lies beside the package. An editable installation uses it where it is."""

    def run(self):
        if self.editable_mode:
            super().run()
            return
        package = Path(self.build_lib, "ppdiffusers_ext")
        for target in SHIPPED.values():  # which may have files of an earlier build
            shutil.rmtree(package / target, ignore_errors=True)
        super().run()
        for source, target in SHIPPED.items():
            ignored = shutil.ignore_patterns(*NOT_SHIPPED)
            shutil.copytree(ROOT / source, package / target, ignore=ignored, dirs_exist_ok=True)


def read_version():
    text = (ROOT / "ppdiffusers_ext" / "version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE).group(1)


def read_requirements():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [requirement for line in lines if (requirement := line.partition("#")[0].strip())]


setup(
    name="ppdiffusers_ext",
    version=read_version(),
    description="Human image animation for PaddlePaddle",
    license="Apache-2.0",
    packages=find_packages(include=["ppdiffusers_ext*"]),
    package_data={"ppdiffusers_ext": [f"**/*.{ending}" for ending in PACKAGE_DATA]},
    cmdclass={"build_py": BuildWithShippedFiles},
    entry_points={"console_scripts": ["ppdiffusers-ext = ppdiffusers_ext.commands:main"]},
    python_requires=">=3.10,<3.13",
    install_requires=read_requirements(),
    extras_require=EXTRAS,
)
