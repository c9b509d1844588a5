"""What ranks do in tests; see `together`."""

import os
import signal

import paddle

from ppdiffusers_ext.distributed.ranks import joined


def collectives():
    """The results of every way in which ranks divide work, and the bytes that were received."""
    with joined() as ranks:
        done = []
        shapes = [[2, 3], [5], [1, 0], [4], [2, 2], [3]]
        calls = [lambda i=i, shape=shape: paddle.full(shape, float(i)) for i, shape in enumerate(shapes)]
        made = []
        divided = ranks.divide([lambda i=i, call=call: made.append(i) or call() for i, call in enumerate(calls)],
                               done=done.append)  # fmt: skip
        received = ranks.received
        half = ranks.divide([lambda: paddle.full([3], 1.5, "bfloat16")])[0]
        own, before = ranks.rank, ranks.received
        sent = [paddle.full([own + 1, i], 10.0 * own + i) for i in range(ranks.count)]
        got = ranks.exchange(sent, [[i + 1, own] for i in range(ranks.count)], 4 * 3)
        pieces, exchanged = [x.tolist() for x in got], ranks.received - before
        streamed = _stream_twice(ranks)
        return {
            "divided": [x.tolist() for x in divided],
            "made": made,
            "done": sorted(done),
            "received": received,
            "half": [str(half.dtype), half.astype("float32").tolist()],
            "pieces": pieces,
            "exchanged": exchanged,
            "streamed": streamed,
            "first": ranks.of_first("a value", lambda: f"of rank {ranks.rank}"),
        }


def _stream_twice(ranks):
    """What each rank sees of a stream that the first one leaves early, and then takes to its end."""
    seen = []

    def stream():
        for x in ranks.stream([lambda i=i: paddle.full([1], float(i)) for i in range(9)]):
            seen.append(float(x))
            yield x

    held = []

    def work(begin):
        begin()
        held.append(stream())  # nobody closes it
        next(held[0])
        begin()
        for _ in stream():
            pass

    def follow():
        for _ in stream():
            pass

    ranks.lead(work, follow)
    return seen


def end(rank, how):
    """A rank ends while the others wait for its results."""
    with joined() as ranks:
        ranks.divide([lambda: _end(how) if ranks.rank == rank else paddle.ones([1]) for _ in range(ranks.count)])


def _end(how):
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("it has no picture")


def command(arguments, dies=False):
    """The command pose2vid with arguments, which ends the process; with `dies` that is killed in its second call."""
    from ppdiffusers_ext.pipelines.animate_anyone.denoise import WindowPredictor
    from scripts import pose2vid
    from scripts.command import run
    from scripts.ranks import divided

    if dies:
        predict, calls = WindowPredictor._predict, []

        def killed(self, *given):
            calls.append(given)
            return _end("killed") if len(calls) > 1 else predict(self, *given)

        WindowPredictor._predict = killed
    os._exit(run(pose2vid.make_parser(), divided(pose2vid.work), arguments))


def pose2vid(options):
    """Latents and frames of a clip by Animate Anyone's demo model: the difference from those of one process."""
    import numpy as np
    import PIL.Image

    from ppdiffusers_ext.pipelines.animate_anyone.pipeline import Pose2VideoPipeline

    pipeline = Pose2VideoPipeline.from_pretrained("assets/demo_model")
    pipeline.set_progress_bar_config(disable=True)
    picture = PIL.Image.open("assets/reference.png").convert("RGB")
    poses = [PIL.Image.fromarray(np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)) for i in range(7)]

    def run():
        return pipeline(picture, poses, 32, 32, num_inference_steps=3, guidance_scale=2.0, generator=3,
                        output_type="latent", context_frames=4, context_overlap=1, **options).frames  # fmt: skip

    return _compared(pipeline, run, lambda latents: pipeline.decode(latents, chunk_size=2))


def stable_animator(options):
    """As `pose2vid`, by StableAnimator's small networks of random weights."""
    from tests.pipelines.stable_animator.test_pipeline import call, make_pipeline

    pipeline = make_pipeline()
    small = {"frames": 5, "tile_size": 3, "tile_overlap": 2, "num_inference_steps": 2, "width": 64, "height": 64}
    return _compared(
        pipeline, lambda: call(pipeline, **small, **options), lambda latents: pipeline.decode(latents, chunk_size=2)
    )


def easy_animate(options):
    """As `pose2vid`, of EasyAnimate V4's small networks of random weights; the largest difference instead of bits."""
    from tests.pipelines.easy_animate.test_pipeline import EasyAnimatePipeline, call, make, text

    pipeline = make(EasyAnimatePipeline, 4)
    pipeline.set_progress_bar_config(disable=True)
    texts = text(), text()

    def run():
        return call(pipeline, *texts, num_frames=16, guidance_scale=3.0, generator=4, output_type="latent", **options)

    return _compared(pipeline, run, pipeline.decode)


def easy_transformers(size, options):
    """The largest differences of the transformers' predictions by several ranks, and the bytes that these received."""
    from ppdiffusers_ext.engine.network import Network
    from ppdiffusers_ext.pipelines.steps import Guidance
    from tests.pipelines.easy_animate import test_denoise as small

    small.SIZE, results = tuple(size), {}
    paddle.seed(0)
    motion = {**small.GLOBAL, "num_attention_heads": 4}
    options_of = {
        "hunyuan": {**small.NETWORK, "num_attention_heads": 4, "hidden_size": 32, "num_layers": 4, "in_channels": 12},
        "pixart": {**small.PIXART, "motion_module_kwargs_odd": motion, "num_layers": 2},
    }
    options_of["pixart"]["motion_module_kwargs_even"] = {**motion, "attention_block_types": ("Temporal_Self",) * 2}
    for name, cls in (("hunyuan", small.HunyuanTransformer3D), ("pixart", small.PixArtTransformer3D)):
        network = Network(cls(**options_of[name]).eval())
        given = (network, paddle.randn([1, 9, 12] if name == "hunyuan" else [1, 768]))
        guidance = Guidance(3.0, **options)
        paddle.seed(3)
        with joined() as ranks:
            before = ranks.received
            predicted = small.predict(small.make(*given, guidance=guidance))
            received = ranks.received - before
        paddle.seed(3)
        results[name] = [small.difference(predicted, small.predict(small.make(*given, guidance=guidance))), received]
    return results


def _compared(pipeline, run, decode):
    """The largest difference of latents and frames from one process', and how many calls and bytes the ranks took."""
    calls = []
    engine = pipeline._engine
    plain = engine.run
    engine.run = lambda network, what, *others, **settings: (
        calls.append(what) or plain(network, what, *others, **settings)
    )
    with joined() as ranks:
        latents = run()
        frames = ranks.lead(lambda begin: begin() or list(decode(latents)), lambda: list(decode(latents)))
        received = ranks.received
    counts = {what: calls.count(what) for what in ("denoise", "decode")}
    alone = run()
    expected = list(decode(alone))
    difference = max(float((x - y).abs().max()) for x, y in ((latents, alone), *zip(frames or [], expected)))
    return {"difference": difference, "calls": counts, "received": received, "frames": len(frames or [])}
