"""HTTP/2: an audit through nghttpx, which speaks it to the program and HTTP/1.1 to the hub behind it.

    http2_test.py HIERON DATA          77 (skipped) where there is no nghttpx (Debian: nghttp2-proxy)
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fake_hub import FakeHub, make_certificate

HIERON, DATA = (Path(a).resolve() for a in sys.argv[1:3])
FAMILY = DATA / "textgenrnn"


PATH = os.environ.get("PATH", "") + ":/usr/sbin"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def proxy(folder, pem, backend):
    """An nghttpx before the server at http://HOST:PORT; its process and port."""
    port = free_port()
    host, _, number = backend.removeprefix("http://").partition(":")
    log = folder / f"access-{port}.log"
    process = subprocess.Popen(
        [shutil.which("nghttpx", path=PATH), f"--frontend=127.0.0.1,{port}", f"--backend={host},{number}", "--workers=1", "--no-ocsp",
         "--conf=/dev/null", "--errorlog-file=/dev/null",
         f"--accesslog-file={log}", "--accesslog-format=$alpn $request", f"{folder}/key.pem", f"{folder}/cert.pem"])
    for _ in range(400):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return process, port, log
        time.sleep(0.05)
    process.kill()
    raise RuntimeError("nghttpx does not start")


def main():
    if not shutil.which("nghttpx", path=PATH):
        print("skipped: there is no nghttpx")
        return 77
    folder = Path(tempfile.mkdtemp(prefix="hieron-http2-"))
    processes = []
    try:
        pem, cert = make_certificate(folder)
        hub = FakeHub()
        for name, model in (("org/parent", "hacker_news-bf16"), ("org/base", "base-bf16")):
            hub.add(name, FAMILY / model)
        with hub:
            front, port, front_log = proxy(folder, pem, hub.endpoint)
            processes.append(front)
            cdn, cdn_port, cdn_log = proxy(folder, pem, hub.cdn.replace("localhost", "127.0.0.1"))
            processes.append(cdn)
            hub.endpoint, hub.cdn = f"https://127.0.0.1:{port}", f"https://localhost:{cdn_port}"
            others = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # these would go before SSL_CERT_FILE
            environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and k not in others}
            environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf"), "SSL_CERT_FILE": cert,
                            "no_proxy": "127.0.0.1,localhost"}
            done = subprocess.run([HIERON, "audit", "org/parent", "--parent", "org/base", "--sample", "16KiB", "--json", "-"],
                                  capture_output=True, text=True, env=environment, timeout=120)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["sampling"]["requests"] == len(hub.requests)
        time.sleep(0.2)
        for log in (front_log, cdn_log):
            lines = log.read_text().splitlines()
            assert lines and all(line.startswith("h2 ") for line in lines), lines[:3]
            print(f"{len(lines)} requests over HTTP/2")
    finally:
        for process in processes:
            process.terminate()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
