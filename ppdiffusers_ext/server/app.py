"""The application: routes, what guards them, and how errors are told. `serving` runs it."""

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ppdiffusers_ext.errors import InputError, shown
from ppdiffusers_ext.server import easy_animate_api, openapi, routes_jobs, routes_page, routes_results
from ppdiffusers_ext.server.answers import answer, refusal
from ppdiffusers_ext.server.security import Guard
from ppdiffusers_ext.server.service import Service
from ppdiffusers_ext.version import __version__

logger = logging.getLogger(__name__)
_ABOUT = (
    'Jobs of human image animation. Errors are JSON, {"error": "what is wrong; what would be accepted"}. A server '
    "with a token takes it as Authorization: Bearer TOKEN."
)


class _Errors:
    """ASGI middleware within the guard: an error that nothing else tells becomes an answer, and is logged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def told(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, told)
        except Exception as error:
            if isinstance(error, ClientDisconnect) or scope["type"] != "http":
                return
            logger.exception("%s %s failed", scope["method"], ascii(scope["path"]))
            if has_begun:
                raise
            await refusal(error)(scope, receive, send)


def make_app(service: Service) -> FastAPI:
    """The application of a service, for uvicorn."""
    app = FastAPI(
        title="ppdiffusers_ext",
        version=__version__,
        description=_ABOUT,
        docs_url=None,  # of other servers' scripts; routes_page has one of our own
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for routes in (routes_page, routes_jobs, routes_results, easy_animate_api):
        app.include_router(routes.router)
    app.add_exception_handler(InputError, _tell)
    app.add_exception_handler(HTTPException, _tell_status)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    description = openapi.describe(app)
    app.openapi = lambda: description  # type: ignore[method-assign]
    app.add_middleware(_Errors)
    app.add_middleware(Guard, access=service.access)
    return app


async def _tell(_: Request, error: Exception) -> Response:
    return refusal(error)


async def _tell_status(request: Request, error: Exception) -> Response:
    """What starlette itself refuses: paths and methods that there are not."""
    assert isinstance(error, HTTPException)
    what = f"{shown(request.method)} {shown(request.url.path)}"
    words = {404: "is not known", 405: "is not possible"}.get(error.status_code, "is not accepted")
    return answer({"error": f"{what} {words}; /docs lists what is accepted"}, error.status_code, error.headers)


async def _tell_invalid(_: Request, error: Exception) -> Response:
    return answer({"error": "a parameter is not accepted; /docs lists those that are"}, 400)
