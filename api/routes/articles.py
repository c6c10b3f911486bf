"""GET /articles/{article_id}: an article as customers may read it."""

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Path, Response

from api.deps import AgentDep, LimitedRoute
from api.errors import documented
from api.etags import is_among, tag_of
from api.schemas import ArticleResponse

router = APIRouter(prefix="/articles", tags=["questions"], route_class=LimitedRoute)

_UNCHANGED = {304: {"description": "The article is still the one that `If-None-Match` names."}}
_ID = Path(description="An `id` of `sources`; it may have slashes.", examples=["duplicate-charge"])
_TAGS = Header(description="The `ETag` of the article that the client has.")


@router.head("/{article_id:path}", include_in_schema=False)
@router.get(
    "/{article_id:path}",
    response_model=ArticleResponse,
    responses=_UNCHANGED | documented(401, 404, 429, 500, 502, 503),
)
async def read_article(
    article_id: Annotated[str, _ID], agent: AgentDep, if_none_match: Annotated[str, _TAGS] = ""
) -> Response:
    """Return an article that answers may rest on, as it is now."""
    article = await agent.knowledge.article(article_id)
    if article is None:
        raise HTTPException(404)
    content = ArticleResponse.of(article).model_dump_json().encode()
    tag = tag_of(content)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if is_among(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")
