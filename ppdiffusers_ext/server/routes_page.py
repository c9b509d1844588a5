"""Routes of the page: its files, the login, the description of REST, and whether the server is well."""

from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse

from ppdiffusers_ext.errors import shown
from ppdiffusers_ext.observability.prometheus import CONTENT_TYPE
from ppdiffusers_ext.server import openapi
from ppdiffusers_ext.server.answers import Refused, answer
from ppdiffusers_ext.server.bodies import kind_of_body, read_body
from ppdiffusers_ext.server.openapi import responses
from ppdiffusers_ext.server.page_files import INDEX, KINDS, LANGUAGES, STYLES, page_files, texts_of
from ppdiffusers_ext.server.refusals import NotFound
from ppdiffusers_ext.server.security import COOKIE
from ppdiffusers_ext.server.service import service_of

router = APIRouter()
_MOST_OF_LOGIN = 8 << 10  # bytes
_FORM = "application/x-www-form-urlencoded"


def file_of_page(name: str) -> Response:
    """A file of the page. Raises NotFound for any other name."""
    path = page_files().get(name)
    if path is None:
        raise NotFound("page", name=shown(name))
    return FileResponse(path, media_type=KINDS[path.suffix], headers={"Cache-Control": "no-cache"})


def login_page(request: Request, is_wrong: bool) -> Response:
    """The form that asks for the token, in the first language of the browser's that the page has."""
    language = language_of(request.headers.get("accept-language", ""))
    texts = {name: escape(text, quote=True) for name, text in texts_of(language).items() if name.startswith("login.")}
    styles = "".join(f"<link rel='stylesheet' href='page/{name}'>" for name in STYLES)
    # A browser asks for an icon that is not named by itself, which would be refused.
    icon = "<link rel='icon' href='page/figure.svg' type='image/svg+xml'>"
    state = "aria-invalid='true' aria-describedby='words' " if is_wrong else ""
    words = f"<p id='words' class='wrong' role='alert'>{texts['login.wrong']}</p>" if is_wrong else ""
    return HTMLResponse(
        f"<!doctype html><html lang='{language}'><head><meta charset='utf-8'><title>{texts['login.title']} · Studio"
        "</title><meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='color-scheme' content='light dark'>{icon}{styles}</head><body><main class='login'>"
        "<h1>Studio</h1><form class='card raised' method='post' action='login'>"
        f"<p class='hint'>{texts['login.needed']}</p>"
        f"<div class='field'><label for='token'>{texts['login.token']}</label><input id='token' name='token' "
        f"type='password' autocomplete='current-password' required autofocus {state}>{words}</div>"
        f"<button class='primary big' type='submit'>{texts['login.sign']}</button></form></main></body></html>",
        401,
    )


def language_of(header: str) -> str:
    """The first language of an Accept-Language header that the page has; English of none."""
    wanted = (each.partition(";")[0].strip()[:2].lower() for each in header.split(","))
    return next((language for language in wanted if language in LANGUAGES), LANGUAGES[0])


def _let_in(request: Request) -> Response:
    """Leads to the page with a cookie, and without the token in the address."""
    service, home = service_of(request), f"{request.scope.get('root_path', '')}/"
    found: Response = RedirectResponse(home, 303)
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        # Browsers keep a strict cookie back where another site led here, until the page itself leads on.
        found = HTMLResponse(
            "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Studio</title>"
            f"<meta http-equiv='refresh' content='0; url={escape(home, quote=True)}'></head>"
            f"<body><a href='{escape(home, quote=True)}'>Studio</a></body></html>"
        )
    found.set_cookie(
        COOKIE,
        service.access.make_cookie(),
        path=home,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
        max_age=service.access.seconds_of_cookie,
    )
    return found


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    access, token = service_of(request).access, request.query_params.get("token")
    if token is not None and access.token is not None:
        return _let_in(request) if access.accepts_token(token) else login_page(request, is_wrong=True)
    if not request.scope["state"]["is_known"]:
        return login_page(request, is_wrong=False)
    return file_of_page(INDEX)


@router.post("/login", include_in_schema=False)
async def login(request: Request) -> Response:
    if kind_of_body(request) != _FORM:
        raise Refused(f"the body is {shown(kind_of_body(request) or 'of no type')}; {_FORM} is accepted", 415)
    text = (await read_body(request, _MOST_OF_LOGIN)).decode("utf-8", "replace")
    try:
        tokens = parse_qs(text, max_num_fields=10).get("token", [""])
    except ValueError:
        tokens = [""]
    if service_of(request).access.accepts_token(tokens[0].strip()):
        return _let_in(request)
    return login_page(request, is_wrong=True)


@router.head("/page/{name:path}", include_in_schema=False)
@router.get("/page/{name:path}", include_in_schema=False)
async def page_file(name: str) -> Response:
    return file_of_page(name)


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> Response:
    return HTMLResponse(openapi.page_of(request.app.openapi()))


@router.get("/openapi.json", include_in_schema=False)
async def description(request: Request) -> Response:
    return answer(request.app.openapi())


@router.head("/health", include_in_schema=False)
@router.get("/health", responses=responses(200, 503))
async def health(request: Request) -> Response:
    """Whether jobs are taken. Needs no token, and says more with it: the worker, and how many jobs wait and run."""
    service = service_of(request)
    found = service.jobs.health()  # waits for nothing, not even for a thread
    is_well = bool(found["ok"]) and not service.is_stopping
    told = {**found, "ok": is_well} if request.scope["state"]["is_known"] else {"ok": is_well}
    return answer(told, 200 if is_well else 503)


@router.get("/metrics", responses=responses(200), response_class=Response)
async def metrics(request: Request) -> Response:
    """Jobs by state, seconds by stage, failures and memory, in Prometheus' text format. Needs the token."""
    service = service_of(request)
    return Response(await service.ask(service.jobs.metrics), media_type=CONTENT_TYPE)
