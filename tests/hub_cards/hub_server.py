"""A Hub in a thread: the HTTP endpoints that huggingface_hub calls, with a few users, everything in memory.

`HubServer` serves while it is used as a context manager. Set HF_ENDPOINT to its `url` and HF_HUB_DISABLE_XET=1 in a new
process; the client there is the real one. Endpoints, status codes and headers are those of huggingface.co.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

LFS_SUFFIXES = (".safetensors", ".parquet", ".png", ".bin")
REGULAR_AT_MOST = 10_000_000
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}
NO_REPO = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
REPO = r"(?P<repo>[^/]+/[^/]+)"
API = r"/api/(?P<kind>model|dataset|space)s/" + REPO
FILES = r"/(?P<prefix>datasets/|spaces/)?" + REPO


@dataclass(frozen=True)
class User:
    """writes: namespaces it may write to. reads: those whose private repositories it may read besides."""

    name: str
    writes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Blob:
    content: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """Of git: of the content, or of the pointer that stands in its place."""
        content = self.content
        if self.lfs:
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(content)}\n"
            content = pointer.encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def entry(self, path: str) -> dict:
        entry = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass
class Repo:
    """commits: hash → (parent, title, path → Blob). refs: "main", other branches, "refs/pr/1" → hash."""

    private: bool = False
    gated: str | bool = False
    sdk: str | None = None
    commits: dict[str, tuple[str | None, str, dict[str, Blob]]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, ref: str, title: str, files: dict[str, Blob], parent: str | None) -> str:
        described = json.dumps([parent, title, {path: blob.oid for path, blob in files.items()}, len(self.commits)])
        oid = hashlib.sha1(described.encode()).hexdigest()
        self.commits[oid] = (parent, title, files)
        self.refs[ref] = oid
        return oid

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return {path: blob.content for path, blob in self.commits[self.refs.get(revision, revision)][2].items()}

    def log(self, revision: str = "main") -> list[str]:
        """Titles, the newest first."""
        titles, oid = [], self.refs.get(revision, revision)
        while oid is not None:
            oid, title, _ = self.commits[oid]
            titles.append(title)
        return titles


class HubServer:
    """
    Args:
        users: token → User.
        part_size: larger LFS files are taken in parts of so many bytes.
        page_size: entries of a page of a tree listing.

    `repos`: (kind, id) → Repo. `requests`: "METHOD /path", as they came. `fail`: called with such a text before a
    request is answered; an integer is sent as status, "cut" closes the connection without an answer. `spoil`: called
    with a path and its content, returns what is given out of it.
    """

    def __init__(self, users: dict[str, User], part_size: int = 2**30, page_size: int = 1000):
        self.users, self.part_size, self.page_size = users, part_size, page_size
        self.repos: dict[tuple[str, str], Repo] = {}
        self.stored: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.requests: list[str] = []
        self.fail: Callable[[str], int | str | None] = lambda request: None
        self.spoil: Callable[[str, bytes], bytes] = lambda path, content: content
        self.lock = threading.RLock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        # Large files lie elsewhere: the client follows redirects within a host, and sends its token there.
        self.storage = f"http://localhost:{self._http.server_port}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def create(self, kind: str, repo_id: str, files: dict[str, bytes] | None = None, **settings) -> Repo:
        repo = self.repos[kind, repo_id] = Repo(**settings)
        first = {".gitattributes": Blob(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", False)}
        blobs = {path: Blob(content, path.endswith(LFS_SUFFIXES)) for path, content in (files or {}).items()}
        repo.commit("main", "initial commit", first | blobs, None)
        return repo


class Refused(Exception):
    def __init__(self, status: int, message: str = "", **headers: str):
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message} | {name.replace("_", "-"): value for name, value in headers.items()}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    # Method, path, handler's name.
    routes = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create_repo"),
        ("DELETE", r"/api/repos/delete", "delete_repo"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("PUT", API + r"/settings", "settings"),
        ("GET", API + r"/refs", "list_refs"),
        ("POST", API + r"/branch/(?P<branch>[^/]+)", "create_branch"),
        ("DELETE", API + r"/branch/(?P<branch>[^/]+)", "delete_branch"),
        ("POST", API + r"/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", API + r"/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", API + r"/paths-info/(?P<revision>[^/]+)", "paths_info"),
        ("GET", API + r"/tree/(?P<revision>[^/]+)(/(?P<path>.+))?", "tree"),
        ("GET", API + r"(/revision/(?P<revision>[^/]+))?", "info"),
        ("POST", FILES + r"\.git/info/lfs/objects/batch", "lfs_batch"),
        ("GET", FILES + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})/(?P<part>\d+)", "lfs_put_part"),
        ("POST", r"/lfs/(?P<oid>[0-9a-f]{64})/complete", "lfs_complete"),
        ("POST", r"/lfs/(?P<oid>[0-9a-f]{64})/verify", "lfs_verify"),
        ("GET", r"/lfs/(?P<oid>[0-9a-f]{64})/(?P<name>.+)", "lfs_get"),
    ]

    def log_message(self, *arguments):
        pass

    def answer(self):
        target = urlsplit(self.path)
        self.query = parse_qs(target.query)
        self.body = self._read_body()
        request = f"{self.command} {unquote(target.path)}"
        self.hub.requests.append(request)
        planned = self.hub.fail(request)
        if planned == "cut":
            self.close_connection = True
            return
        try:
            if planned is not None:
                raise Refused(planned, "as planned")
            method = "GET" if self.command == "HEAD" else self.command
            for wanted, pattern, name in self.routes:
                match = re.fullmatch(pattern, target.path)
                if match and wanted == method:
                    with self.hub.lock:
                        getattr(self, name)(**{k: unquote(v) if v else v for k, v in match.groupdict().items()})
                    return
            raise Refused(404, f"this server knows no {request}")
        except Refused as refusal:
            self.send(refusal.status, {"error": refusal.message}, refusal.headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def send(self, status: int, content: dict | list | bytes, headers: dict[str, str] | None = None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(content, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    # Who asks, and may they.

    @property
    def user(self) -> User | None:
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if not token:
            return None
        if scheme != "Bearer" or token not in self.hub.users:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.users[token]

    def may(self, access: str, namespace: str) -> bool:
        user = self.user
        allowed = (user.name, *user.writes) if user else ()
        if access == "read" and user:
            allowed += user.reads
        return namespace in allowed

    def find(self, kind: str, repo: str, access: str = "read") -> Repo:
        """Raises 401 or 404 alike for what is not there and what the user may not see, 403 for what it may only see."""
        found, owner = self.hub.repos.get((kind, repo)), repo.split("/")[0]
        if found is None or found.private and not self.may("read", owner):
            raise Refused(404 if self.user else 401, "Repository not found", **NO_REPO)
        if access == "write" and not self.may("write", owner):
            raise Refused(403 if self.user else 401, f"You don't have the rights to change {repo}")
        if access == "files" and found.gated and not self.may("read", owner):
            raise Refused(403 if self.user else 401, f"Access to {repo} is restricted", X_Error_Code="GatedRepo")
        return found

    @staticmethod
    def at(repo: Repo, revision: str) -> str:
        oid = repo.refs.get(revision, revision)
        if oid not in repo.commits:
            raise Refused(404, f"Invalid rev id: {revision}", X_Error_Code="RevisionNotFound")
        return oid

    # Accounts and repositories.

    def whoami(self):
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        orgs = [{"name": name, "roleInOrg": "write"} for name in self.user.writes]
        self.send(200, {"type": "user", "name": self.user.name, "orgs": orgs, "auth": {"type": "access_token"}})

    def create_repo(self):
        asked = json.loads(self.body)
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        owner = asked.get("organization") or self.user.name
        kind, repo_id = asked.get("type") or "model", f"{owner}/{asked['name']}"
        if not self.may("write", owner):
            raise Refused(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        url = f"{self.hub.url}/{PREFIXES[kind]}{repo_id}"
        if (kind, repo_id) in self.hub.repos:
            return self.send(409, {"error": f"You already created this {kind} repo", "url": url})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.create(kind, repo_id, private=private, sdk=asked.get("sdk"))
        self.send(200, {"url": url, "name": repo_id, "id": "1"})

    def delete_repo(self):
        asked = json.loads(self.body)
        key = asked.get("type") or "model", f"{asked.get('organization') or self.user.name}/{asked['name']}"
        self.find(*key, access="write")
        del self.hub.repos[key]
        self.send(200, {})

    def settings(self, kind: str, repo: str):
        found, asked = self.find(kind, repo, "write"), json.loads(self.body)
        if "gated" in asked:
            found.gated = asked["gated"]
        if "private" in asked or "visibility" in asked:
            found.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.send(200, {"gated": found.gated, "private": found.private})

    def info(self, kind: str, repo: str, revision: str | None = None):
        found = self.find(kind, repo)
        oid = self.at(found, revision or "main")
        files = found.commits[oid][2]
        front = re.match(rb"---\n(.*?)\n---", files["README.md"].content, re.DOTALL) if "README.md" in files else None
        answer = {"_id": "1", "id": repo, "sha": oid, "private": found.private, "gated": found.gated, "tags": []}
        answer |= {"siblings": [{"rfilename": path} for path in sorted(files)], "disabled": False}
        answer |= {"createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00.000Z"}
        answer |= {"cardData": yaml.safe_load(front[1])} if front else {}
        answer |= {"sdk": found.sdk} if found.sdk else {}
        self.send(200, answer)

    def list_refs(self, kind: str, repo: str):
        found = self.find(kind, repo)
        prs = {name: oid for name, oid in found.refs.items() if name.startswith("refs/pr/")}
        rows = [
            {"name": name, "ref": name if name in prs else f"refs/heads/{name}", "targetCommit": oid}
            for name, oid in found.refs.items()
        ]
        branches = [row for row in rows if row["name"] not in prs]
        pulls = [row for row in rows if row["name"] in prs]
        self.send(200, {"branches": branches, "tags": [], "converts": [], "pullRequests": pulls})

    def create_branch(self, kind: str, repo: str, branch: str):
        found = self.find(kind, repo, "write")
        if branch in found.refs:
            raise Refused(409, f"Reference already exists: {branch}")
        start = json.loads(self.body or b"{}").get("startingPoint", "main")
        found.refs[branch] = self.at(found, start)
        self.send(200, {})

    def delete_branch(self, kind: str, repo: str, branch: str):
        found = self.find(kind, repo, "write")
        if branch == "main" or found.refs.pop(branch, None) is None:
            raise Refused(404, f"no branch {branch}", X_Error_Code="RevisionNotFound")
        self.send(200, {})

    # Sending files.

    def validate_yaml(self):
        front = re.match(r"---\n(.*?)\n---", json.loads(self.body)["content"], re.DOTALL)
        try:
            fields = yaml.safe_load(front[1]) if front else None
        except yaml.YAMLError as error:
            return self.send(400, {"errors": [{"message": str(error)}], "warnings": []})
        warnings = [] if fields else [{"message": "empty or missing yaml metadata in repo card"}]
        self.send(200, {"errors": [], "warnings": warnings})

    def preupload(self, kind: str, repo: str, revision: str):
        found = self.find(kind, repo, "read" if self.query.get("create_pr") else "write")
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        files = found.commits[self.at(found, revision)][2]
        answer = []
        for asked in json.loads(self.body)["files"]:
            base64.b64decode(asked["sample"])
            path = asked["path"]
            lfs = path.endswith(LFS_SUFFIXES) or asked["size"] > REGULAR_AT_MOST
            known = {"oid": files[path].etag} if path in files else {}
            answer.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, **known})
        self.send(200, {"files": answer})

    def lfs_batch(self, repo: str, prefix: str | None):
        kind = {value: key for key, value in PREFIXES.items()}[prefix or ""]
        self.find(kind, repo)
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        asked = json.loads(self.body)
        answer = []
        for wanted in asked["objects"]:
            oid, size = wanted["oid"], wanted["size"]
            url = f"{self.hub.storage}/lfs/{oid}"
            row = {"oid": oid, "size": size, "authenticated": True}
            if oid not in self.hub.stored:
                upload = {"href": url}
                if size > self.hub.part_size:
                    count = -(-size // self.hub.part_size)
                    header = {str(part): f"{url}/{part}" for part in range(1, count + 1)}
                    upload = {"href": f"{url}/complete", "header": header | {"chunk_size": str(self.hub.part_size)}}
                row["actions"] = {"upload": upload, "verify": {"href": f"{url}/verify"}}
            answer.append(row)
        self.send(200, {"transfer": "basic", "objects": answer})

    def refuse_token(self):
        """As storage with signed addresses does."""
        if "Authorization" in self.headers:
            raise Refused(400, "Only one auth mechanism allowed")

    def lfs_put(self, oid: str):
        self.refuse_token()
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "The content is not what its hash says")
        self.hub.stored[oid] = self.body
        self.send(200, b"", {"ETag": f'"{oid}"'})

    def lfs_put_part(self, oid: str, part: str):
        self.refuse_token()
        self.hub.parts.setdefault(oid, {})[int(part)] = self.body
        self.send(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})

    def lfs_complete(self, oid: str):
        asked, parts = json.loads(self.body), self.hub.parts.pop(oid, {})
        whole = b"".join(parts[row["partNumber"]] for row in asked["parts"])
        if asked["oid"] != oid or hashlib.sha256(whole).hexdigest() != oid:
            raise Refused(400, "The parts are not what the hash says")
        self.hub.stored[oid] = whole
        self.send(200, {})

    def lfs_verify(self, oid: str):
        asked = json.loads(self.body)
        if len(self.hub.stored.get(oid, b"")) != asked["size"]:
            raise Refused(404, "This object did not arrive")
        self.send(200, {})

    def commit(self, kind: str, repo: str, revision: str):
        pulls = bool(self.query.get("create_pr"))
        found = self.find(kind, repo, "read" if pulls else "write")
        if self.user is None:
            raise Refused(401, "Invalid username or password.")
        parent = self.at(found, revision)
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines.pop(0)["value"]
        if header.get("parentCommit", parent) != parent and not pulls:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(found.commits[parent][2])
        for line in lines:
            value, path = line["value"], line["value"]["path"]
            if line["key"] == "file":
                files[path] = Blob(base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.stored:
                    raise Refused(400, f"{path}: its content did not arrive")
                files[path] = Blob(self.hub.stored[value["oid"]], True)
            elif line["key"] == "deletedFile":
                if files.pop(path, None) is None:
                    raise Refused(404, "A file with this name doesn't exist", X_Error_Code="EntryNotFound")
            else:
                raise Refused(400, f"unknown operation {line['key']}")
        url = f"{self.hub.url}/{PREFIXES[kind]}{repo}"
        number = 1 + sum(name.startswith("refs/pr/") for name in found.refs)
        oid = found.commit(f"refs/pr/{number}" if pulls else revision, header["summary"], files, parent)
        answer = {"success": True, "commitOid": oid, "commitUrl": f"{url}/commit/{oid}"}
        self.send(200, answer | ({"pullRequestUrl": f"{url}/discussions/{number}"} if pulls else {}))

    # Getting files.

    def tree(self, kind: str, repo: str, revision: str, path: str | None = None):
        found = self.find(kind, repo)
        files = found.commits[self.at(found, revision)][2]
        entries = self.entries(files, path or "", recursive=self.query.get("recursive", ["false"])[0].lower() == "true")
        if path and not entries:
            raise Refused(404, f"{path} does not exist on {revision}", X_Error_Code="EntryNotFound")
        start = int(self.query.get("cursor", ["0"])[0])
        stop, headers = start + self.hub.page_size, {}
        if stop < len(entries):
            again = self.path.split("&cursor=")[0]
            again += f"{'&' if '?' in again else '?'}cursor={stop}"
            headers["Link"] = f'<{self.hub.url}{again}>; rel="next"'
        self.send(200, entries[start:stop], headers)

    @staticmethod
    def entries(files: dict[str, Blob], folder: str, recursive: bool) -> list[dict]:
        below = f"{folder}/" if folder else ""
        entries = {}
        for path, blob in sorted(files.items()):
            if not path.startswith(below):
                continue
            parts = path[len(below) :].split("/")
            for depth in range(1, len(parts)):
                name = below + "/".join(parts[:depth])
                if recursive or depth == 1:
                    entries[name] = {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest()}
            if recursive or len(parts) == 1:
                entries[path] = blob.entry(path)
        return list(entries.values())

    def paths_info(self, kind: str, repo: str, revision: str):
        found = self.find(kind, repo)
        files = found.commits[self.at(found, revision)][2]
        if "json" in self.headers.get("Content-Type", ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode()).get("paths", [])
        entries = {entry["path"]: entry for entry in self.entries(files, "", recursive=True)}
        self.send(200, [entries[path] for path in paths if path in entries])

    def resolve(self, repo: str, prefix: str | None, revision: str, path: str):
        kind = {value: key for key, value in PREFIXES.items()}[prefix or ""]
        found = self.find(kind, repo, "files")
        oid = self.at(found, revision)
        headers = {"X-Repo-Commit": oid}
        blob = found.commits[oid][2].get(path)
        if blob is None:
            raise Refused(404, "Entry not found", X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
        if blob.lfs:
            headers |= {"X-Linked-Size": str(len(blob.content)), "X-Linked-ETag": f'"{blob.sha256}"'}
            headers["Location"] = f"{self.hub.storage}/lfs/{blob.sha256}/{quote(path)}"
            self.hub.stored.setdefault(blob.sha256, blob.content)
            return self.send(302, b"", headers)
        self.send_content(self.hub.spoil(path, blob.content), headers | {"ETag": f'"{blob.oid}"'})

    def lfs_get(self, oid: str, name: str):
        self.refuse_token()
        if oid not in self.hub.stored:
            raise Refused(404, "no such object")
        self.send_content(self.hub.spoil(name, self.hub.stored[oid]), {"ETag": f'"{oid}"'})

    def send_content(self, content: bytes, headers: dict[str, str]):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        headers = headers | {"Accept-Ranges": "bytes"}
        if not wanted:
            return self.send(200, content, headers)
        start = int(wanted[1])
        part = content[start : int(wanted[2]) + 1 if wanted[2] else None]
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        self.send(206, part, headers)
