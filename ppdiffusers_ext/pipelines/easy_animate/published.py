"""The published checkpoints of EasyAnimate: archives, and V1's motion module."""

from ppdiffusers_ext.weights.entries import File, Weights

_BUCKET = "https://pai-aigc-photog.oss-cn-hangzhou.aliyuncs.com/easyanimate"


def _archive(name, about, ending=".tar", licence="Apache-2.0", by_default=False):
    """An archive in EasyAnimate's bucket. Its README named these until 2024-11, then unpacked repositories; the sizes
    are those of its tables.
    """
    # What the original opens in every version, of its pipeline and of two parts.
    members = ("model_index.json", "transformer/config.json", "vae/config.json")
    return Weights(
        name=name,
        systems=("easy_animate",),
        folder="Diffusion_Transformer",
        sources=(f"{_BUCKET}/Diffusion_Transformer",),
        files=(File(name, name + ending, about=about, members=members),),
        licence=licence,
        needed_by="scripts.predict_t2v" + (", scripts.predict_i2v, scripts.predict_v2v" if "InP" in name else ""),
        by_default=by_default,
    )


PUBLISHED = (
    _archive("EasyAnimateV4-XL-2-InP", 8_900_000_000, ending=".tar.gz", by_default=True),
    _archive("EasyAnimateV3-XL-2-InP-512x512", 18_200_000_000),
    _archive("EasyAnimateV3-XL-2-InP-768x768", 18_200_000_000),
    _archive("EasyAnimateV3-XL-2-InP-960x960", 18_200_000_000),
    _archive("EasyAnimateV2-XL-2-512x512", 16_200_000_000),
    _archive("EasyAnimateV2-XL-2-768x768", 16_200_000_000),
    # V1 is a motion module on top of PixArt-alpha.
    _archive("PixArt-XL-2-512x512", 11_400_000_000, licence="CreativeML OpenRAIL++-M"),
    Weights(
        name="easyanimate_v1_mm",
        systems=("easy_animate",),
        folder="Motion_Module",
        sources=(f"{_BUCKET}/Motion_Module",),
        files=(File("easyanimate_v1_mm.safetensors", about=4_100_000_000),),
        licence="Apache-2.0",
        needed_by="scripts.predict_t2v with PixArt-XL-2-512x512",
        by_default=False,
    ),
)
