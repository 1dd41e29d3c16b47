#!/usr/bin/env python3
"""V4 signed URLs by Google's own library (google-cloud-storage), as a table for src/store/gcs/sign.rs.

    signed_urls.py           write the table
    signed_urls.py --check   make it anew, compare, and verify each signature with the public key

test_key.pem was made for these tests (openssl genrsa 2048) and is good for nothing else.
"""

import datetime
import hashlib
import json
import pathlib
import sys
import urllib.parse
from unittest import mock

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from google.cloud import storage
from google.oauth2 import service_account

HERE = pathlib.Path(__file__).parent
TABLE = HERE / "signed_urls.json"
ACCOUNT = "laminix+test@project-1.iam.gserviceaccount.com"

BUCKETS = ["laminix", "my-bucket.example.org", "under_score"]
PREFIXES = ["", "a", "a/b", "c++/it's", "a b", "a:b,c;d=e@f!g*h(i)", "tilde~under_score-.", "100%", "é/日本", "&?#[]\"<>\\^`{|}$"]
# 2000-02-29, the last second of a year, a leap second's neighbour, now
TIMES = [951782400, 1798761599, 1483228799, 1795219200]
LIVES = [1, 900, 604800]


def stores():
    for bucket in BUCKETS:
        yield bucket, "", None
    for prefix in PREFIXES[1:]:
        yield BUCKETS[0], prefix, None
    yield BUCKETS[0], "a b", "http://127.0.0.1:4443"
    yield BUCKETS[0], "", "https://storage.example.org"


def rows(credentials):
    client = storage.Client(project="none", credentials=credentials)
    for number, (bucket, prefix, endpoint) in enumerate(stores()):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        blob = client.bucket(bucket).blob("/".join(filter(None, [prefix, "blobs/sha256", digest])))
        url = f"gs://{bucket}" + (f"/{urllib.parse.quote(prefix)}" if prefix else "")
        url += f"?endpoint={endpoint}" if endpoint else ""
        for time in TIMES:
            life = LIVES[(number + time) % len(LIVES)]
            now = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
            with mock.patch("google.cloud.storage._signing._NOW", lambda *_, now=now: now):
                signed = blob.generate_signed_url(
                    version="v4",
                    expiration=datetime.timedelta(seconds=life),
                    **({"api_access_endpoint": endpoint} if endpoint else {}),
                )
            yield {"store": url, "digest": f"sha256:{digest}", "time": time, "life": life, "url": signed}


def verify(url, key):
    """By the specification, with nothing of the library."""
    path, query = url.split("://")[1].split("?")
    host, path = path.split("/", 1)
    query, signature = query.split("&X-Goog-Signature=")
    fields = dict(urllib.parse.parse_qsl(query))
    request = f"GET\n/{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = fields["X-Goog-Credential"].removeprefix(ACCOUNT + "/")
    text = "\n".join(["GOOG4-RSA-SHA256", fields["X-Goog-Date"], scope, hashlib.sha256(request.encode()).hexdigest()])
    key.verify(bytes.fromhex(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())


def main():
    info = {"client_email": ACCOUNT, "token_uri": "unused", "private_key": (HERE / "test_key.pem").read_text()}
    table = {"account": ACCOUNT, "rows": list(rows(service_account.Credentials.from_service_account_info(info)))}
    text = json.dumps(table, indent=1) + "\n"
    if sys.argv[1:] != ["--check"]:
        TABLE.write_text(text)
        return
    key = serialization.load_pem_public_key((HERE / "test_key.pub.pem").read_bytes())
    for row in table["rows"]:
        verify(row["url"], key)
    if TABLE.read_text() != text:
        sys.exit(f"{TABLE} is not what google-cloud-storage {storage.__version__} makes")
    print(f"{len(table['rows'])} signed URLs are those of google-cloud-storage {storage.__version__}, and verify")


main()
