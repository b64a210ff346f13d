#!/usr/bin/env python3
"""A Hugging Face hub of this machine, for tests: real files, the real protocol, faults on demand.

Two servers: the hub itself, and the "CDN" that it redirects large files to, under another host name,
with addresses that are signed and expire. That they are what the real client expects is tested with
the real client (hub_test.py, where huggingface_hub can be imported).

  usage: fake_hub.py --repo org/name=FOLDER... [--delay-ms N] [--tls]     prints HF_ENDPOINT and serves

In a test:

  hub = FakeHub()
  hub.add("org/a", "path/to/folder")
  with hub:
      environment = {"HF_ENDPOINT": hub.endpoint, ...}
      hub.fault = Fault("reset", times=2)
      ...
      hub.requests        every request so far: (server, method, path, headers)
"""
import argparse
import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SECRET = b"of the CDN"
SMALL = 10_000_000  # files that are not LFS are smaller
LFS_ENDINGS = (".safetensors", ".bin", ".gguf", ".model")
COMMIT_SALT = "commit of a fake hub\0"


class FileOnDisk:
    def __init__(self, path):
        self.path, self.size = str(path), os.path.getsize(path)
        self._known = None

    def read(self, offset, count):
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(count)

    def hashes(self):
        """git's SHA-1 of the blob, and SHA-256."""
        if self._known is None:
            sha1, sha256 = hashlib.sha1(b"blob %d\0" % self.size), hashlib.sha256()
            with open(self.path, "rb") as file:
                while block := file.read(1 << 20):
                    sha1.update(block)
                    sha256.update(block)
            self._known = sha1.hexdigest(), sha256.hexdigest()
        return self._known


class MadeUpFile:
    """Bytes that are worked out when they are asked for: read(offset, count). Nothing is stored."""

    def __init__(self, size, read, name):
        self.size, self.read = size, read
        self._hashes = hashlib.sha1(name.encode()).hexdigest(), hashlib.sha256(name.encode()).hexdigest()

    def hashes(self):
        return self._hashes


class Repo:
    def __init__(self, name):
        self.name = name
        self.commits = {}  # commit -> {path: file}
        self.refs = {}  # branch or tag -> commit
        self.gated = self.private = False
        self.renamed_to = None

    def commit_of(self, revision):
        revision = self.refs.get(revision, revision)
        return revision if revision in self.commits else None


class Fault:
    """What goes wrong. `kind`: see Handler.send_file. `times`: for so many requests (-1: all).
    `server`: "cdn" or "hub". `match`: a part of the path. `after`: so many requests go well first."""

    def __init__(self, kind, times=1, server="cdn", match="", after=0, **more):
        self.kind, self.times, self.server, self.match, self.after = kind, times, server, match, after
        self.more = more
        self.hits = 0
        self.lock = threading.Lock()

    def strikes(self, server, path):
        if server != self.server or self.match not in path:
            return False
        with self.lock:
            if self.after > 0:
                self.after -= 1
                return False
            if self.times == 0:
                return False
            self.times -= 1
            self.hits += 1
            return True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        pass  # clients that go away are no news


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub = None  # FakeHub
    role = "hub"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.serve()

    def do_GET(self):
        self.serve()

    def serve(self):
        hub = self.hub
        hub.note(self.role, self.command, self.path, dict(self.headers))
        if hub.delay:
            time.sleep(hub.delay)
        fault = hub.fault if hub.fault and hub.fault.strikes(self.role, self.path) else None
        if fault and self.early(fault):
            return
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(part) for part in url.path.split("/")[1:]]
        query = dict(urllib.parse.parse_qsl(url.query))
        if self.role == "cdn":
            self.serve_blob(parts, query, fault)
        elif parts[:2] == ["api", "models"]:
            self.serve_api(parts[2:], query)
        elif "resolve" in parts:
            at = parts.index("resolve")
            self.serve_resolve("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]), url, fault)
        else:
            self.answer(404, b"not found", {"X-Error-Code": "NotFound"})

    # ---- answers

    def answer(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status, code, message):
        body = json.dumps({"error": message}).encode()
        self.answer(status, body, {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"})

    def reset(self):
        """The connection breaks, at once and rudely."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close() if not isinstance(self.connection, ssl.SSLSocket) else self.connection.shutdown(2)

    def early(self, fault):
        """Faults that need no file. True: handled."""
        kind, more = fault.kind, fault.more
        if kind == "reset":
            self.reset()
        elif kind == "status":
            self.answer(more["status"], b"trouble", more.get("headers"))
        elif kind == "429":
            self.answer(429, b"slow down", more.get("headers", {}))
        elif kind == "redirect-loop":
            self.answer(302, b"", {"Location": self.path})
        elif kind == "redirect-abroad":
            self.answer(302, b"", {"Location": more["to"] + self.path})
        elif kind == "expired":
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
        elif kind == "silent":
            time.sleep(more.get("seconds", 30))
            self.reset()
        else:
            return False
        return True

    # ---- the API

    def repo_of(self, name, url):
        """The repository, or None if the answer is given already."""
        hub, token = self.hub, self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in hub.tokens:
            self.fail(401, "", "Invalid credentials in Authorization header")
            return None
        repo = hub.repos.get(name)
        if repo is not None and repo.renamed_to:
            to = url.replace(name, repo.renamed_to, 1)
            self.answer(307, b"moved", {"Location": to})
            return None
        if repo is None or (repo.private and not token):
            self.fail(404 if token else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def serve_api(self, parts, query):
        at = next((i for i, p in enumerate(parts) if p in ("revision", "tree", "refs")), len(parts))
        repo = self.repo_of("/".join(parts[:at]), self.path)
        if repo is None:
            return
        what = parts[at] if at < len(parts) else "revision"
        if what == "refs":
            branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.refs.items()]
            return self.answer_json({"branches": branches, "converts": [], "tags": []})
        revision = parts[at + 1] if at + 1 < len(parts) else "main"
        commit = repo.commit_of(revision)
        if commit is None:
            return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repo.commits[commit]
        if what == "tree":
            if not self.hub.has_tree:
                return self.answer(404, b"not here")
            return self.serve_tree(files, query, parts[at + 2 :])
        siblings = []
        for path, file in sorted(files.items()):
            entry = {"rfilename": path}
            if query.get("blobs"):
                entry |= self.sizes(path, file, "blobId", "sha256")
            siblings.append(entry)
        self.answer_json(
            {"_id": "1", "id": repo.name, "modelId": repo.name, "sha": commit, "private": repo.private,
             "gated": "auto" if repo.gated else False, "disabled": False, "downloads": 0, "likes": 0,
             "tags": [], "siblings": siblings})

    def sizes(self, path, file, id_key, sha_key):
        sha1, sha256 = file.hashes()
        entry = {"size": file.size, id_key: sha1}
        if is_lfs(path, file):
            entry["lfs"] = {sha_key: sha256, "size": file.size, "pointerSize": 134}
        return entry

    def serve_tree(self, files, query, inside):
        folder = "/".join(inside)
        entries, folders = [], set()
        for path, file in sorted(files.items()):
            if folder and not path.startswith(folder + "/"):
                continue
            entries.append({"type": "file", "path": path} | self.sizes(path, file, "oid", "oid"))
            for parent in list(Path(path).parents)[:-1]:
                folders.add(str(parent))
        entries = [{"type": "directory", "path": f, "size": 0, "oid": "0" * 40} for f in sorted(folders)] + entries
        begin, page = int(query.get("cursor", "0")), self.hub.page
        headers = {}
        if begin + page < len(entries):
            url = urllib.parse.urlsplit(self.path)
            more = urllib.parse.urlencode(query | {"cursor": str(begin + page)})
            headers["Link"] = f'<{self.hub.endpoint}{url.path}?{more}>; rel="next"'
        self.answer_json(entries[begin : begin + page], headers)

    def answer_json(self, value, headers=None):
        self.answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))

    # ---- files

    def serve_resolve(self, name, revision, path, url, fault):
        repo = self.repo_of(name, self.path)
        if repo is None:
            return
        if repo.gated and not self.headers.get("Authorization"):
            return self.fail(401, "GatedRepo", "Access to this model is restricted")
        commit = repo.commit_of(revision)
        if commit is None:
            return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        file = repo.commits[commit].get(path)
        if file is None:
            return self.fail(404, "EntryNotFound", "Entry not found")
        sha1, sha256 = file.hashes()
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if fault and fault.kind == "moved-commit":
            headers["X-Repo-Commit"] = "f" * 40
        if is_lfs(path, file):
            etag = "0" * 64 if fault and fault.kind == "moved-etag" else sha256
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(file.size),
                        "Location": self.hub.signed(name, commit, path)}
            return self.answer(302, b"Found. Redirecting", headers)
        self.send_file(file, headers | {"ETag": f'"{sha1}"'}, fault)

    def serve_blob(self, parts, query, fault):
        key = "/".join(parts)
        expires = query.get("Expires", "0")
        if not hmac.compare_digest(query.get("Signature", ""), sign(key, expires)) or time.time() > float(expires):
            return self.answer(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        file = self.hub.blobs.get(key)
        if file is None:
            return self.answer(404, b"no such key")
        self.send_file(file, {"ETag": f'"{file.hashes()[1][:32]}-3"', "Accept-Ranges": "bytes"}, fault)

    def send_file(self, file, headers, fault):
        kind = fault.kind if fault else ""
        begin, end = 0, file.size
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes=") and kind != "200":
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin = int(first) if first else file.size - int(last)
            end = min(file.size, int(last) + 1) if first and last else file.size
            if begin >= file.size or kind == "416":
                return self.answer(416, b"", {"Content-Range": f"bytes */{file.size}"})
        partial = bool(asked) and kind != "200"
        if self.command == "HEAD":
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(file.size))
            return self.end_headers()
        if kind == "etag":
            headers["ETag"] = '"another one"'
        shift = 16 if kind == "wrong-range" else 0
        if partial:
            headers["Content-Range"] = f"bytes {begin + shift}-{end - 1 + shift}/{file.size + (1 if kind == 'wrong-size' else 0)}"
        body = file.read(begin, end - begin)
        if kind == "gzip":
            import gzip

            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        self.send_response(206 if partial else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        length = len(body)
        if kind == "short":  # fewer bytes, and says so
            body = body[: len(body) // 2]
            length = len(body)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if kind == "truncated":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif kind == "reset-middle":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(0.05)
            self.reset()
        elif kind == "drip":
            pieces = fault.more.get("pieces", 8)
            for i in range(pieces):
                self.wfile.write(body[len(body) * i // pieces : len(body) * (i + 1) // pieces])
                self.wfile.flush()
                time.sleep(fault.more.get("seconds", 1.0) / pieces)
        elif kind == "stall":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            time.sleep(fault.more.get("seconds", 30))
            self.reset()
        else:
            self.wfile.write(body)


def is_lfs(path, file):
    return path.endswith(LFS_ENDINGS) or file.size > SMALL


def sign(key, expires):
    return hmac.new(SECRET, f"{key}\n{expires}".encode(), hashlib.sha256).hexdigest()


class FakeHub:
    def __init__(self, delay=0.0, tls=None, valid_seconds=3600.0):
        self.repos, self.blobs, self.tokens = {}, {}, {"hf_good"}
        self.delay, self.page, self.fault = delay, 1000, None
        self.valid_seconds, self.has_tree = valid_seconds, True
        self.requests, self._lock = [], threading.Lock()
        self._servers = []
        self.certificate = tls  # path of a PEM with key and certificate, or None
        for role in ("hub", "cdn"):
            handler = type("H", (Handler,), {"hub": self, "role": role})
            server = Server(("127.0.0.1", 0), handler)
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(tls)
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            self._servers.append(server)
        scheme = "https" if tls else "http"
        self.endpoint = f"{scheme}://127.0.0.1:{self._servers[0].server_address[1]}"
        # Another name of the same machine: another host to a client.
        self.cdn = f"{scheme}://localhost:{self._servers[1].server_address[1]}"

    def add(self, name, folder=None, files=None, branch="main"):
        """One more commit of a repository, of the files of a folder, or of those given by path."""
        repo = self.repos.setdefault(name, Repo(name))
        if files is None:
            files = {str(p.relative_to(folder)): FileOnDisk(p) for p in sorted(Path(folder).rglob("*")) if p.is_file()}
        commit = hashlib.sha1((COMMIT_SALT + name + branch + str(len(repo.commits)) +
                               "".join(p + f.hashes()[0] for p, f in sorted(files.items()))).encode()).hexdigest()
        repo.commits[commit], repo.refs[branch] = files, commit
        return commit

    def signed(self, name, commit, path):
        key = f"repos/{hashlib.sha1((name + commit + path).encode()).hexdigest()}"
        self.blobs[key] = self.repos[name].commits[commit][path]
        expires = str(time.time() + self.valid_seconds)
        return f"{self.cdn}/{key}?Expires={expires}&Signature={sign(key, expires)}"

    def note(self, *request):
        with self._lock:
            self.requests.append(request)

    def tokens_seen(self, role):
        return [h["Authorization"] for r, _, _, h in self.requests if r == role and "Authorization" in h]

    def __enter__(self):
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *unused):
        for server in self._servers:
            server.shutdown()
            server.server_close()


def make_certificate(folder, name="localhost"):
    """A certificate that signs itself, for 127.0.0.1 and `name`; with its key in one PEM."""
    pem = Path(folder) / f"{name}.pem"
    key, cert = Path(folder) / "key.pem", Path(folder) / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", cert,
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1"],
        check=True, capture_output=True)
    pem.write_bytes(key.read_bytes() + cert.read_bytes())
    return str(pem), str(cert)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", action="append", default=[], metavar="org/name=FOLDER", required=True)
    parser.add_argument("--delay-ms", type=float, default=0)
    asked = parser.parse_args()
    hub = FakeHub(delay=asked.delay_ms / 1000)
    for repo in asked.repo:
        name, _, folder = repo.partition("=")
        hub.add(name, folder)
    with hub:
        print(f"HF_ENDPOINT={hub.endpoint}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
