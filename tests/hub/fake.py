"""Fake: a Hugging Face hub on this machine, as far as a download sees one: what a model is, its tree, its files. Small
ones come from the hub itself, large ones from another host, to which no token may go."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

TOKEN = "hf_friend"


@dataclass
class Repository:
    """`commits` are folders; `gated` lets files go to holders of TOKEN alone, `hidden` denies that it is there."""

    commits: dict[str, Path] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    hidden: bool = False

    def commit(self, folder: Path, *refs: str) -> str:
        digest = hashlib.sha1()
        for file in files(folder):
            digest.update(file.encode() + (folder / file).read_bytes())
        self.commits[digest.hexdigest()] = folder
        self.refs |= dict.fromkeys(refs or ("main",), digest.hexdigest())
        return digest.hexdigest()

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


class FakeHub:
    """`asked` counts requests, as "GET config.json"; `cuts` are, of a file, how many bytes each of the next answers has
    before its connection breaks; `status` answers whatever is asked; `forged` are bytes sent in a file's place."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.asked: Counter[str] = Counter()
        self.ranges: list[str] = []
        self.tokens_elsewhere: list[str] = []
        self.cuts: dict[str, list[int]] = {}
        self.dies_when_cut = False
        self.dead = False
        self.status: int | None = None
        self.forged: dict[str, bytes] = {}
        self.address = ""
        self.elsewhere = ""

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def fetched(self, suffix: str) -> int:
        """How many bodies of files with this ending were asked for, whole or in part, headers apart."""
        return sum(count for what, count in self.asked.items() if what.startswith("GET ") and what.endswith(suffix))


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(_Handler):
        served = hub

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that has gone is no fault."""

    with Server(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        hub.elsewhere = f"http://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield hub
        server.shutdown()
        thread.join()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def is_large(file: str) -> bool:
    return file.endswith((".safetensors", ".bin"))


class _Handler(BaseHTTPRequestHandler):
    served: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass

    def _answer(self) -> None:
        hub, parts = self.served, [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        if hub.dead:
            self._break()
            return
        if hub.status is not None:
            self._error(hub.status, "", "no luck")
            return
        match parts:
            case ["cdn", org, name, commit, *file]:
                if "authorization" in self.headers:
                    hub.tokens_elsewhere.append(self.path)
                self._file(hub.repositories[f"{org}/{name}"].commits[commit], "/".join(file), {})
            case ["api", "models", org, name, *rest]:
                self._api(f"{org}/{name}", rest)
            case [org, name, "resolve", revision, *file]:
                self._resolve(f"{org}/{name}", revision, "/".join(file))
            case _:
                self._error(404, "", "no such page")

    def _find(self, name: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.served.repositories.get(name)
        allowed = self.headers.get("authorization") == f"Bearer {TOKEN}"
        if repository is None or (repository.hidden and not allowed):
            self._error(404 if allowed else 401, "RepoNotFound", "Repository not found")
        elif (commit := repository.resolve(revision)) is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            return repository, commit
        return None

    def _api(self, name: str, rest: list[str]) -> None:
        what, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        self.served.asked[f"GET {what}"] += 1
        if (found := self._find(name, revision)) is None:
            return
        folder = found[0].commits[found[1]]
        if what == "revision":
            siblings = [{"rfilename": file} for file in files(folder)]
            self._json({"id": name, "sha": found[1], "siblings": siblings, "gated": found[0].gated})
        else:
            self._json([_entry(folder, file) for file in files(folder)])

    def _resolve(self, name: str, revision: str, file: str) -> None:
        if (found := self._find(name, revision)) is None:
            return
        repository, commit = found
        if repository.gated and (token := self.headers.get("authorization")) != f"Bearer {TOKEN}":
            self._error(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted")
            return
        headers = {"X-Repo-Commit": commit}
        path = repository.commits[commit] / file
        if not path.is_file():
            self.served.asked[f"{self.command} {file}"] += 1
            self._error(404, "EntryNotFound", "Entry not found", headers)
        elif is_large(file):
            linked = {"X-Linked-Etag": f'"{_sha256(path)}"', "X-Linked-Size": str(path.stat().st_size)}
            place = f"{self.served.elsewhere}/cdn/{name}/{commit}/{file}"
            self._send(302, {**headers, **linked, "Location": place}, b"")
        else:
            self._file(repository.commits[commit], file, headers | {"ETag": f'"{_git(path)}"'})

    def _file(self, folder: Path, file: str, headers: dict[str, str]) -> None:
        hub, content = self.served, self.served.forged.get(file) or (folder / file).read_bytes()
        wanted, status = self.headers.get("range"), 200
        # A shard's header is asked for by its first 100 kB: that is no download of it.
        kind = "HEADER" if wanted and wanted.startswith(("bytes=0-", "bytes=8-")) else self.command
        hub.asked[f"{kind} {file}"] += 1
        if wanted:
            hub.ranges.append(wanted)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            whole, status = len(content), 206
            content = content[int(first) : int(last) + 1 if last else whole]
            headers = headers | {"Content-Range": f"bytes {first}-{int(first) + len(content) - 1}/{whole}"}
        cut = hub.cuts[file].pop(0) if hub.cuts.get(file) and kind == "GET" else None
        self._send(status, headers | {"Accept-Ranges": "bytes"}, content, cut)

    def _json(self, body: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(body).encode())

    def _error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        about = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._send(status, about | (headers or {}), json.dumps({"error": message}).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        with suppress(ConnectionError):
            self.wfile.write(body[:cut])
            self.wfile.flush()
        if cut is not None:
            self.served.dead = self.served.dies_when_cut
            self._break()

    def _break(self) -> None:
        self.close_connection = True


def _entry(folder: Path, file: str) -> dict[str, object]:
    path = folder / file
    entry: dict[str, object] = {"type": "file", "path": file, "size": path.stat().st_size, "oid": _git(path)}
    if is_large(file):
        entry["lfs"] = {"oid": _sha256(path), "size": path.stat().st_size, "pointerSize": 134}
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(path: Path) -> str:
    return hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()
