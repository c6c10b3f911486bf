"""POST /visitors and POST /visitors/anonymous: tokens for visitors of a website, who have no key."""

from fastapi import APIRouter

from api.errors import documented
from api.visitor_schemas import VisitorRequest, VisitorResponse
from api.visitors import AnonymousDep, MintDep

router = APIRouter(prefix="/visitors", tags=["visitors"])


@router.post("", responses=documented(400, 401, 403, 404, 408, 413, 415, 422, 500))
async def mint_token(body: VisitorRequest, mint: MintDep) -> VisitorResponse:
    """Mint a token for a visitor of your website; your own server asks for it, with its key.

    It opens that visitor's own conversations, and nothing else. Another token with the same `customer_id` or
    `visitor_id` opens them too. 404 `visitors-off` if the service has no `SUPPORT_VISITOR_SECRET`.
    """
    return mint(body)


@router.post("/anonymous", include_in_schema=False)  # for our own page
async def mint_anonymous_token(anonymous: AnonymousDep) -> VisitorResponse:
    """Mint a token for a visitor of the service's own page, if SUPPORT_PUBLIC_ORIGINS has made that public.

    A valid token in `Authorization` is renewed for the same visitor.
    """
    return anonymous
