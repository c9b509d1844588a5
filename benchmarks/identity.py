"""How well the network of csim tells people apart: cosines of faces of the same person and of different people.

    python -m benchmarks identity
    python -m benchmarks identity --people me.mp4 you.png family.jpg --json identity.json

Each of --people is a video of one person, of which every N-th frame counts, or a picture, whose faces are of different
people; nobody may be in two of them. Left out, it is the group of six whom insightface's package brings. The faces of
a picture count four times: as they are, mirrored, at half the size, and at half the brightness. All pairs of the same
person and all of different people are compared. `threshold` is the cosine that tells most of them apart, `right` how
many pairs it tells right, `auc` the share of (same, different) in which the first has the larger cosine.
"""

import itertools
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.contestant import peak_bytes

_SEEN = 0.5  # of a face's points, as in reports
_NEAR = 12  # pixels between the middles of a face and of its copy


def add_arguments(parser):
    parser.add_argument("--people", nargs="+", metavar="FILE", help="videos and pictures (default: insightface's)")
    parser.add_argument("--every", type=int, default=5, metavar="N", help="frames of a video that count (default 5)")


def compete(options):
    from ppdiffusers_ext.errors import InputError

    if options.every < 1:
        raise InputError(f"--every {options.every} is too small; 1 or more is accepted")
    row = harness.run_contestant("identity", "faces", {"people": options.people, "every": options.every})
    for person, count in row["people"].items():
        print(f"{person:32} {count:>4} faces")
    for kind in ("same", "different"):
        of_kind = row[kind]
        spread = f"mean {of_kind['mean']:.3f}, {of_kind['min']:.3f} to {of_kind['max']:.3f}"
        print(f"{kind:10} {of_kind['pairs']:6} pairs: {spread}; {of_kind['right']} right")
    print(f"threshold {row['threshold']:.3f}, AUC {row['auc']:.5f}")
    return harness.result(row, {}, settings={"every": options.every})


def measure(settings):
    """The JSON of `--people`."""
    start = time.perf_counter()
    faces = _embeddings(settings["people"] or [_group()], settings["every"])
    seconds = time.perf_counter() - start
    same = [pair for of_one in faces.values() for pair in itertools.combinations(of_one, 2)]
    different = [
        pair for one, other in itertools.combinations(faces.values(), 2) for pair in itertools.product(one, other)
    ]
    counts = {name: len(of_one) for name, of_one in faces.items()}
    cosines = compare(_cosines(same), _cosines(different))
    return {**cosines, "people": counts, "seconds": seconds, "peak_bytes": peak_bytes()}


def compare(same, different):
    """How well a threshold tells apart two lists of cosines."""
    import numpy as np

    from ppdiffusers_ext.errors import InputError

    if not same or not different:
        raise InputError(
            f"there are {len(same)} pairs of the same person and {len(different)} of different people; faces of two "
            "people at least are accepted"
        )
    same, different = np.sort(same), np.sort(different)
    values = np.unique(np.concatenate([same, different]))
    candidates = np.concatenate([[-1], (values[:-1] + values[1:]) / 2, [1]])
    rates = (same[None] > candidates[:, None]).mean(axis=1) + (different[None] <= candidates[:, None]).mean(axis=1)
    threshold = float(candidates[np.argmax(rates)])
    right = {"same": same > threshold, "different": different <= threshold}
    below = np.searchsorted(different, same) + np.searchsorted(different, same, "right")
    told = {
        name: {
            "pairs": len(values),
            "mean": float(values.mean()),
            "min": float(values[0]),
            "max": float(values[-1]),
            "right": int(right[name].sum()),
        }
        for name, values in (("same", same), ("different", different))
    }
    return {**told, "threshold": threshold, "auc": float(below.mean() / 2 / len(different))}


def _cosines(pairs):
    from ppdiffusers_ext.metrics.identity import csim

    return [csim(*pair) for pair in pairs]


def _group():
    import insightface

    return Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"


def _embeddings(people, every):
    """Name -> embeddings of each person."""
    from ppdiffusers_ext.data.frames import open_frames

    faces = {}
    for path in map(Path, people):
        source = open_frames(path)
        if source.num_frames > 1:
            found = map(_faces, itertools.islice(source, 0, None, every))
            faces[path.name] = [of_one[0][1] for of_one in found if of_one]
            continue
        (frame,) = source
        here = _faces(frame)
        names = [f"{path.name} {i}" if len(here) > 1 else path.name for i in range(len(here))]
        faces |= {name: [embedding] for name, (_, embedding) in zip(names, here)}
        for copy, back in _copies(frame):
            found = [(back(middle), embedding) for middle, embedding in _faces(copy)]
            for name, (middle, _) in zip(names, here):
                faces[name] += _nearest(middle, found)
    return faces


def _faces(frame):
    """Middle (x, y) and embedding of each face of a frame, the largest first."""
    import numpy as np

    from ppdiffusers_ext.metrics.identity import align_face, five_points
    from ppdiffusers_ext.metrics.poses import PARTS
    from ppdiffusers_ext.pipelines.reporting import open_networks

    networks = open_networks(frame.shape[1], frame.shape[0])
    (people,) = networks.people([frame])
    part = PARTS["face"]
    faces = [one.xy[part] for one in people if one.seen[part].mean() >= _SEEN]
    faces.sort(key=lambda face: -float(np.prod(np.ptp(face, axis=0))))
    return [(face.mean(axis=0), networks.faces.embed(align_face(frame, five_points(face)))) for face in faces]


def _copies(frame):
    """Changed copies of a frame, each with the way of a point (x, y) of it back into the frame."""
    import cv2
    import numpy as np

    height, width = frame.shape[:2]
    yield np.ascontiguousarray(frame[:, ::-1]), lambda point: np.array([width - 1 - point[0], point[1]])
    half = cv2.resize(frame, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    yield half, lambda point: point * 2
    yield frame // 2, lambda point: point


def _nearest(middle, faces):
    """The embedding of the face in a place; none where it is not found again."""
    import numpy as np

    near = [(float(np.linalg.norm(other - middle)), i) for i, (other, _) in enumerate(faces)]
    return [faces[i][1] for distance, i in sorted(near)[:1] if distance < _NEAR]


CONTESTANTS = {"faces": measure}
