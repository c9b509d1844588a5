"""What is kept beside a pipeline is opened once for each key."""

from dataclasses import dataclass
from types import SimpleNamespace

from ppdiffusers_ext.pipelines.warm import WarmPipeline, _description_of, described


def test_what_lies_beside_a_pipeline_is_opened_again_for_another_key():
    warm, opened = WarmPipeline(), []

    def open_new():
        opened.append(len(opened))
        return opened[-1]

    assert [warm.beside(key, open_new) for key in ("a", "a", "b", "b", "a")] == [0, 0, 1, 1, 2]


@dataclass
class Options:
    weights: str
    width: int = 64
    seed: int = 1
    output: str = "a.mp4"


def test_description_is_taken_until_options_or_files_change(tmp_path):
    (tmp_path / "unet").mkdir()
    file = tmp_path / "unet" / "config.json"
    file.write_text("{}")
    runtime, warm, made = SimpleNamespace(device="cpu", dtype="float32", exports_on=None), WarmPipeline(), []

    def run(**options):
        config = Options(str(tmp_path), **options)
        parts = described(Options, config, runtime, lambda: made.append(1) or {"unet": object()})
        if warm.pipeline_of(parts) is None:
            warm.keep("key", object())
            warm.described_by(_description_of(Options, config, runtime), parts)
        return len(made)

    with warm.used():
        assert [run(), run(seed=2, output="b.mp4"), run(width=32), run(width=32)] == [1, 1, 2, 2]
        file.write_text("{ }")
        assert [run(width=32), run(width=32)] == [3, 3]
        warm.free()
        assert run(width=32) == 4
    described(Options, Options(str(tmp_path), 32), runtime, lambda: made.append(1) or {})
    assert len(made) == 5  # nothing is kept outside
