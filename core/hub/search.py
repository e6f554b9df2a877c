"""Finds models on the Hub, page by page."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

from core.errors import HubAnswerInvalid, NoSuchPage
from core.hub.address import endpoint, origin
from core.hub.client import as_json, ask, model_info
from core.jobs import HubModel, SearchJob, SearchResult
from core.progress import Progress

WEIGHT_FORMATS = ("gguf", "safetensors")
EXPANDED = ("downloads", "likes", "lastModified", "pipeline_tag", "library_name", "tags", "gated", "private",
            "safetensors", "gguf")  # fmt: skip
SORTED_BY = {"last_modified": "lastModified", "created": "createdAt", "trending": "trendingScore"}
# How many of the models on a page were given out already, and the address of the page on the Hub.
_PAGE = re.compile(r"(\d{1,4}) (\S+)")
_PLACE = "/api/models"


def search(job: SearchJob, progress: Progress) -> SearchResult:
    """The answer of SearchJob; as many of the Hub's pages are asked for as it takes.

    Raises NoSuchPage, HubAnswerInvalid, and what client.ask raises.
    """
    progress.stage("Searching", job.limit, "models")
    url, params = f"{endpoint()}{_PLACE}", _params(job)
    skipped = 0
    if job.page:
        skipped, url = _place_of(job.page)
        params = {}
    found: list[HubModel] = []
    next_page = ""
    while url and not next_page:
        response = ask(url, params, "", "The search", progress)
        models = [as_model(item) for item in as_json(response, list)][skipped:]
        taken = models[: job.limit - len(found)]
        found += taken
        progress.update(len(found))
        following = _following(url, response.links.get("next", {}).get("url", ""))
        if len(taken) < len(models):
            next_page = _page(skipped + len(taken), str(response.url))
        elif len(found) == job.limit and following:
            next_page = _page(0, following)
        url, params, skipped = following, {}, 0
    return SearchResult(query=job.query, endpoint=endpoint(), models=tuple(found), next_page=next_page)


def _params(job: SearchJob) -> dict[str, Any]:
    """The question under the Hub's names; what is not asked is not said."""
    filters = [name for name in (job.format, job.library) if name]
    sizes = [f"{name}:{number}" for name, number in (("min", job.least), ("max", job.most)) if number]
    params: dict[str, Any] = {
        "search": job.query,
        "author": job.author,
        "pipeline_tag": job.task,
        "num_parameters": ",".join(sizes),
        "filter": filters,
    }
    given = {name: value for name, value in params.items() if value}
    return given | {"sort": SORTED_BY.get(job.sort, job.sort), "limit": job.limit, "expand": list(EXPANDED)}


def _following(url: str, link: str) -> str:
    """The address of the next page, which is the Hub's own, or ''. Raises HubAnswerInvalid."""
    place = urljoin(url, link) if link else ""
    if place and origin(place) != origin(endpoint()):
        raise HubAnswerInvalid(endpoint(), "the next page of the search is elsewhere")
    return place


def _page(skipped: int, url: str) -> str:
    return f"{skipped} {url.removeprefix(endpoint())}"


def _place_of(page: str) -> tuple[int, str]:
    """How many models of a page to leave out, and its address. Raises NoSuchPage."""
    match = _PAGE.fullmatch(page)
    if match is None or not match[2].startswith(_PLACE):
        raise NoSuchPage
    return int(match[1]), endpoint() + match[2]


def as_model(item: Any) -> HubModel:
    """A model as the interface describes it. Raises HubAnswerInvalid."""
    try:
        info = model_info(**item)
        tags = [str(tag) for tag in info.tags or []]
        return HubModel(
            repo=info.id,
            downloads=info.downloads or 0,
            likes=info.likes or 0,
            modified=info.last_modified.date().isoformat() if info.last_modified else "",
            task=info.pipeline_tag or "",
            library=info.library_name or "",
            license=next((tag.partition(":")[2] for tag in tags if tag.startswith("license:")), ""),
            gated=bool(info.gated),
            private=bool(info.private),
            formats=tuple(name for name in WEIGHT_FORMATS if name in tags),
            parameters=_parameters(info),
            base=tuple(dict.fromkeys(tag.rpartition(":")[2] for tag in tags if tag.startswith("base_model:"))),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HubAnswerInvalid(endpoint(), "an entry of the search is not that of a model") from error


def _parameters(info: Any) -> int | None:
    if info.safetensors:
        return int(info.safetensors.total)
    return int(info.gguf["total"]) if info.gguf and info.gguf.get("total") else None
