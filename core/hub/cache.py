"""Where the Hub's files lie on this computer, in the layout that all programs share. Light.

The layout (blobs by hash, snapshots of links by commit, refs by revision) is huggingface_hub's, so that what one
program has downloaded another finds: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from core.errors import NotDownloaded, SeveralModels, UnsafeCache
from core.hub.names import DATASET as DATASET
from core.hub.names import REMOTE as REMOTE
from core.hub.names import is_commit, problem_of
from core.hub.names import is_repo as is_repo
from core.hub.names import repo_in as repo_in
from core.hub.names import split_id as split_id

_WEIGHTS = (".gguf", ".safetensors", ".bin")
_PART_OF_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


def cache_root() -> Path:
    """The folder of the cache, from the same variables that huggingface_hub asks."""
    given = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if given:
        return Path(os.path.expanduser(os.path.expandvars(given)))
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(base, "huggingface")
    return Path(os.path.expanduser(os.path.expandvars(home))) / "hub"


class RepoCache:
    """The paths of one repository in the cache. root: the cache's folder. repo: OWNER/NAME, checked."""

    def __init__(self, root: Path, repo: str, kind: str = "models") -> None:
        folder = f"{kind}--{repo.replace('/', '--')}"
        self.root = root
        self.repo = repo
        self.folder = root / folder
        self.blobs = self.folder / "blobs"
        self._locks = root / ".locks" / folder

    def blob(self, digest: str) -> Path:
        """The file of one content."""
        return self.blobs / digest

    def lock(self, digest: str) -> Path:
        """The file whose lock says that a content is being downloaded; huggingface_hub locks the same one."""
        return self._locks / f"{digest}.lock"

    def snapshot(self, commit: str) -> Path:
        """The folder of one commit's files."""
        return self.folder / "snapshots" / commit

    def ref(self, revision: str) -> Path:
        """The file that holds the commit of a branch or tag."""
        return self.folder / "refs" / revision

    def commit_of(self, revision: str) -> str | None:
        """The commit that `revision` meant when it was downloaded last, None where it never was."""
        if is_commit(revision):
            return revision
        if problem_of(revision):
            return None
        try:
            commit = self.ref(revision).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return commit if is_commit(commit) else None

    def check_inside(self, path: Path) -> None:
        """Raises UnsafeCache where links lead `path`, which need not exist, out of this cache."""
        if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root)):
            raise UnsafeCache(str(path), os.path.realpath(path))


def cached_repos(root: Path) -> list[RepoCache]:
    """The models in a cache, by name. A folder of another name, or one that is a link out of it, is none."""
    found = []
    for folder in sorted(root.glob("models--*")):
        repo = folder.name.removeprefix("models--").replace("--", "/", 1)
        if folder.is_dir() and not folder.is_symlink() and RepoCache(root, repo).folder == folder:
            found.append(RepoCache(root, repo))
    return found


def local_source(source: str) -> str:
    """A source as a path: itself, or where it is a model's id (OWNER/NAME, or OWNER/NAME/FILE), its place in the cache.

    A path that exists is always meant as a path. Raises NotDownloaded, SeveralModels and UnsafeCache.
    """
    repo, file = split_id(source)
    if os.path.lexists(source) or not is_repo(repo):
        return source
    cache = RepoCache(cache_root(), repo)
    commit = cache.commit_of("main")
    if commit is None or not cache.snapshot(commit).is_dir():
        if file or os.path.isdir(source.partition("/")[0]) or repo.endswith(_WEIGHTS):
            return source  # a path with a typing error is likelier
        raise NotDownloaded(repo)
    found = cache.snapshot(commit) / file if file else _model_in(cache.snapshot(commit), repo)
    if not found.exists():
        raise NotDownloaded(repo, file)
    cache.check_inside(found)
    return str(found)


def may_be_id(source: str) -> bool:
    """Whether a text that is no path can be OWNER/NAME or OWNER/NAME/FILE."""
    repo, _ = split_id(source)
    return not os.path.lexists(source) and is_repo(repo) and not repo.endswith(_WEIGHTS)


def part_pattern(file: str) -> str:
    """A pattern of names, as a DownloadJob takes it, of a file and the other parts of the model it is one part of."""
    literal = re.sub(r"([*?[])", r"[\1]", file)
    return _PART_OF_SPLIT.sub(r"-*-of-\2.gguf", literal)


def _model_in(snapshot: Path, repo: str) -> Path:
    """The folder of a checkpoint; of a repository of GGUF files its only model. Raises SeveralModels."""
    if (snapshot / "config.json").is_file() and any(snapshot.glob("*.safetensors")):
        return snapshot
    models = sorted(first_parts(snapshot))
    if len(models) > 1:
        raise SeveralModels(repo, [path.relative_to(snapshot).as_posix() for path in models])
    return models[0] if models else snapshot


def first_parts(snapshot: Path) -> Iterator[Path]:
    """The GGUF files in a folder, of those in parts the first."""
    for path in snapshot.rglob("*.gguf"):
        part = _PART_OF_SPLIT.search(path.name)
        if part is None or int(part[1]) == 1:
            yield path
