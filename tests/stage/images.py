"""Makes Flatpak's OCI images with `flatpak build-bundle --oci`, in OCI image layouts, and pushes them to registries with skopeo.

What flatpak 1.14 writes: one layout directory holds any number of images. Each has an entry in `index.json` whose annotation
`org.opencontainers.image.ref.name` is the Flatpak ref; a newer image of a ref takes the entry's place, and the older one's blobs stay
behind without a name. Labels (`org.flatpak.ref`, `org.flatpak.metadata`, …) stand in the image's config; its manifest has no
annotations. A commit's token type is the label `org.flatpak.commit-metadata.xa.token-type`: a GVariant in base64.
"""

import copy
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from stage.repo import BRANCH, FREE, MUST_BE_BOUGHT, PAID, RUNTIME, Repo, app_ref, arch, tool_environment

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
GO_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "arm": "arm"}


def runtime_ref(name: str, branch: str = BRANCH) -> str:
    return f"runtime/{name}/{arch()}/{branch}"


def repository(ref: str, namespace: str = "") -> str:
    """The name that the stage gives the repository of a ref: the id in lower case, below a namespace or none."""
    name = ref.split("/")[1].lower()
    return f"{namespace}/{name}" if namespace else name


def tag(ref: str) -> str:
    """The tag that the stage gives a ref's image: the branch, and the architecture where it is not this machine's."""
    _, _, at, branch = ref.split("/")
    return branch if at == arch() else f"{branch}-{at}"


@dataclass
class Login:
    """A user and a password for a registry; a token stands in the password's place with the user `<token>`."""

    user: str
    password: str

    def options(self, side: str = "") -> list[str]:
        """skopeo's options; `side` is `src-` or `dest-` where it has both."""
        if self.user == "<token>":
            return [f"--{side}registry-token={self.password}"]
        return [f"--{side}creds={self.user}:{self.password}"]


class Layout:
    """An OCI image layout in `path`."""

    def __init__(self, path: Path):
        self.path = path

    def add(self, repo: Repo, ref: str) -> str:
        """Adds the newest commit of a ref of an OSTree repository. Gives the digest of the image's manifest."""
        kind, name, at, branch = ref.split("/")
        runtime = ["--runtime"] if kind == "runtime" else []
        argv = ["flatpak", "build-bundle", "--oci", f"--arch={at}", *runtime, str(repo.path), str(self.path), name, branch]
        done = subprocess.run(argv, env=repo.env, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)} failed: {done.stderr}{done.stdout}")
        return self.digest(ref)

    def index(self) -> dict:
        return json.loads((self.path / "index.json").read_bytes())

    def write_index(self, index: dict) -> None:
        """Puts another `index.json` in the place of the present one, in one step."""
        new = self.path / "index.json.new"
        new.write_text(json.dumps(index))
        new.rename(self.path / "index.json")

    def refs(self) -> list[str]:
        return [entry["annotations"][REF_NAME] for entry in self.index()["manifests"] if REF_NAME in entry.get("annotations", {})]

    def entry(self, ref: str) -> dict:
        """The descriptor of a ref's image in `index.json`."""
        return next(entry for entry in self.index()["manifests"] if entry.get("annotations", {}).get(REF_NAME) == ref)

    def digest(self, ref: str) -> str:
        return self.entry(ref)["digest"]

    def blob(self, digest: str) -> Path:
        algorithm, hexadecimal = digest.split(":")
        return self.path / "blobs" / algorithm / hexadecimal

    def json(self, digest: str) -> dict:
        return json.loads(self.blob(digest).read_bytes())

    def manifest(self, ref: str) -> dict:
        return self.json(self.digest(ref))

    def config(self, ref: str) -> dict:
        return self.json(self.manifest(ref)["config"]["digest"])

    def layer(self, ref: str) -> str:
        """The digest of the ref's one layer."""
        return self.manifest(ref)["layers"][0]["digest"]

    def put(self, content: bytes | dict) -> tuple[str, int]:
        """Writes a blob. Gives its digest and its size."""
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        path = self.blob(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return digest, len(raw)

    def add_manifest(self, manifest: dict, ref: str | None, **more) -> str:
        """Writes a manifest and its entry in `index.json`, in the place of one of that ref. Gives its digest."""
        digest, size = self.put(manifest)
        entry = {"mediaType": manifest.get("mediaType", MANIFEST), "digest": digest, "size": size, **more}
        index = self.index()
        if ref:
            entry["annotations"] = {REF_NAME: ref}
            index["manifests"] = [old for old in index["manifests"] if old.get("annotations", {}).get(REF_NAME) != ref]
        index["manifests"].append(entry)
        self.write_index(index)
        return digest

    def add_for_arch(self, ref: str, other: str) -> str:
        """Adds the image of a ref once more, for another architecture (as Flatpak names it). Gives the other ref."""
        kind, name, _, branch = ref.split("/")
        other_ref = f"{kind}/{name}/{other}/{branch}"
        config = copy.deepcopy(self.config(ref))
        config["architecture"] = GO_ARCH[other]
        config["config"]["Labels"]["org.flatpak.ref"] = other_ref
        self._add_with_config(ref, config, other_ref)
        return other_ref

    def move_labels_to_annotations(self, ref: str) -> str:
        """Makes the image anew as some other tools write it: labels as annotations of the manifest, none in the config. Gives its digest."""
        config = copy.deepcopy(self.config(ref))
        labels = config["config"].pop("Labels")
        return self._add_with_config(ref, config, ref, annotations=labels)

    def _add_with_config(self, ref: str, config: dict, as_ref: str, **more) -> str:
        manifest = copy.deepcopy(self.manifest(ref)) | more
        digest, size = self.put(config)
        manifest["config"] |= {"digest": digest, "size": size}
        return self.add_manifest(manifest, as_ref)

    def push(self, ref: str, registry: str, name: str | None = None, login: Login | None = None, tls: bool = False) -> str:
        """Copies the ref's image into a registry (`HOST:PORT`), as it is, by default into `repository(ref)`. Gives its digest."""
        target = f"docker://{registry}/{name or repository(ref)}:{tag(ref)}"
        options = [*(login.options("dest-") if login else []), *([] if tls else ["--dest-tls-verify=false"])]
        skopeo(self.path, "copy", "--preserve-digests", *options, f"oci:{self.path}:{ref}", target)
        return self.digest(ref)

    def push_all(self, registry: str, namespace: str = "", login: Login | None = None, tls: bool = False) -> dict[str, str]:
        """Copies all images. Gives each ref's digest."""
        return {ref: self.push(ref, registry, repository(ref, namespace), login=login, tls=tls) for ref in self.refs()}


def skopeo(home: Path, command: str, *argv: str, check: bool = True) -> subprocess.CompletedProcess:
    """Runs skopeo without the credentials of whoever runs the tests."""
    folder = home.with_name(home.name + ".home")
    folder.mkdir(parents=True, exist_ok=True)
    env = {**tool_environment(folder), "XDG_RUNTIME_DIR": str(folder), "REGISTRY_AUTH_FILE": str(folder / "auth.json")}
    done = subprocess.run(["skopeo", "--insecure-policy", command, *argv], env=env, capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(f"skopeo {command} {' '.join(argv)} failed: {done.stderr}{done.stdout}")
    return done


class Images:
    """A runtime, a free app and a paid app with its `.Locale`, as OCI images in `layout`. What flatpak makes them from is `repo`."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.repo = Repo(folder / "source")
        self.layout = Layout(folder / "layout")
        self.repo.export_runtime()
        self.layout.add(self.repo, runtime_ref(RUNTIME))
        self.export(FREE, "free as can be")
        self.export_paid("paid, version 1")

    def copy_to(self, folder: Path) -> "Images":
        """The same images at another place, with what they are made from."""
        copied = copy.copy(self)
        folder.mkdir(parents=True)
        copied.repo = self.repo.copy_to(folder / "source")
        copied.layout = Layout(folder / "layout")
        shutil.copytree(self.layout.path, copied.layout.path)
        return copied

    def export(self, app: str, says: str, **options) -> str:
        """An app, or a newer version of it, that prints `says`. Gives its image's digest."""
        self.repo.export_app(app, says, **options)
        if options.get("locale"):
            self.layout.add(self.repo, runtime_ref(f"{app}.Locale"))
        return self.layout.add(self.repo, app_ref(app))

    def export_paid(self, says: str) -> str:
        """A version of the paid app with its `.Locale`."""
        return self.export(PAID, says, token_type=MUST_BE_BOUGHT, locale=True)
