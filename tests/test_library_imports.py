"""What is imported of Paddle's libraries, and that the rest of them is there when it is asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What paddlenlp needs for work that is not done here.
NOT_NEEDED = ("datasets", "fastapi", "pandas", "pyarrow", "seqeval", "sklearn")
# Each is asked for first in a process in which nothing but the networks are imported.
ASKED = (
    "from paddlenlp import trl, mergekit, metrics, SimpleServer",
    "import paddlenlp.taskflow, paddlenlp.datasets, paddlenlp.peft.lora",
    "import paddlenlp; paddlenlp.Taskflow; assert {'Taskflow', 'trl', '__version__'} <= set(dir(paddlenlp))",
    "from paddlenlp.trainer import Trainer; import paddlenlp as p; assert p.trainer.trainer.Trainer is Trainer",
    "import paddlenlp.peft as p, sys; assert sys.modules[p.__name__] is p; assert p.__spec__.origin == p.__file__",
    "import paddlenlp; assert not hasattr(paddlenlp, 'nothing'); assert paddlenlp.__spec__.loader.path",
)
PROGRAM = f"""
import json, os, sys
import ppdiffusers_ext
from ppdiffusers_ext import DenoisingUNet3D
import gc
assert gc.isenabled()
answers = []
for statement in {ASKED!r}:
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            exec(statement, {{}})
            answer = "done"
        except BaseException as error:
            answer = repr(error)
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    answers.append(os.fdopen(reading).read())
    os.wait()
print(json.dumps([[name for name in {NOT_NEEDED!r} if name in sys.modules], answers]))
"""


@pytest.fixture(scope="module")
def process():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KMP_")}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_networks_are_imported_without_what_they_do_not_need(process):
    assert process[0] == []


def test_every_part_is_there_whichever_is_asked_for_first(process):
    assert dict(zip(ASKED, process[1], strict=True)) == dict.fromkeys(ASKED, "done")
