"""ICC profiles made from their numbers (ICC.1:2001-04), and what colours of them are in sRGB, by the formulas."""

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
D65 = (0.3127, 0.3290)
# x and y of red, green, blue and white.
PRIMARIES = {
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65),
    "Display P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),
    "ProPhoto": ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585)),
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
}
GAMMAS = {"Adobe RGB": 563 / 256, "ProPhoto": 1.8, "BT.2020": 2.4}  # the others have sRGB's curve


def srgb_to_light(values):
    values = np.asarray(values, float)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def light_to_srgb(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_xyz_d50(primaries):
    """(3, 3): from linear RGB to XYZ, of which white is D50, by Bradford's adaptation."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    rgb, white = columns[:, :3], columns[:, 3]
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    cones = np.diag((bradford @ D50) / (bradford @ white))
    return np.linalg.inv(bradford) @ cones @ bradford @ (rgb * np.linalg.solve(rgb, white))


def light_of(name, pixels, gamma=None):
    gamma = gamma or GAMMAS.get(name)
    return srgb_to_light(pixels / 255) if gamma is None else (pixels / 255) ** gamma


def expected(name, pixels, gamma=None):
    """(..., 3) uint8 of a colour space -> fp64 levels of sRGB; what sRGB has not is clipped."""
    matrix = np.linalg.inv(to_xyz_d50(PRIMARIES["sRGB"])) @ to_xyz_d50(PRIMARIES[name])
    return light_to_srgb(light_of(name, np.asarray(pixels, float), gamma) @ matrix.T) * 255


def rgb_profile(name):
    """The bytes of a matrix profile."""
    curve = _gamma(GAMMAS[name]) if name in GAMMAS else _table(srgb_to_light(np.arange(1024) / 1023))
    columns = to_xyz_d50(PRIMARIES[name]).T
    tags = {b"rXYZ": _xyz(columns[0]), b"gXYZ": _xyz(columns[1]), b"bXYZ": _xyz(columns[2])}
    return _profile(b"RGB ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)}, name)


def grey_profile(gamma):
    return _profile(b"GRAY", {b"kTRC": _gamma(gamma)}, f"grey {gamma}")


def cmyk_profile():
    """A printer whose colours are those of `cmyk_in_srgb`: a table from CMYK to Lab of 9 steps an axis."""
    steps = np.linspace(0, 1, 9)
    c, m, y, k = np.meshgrid(*[steps] * 4, indexing="ij")
    light = srgb_to_light(np.stack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)], -1))
    lab = xyz_to_lab(light @ to_xyz_d50(PRIMARIES["sRGB"]).T)
    levels = np.stack([lab[..., 0] * 652.8, (lab[..., 1] + 128) * 256, (lab[..., 2] + 128) * 256], -1)
    line = np.linspace(0, 65535, 2).astype(">u2").tobytes()
    data = struct.pack(">4sIBBBx", b"mft2", 0, 4, 3, 9) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    data += struct.pack(">HH", 2, 2) + line * 4 + levels.round().clip(0, 65535).astype(">u2").tobytes() + line * 3
    return _profile(b"CMYK", {b"A2B0": data, b"A2B1": data}, "printer", pcs=b"Lab ", kind=b"prtr")


def cmyk_in_srgb(pixels):
    """(..., 4) uint8 -> levels of sRGB by `cmyk_profile`, at its steps."""
    c, m, y, k = np.moveaxis(np.asarray(pixels, float) / 255, -1, 0)
    return np.stack([(1 - c) * (1 - k), (1 - m) * (1 - k), (1 - y) * (1 - k)], -1) * 255


def xyz_to_lab(xyz):
    ratio = xyz / D50
    root = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _xyz(values):
    return struct.pack(">4sI3i", b"XYZ ", 0, *np.round(np.asarray(values) * 65536).astype(int))


def _gamma(gamma):
    return struct.pack(">4sIIH", b"curv", 0, 1, round(gamma * 256))


def _table(values):
    return struct.pack(">4sII", b"curv", 0, len(values)) + np.round(values * 65535).astype(">u2").tobytes()


def _profile(space, tags, name, pcs=b"XYZ ", kind=b"mntr"):
    description = name.encode() + b"\0"
    tags = {
        b"desc": struct.pack(">4sII", b"desc", 0, len(description)) + description + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(D50),
        **tags,
    }
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        table += struct.pack(">4sII", tag, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s6H4s", start + len(data), bytes(4), 0x02400000, kind, space, pcs,
                         2024, 1, 1, 0, 0, 0, b"acsp")  # fmt: skip
    header += bytes(28) + struct.pack(">3i", *np.round(D50 * 65536).astype(int)) + bytes(48)
    assert len(header) == 128
    return header + struct.pack(">I", len(tags)) + table + data
