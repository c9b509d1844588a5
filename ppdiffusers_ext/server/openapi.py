"""What OpenAPI says of the routes: bodies, parameters and answers, for `/openapi.json` and `/docs`."""

from html import escape
from typing import Any

from fastapi import FastAPI

from ppdiffusers_ext.server import forms
from ppdiffusers_ext.server.page_files import STYLES

_WORDS = {
    200: "What was asked for.",
    201: "It is there now.",
    204: "There is nothing more to come.",
    206: "The part that was asked for.",
    400: "A value or a file is not accepted.",
    404: "There is no such thing.",
    409: "Not yet, or not any more; or a model that is not there.",
    413: "Too large.",
    415: "Of a kind that is not accepted.",
    416: "There is no such part.",
    429: "Too many at once.",
    503: "No room, or the worker does not answer: the same later.",
}
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a route, by status; 422, which FastAPI assumes, is none of them."""
    return {
        code: {"description": _WORDS[code], **({"content": _ERROR} if code >= 400 else {})}
        for code in (*codes, *((401, 403) if 0 in codes else ()))
    }


def body(content: dict[str, Any]) -> dict[str, Any]:
    """A required body: media type -> schema."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": each} for kind, each in content.items()}}}


def parameter(name: str, words: str, kind: str = "string", place: str = "query") -> dict[str, Any]:
    return {"parameters": [{"name": name, "in": place, "description": words, "schema": {"type": kind}}]}


_ANY_JOB = {"oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in forms.job_schemas()]}
_FORM_OF_JOB = {
    "type": "object",
    "properties": {
        "system": {"type": "string"},
        "options": {"type": "string", "description": "JSON object of names of options"},
        **{
            role: {"type": "string", "format": "binary", "description": "a file, or the id of an upload"}
            for role in forms.roles()
        },
    },
    "required": ["system"],
}
_FORM_OF_FILE = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
_FRAME = {"type": "integer", "minimum": 0, "default": 0}
_POSES = {
    "type": "object",
    "properties": {
        "upload": {"type": "string", "description": "id of an upload"},
        "frame": _FRAME,
        "person": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": "largest"},
    },
    "required": ["upload"],
}
UPLOAD_BODY = {"multipart/form-data": _FORM_OF_FILE}
JSON_BODY_OF_JOB = {"application/json": _ANY_JOB}
JOB_BODY = {**JSON_BODY_OF_JOB, "multipart/form-data": _FORM_OF_JOB}
POSES_BODY = {"application/json": _POSES}
ALIGNMENT_BODY = {"application/json": {"allOf": [_ANY_JOB, {"properties": {"frame": _FRAME}}]}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of an application."""
    found = FastAPI.openapi(app)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas |= forms.job_schemas()
    told = {"error": {"type": "string"}, "code": {"type": "string"}, "values": {"type": "object"}}
    schemas["Error"] = {"type": "object", "properties": told, "required": ["error"]}
    for each in ("HTTPValidationError", "ValidationError"):
        schemas.pop(each, None)
    for methods in found["paths"].values():
        for route in methods.values():
            route["responses"].pop("422", None)
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"token": []}, {}]
    return found


def page_of(description: dict[str, Any]) -> str:
    """The description as a page that needs no script and nothing of other servers."""
    rows = []
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            codes = "".join(
                f"<li><code>{escape(code)}</code> {escape(each['description'])}</li>"
                for code, each in route["responses"].items()
            )
            asked = "".join(
                f"<li><code>{escape(each['name'])}</code> {escape(each.get('description', ''))}</li>"
                for each in route.get("parameters", ())
            )
            takes = ", ".join(route.get("requestBody", {}).get("content", {}))
            rows.append(
                f"<h2 id='{method}{escape(path, quote=True)}'><code>{method.upper()} {escape(path)}</code></h2>"
                f"<p>{escape(route.get('description', ''))}</p>"
                + (f"<p>Body: {escape(takes)}</p>" if takes else "")
                + (f"<ul>{asked}</ul>" if asked else "")
                + f"<ul>{codes}</ul>"
            )
    schemas = "".join(map(_schema, forms.job_schemas().items()))
    links = "".join(f"<link rel='stylesheet' href='page/{name}'>" for name in STYLES)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>REST interface</title>"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'>{links}</head><body><main>"
        f"<h1>{escape(description['info']['title'])}</h1><p>{escape(description['info'].get('description', ''))}</p>"
        "<p><a href='openapi.json'>openapi.json</a> has all of this for programs. <a href='./'>The page</a></p>"
        f"{''.join(rows)}<h2>Jobs</h2>{schemas}</main></body></html>"
    )


def _schema(named: tuple[str, dict[str, Any]]) -> str:
    name, schema = named
    options, files = schema["properties"]["options"]["properties"], schema["properties"]["files"]
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code></td><td>{escape(str(each.get('default', '')))}</td>"
        f"<td>{escape(each['description'])}</td></tr>"
        for key, each in options.items()
    )
    roles = ", ".join(f"{key}{'' if key in files['required'] else ' (optional)'}" for key in files["properties"])
    return (
        f"<details><summary><code>{escape(name)}</code></summary><p>Files: {escape(roles or 'none')}</p><table><thead>"
        f"<tr><th>option</th><th>default</th><th>meaning</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )
