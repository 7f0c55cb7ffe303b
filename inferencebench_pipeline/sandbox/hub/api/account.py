"""The routes about the caller's account, and the validation of a card's metadata."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.cards import card_errors, card_warnings
from inferencebench_pipeline.sandbox.hub.context import caller_of, json_body, text_field
from inferencebench_pipeline.sandbox.hub.errors import HubError


def whoami(request: Request) -> Response:
    """Answer with the token's user, organisations and scope."""
    caller = caller_of(request)
    if caller.name is None:
        raise HubError(401, "Invalid username or password.")
    organisations = [
        {
            "type": "org",
            "name": name,
            "fullname": name,
            "roleInOrg": role.value,
            "isEnterprise": False,
        }
        for name, role in sorted(caller.organisations.items())
    ]
    return JSONResponse(
        {
            "type": "user",
            "id": caller.name,
            "name": caller.name,
            "fullname": caller.name,
            "isPro": False,
            "orgs": organisations,
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": "sandbox", "role": caller.scope.value},
            },
        }
    )


async def validate_yaml(request: Request) -> Response:
    """Answer with the Hub's objections to a README's front matter. No token is needed."""
    content = text_field(await json_body(request), "content")
    errors = [{"message": message} for message in card_errors(content)]
    warnings = [{"message": message} for message in card_warnings(content)]
    return JSONResponse({"errors": errors, "warnings": warnings}, 400 if errors else 200)


routes = [
    Route("/api/whoami-v2", whoami, methods=["GET"]),
    Route("/api/validate-yaml", validate_yaml, methods=["POST"]),
]
