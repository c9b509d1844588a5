"""Build a Dockerfile in a folder that becomes the root of its steps, where there is no container runtime.

    python -m tests.support.clean_root FOLDER --python /usr [--dockerfile Dockerfile] [--serve]

Each stage has a root of its own with the host's /usr, which cannot be written, the Python of --python in /usr/local,
and nothing else of the host's programs or packages. COPY, ENV, WORKDIR, RUN and USER are carried out as they are
written, but for RUN steps that call apt-get: their packages have to be on the host. --serve starts the image's command
as its user in a network of its own, waits for the health check, has it animate the sample, and ends it. Needs root on
Linux.
"""

import argparse
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.support.dockerfiles import read_ignored, read_stages, sent_files

ROOT = Path(__file__).parents[2]
_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_OF_ETC = ("passwd group shadow gshadow login.defs nsswitch.conf resolv.conf hosts ld.so.conf ld.so.conf.d ssl "
           "alternatives")  # fmt: skip
# How the host reaches its package index.
_PASSED = (
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
_MOUNTS = """set -e
mount --make-rprivate /
mount --rbind /usr "$1/usr"; mount --rbind "$2" "$1/usr/local"
mount -o remount,bind,ro "$1/usr"; mount -o remount,bind,ro "$1/usr/local"
mount --rbind /dev "$1/dev"; mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/tmp"
root=$1; shift 2
"""
_SERVE = """
if command -v ip >/dev/null; then ip link set lo up; fi
chroot --userspec="$USER_OF_IMAGE" "$root" sh -c "cd '$FOLDER'; exec $COMMAND" & server=$!
for second in $(seq 300); do
    if chroot --userspec="$USER_OF_IMAGE" "$root" $CHECK 2>/dev/null; then
        echo "healthy after $second checks"; break
    fi
    if ! kill -0 $server 2>/dev/null; then echo "the server ended"; break; fi
    sleep 1
done
chroot --userspec="$USER_OF_IMAGE" "$root" python -c "$ASK"
kill -TERM $server; wait $server; echo "exit code after SIGTERM: $?"
"""
_ASK = """
import json, os, time
import httpx
from ppdiffusers_ext.packaged import located

names = {"reference_image": "assets/reference.png", "pose_video": "assets/pose.mp4"}
form = {"system": "animate_anyone", "options": json.dumps({"num_frames": 2, "num_inference_steps": 1})}
token = {"Authorization": "Bearer " + os.environ["PPDIFFUSERS_EXT_TOKEN"]}
with httpx.Client(base_url="http://127.0.0.1:7860", headers=token, timeout=60, trust_env=False) as client:
    for path in ("/", "/docs", "/systems"):
        print(path, client.get(path).status_code)
    given = client.post("/jobs", data=form, files={role: open(located(name), "rb") for role, name in names.items()})
    print("/jobs", given.status_code, given.text[:200])
    job = {"state": "queued"}
    while job["state"] in ("queued", "running"):
        time.sleep(1)
        job = client.get("/jobs/" + given.json()["id"]).json()
    print(job["state"], job["error"], len(client.get("/jobs/" + given.json()["id"] + "/result").content), "bytes")
"""


def prepare(root):
    """Make an empty root with the few files of /etc that programs ask for."""
    for name in ("usr", "dev", "proc", "tmp", "etc", "root", "home", "opt", "var/lib", "run"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for name in _OF_ETC.split():
        source = Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, root / "etc" / name)


def run_in(root, python, script, environment, *options):
    """Run a script of a shell that has the mounts of a root, whose path is in `$root`."""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *options, "sh", "-c", _MOUNTS + script, "sh"]
    subprocess.run([*command, str(root), str(python)], env=environment, check=True)


def copy(step, stages, target, folder):
    """Carry out a COPY: from the checkout without what is ignored, or from another stage."""
    stage, sources, place = step.copied
    place = target / os.path.normpath(os.path.join(folder, place)).lstrip("/")
    is_ignored = read_ignored(ROOT)
    for source in sources:
        if stage is not None:
            shutil.copytree(stages[stage] / source.lstrip("/"), place, symlinks=True)
            continue
        for name in sent_files(ROOT, is_ignored, source):
            file = place / (Path(name).relative_to(source) if (ROOT / source).is_dir() else Path(name).name)
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, file)


def build(dockerfile, folder, python):
    """Build every stage below a folder. Returns the last one's root, its stage and its settings."""
    roots = {}
    for count, stage in enumerate(read_stages(dockerfile)):
        root = folder / str(count)
        roots[stage.name or str(count)] = root
        prepare(root)
        settings = {
            "PATH": _PATH,
            "HOME": "/root",
            **{name: os.environ[name] for name in _PASSED if name in os.environ},
        }
        run_in(root, python, 'chroot "$root" ldconfig', settings)
        place = "/"
        for step in stage.steps:
            started = time.monotonic()
            if step.name == "ENV":
                new = dict(word.split("=", 1) for word in step.words)
                settings |= {name: value.replace("$PATH", settings["PATH"]) for name, value in new.items()}
            elif step.name == "WORKDIR":
                place = step.value
                (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif step.name == "COPY":
                copy(step, roots, root, place)
            elif step.name == "RUN" and not step.value.startswith("apt-get "):
                line = f"cd {shlex.quote(place)}; {step.value}"
                run_in(root, python, f'chroot "$root" sh -ec {shlex.quote(line)}', settings)
            elif step.name == "RUN":
                print("left to the host:", end=" ")
            print(f"{step.name} {step.value[:110]}: {time.monotonic() - started:.0f} s", flush=True)
    return root, stage, settings, place


def serve(root, stage, settings, place, python):
    """Start the command of an image as its user, and say how it went."""
    check = stage.last("HEALTHCHECK").value.partition("CMD ")[2]
    words = stage.last("ENTRYPOINT").words + stage.last("CMD").words
    settings = {
        **settings,
        "HOME": str(Path("/home", "studio")),
        "USER_OF_IMAGE": stage.last("USER").value,
        "FOLDER": place,
    }
    quoted = shlex.join(type(stage.last("CMD"))("CMD", check).words)
    script = _SERVE.replace("$COMMAND", shlex.join(words)).replace("$CHECK", quoted)
    token = {"PPDIFFUSERS_EXT_TOKEN": secrets.token_urlsafe(16)}
    run_in(root, python, script, {**settings, **token, "ASK": _ASK}, "--net")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="new folder for the roots")
    parser.add_argument("--python", type=Path, default=Path(sys.base_prefix), help="prefix of the image's Python")
    parser.add_argument("--dockerfile", type=Path, default=ROOT / "Dockerfile")
    parser.add_argument("--serve", action="store_true", help="start the image's command as well")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    built = build(options.dockerfile, options.folder.resolve(), options.python)
    if options.serve:
        serve(*built, options.python)


if __name__ == "__main__":
    main()
