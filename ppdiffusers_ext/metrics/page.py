"""The page of a result: one HTML file without scripts and without anything that lies elsewhere.

Whatever a user or a file named (paths, prompts) is text in it, never markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ppdiffusers_ext.errors import counted
from ppdiffusers_ext.metrics.html import cards, note, page, pictures, table
from ppdiffusers_ext.metrics.poses import PARTS
from ppdiffusers_ext.metrics.result_report import Measures, identity_of
from ppdiffusers_ext.metrics.svg import as_text, line_plot


def result_page(measures: Measures, run: Mapping[str, Any]) -> str:
    """The HTML of a result.

    Args:
        measures: of `measure`.
        run: `result` (its name), `command`, `seed`, `seconds` (by stage), `peak_memory_bytes`, `versions` and
            `options`, as its JSON has them.
    """
    title = f"Report of {run.get('result', 'a result')}"
    values = measures.values
    sections = [
        f"<h1>{as_text(title)}</h1>",
        _cards(values),
        _pictures(measures),
        *_identity(values),
        *_poses(values),
        *_drift(values),
        _networks(values),
        *_run(run),
    ]
    return page(title, sections)


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _cards(values: Mapping[str, Any]) -> str:
    name, identity = identity_of(values)
    poses, colour, sharp = values["poses"] or {}, values["colour"], values["sharpness"]
    body, faces = poses.get("body", {}), identity or {}
    figures = [
        (_figure(faces.get("mean"), ".3f"), f"identity: {name}, mean"),
        (_figure(faces.get("min"), ".3f"), "the least of any frame"),
        (_figure(body.get("akd_pixels"), ".1f"), "pose error (AKD of the body), pixels"),
        (_figure(body.get("akd_of_body"), ".2%"), "the same, of the body's size"),
        (_figure(body.get("mkr"), ".1%"), "missing joints of the body (MKR)"),
        (_figure(poses.get("pckh_0.5"), ".1%"), "joints in their place (PCKh@0.5)"),
        (_figure(colour["delta_e"], ".1f"), "colour: delta E to the reference"),
        (_figure(colour["delta_e_per_100_frames"], ".2f"), "colour drift, delta E per 100 frames"),
        (_figure(sharp["mean"], ".0%"), "sharpness, of the reference's"),
        (_figure(values["flicker_second_difference"], ".2f"), "flicker, levels"),
    ]
    return cards(figures)


def _pictures(measures: Measures) -> str:
    shown = [("reference", measures.reference)] if measures.reference else []
    shown += [(f"frame {number}", content) for number, content in measures.thumbnails]
    return pictures(shown)


def _reason(values: Mapping[str, Any], key: str) -> str:
    return note(f"Not measured: {values['reasons'].get(key, 'no reason is known')}.")


def _identity(values: Mapping[str, Any]) -> list[str]:
    name, identity = identity_of(values)
    heading = "<h2>Identity</h2>"
    if identity is None:
        return [heading, _reason(values, "csim")]
    network = values["networks"]["identity"]
    said = f"Cosine of the embeddings of the largest face and of the reference's, by the network {network}"
    without = identity["frames_without_face"]
    more = f"; {without} of {len(identity['frames'])} frames show no face" if without else ""
    below, threshold = identity["frames_below_threshold"], identity["threshold"]
    line = f"The dashed line, {threshold:g}, tells one person from another; {counted(below, 'frame')} below it."
    change = _change(values, identity["per_100_frames"], "+.3f", "csim.per_100_frames")
    return [
        heading,
        note(f"{said}{more}. {change}"),
        note(line),
        line_plot(f"{name} of each frame", [(name, identity["frames"])], threshold, most=1),
    ]


def _change(values: Mapping[str, Any], slope: float | None, form: str, key: str = "drift") -> str:
    """A sentence about a slope, or why there is none."""
    if slope is None:
        return f"Change per 100 frames: not measured, {values['reasons'].get(key) or values['reasons'].get('drift')}."
    return f"Change per 100 frames: {slope:{form}}."


def _poses(values: Mapping[str, Any]) -> list[str]:
    heading, poses = "<h2>Poses</h2>", values["poses"]
    if poses is None:
        return [heading, _reason(values, "poses")]
    networks = values["networks"]
    said = f"Poses of the result (estimator {networks['poses']}) against the driving ones"
    by = f" (estimator {networks['driving_poses']})" if networks["driving_poses"] else ""
    without = poses["frames_without_person"]
    more = f" Nobody is found in {without} of {poses['frames_with_driver']} frames." if without else ""
    parts = [heading, note(f"{said}{by}: distances of the points that both show.{more}")]
    if from_picture := poses.get("joints_from_picture"):
        taken = ", ".join(from_picture)
        parts.append(note(f"Joints not seen in the driving video, taken from the pose of the picture: {taken}."))
    lines = [(part, poses[part]["frames"]["akd_pixels"]) for part in PARTS]
    if lines := [line for line in lines if any(value is not None for value in line[1])]:
        parts.append(line_plot("distance in pixels of each frame", lines))
    parts.append(note("Joints of the body that the result lacks:"))
    missing = ("missing", poses["body"]["frames"]["missing"])
    parts.append(line_plot("missing joints of each frame", [missing], including=(0, 4)))
    return [*parts, table((part, _of_part(values, part)) for part in PARTS)]


def _of_part(values: Mapping[str, Any], part: str) -> str:
    """The numbers of a part of the body in words, as far as there are any."""
    errors, said = values["poses"][part], []
    if errors["akd_pixels"] is not None:
        of_body = _figure(errors["akd_of_body"], ".2%")
        said.append(f"AKD {errors['akd_pixels']:.2f} px, {of_body} of the body's size")
    elif f"poses.{part}" in values["reasons"]:
        said.append(f"AKD not measured: {values['reasons'][f'poses.{part}']}")
    if errors["mkr"] is not None:
        said.append(f"MKR {errors['mkr']:.1%} of {errors['points']} points")
    return "; ".join(said)


def _drift(values: Mapping[str, Any]) -> list[str]:
    colour, sharp, flicker = values["colour"], values["sharpness"], values["flicker_second_difference"]
    drift = _change(values, colour["delta_e_per_100_frames"], ".2f")
    if None not in (slopes := colour["lab_per_100_frames"]):
        each = ", ".join(f"{name} {value:+.2f}" for name, value in zip(("L*", "a*", "b*"), slopes))
        drift = f"{drift[:-1]} ({each})."
    parts = [
        "<h2>Colour</h2>",
        note(f"Distance of the mean colour from the reference's in CIELAB (delta E). {drift}"),
        line_plot("delta E of each frame", [("delta E", colour["frames"]["delta_e"])]),
        note("The mean colour itself, less the reference's:"),
        line_plot("mean L*, a* and b* of each frame, less the reference's", _labs(colour), 0.0),
        "<h2>Sharpness</h2>",
    ]
    if sharp["frames"] is None:
        parts.append(_reason(values, "sharpness"))
    else:
        said = "Variance of the Laplacian, relative to the reference's, which is the dashed line."
        parts.append(note(f"{said} {_change(values, sharp['per_100_frames'], '+.1%')}"))
        parts.append(line_plot("sharpness of each frame", [("sharpness", sharp["frames"])], 1.0))
    said = "too few frames" if flicker is None else f"{flicker:.3f} levels"
    parts.append(note(f"Flicker, the change that goes back in the next frame: {said}."))
    return parts


def _labs(colour: Mapping[str, Any]) -> list[tuple[str, list[float | None]]]:
    reference, frames = colour["reference_lab"], colour["frames"]["lab"]
    return [
        (name, [lab[i] - reference[i] for lab in frames]) for i, name in enumerate(("L*", "a*", "b*"))
    ]  # fmt: skip


def _networks(values: Mapping[str, Any]) -> str:
    names = {
        "poses of the result": values["networks"]["poses"],
        "driving poses": values["networks"]["driving_poses"],
        "identity": values["networks"]["identity"],
    }
    return "<h2>Networks that measured</h2>" + table((name, value or "none") for name, value in names.items())


def _run(run: Mapping[str, Any]) -> list[str]:
    parts = ["<h2>Run</h2>"]
    rows: list[tuple[str, object]] = [(name, run[name]) for name in ("command", "seed") if run.get(name) is not None]
    rows += [(f"seconds: {name}", f"{value:.1f}") for name, value in (run.get("seconds") or {}).items()]
    if run.get("peak_memory_bytes"):
        rows.append(("peak memory", f"{run['peak_memory_bytes'] / 2**30:.2f} GiB"))
    if run.get("peak_gpu_memory_bytes"):
        rows.append(("peak memory of the GPU", f"{run['peak_gpu_memory_bytes'] / 2**30:.2f} GiB"))
    rows += [(name, value or "not installed") for name, value in (run.get("versions") or {}).items()]
    parts.append(table(rows))
    options = run.get("options") or {}
    if options:
        parts.append(f"<details><summary>Options</summary>{table(options.items())}</details>")
    return parts
