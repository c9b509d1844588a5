"""What Dockerfiles say: their stages, steps and files, read without a container runtime."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser


@dataclass(frozen=True)
class Step:
    """An instruction: its name in capitals, and its value with line continuations joined."""

    name: str
    value: str

    @property
    def words(self):
        """The words of a command in JSON form; of any other value, those of a shell."""
        return json.loads(self.value) if self.value.startswith("[") else shlex.split(self.value)

    @property
    def copied(self):
        """(stage or None, sources, target) of a COPY."""
        words = [word for word in self.words if not word.startswith("--")]
        stage = re.search(r"--from=(\S+)", self.value)
        return (stage and stage[1]), words[:-1], words[-1]


@dataclass
class Stage:
    image: str
    name: str | None
    steps: list = field(default_factory=list)

    def all(self, name):
        return [step for step in self.steps if step.name == name]

    def last(self, name):
        """The step that counts of those that replace each other."""
        return self.all(name)[-1]

    def settings(self):
        """What ENV sets."""
        return dict(word.split("=", 1) for step in self.all("ENV") for word in step.words)


def read_stages(path):
    """The stages of a Dockerfile, with the defaults of its ARGs in the places of their names."""
    with open(path, "rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    arguments, stages = {}, []
    for line in structure:
        step = Step(line["instruction"].upper(), line["value"])
        if step.name == "ARG" and not stages:
            name, _, value = step.value.partition("=")
            arguments[name] = value
        elif step.name == "FROM":
            words = step.value.split()
            image = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], words[0])
            stages.append(Stage(image, words[2] if len(words) == 3 else None))
        elif step.name != "COMMENT":
            stages[-1].steps.append(step)
    return stages


def read_ignored(root):
    """A function that says whether a path, relative to the root, is kept from a build by .dockerignore."""
    rules = [line for line in (Path(root) / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]

    def is_ignored(path):
        # The last rule that matches a path, or a folder that it is in, decides.
        parts = Path(path).parts
        names = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        ignored = False
        for rule in rules:
            if any(_pattern(rule.lstrip("!")).fullmatch(name) for name in names):
                ignored = not rule.startswith("!")
        return ignored

    return is_ignored


def _pattern(rule):
    """The regular expression of a rule: ** is any number of folders, * and ? stay within a name."""
    parts = re.split(r"(\*\*/?|\*|\?)", rule.strip("/"))
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(part, re.escape(part)) for part in parts))


def sent_files(root, is_ignored, source):
    """The files below a source of a COPY that a build gets, relative to the root."""
    path = Path(root) / source
    found = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    names = [file.relative_to(root).as_posix() for file in found]
    return [name for name in names if not is_ignored(name)]
