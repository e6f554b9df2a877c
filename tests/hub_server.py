"""A small Hugging Face Hub on 127.0.0.1, with the routes that clients use and faults on demand.

A repository whose name begins with `datasets/` is a dataset.

Two servers on ports of their own: the Hub, and the host that it redirects large files to. Files of LFS are redirected
with the headers of the real one (X-Linked-ETag, X-Linked-Size, X-Repo-Commit), the others are sent by the Hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

CHUNK = 1 << 14


def git_hash(data: bytes) -> str:
    found = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
    found.update(data)
    return found.hexdigest()


@dataclass
class Repo:
    """A model; contents may be maps of files.

    lfs: names (by ending) whose content lies on the other host. access: tokens, None = everybody's. xet: the Hub names
    the contents' hashes in Xet storage, too, for clients that go there; others are redirected as ever.
    """

    files: dict[str, bytes]
    access: set[str] | None = None
    private: bool = False
    lfs: tuple[str, ...] = (".safetensors", ".gguf", ".bin")
    tags: tuple[str, ...] = ()
    downloads: int = 0
    likes: int = 3
    modified: str = "2026-10-01T12:00:00.000Z"
    task: str = "text-generation"
    library: str = "transformers"
    parameters: int = 135_000_000
    branches: tuple[str, ...] = ("main",)
    xet: bool = False
    names: dict[str, str] = field(default_factory=dict)  # tags of git and their commits
    digests: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    @property
    def commit(self) -> str:
        return hashlib.sha1(repr(sorted(self.files)).encode(), usedforsecurity=False).hexdigest()

    def is_lfs(self, name: str) -> bool:
        return name.endswith(self.lfs)

    def pointer(self, name: str) -> str:
        """What git itself has of a file: the hash of its content, or of the pointer to a large one."""
        if not self.is_lfs(name):
            return self.digest(name)
        return git_hash(f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.digest(name)}\n".encode())

    def digest(self, name: str) -> str:
        """The ETag of a file's content."""
        data = self.files[name]
        known = self.digests.get(name)
        if known is None or known[0] is not data:
            known = (data, hashlib.sha256(data).hexdigest() if self.is_lfs(name) else git_hash(data))
            self.digests[name] = known
        return known[1]


@dataclass(frozen=True)
class Request:
    """What a client asked. side: 'hub' or 'cdn'."""

    side: str
    method: str
    path: str
    authorization: str
    range: str


@dataclass
class Faults:
    """What goes wrong, for the contents of files. Every list is used up from its front, one entry an answer.

    answers: (side, status, headers) instead of an answer. cuts: bytes after which a connection is cut. damaged: how
    many answers have a wrong byte. stalls: how many answers stop after half. refused: the status of every request.
    rate: bytes per second, 0 = no limit. without_ranges: whole files only. etag: what the Hub says instead.
    api: answers of the interface. silent: it answers nothing until the server ends.
    """

    answers: deque[tuple[str, int, dict[str, str]]] = field(default_factory=deque)
    cuts: deque[int] = field(default_factory=deque)
    damaged: int = 0
    stalls: int = 0
    rate: int = 0
    without_ranges: bool = False
    etag: str = ""
    api: deque[tuple[int, dict[str, str]]] = field(default_factory=deque)
    silent: bool = False


class Server(ThreadingHTTPServer):
    """One of the two. `allow_reuse_address` lets a restarted one have its port again."""

    daemon_threads = True
    hub: HubServer
    side: str

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are no fault of the server."""


class HubServer:
    """A context manager. Tokens that are valid: `tokens`; requests in their order: `log`; bytes sent: `sent`.

    readers: those of the tokens that may only read. stored: contents that were uploaded, by SHA-256, before and after
    they are committed. received: bytes of them that came over the network.
    """

    def __init__(self, repos: dict[str, Repo]) -> None:
        self.repos = repos
        self.tokens: set[str] = set()
        self.readers: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.pieces: dict[tuple[str, int], bytes] = {}
        self.received = 0
        self.part_bytes = 1 << 30
        self.chunk = CHUNK
        self.next_host = ""  # where the next page of a search is said to be, instead of here
        self.page = 2
        self.faults = Faults()
        self.log: list[Request] = []
        self.sent = 0
        self.most_open = 0
        self.open = 0
        self.lock = threading.Lock()
        self.released = threading.Event()
        self._servers: dict[str, Server] = {}
        self._ports = {"hub": 0, "cdn": 0}

    def __enter__(self) -> HubServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.released.set()
        self.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports['hub']}"

    @property
    def other_host(self) -> str:
        return f"http://localhost:{self._ports['cdn']}"

    def start(self) -> None:
        for side in self._ports:
            server = Server(("127.0.0.1", self._ports[side]), Handler)
            server.hub, server.side = self, side
            self._ports[side] = server.server_port
            self._servers[side] = server
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        self._servers.clear()

    def contents(self, side: str | None = None) -> list[Request]:
        """Requests for contents of files."""
        return [r for r in self.log if not r.path.startswith("/api/") and side in (None, r.side) and r.method == "GET"]

    def take(self, kind: str) -> int:
        """Uses up one of a counted fault."""
        with self.lock:
            left = getattr(self.faults, kind)
            setattr(self.faults, kind, max(left - 1, 0))
            return left


SORTS: dict[str, Callable[[tuple[str, Repo]], Any]] = {
    "downloads": lambda item: item[1].downloads,
    "likes": lambda item: item[1].likes,
    "lastModified": lambda item: item[1].modified,
    "createdAt": lambda item: item[1].modified,
    "trendingScore": lambda item: item[1].likes,
}
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9}


def _matches(name: str, repo: Repo, query: dict[str, list[str]]) -> bool:
    """Whether a search finds a model."""
    bounds = dict(bound.split(":") for bound in query.get("num_parameters", [""])[0].split(",") if bound)
    least, most = (_number(bounds.get(key, default)) for key, default in (("min", "0"), ("max", "1e18")))
    return (
        query.get("search", [""])[0].lower() in name.lower()
        and set(query.get("filter", [])) <= {*repo.tags, repo.library}
        and name.startswith(query.get("author", [""])[0])
        and query.get("pipeline_tag", [repo.task])[0] == repo.task
        and least <= repo.parameters <= most
        and not repo.private
        and not name.startswith("datasets/")
    )


def _number(text: str) -> float:
    return float(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else float(text)


class Handler(BaseHTTPRequestHandler):
    """Routes of the Hub and of the other host."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""

    def do_HEAD(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_PUT(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def _route(self) -> None:
        hub = self.server.hub
        seen = Request(self.server.side, self.command, self.path, self.headers.get("Authorization", ""),
                       self.headers.get("Range", ""))  # fmt: skip
        with hub.lock:
            hub.log.append(seen)
        url = urlsplit(self.path)
        parts = unquote(url.path).strip("/")
        if self.command in ("POST", "PUT"):
            self._write(parts)
        elif self.server.side == "cdn":
            self._stored(parts)
        elif parts == "api/whoami-v2":
            self._whoami()
        elif parts.startswith("api/models"):
            with hub.lock:
                fault = hub.faults.api.popleft() if hub.faults.api else None
            if hub.faults.silent:
                hub.released.wait(60)
            if fault:
                return self._answer(*fault)
            self._api(parts.removeprefix("api/models").strip("/"), parse_qs(url.query))
        elif parts.startswith("api/datasets/"):
            self._api(parts.removeprefix("api/"), parse_qs(url.query))
        elif match := re.fullmatch(r"((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts, re.DOTALL):
            self._resolve(*match.groups())
        else:
            self._refuse(404, "RepoNotFound", "Repository not found")

    # ------------------------------------------------------------ the interface

    def _api(self, rest: str, query: dict[str, list[str]]) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.server.hub.tokens:
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        if not rest:
            return self._search(query)
        kind = "datasets/" if rest.startswith("datasets/") else ""
        parts = rest.removeprefix(kind).split("/")
        name, action, revision = (
            kind + "/".join(parts[:2]),
            parts[2] if len(parts) > 2 else "",
            "/".join(parts[3:4]) or "main",
        )
        repo = self._repo(name, revision)
        if repo is None:
            return
        if action == "refs":
            return self._json({
                "branches": [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": repo.commit} for n in repo.branches],
                "tags": [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": c} for n, c in repo.names.items()],
                "converts": [],
            })  # fmt: skip
        if action == "auth-check":
            return self._json({}) if self._may_read(repo) else self._refuse(403, "GatedRepo", "Access is restricted")
        if action == "tree":
            return self._json([self._tree_entry(repo, file) for file in repo.files])
        self._json(self._info(name, repo) | {"siblings": [self._sibling(repo, file) for file in repo.files]})

    def _search(self, query: dict[str, list[str]]) -> None:
        cursor = int(query.get("cursor", ["0"])[0])
        page = min(int(query.get("limit", ["50"])[0]), self.server.hub.page)
        hits = [(name, repo) for name, repo in self.server.hub.repos.items() if _matches(name, repo, query)]
        hits.sort(key=SORTS[query.get("sort", ["downloads"])[0]], reverse=True)
        headers = {}
        if len(hits) > cursor + page:
            kept = "&".join(f"{key}={quote(value)}" for key, values in query.items() for value in values
                            if key != "cursor")  # fmt: skip
            place = self.server.hub.next_host or self.server.hub.endpoint
            headers["Link"] = f'<{place}/api/models?{kept}&cursor={cursor + page}>; rel="next"'
        self._json([self._info(*hit) for hit in hits[cursor : cursor + page]], headers)

    def _info(self, name: str, repo: Repo) -> dict[str, Any]:
        return {
            "id": name.removeprefix("datasets/"),
            "modelId": name,
            "sha": repo.commit,
            "gated": "manual" if repo.access is not None else False,
            "private": repo.private,
            "downloads": repo.downloads,
            "likes": repo.likes,
            "lastModified": repo.modified,
            "tags": list(repo.tags),
            "pipeline_tag": repo.task,
            "library_name": repo.library,
            "safetensors": {"parameters": {"BF16": repo.parameters}, "total": repo.parameters},
        }

    def _sibling(self, repo: Repo, file: str) -> dict[str, Any]:
        data = repo.files[file]
        lfs = {"sha256": repo.digest(file), "size": len(data), "pointerSize": 134}
        entry = {"rfilename": file, "size": len(data), "blobId": repo.pointer(file)}
        return entry | ({"lfs": lfs} if repo.is_lfs(file) else {})

    def _tree_entry(self, repo: Repo, file: str) -> dict[str, Any]:
        data = repo.files[file]
        lfs = {"oid": repo.digest(file), "size": len(data), "pointerSize": 134}
        entry = {"type": "file", "path": file, "size": len(data), "oid": repo.pointer(file)}
        return entry | ({"lfs": lfs} if repo.is_lfs(file) else {})

    def _repo(self, name: str, revision: str) -> Repo | None:
        repo = self.server.hub.repos.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.server.hub.tokens:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and token not in (repo.access or ())):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif revision not in (*repo.branches, repo.commit):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        else:
            return repo
        return None

    def _whoami(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.server.hub.tokens:
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        role = "read" if token in self.server.hub.readers else "write"
        account = {"name": "me", "type": "user", "orgs": [{"name": "our-lab"}], "auth": {"accessToken": {"role": role}}}
        self._json(account)

    def _may_read(self, repo: Repo) -> bool:
        return repo.access is None or self.headers.get("Authorization", "").removeprefix("Bearer ") in repo.access

    # ------------------------------------------------------------ writing

    def _write(self, parts: str) -> None:
        """Creating repositories, and the three steps of a commit: which files are large, these, and the rest."""
        hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.side == "cdn":
            return self._take_large(parts, body)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if parts == "api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if token not in hub.tokens:
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        if token in hub.readers:
            return self._refuse(403, "", "You have read access but not the required permissions")
        if parts == "api/repos/create":
            return self._create(json.loads(body))
        if match := re.fullmatch(r"([^/]+/[^/]+)\.git/info/lfs/objects/(batch|verify)", parts):
            return self._large_files(match[1], match[2], json.loads(body))
        match = re.fullmatch(r"api/models/([^/]+/[^/]+)/(preupload|commit)/(.+)", parts)
        repo = hub.repos.get(match[1]) if match else None
        if match is None or repo is None:
            return self._refuse(404, "RepoNotFound", "Repository not found")
        self._preupload(repo, json.loads(body)) if match[2] == "preupload" else self._commit(match[1], repo, body)

    def _create(self, wanted: dict[str, Any]) -> None:
        hub = self.server.hub
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if (wanted.get("organization") or "me") not in ("me", "our-lab"):
            return self._refuse(403, "", f"You don't have the rights to create a model under {name}")
        if name in hub.repos:
            known = {"error": "You already created this model repo", "url": f"{hub.endpoint}/{name}"}
            return self._answer(409, {"Content-Type": "application/json"}, json.dumps(known).encode())
        is_private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        access = {self.headers.get("Authorization", "").removeprefix("Bearer ")}
        hub.repos[name] = Repo({}, private=is_private, access=access if is_private else None)
        self._json({"url": f"{hub.endpoint}/{name}", "name": name, "id": "1"})

    def _preupload(self, repo: Repo, wanted: dict[str, Any]) -> None:
        answers = []
        for file in wanted["files"]:
            path = file["path"]
            here = repo.digest(path) if path in repo.files else None
            mode = "lfs" if repo.is_lfs(path) else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": here})
        self._json({"files": answers})

    def _large_files(self, name: str, step: str, wanted: dict[str, Any]) -> None:
        """The batch interface of Git LFS; what is stored needs no upload, large ones come in parts."""
        hub = self.server.hub
        if step == "verify":
            is_whole = len(hub.stored.get(wanted["oid"], b"")) == wanted["size"]
            return self._json({}) if is_whole else self._refuse(404, "", "object is not there")
        objects = []
        for entry in wanted["objects"]:
            oid, size = entry["oid"], entry["size"]
            answer: dict[str, Any] = {"oid": oid, "size": size}
            if oid not in hub.stored:
                verify = {"href": f"{hub.endpoint}/{name}.git/info/lfs/objects/verify", "header": {}}
                answer["actions"] = {"upload": self._place_for(oid, size), "verify": verify}
            objects.append(answer)
        self._answer(200, {"Content-Type": "application/vnd.git-lfs+json"},
                     json.dumps({"transfer": "multipart", "objects": objects}).encode())  # fmt: skip

    def _place_for(self, oid: str, size: int) -> dict[str, Any]:
        hub = self.server.hub
        place = f"{hub.other_host}/upload/{oid}"
        if size <= hub.part_bytes:
            return {"href": f"{place}?signature=secret", "header": {}}
        count = -(-size // hub.part_bytes)
        parts = {f"{number:05}": f"{place}/{number}?signature=secret" for number in range(1, count + 1)}
        return {"href": f"{place}/complete", "header": {"chunk_size": str(hub.part_bytes)} | parts}

    def _take_large(self, parts: str, body: bytes) -> None:
        """What is put to the other host, whole or in parts that are put together at the end."""
        hub = self.server.hub
        if self._faulty():
            return None
        _, oid, *number = parts.split("/")
        with hub.lock:
            hub.received += len(body)
        if not number:
            hub.stored[oid] = body
        elif number[0] == "complete":
            order = [part["partNumber"] for part in json.loads(body)["parts"]]
            hub.stored[oid] = b"".join(hub.pieces[oid, at] for at in order)
        else:
            hub.pieces[oid, int(number[0])] = body
        whole = hub.stored.get(oid)
        if whole is not None and hashlib.sha256(whole).hexdigest() != oid:
            del hub.stored[oid]
            return self._refuse(400, "", "the content has another hash")
        self._answer(200, {"ETag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'})

    def _commit(self, name: str, repo: Repo, body: bytes) -> None:
        """One JSON object a line: the message, then the files."""
        hub = self.server.hub
        files = dict(repo.files)
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in hub.stored:
                    return self._refuse(400, "", "a large file of the commit was not uploaded")
                files[value["path"]] = hub.stored[value["oid"]]
        repo.files = files
        endings = {path.rpartition(".")[2] for path in files} & {"gguf", "safetensors"}
        repo.tags = tuple({*repo.tags, *endings})
        self._json({"commitUrl": f"{hub.endpoint}/{name}/commit/{repo.commit}", "commitOid": repo.commit})

    # ------------------------------------------------------------ contents

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self._repo(name, revision)
        if repo is None or self._faulty():
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo.access is not None and token not in repo.access:
            return self._refuse(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        if file not in repo.files:
            return self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repo.commit})
        etag = f'"{self.server.hub.faults.etag or repo.digest(file)}"'
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}
        if not repo.is_lfs(file):
            return self._content(repo.files[file], headers | {"ETag": etag})
        linked = {"X-Linked-ETag": etag, "X-Linked-Size": str(len(repo.files[file]))}
        if repo.xet:
            refresh = f"{self.server.hub.endpoint}/api/models/{name}/xet-read-token/{repo.commit}"
            linked |= {"X-Xet-Hash": repo.digest(file)[::-1], "Link": f'<{refresh}>; rel="xet-auth"'}
        place = f"{self.server.hub.other_host}/{name}/{quote(file)}?signature=secret"
        self._answer(302, headers | linked | {"Location": place})

    def _stored(self, path: str) -> None:
        if self._faulty():
            return
        kind = "datasets/" if path.startswith("datasets/") else ""
        owner, name, file = path.removeprefix(kind).split("/", 2)
        self._content(self.server.hub.repos[f"{kind}{owner}/{name}"].files[file], {"ETag": '"of-the-store"'})

    def _faulty(self) -> bool:
        hub = self.server.hub
        with hub.lock:
            fault = hub.faults.answers.popleft() if hub.faults.answers and (
                hub.faults.answers[0][0] == self.server.side) else None  # fmt: skip
        if fault:
            self._answer(fault[1], fault[2])
        return fault is not None

    def _content(self, data: bytes, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop, status = 0, len(data), 200
        if wanted and not self.server.hub.faults.without_ranges:
            start, stop, status = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data)), 206
            if start >= len(data):
                return self._answer(416, {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(stop - start)}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            # What is only pretended to be there is made when it is asked for.
            held, first = (data[start:stop], start) if hasattr(data, "whole") else (data, 0)
            with memoryview(held) as whole, whole[start - first : stop - first] as asked:
                self._send(asked)

    def _send(self, data: memoryview) -> None:
        """The body, at the rate and with the faults asked for."""
        hub = self.server.hub
        with hub.lock:
            cut = hub.faults.cuts.popleft() if hub.faults.cuts else len(data)
            hub.open += 1
            hub.most_open = max(hub.most_open, hub.open)
        if len(data) and hub.take("damaged"):
            damaged = bytearray(data)
            damaged[len(data) // 2] ^= 0xFF
            data = memoryview(damaged)
        is_stalled = bool(hub.take("stalls"))
        end = min(cut, len(data) // 2 if is_stalled else len(data))
        try:
            for at in range(0, end, hub.chunk):
                piece = data[at : min(at + hub.chunk, end)]
                self.wfile.write(piece)
                with hub.lock:
                    hub.sent += len(piece)
                if hub.faults.rate:
                    time.sleep(len(piece) / hub.faults.rate)
        finally:
            with hub.lock:
                hub.open -= 1
        if is_stalled:
            hub.released.wait(20)
        if end < len(data):
            self.close_connection = True

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(200, {"Content-Type": "application/json"} | (headers or {}), json.dumps(value).encode())

    def _refuse(self, status: int, code: str, words: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        self._answer(status, {"X-Error-Message": words} | named | (headers or {}))

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
