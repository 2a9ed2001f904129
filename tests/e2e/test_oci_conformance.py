"""What the OCI distribution-spec 1.1 demands of a registry that can be pulled from, rule by rule, of an image layout that the store serves.

The official suite is a Go program that Debian does not have. Each row here is one rule: its place in the spec (the endpoint's number there,
and the heading), a request, and what the answer must be. `MUST` and `SHOULD` are the spec's words.
"""

import base64
import hashlib
import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from stage.images import INDEX, MANIFEST, REF_NAME, Images
from stage.repo import FREE, app_ref
from stage.store import Store, programs

NAME = f"apps/{FREE.lower()}"
TAGS = ["Zeta", "alpha", "beta.1", "stable", "v1"]  # in the order of their bytes, as lists MUST have them
ABSENT = "sha256:" + "0" * 64
BYTES = "application/octet-stream"
ERRORS = {"BLOB_UNKNOWN", "DIGEST_INVALID", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID",
          "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS", "PAGINATION_NUMBER_INVALID", "TAG_INVALID"}


class Registry:
    """A store with one layout: an image with five tags, and what refers to it."""

    def __init__(self, folder, images: Images):
        layout = images.layout
        ref = app_ref(FREE)
        self.digest = layout.digest(ref)
        self.manifest = layout.blob(self.digest).read_bytes()
        self.layer = layout.layer(ref)
        self.config = layout.manifest(ref)["config"]["digest"]
        self.blobs = {digest: layout.blob(digest).read_bytes() for digest in (self.layer, self.config)}
        index = layout.index()
        for tag in set(TAGS) - {"stable"}:
            index["manifests"].append({**layout.entry(ref), "annotations": {REF_NAME: tag}})
        layout.write_index(index)
        subject = {"mediaType": MANIFEST, "digest": self.digest, "size": len(self.manifest)}
        empty, size = layout.put(b"{}")
        config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": size}
        of_type = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.stage.signature",
                   "config": config, "layers": [config], "subject": subject, "annotations": {"org.stage.kind": "signature"}}
        by_config = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {**config, "mediaType": "application/vnd.stage.sbom"},
                     "layers": [config], "subject": subject, "annotations": {"org.stage.kind": "sbom"}}
        as_index = {"schemaVersion": 2, "mediaType": INDEX, "artifactType": "application/vnd.stage.bundle", "manifests": [],
                    "subject": subject, "annotations": {"org.stage.kind": "bundle"}}
        self.referrers = {layout.add_manifest(one, None): one for one in (of_type, by_config, as_index)}
        self.store = Store(folder / "store", programs())
        self.store.command("repo", "add", "apps", f"oci-layout:{layout.path}", "--policy", "open")
        self.store.start()

    def ask(self, method: str, path: str, headers: dict[str, str]) -> "Answer":
        connection = http.client.HTTPConnection("127.0.0.1", self.store.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def filled(self, text: str) -> str:
        for name in ("digest", "layer", "config"):
            text = text.replace("{" + name + "}", getattr(self, name))
        return text.replace("{name}", NAME).replace("{absent}", ABSENT)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Rule:
    where: str
    says: str
    request: str  # METHOD PATH, with {name}, {digest} and so on
    status: int
    headers: dict[str, str] = field(default_factory=dict)  # of the answer; "" stands for none
    body: Callable[[Registry, bytes], None] | None = None
    send: dict[str, str] = field(default_factory=dict)


def is_manifest(registry: Registry, body: bytes) -> None:
    assert body == registry.manifest


def is_layer(registry: Registry, body: bytes) -> None:
    assert body == registry.blobs[registry.layer]


def is_config(registry: Registry, body: bytes) -> None:
    assert body == registry.blobs[registry.config]


def is_part(registry: Registry, body: bytes) -> None:
    assert body == registry.blobs[registry.layer][100:200]


def is_nothing(_: Registry, body: bytes) -> None:
    assert body == b""


def is_error(*codes: str) -> Callable[[Registry, bytes], None]:
    def check(_: Registry, body: bytes) -> None:
        errors = json.loads(body)["errors"]
        assert errors and all(error["code"] in ERRORS and isinstance(error["message"], str) for error in errors), body
        assert errors[0]["code"] in codes, body
    return check


def has_tags(*tags: str) -> Callable[[Registry, bytes], None]:
    def check(_: Registry, body: bytes) -> None:
        assert json.loads(body) == {"name": NAME, "tags": list(tags)}
    return check


def refers(*types: str) -> Callable[[Registry, bytes], None]:
    def check(registry: Registry, body: bytes) -> None:
        index = json.loads(body)
        assert (index["schemaVersion"], index["mediaType"]) == (2, INDEX)
        assert sorted(one["artifactType"].removeprefix("application/vnd.stage.") for one in index["manifests"]) == sorted(types)
        for descriptor in index["manifests"]:
            manifest = registry.referrers[descriptor["digest"]]
            assert descriptor["mediaType"] == manifest["mediaType"]
            assert descriptor["size"] == len(json.dumps(manifest))
            assert descriptor["annotations"] == manifest["annotations"]
    return check


TAKES = {"Accept": f"{MANIFEST}, {INDEX}"}
OF_MANIFEST = {"content-type": MANIFEST, "docker-content-digest": "{digest}"}
OF_REFERRERS = {"content-type": INDEX}
RULES = [
    # end-1. To strangers it is always a challenge, which the spec allows; see below for who is known.
    Rule("end-1, Determining Support", "MUST be 200 or 401 where the spec is implemented", "GET /v2/", 401, body=is_error("UNAUTHORIZED")),
    # end-2
    Rule("end-2, Pulling blobs", "an existing blob MUST be given, with 200", "GET /v2/{name}/blobs/{layer}", 200,
         {"docker-content-digest": "{layer}"}, is_layer),
    Rule("end-2, Pulling blobs", "a configuration is a blob", "GET /v2/{name}/blobs/{config}", 200, {"docker-content-digest": "{config}"}, is_config),
    Rule("end-2, Pulling blobs", "Range SHOULD be supported", "GET /v2/{name}/blobs/{layer}", 206, body=is_part, send={"Range": "bytes=100-199"}),
    Rule("end-2, Pulling blobs", "a range behind the end is none (RFC 9110)", "GET /v2/{name}/blobs/{layer}", 416, send={"Range": "bytes=999999999-"}),
    Rule("end-2, Pulling blobs", "what is not there MUST be 404", "GET /v2/{name}/blobs/{absent}", 404, body=is_error("BLOB_UNKNOWN")),
    Rule("end-2, Pulling blobs", "what is no digest is an error of the client's", "GET /v2/{name}/blobs/sha256:totallywrong", 404,
         body=is_error("DIGEST_INVALID", "BLOB_UNKNOWN")),
    Rule("end-2, Checking if content exists", "HEAD of what is there MUST be 200", "HEAD /v2/{name}/blobs/{layer}", 200,
         {"docker-content-digest": "{layer}", "content-length": "{size of layer}"}, is_nothing),
    Rule("end-2, Checking if content exists", "HEAD of what is not there MUST be 404", "HEAD /v2/{name}/blobs/{absent}", 404, body=is_nothing),
    # end-3
    Rule("end-3, Pulling manifests", "by tag: MUST be the manifest, with 200 and its type", "GET /v2/{name}/manifests/stable", 200, OF_MANIFEST,
         is_manifest, TAKES),
    Rule("end-3, Pulling manifests", "by another tag", "GET /v2/{name}/manifests/v1", 200, OF_MANIFEST, is_manifest, TAKES),
    Rule("end-3, Pulling manifests", "by digest", "GET /v2/{name}/manifests/{digest}", 200, OF_MANIFEST, is_manifest, TAKES),
    Rule("end-3, Pulling manifests", "Accept is the client's SHOULD, so it may be left out", "GET /v2/{name}/manifests/{digest}", 200, OF_MANIFEST,
         is_manifest),
    Rule("end-3, Pulling manifests", "a tag that is not there MUST be 404", "GET /v2/{name}/manifests/none", 404, body=is_error("MANIFEST_UNKNOWN")),
    Rule("end-3, Pulling manifests", "a digest that is not there MUST be 404", "GET /v2/{name}/manifests/{absent}", 404,
         body=is_error("MANIFEST_UNKNOWN")),
    Rule("end-3, Pulling manifests", "of a repository that is not there, too", "GET /v2/apps/none/manifests/stable", 404,
         body=is_error("NAME_UNKNOWN", "MANIFEST_UNKNOWN")),
    Rule("end-3, Pulling manifests", "a reference MUST NOT be in any other format", "GET /v2/{name}/manifests/sha256:totallywrong", 404,
         body=is_error("MANIFEST_INVALID", "DIGEST_INVALID", "MANIFEST_UNKNOWN", "TAG_INVALID")),
    Rule("end-3, Pulling manifests", "a tag has at most 128 characters", "GET /v2/{name}/manifests/" + "a" * 129, 404,
         body=is_error("MANIFEST_INVALID", "TAG_INVALID", "MANIFEST_UNKNOWN")),
    Rule("end-3, Pulling manifests", "a name MUST match the expression", "GET /v2/apps/Upper/manifests/stable", 404,
         body=is_error("NAME_INVALID", "NAME_UNKNOWN")),
    Rule("end-3, Checking if content exists", "HEAD by tag MUST be 200", "HEAD /v2/{name}/manifests/stable", 200,
         {**OF_MANIFEST, "content-length": "{size of manifest}"}, is_nothing, TAKES),
    Rule("end-3, Checking if content exists", "HEAD by digest MUST be 200", "HEAD /v2/{name}/manifests/{digest}", 200,
         {**OF_MANIFEST, "content-length": "{size of manifest}"}, is_nothing, TAKES),
    Rule("end-3, Checking if content exists", "HEAD of what is not there MUST be 404", "HEAD /v2/{name}/manifests/none", 404, body=is_nothing, send=TAKES),
    # end-4 to end-7, end-9 to end-11 and end-13 change something, which nothing here does.
    *(Rule(where, "no part of pulling: UNSUPPORTED", request, 405, body=is_error("UNSUPPORTED")) for where, request in [
        ("end-4a", "POST /v2/{name}/blobs/uploads/"), ("end-6", "PUT /v2/{name}/blobs/uploads/1?digest={layer}"),
        ("end-5", "PATCH /v2/{name}/blobs/uploads/1"), ("end-7", "PUT /v2/{name}/manifests/v2"),
        ("end-9", "DELETE /v2/{name}/manifests/stable"), ("end-10", "DELETE /v2/{name}/blobs/{layer}"),
        ("end-11", "POST /v2/{name}/blobs/uploads/?mount={layer}&from=apps/other")]),
    # end-8
    Rule("end-8a, Listing Tags", "MUST be the name and the tags, in lexical order", "GET /v2/{name}/tags/list", 200,
         {"content-type": "application/json", "link": ""}, has_tags(*TAGS)),
    Rule("end-8a, Listing Tags", "a repository that is not there MUST be 404", "GET /v2/apps/none/tags/list", 404, body=is_error("NAME_UNKNOWN")),
    Rule("end-8b, Listing Tags", "n: MUST NOT be more; the rest behind Link", "GET /v2/{name}/tags/list?n=2", 200,
         {"link": '</v2/{name}/tags/list?n=2&last=alpha>; rel="next"'}, has_tags("Zeta", "alpha")),
    Rule("end-8b, Listing Tags", "last: MUST begin behind it", "GET /v2/{name}/tags/list?n=2&last=alpha", 200,
         {"link": '</v2/{name}/tags/list?n=2&last=stable>; rel="next"'}, has_tags("beta.1", "stable")),
    Rule("end-8b, Listing Tags", "no Link when nothing is left", "GET /v2/{name}/tags/list?n=2&last=stable", 200, {"link": ""}, has_tags("v1")),
    Rule("end-8b, Listing Tags", "last without n", "GET /v2/{name}/tags/list?last=beta.1", 200, {"link": ""}, has_tags("stable", "v1")),
    Rule("end-8b, Listing Tags", "last need not be a tag", "GET /v2/{name}/tags/list?last=beta", 200, {"link": ""}, has_tags("beta.1", "stable", "v1")),
    Rule("end-8b, Listing Tags", "n=0 MUST be an empty list with no Link", "GET /v2/{name}/tags/list?n=0", 200, {"link": ""}, has_tags()),
    Rule("end-8b, Listing Tags", "as many as there are", "GET /v2/{name}/tags/list?n=5", 200, {"link": ""}, has_tags(*TAGS)),
    Rule("end-8b, Listing Tags", "more than there are", "GET /v2/{name}/tags/list?n=1000", 200, {"link": ""}, has_tags(*TAGS)),
    Rule("end-8b, Listing Tags", "n is a number", "GET /v2/{name}/tags/list?n=x", 400, body=is_error("PAGINATION_NUMBER_INVALID", "UNSUPPORTED")),
    # end-12
    Rule("end-12a, Listing Referrers", "MUST be an index with the type, size and annotations of each", "GET /v2/{name}/referrers/{digest}", 200,
         {**OF_REFERRERS, "oci-filters-applied": ""}, refers("signature", "sbom", "bundle")),
    Rule("end-12a, Listing Referrers", "of what is not there MUST be an empty one, and never 404", "GET /v2/{name}/referrers/{absent}", 200,
         OF_REFERRERS, refers()),
    Rule("end-12a, Listing Referrers", "of what nothing refers to, too", "GET /v2/{name}/referrers/{layer}", 200, OF_REFERRERS, refers()),
    Rule("end-12b, Listing Referrers", "a filter that is applied MUST be told", "GET /v2/{name}/referrers/{digest}?artifactType=application/vnd.stage.sbom",
         200, {**OF_REFERRERS, "oci-filters-applied": "artifactType"}, refers("sbom")),
    Rule("end-12b, Listing Referrers", "an encoded filter is the same",
         "GET /v2/{name}/referrers/{digest}?artifactType=application%2Fvnd.stage.signature", 200,
         {**OF_REFERRERS, "oci-filters-applied": "artifactType"}, refers("signature")),
    Rule("end-12b, Listing Referrers", "a filter that fits nothing", "GET /v2/{name}/referrers/{digest}?artifactType=none", 200,
         {**OF_REFERRERS, "oci-filters-applied": "artifactType"}, refers()),
    Rule("end-12a, Listing Referrers", "what is no digest MUST be refused", "GET /v2/{name}/referrers/sha256:x", 400, body=is_error("DIGEST_INVALID")),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("conformance"), Images(tmp_path_factory.mktemp("images")))
    yield registry
    registry.store.kill()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.where}: {rule.says}")
def test_the_rule_is_kept(registry, rule):
    method, path = registry.filled(rule.request).split(" ")
    answer = registry.ask(method, path, rule.send)
    assert answer.status == rule.status, (answer.status, answer.body[:500])
    for name, value in rule.headers.items():
        sizes = {"{size of layer}": len(registry.blobs[registry.layer]), "{size of manifest}": len(registry.manifest)}
        expected = str(sizes[value]) if value in sizes else registry.filled(value)
        assert answer.headers.get(name, "") == expected, answer.headers
    if rule.body:
        rule.body(registry, answer.body)
    if answer.status == 200 and method == "GET" and "docker-content-digest" in answer.headers:
        assert answer.headers["docker-content-digest"] == "sha256:" + hashlib.sha256(answer.body).hexdigest()


def test_who_is_known_gets_200_at_the_base_and_referrers_are_pulled_like_any_manifest(registry):
    registry.store.command("account", "add", "ann@example.org", stdin="correct horse battery\n")
    made = registry.store.json("access-token", "add", "ann@example.org", "apps", "--name", "suite")
    registry.store.settle()
    basic = base64.b64encode(f"ann:{made['secret']}".encode()).decode()
    assert registry.ask("GET", "/v2/", {"Authorization": f"Basic {basic}"}).status == 200
    for digest, manifest in registry.referrers.items():
        answer = registry.ask("GET", f"/v2/{NAME}/manifests/{digest}", TAKES)
        assert (answer.status, answer.headers["content-type"]) == (200, manifest["mediaType"])
        assert answer.body == json.dumps(manifest).encode()
