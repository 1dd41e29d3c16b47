#!/usr/bin/env python3
"""As much of an S3 client as it takes to try policies: signed requests, presigned URLs, and sessions of a role.

    s3.py session ENDPOINT POLICY.json      prints variables (AWS_ACCESS_KEY_ID=… and two more, 12 hours long)

asks an S3 server that has AssumeRole, such as MinIO, for keys that may do what the policy says and no more: what Lambda
and EC2 give to a role. It is asked as MINIO_ROOT_USER with MINIO_ROOT_PASSWORD.
"""
import datetime
import hashlib
import hmac
import http.client
import os
import pathlib
import re
import sys
import urllib.parse

REGION = "us-east-1"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


class Client:
    """Requests under one set of keys (AWS's signature, version 4)."""

    def __init__(self, endpoint, key, secret, token=None):
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.key, self.secret, self.token = key, secret, token

    def call(self, method, path, query=None, body=b"", headers=None, service="s3"):
        """Status, headers and body of the answer."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        headers = {k.lower(): v for k, v in (headers or {}).items()}
        headers |= {"host": self.host, "x-amz-date": now, "x-amz-content-sha256": sha256(body)}
        if self.token:
            headers["x-amz-security-token"] = self.token
        query = self.query(query or {})
        signed, signature, scope = self.sign(method, path, query, headers, sha256(body), now, service)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return self.send(method, path, query, body, headers)

    def presign(self, method, path, seconds=600):
        """A path with a query that anybody may ask for."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.key}/{now[:8]}/{REGION}/s3/aws4_request",
            "X-Amz-Date": now,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
        }
        if self.token:
            query["X-Amz-Security-Token"] = self.token
        query = self.query(query)
        _, signature, _ = self.sign(method, path, query, {"host": self.host}, "UNSIGNED-PAYLOAD", now, "s3")
        return f"{path}?{query}&X-Amz-Signature={signature}"

    def send(self, method, path, query="", body=b"", headers=None):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        try:
            connection.request(method, quote(path, "/") + (f"?{query}" if query else ""), body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    @staticmethod
    def query(pairs):
        return "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(pairs.items()))

    def sign(self, method, path, query, headers, payload, now, service):
        signed = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = "\n".join([method, quote(path, "/"), query, lines, signed, payload])
        scope = f"{now[:8]}/{REGION}/{service}/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, sha256(canonical.encode())])
        key = b"AWS4" + self.secret.encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return signed, hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), scope

    def session(self, policy, seconds=12 * 3600):
        """A client that may do what the policy says, and no more."""
        form = {"Action": "AssumeRole", "Version": "2011-06-15", "DurationSeconds": str(seconds), "Policy": policy}
        kind = {"content-type": "application/x-www-form-urlencoded"}
        status, _, body = self.call("POST", "/", body=self.query(form).encode(), headers=kind, service="sts")
        if status != 200:
            raise SystemExit(f"s3: no session: {status} {body.decode(errors='replace')}")
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        found = [re.search(f"<{name}>(.*?)</{name}>", body.decode())[1] for name in names]
        return Client(f"http://{self.host}", *found)


def main():
    if len(sys.argv) != 4 or sys.argv[1] != "session":
        raise SystemExit(__doc__)
    root = Client(sys.argv[2], os.environ["MINIO_ROOT_USER"], os.environ["MINIO_ROOT_PASSWORD"])
    client = root.session(pathlib.Path(sys.argv[3]).read_text())
    print(f"AWS_ACCESS_KEY_ID={client.key}\nAWS_SECRET_ACCESS_KEY={client.secret}\nAWS_SESSION_TOKEN={client.token}")


if __name__ == "__main__":
    main()
