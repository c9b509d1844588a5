"""One clip of several ranks: the bits of one process, one writer, and what ranks with different files get."""

import shutil

import pytest

from tests.support.together import run_together

JOBS = "tests.support.rank_jobs"
CACHED = {"step_cache_interval": 2, "guidance_interval": (0.3, 1.0)}
CLIP = [
    *("--config", "configs/inference/demo.yaml", "--num-frames", "6", "-W", "64", "-H", "64"),
    *("--num-inference-steps", "2", "--guidance-scale", "2", "--context-frames", "4", "--context-overlap", "2"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def jobs(folder):
    def command(output, *more, **others):
        return {"arguments": [*CLIP, "--output", str(folder / output), *more], **others}

    other, copy = folder / "other.png", folder / "copy.png"
    shutil.copy("assets/reference.png", copy)
    other.write_bytes(copy.read_bytes()[:-12] + b"\0\0\0\4tEXtabcd\xf2\x9b\xd4\x86" + copy.read_bytes()[-12:])
    pictures = [["--reference-image", str(path), "--pose-video", "assets/pose.mp4"] for path in (copy, other)]
    same = ["--reference-image", "assets/reference.png", "--pose-video", "assets/pose.mp4"]
    names = {
        "windows": ("pose2vid", [{"options": {}}] * 2),
        "cached windows": ("pose2vid", [{"options": CACHED}] * 4),
        "anchored windows": ("stable_animator", [{"options": CACHED}] * 2),
        "halves of guidance": ("easy_animate", [{"options": {}}] * 2),
        "a sequence": ("easy_animate", [{"options": {"sequential_guidance": True}}] * 2),
        "uneven sequences": ("easy_transformers", [{"size": [5, 4, 4], "options": {}}] * 3),
        "one process": ("command", [command("one.mp4", "--seed", "5")]),
        "two processes": ("command", [command("two.mp4", "--seed", "5", *same)] + [
            command("two.mp4", "--seed", "5", *pictures[0])]),
        "other options": ("command", [command("options.mp4"), command("options.mp4", "--guidance-scale", "3")]),
        "other files": ("command", [command("files.mp4", *same), command("files.mp4", *pictures[1])]),
        "killed": ("command", [command("killed.mp4"), command("killed.mp4", dies=True)]),
    }  # fmt: skip
    done = run_together(folder, *((f"{JOBS}:{function}", ranks) for function, ranks in names.values()))
    return dict(zip(names, done))


@pytest.mark.parametrize(
    ("name", "calls"), [("windows", [9, 9]), ("cached windows", [5, 5, 2, 3]), ("anchored windows", [4, 5])]
)
def test_latents_and_frames_have_the_bits_of_one_process(jobs, name, calls):
    returned = [returned for _, returned, _ in jobs[name]]
    assert [each["difference"] for each in returned] == [0] * len(calls)
    assert [each["calls"]["denoise"] for each in returned] == calls  # none is made twice
    assert returned[0]["frames"] == sum(each["calls"]["decode"] for each in returned) > 1
    assert all(each["received"] > 0 for each in returned)


@pytest.mark.parametrize("name", ["halves of guidance", "a sequence"])
def test_latents_and_frames_of_a_divided_transformer_are_near_those_of_one_process(jobs, name):
    returned = [returned for _, returned, _ in jobs[name]]
    assert all(each["difference"] < 1e-5 for each in returned)
    assert [each["calls"]["denoise"] for each in returned] == [{"a sequence": 4}.get(name, 2)] * 2
    assert all(each["received"] > 0 for each in returned)


def test_sequences_are_divided_unevenly_and_bytes_are_those_of_the_formula(jobs):
    """Of what the documentation computes bytes with: 2 texts, 20 tokens or 5 frames of 4, 4 heads, 6 steps."""
    ranks, rows, steps, numbers = 3, 2, 6, 4
    returned = [returned for _, returned, _ in jobs["uneven sequences"]]
    assert all(0 <= difference < 1e-5 for each in returned for difference, _ in each.values())
    # Most tokens and heads of a rank: 7 and 2; 3 tensors of 8 channels come, 1 goes, in 4 blocks.
    exchanged = 4 * rows * 7 * 2 * 8 * (3 + 1) * (ranks - 1)
    for own, each in zip((6, 7, 7), returned):
        result = rows * (20 - own) * 32  # numbers of a token: 2 x 2 x 8
        assert each["hunyuan"][1] == steps * numbers * (exchanged + result)


def test_result_of_two_processes_is_that_of_one(jobs, folder):
    assert [code for name in ("one process", "two processes") for code, *_ in jobs[name]] == [0, 0, 0]
    for ending in (".mp4", "_side_by_side.mp4", "_sheet.png"):
        assert (folder / f"two{ending}").read_bytes() == (folder / f"one{ending}").read_bytes()


def test_first_process_alone_prints(jobs, folder):
    printed = [(folder / "job_7" / f"stdout_{rank}").read_text() for rank in range(2)]
    assert "two.mp4" in printed[0] and printed[1] == ""
    notes = [text.count("note: ") for *_, text in jobs["two processes"]]
    assert notes[0] > 0 and notes[1] == 0
    assert all("FLAGS" not in text for *_, text in jobs["two processes"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other options", "rank 1 has other options: --guidance-scale is 3.0, and 2.0 on rank 0"),
        ("other files", "rank 1 has another file than rank 0: --reference-image, "),
    ],
)
def test_ranks_that_would_make_something_else_are_refused(jobs, folder, name, message):
    assert [code for code, *_ in jobs[name]] == [2, 2]
    assert all(message in text and "Traceback" not in text for *_, text in jobs[name])
    assert not [path for path in folder.iterdir() if path.name.startswith((".options", "options", ".files", "files"))]


def test_rank_that_is_killed_ends_the_others_and_leaves_nothing_behind(jobs, folder):
    (code, _, text), (killed, *_) = jobs["killed"]
    assert code == 2 and killed == -9
    assert "error: rank 1 of 2 has ended: killed" in text
    assert not [path for path in folder.iterdir() if "killed" in path.name]
