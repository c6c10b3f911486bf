"""POST /feedback: a customer's rating of an answer."""

from fastapi import APIRouter, HTTPException

from api.deps import FeedbackDep, PrincipalDep
from api.errors import documented
from api.schemas import FeedbackRequest

router = APIRouter(tags=["feedback"])


@router.post("/feedback", status_code=202, responses=documented(400, 401, 404, 408, 413, 415, 422, 500, 503))
async def give_feedback(body: FeedbackRequest, feedback: FeedbackDep, caller: PrincipalDep) -> None:
    """Rate a run of the last 24 hours; 404 if the caller has no such run, and no run has the example's id."""
    if not await feedback.give(body.run_id, caller.context(), body.score, body.comment):
        raise HTTPException(404)
