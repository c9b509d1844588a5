"""The published checkpoints of EasyAnimate: archives, and V1's motion module."""

from ppdiffusers_ext.weights.entries import File, Weights

_BUCKET = "https://pai-aigc-photog.oss-cn-hangzhou.aliyuncs.com/easyanimate"
_GIB = 2**30


def _archive(name, size, ending=".tar", licence="Apache-2.0", by_default=False):
    """An archive in EasyAnimate's bucket. Its README named these until 2024-11, then unpacked repositories.

    size: GiB, as its tables give it; they say GB, but the networks have the bytes of GiB.
    """
    # What the original opens in every version, of its pipeline and of two parts.
    members = ("model_index.json", "transformer/config.json", "vae/config.json")
    return Weights(
        name=name,
        systems=("easy_animate",),
        folder="Diffusion_Transformer",
        sources=(f"{_BUCKET}/Diffusion_Transformer",),
        files=(File(name, name + ending, about=round(size * _GIB), members=members),),
        licence=licence,
        needed_by="scripts.predict_t2v" + (", scripts.predict_i2v, scripts.predict_v2v" if "InP" in name else ""),
        by_default=by_default,
    )


PUBLISHED = (
    _archive("EasyAnimateV4-XL-2-InP", 8.9, ending=".tar.gz", by_default=True),
    _archive("EasyAnimateV3-XL-2-InP-512x512", 18.2),
    _archive("EasyAnimateV3-XL-2-InP-768x768", 18.2),
    _archive("EasyAnimateV3-XL-2-InP-960x960", 18.2),
    _archive("EasyAnimateV2-XL-2-512x512", 16.2),
    _archive("EasyAnimateV2-XL-2-768x768", 16.2),
    # V1 is a motion module on top of PixArt-alpha.
    _archive("PixArt-XL-2-512x512", 11.4, licence="CreativeML OpenRAIL++-M"),
    Weights(
        name="easyanimate_v1_mm",
        systems=("easy_animate",),
        folder="Motion_Module",
        sources=(f"{_BUCKET}/Motion_Module",),
        files=(File("easyanimate_v1_mm.safetensors", about=round(4.1 * _GIB)),),
        licence="Apache-2.0",
        needed_by="scripts.predict_t2v with PixArt-XL-2-512x512",
        by_default=False,
    ),
)
