"""What is kept beside a pipeline is opened once for each key."""

from ppdiffusers_ext.pipelines.warm import WarmPipeline


def test_what_lies_beside_a_pipeline_is_opened_again_for_another_key():
    warm, opened = WarmPipeline(), []

    def open_new():
        opened.append(len(opened))
        return opened[-1]

    assert [warm.beside(key, open_new) for key in ("a", "a", "b", "b", "a")] == [0, 0, 1, 1, 2]
