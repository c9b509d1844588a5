"""The script for Slurm and the manifest for Kubernetes start what they say on each machine."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from ppdiffusers_ext.distributed.meeting import Nodes
from scripts import launch
from scripts.nodes import read_nodes

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "several_machines"


def split(words):
    """The words for the launcher, and those from the trainer on."""
    place = launch._place_of_trainer(words)
    return words[:place], words[place:]


@pytest.fixture
def slurm(tmp_path):
    """Stand-ins for two of Slurm's programs, of a job on two machines; the environment of its script."""
    programs = {
        "scontrol": '[ "$*" = "show hostnames node[7-8]" ] && printf "node7\\nnode8\\n"',
        "srun": 'for rank in 0 1; do SLURM_NODEID=$rank "$@"; done',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "123456", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_NNODES": "2", "SLURM_NODEID": "0"}
    return {**os.environ, **job, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "echo"}


def test_slurm_starts_a_launcher_on_each_machine(slurm):
    words = ["sh", str(FOLDER / "train_slurm.sh"), "--max_steps", "7"]
    run = subprocess.run(words, env={**slurm, "LAUNCH": "--nproc_per_node 3"}, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    machines = [line.split() for line in run.stdout.splitlines()]
    assert len(machines) == 2
    for rank, (unbuffered, m, module, *given) in enumerate(machines):
        assert (unbuffered, m, module) == ("-u", "-m", "scripts.launch")
        before, after = split(given)
        assert read_nodes(before, launch._value_of) == Nodes(2, rank, "node7:23456", 600)
        assert before[-2:] == ["--nproc_per_node", "3"] and launch._restarts(before) == 3
        assert after == ["scripts/trainer_stage1.py", "configs/training/stage1.yaml", "--max_steps", "7"]


def test_slurm_ends_with_the_code_of_the_launchers(slurm):
    run = subprocess.run(["sh", str(FOLDER / "train_slurm.sh")], env={**slurm, "PYTHON": "false"}, capture_output=True)
    assert run.returncode == 1


@pytest.fixture(scope="module")
def manifest():
    """(service, job) of the manifest."""
    return tuple(yaml.safe_load_all((FOLDER / "train_kubernetes.yaml").read_text()))


def test_kubernetes_gives_each_pod_its_rank_and_the_first_one_the_name_of_the_master(manifest):
    service, job = manifest
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec, name = job["spec"], job["metadata"]["name"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    before, after = split([word.replace("$(JOB_COMPLETION_INDEX)", "1") for word in container["args"]][1:])
    assert container["args"][0] == "launch" and "--rank=$(JOB_COMPLETION_INDEX)" in container["args"]
    port = container["ports"][0]["containerPort"]
    # A pod of an indexed Job is called JOB-INDEX, in the domain of the headless service that `subdomain` names.
    assert spec["completionMode"] == "Indexed"
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["port"] == port
    nodes = read_nodes(before, launch._value_of)
    assert nodes == Nodes(spec["completions"], 1, f"{name}-0.{pod['subdomain']}:{port}", 600)
    assert spec["parallelism"] == spec["completions"]
    gpus = launch._value_of(before, "--gpus").split(",")
    assert len(gpus) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert after[0] == "trainer_stage1" and launch._name_of(after[0]) == after[0]


def test_kubernetes_replaces_pods_that_fail_but_not_those_that_refuse(manifest):
    spec = manifest[1]["spec"]
    pod = spec["template"]["spec"]
    refused, lost = spec["podFailurePolicy"]["rules"]
    assert pod["restartPolicy"] == "Never"  # as a podFailurePolicy needs
    assert refused["action"] == "FailJob"
    assert refused["onExitCodes"] == {
        "containerName": pod["containers"][0]["name"],
        "operator": "In",
        "values": [launch._BAD_INPUT],
    }
    assert (lost["action"], lost["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_kubernetes_has_all_files_in_the_volume_that_machines_share(manifest):
    pod = manifest[1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert places.keys() == {volume["name"] for volume in pod["volumes"]}
    (shared,) = (volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume)
    paths = [word.partition("=")[2] or word for word in container["args"] if "/" in word]
    assert len(paths) == 3 and all(path.startswith(f"{places[shared]}/") for path in paths)
