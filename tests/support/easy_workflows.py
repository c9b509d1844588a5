"""The workflows of the original's V4 (aigc-apps/EasyAnimate at abcf42b, `comfyui/v4`): what stands in them.

Kinds of nodes with their outputs, the order and values of their widgets, and the links; not the files themselves.
"""

GOOD = "High quality, masterpiece, best quality, highres, ultra-detailed, fantastic."
BAD = "The video is not of a high quality, it has a low resolution, and the audio quality is not clear."
MODEL = (
    *("LoadEasyAnimateModel", "EASYANIMATESMODEL"),
    ["EasyAnimateV4-XL-2-InP", False, "easyanimate_video_slicevae_multi_text_encoder_v4.yaml", "bf16"],
)
LORA = (
    *("LoadEasyAnimateLora", "EASYANIMATESMODEL"),
    ["easyanimate/easyanimatev4_minimalism_lora.safetensors", 0.7000000000000001],
)
WANTED, UNWANTED = ("TextBox", "STRING_PROMPT", [GOOD]), ("TextBox", "STRING_PROMPT", [BAD])
COMBINE = ("VHS_VideoCombine", None, {"frame_rate": 24, "loop_count": 0, "format": "video/h264-mp4", "crf": 22})
PICTURE = ("LoadImage", "IMAGE", ["firework.png", "image"])
VIDEO = ("VHS_LoadVideo", "IMAGE", {"video": "00000125.mp4", "force_rate": 0, "force_size": "Disabled"})
# name -> (nodes by number: (type, type of its first output, widgets' values), links: from, to, name of the input).
# The order of a node's inputs in a file is that of its links here.
WORKFLOWS = {
    "t2v": (
        {
            73: UNWANTED,
            17: COMBINE,
            75: WANTED,
            85: ("EasyAnimateT2VSampler", "IMAGE", [72, 1008, 576, False, 43, "fixed", 25, 7, "Euler"]),
            31: MODEL,
        },
        [(31, 85, "easyanimate_model"), (75, 85, "prompt"), (73, 85, "negative_prompt"), (85, 17, "images")],
    ),
    "lora": (
        {
            73: UNWANTED,
            75: WANTED,
            17: COMBINE,
            96: LORA,
            88: ("EasyAnimateT2VSampler", "IMAGE", [72, 672, 384, False, 43, "fixed", 25, 7, "Euler"]),
            95: MODEL,
        },
        [
            *((95, 96, "easyanimate_model"), (96, 88, "easyanimate_model"), (75, 88, "prompt")),
            *((73, 88, "negative_prompt"), (88, 17, "images")),
        ],
    ),
    "i2v": (
        {
            73: UNWANTED,
            7: PICTURE,
            75: WANTED,
            17: COMBINE,
            31: MODEL,
            72: ("EasyAnimateI2VSampler", "IMAGE", [72, 768, 43, "fixed", 25, 7, "Euler"]),
        },
        [
            *((31, 72, "easyanimate_model"), (75, 72, "prompt"), (73, 72, "negative_prompt"), (7, 72, "start_img")),
            (72, 17, "images"),
        ],
    ),
    "v2v": (
        {
            73: UNWANTED,
            31: MODEL,
            85: VIDEO,
            75: WANTED,
            17: COMBINE,
            86: ("EasyAnimateV2VSampler", "IMAGE", [72, 768, 43, "fixed", 25, 7, 0.7000000000000001, "Euler"]),
        },
        [
            *((31, 86, "easyanimate_model"), (75, 86, "prompt"), (73, 86, "negative_prompt")),
            *((85, 86, "validation_video"), (86, 17, "images")),
        ],
    ),
}


def workflow(name, **changed):
    """A workflow as the page saves it. `changed`: type of a node -> {place among its values: value}."""
    nodes, connections = WORKFLOWS[name]
    links = [
        [number, start, 0, end, 0, nodes[start][1]] for number, (start, end, _) in enumerate(connections, start=35)
    ]
    inputs = {number: [] for number in nodes}
    for link, (_, end, input_name) in zip(links, connections):
        inputs[end].append({"name": input_name, "type": link[5], "link": link[0]})
    listed = []
    for number, (kind, _, values) in nodes.items():
        values = values.copy()
        for place, value in changed.get(kind, {}).items():
            values[place] = value
        listed.append({"id": number, "type": kind, "inputs": inputs[number], "widgets_values": values})
    listed.append({"id": 78, "type": "Note", "widgets_values": ["a note"]})
    return {"nodes": listed, "links": links, "version": 0.4}
