import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent

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
    # Pictures of telephones.
    "heic": ["pillow-heif"],
    # Another reader of videos, beside which training_clips measures this project's own.
    "bench": ["decord"],
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
    ],
}


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
    package_data={"ppdiffusers_ext": ["presets/*.yaml", "presets/*/*.yaml", "architectures/*/*.yaml"]},
    python_requires=">=3.10,<3.13",
    install_requires=read_requirements(),
    extras_require=EXTRAS,
)
