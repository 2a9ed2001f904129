"""A client of RequestSummaryToken in a few lines of Gio D-Bus: gets a token for a private index and fetches the index with it.

Usage: gi_summary_token.py STORE REPO_URL [--no-interaction] [--fresh]
Prints one JSON object: {"ok", "version", "without" and "with" (HTTP statuses without and with the token), "bytes"}, or
{"ok": false, "code", "error", "error_code"}. A page that the person must see is opened with $BROWSER.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

from gi.repository import Gio, GLib

NAME = "org.flatpass.Authenticator"
PATH = "/org/freedesktop/Flatpak/Authenticator"
INTERFACE = "org.freedesktop.Flatpak.Authenticator"
REQUEST = "org.freedesktop.Flatpak.AuthenticatorRequest"


def request(store: str, repo_url: str, options: dict[str, bool]) -> tuple[int, int, dict]:
    """Gives the interface's version, the response code and the results."""
    bus = Gio.bus_get_sync(Gio.BusType.SESSION)
    loop = GLib.MainLoop()
    answer: list = []

    def signal(_bus, _sender, _path, _interface, name: str, arguments: GLib.Variant) -> None:
        if name == "Webflow":
            subprocess.Popen([os.environ.get("BROWSER", "xdg-open"), arguments.unpack()[0]])
        elif name == "Response":
            answer.extend(arguments.unpack())
            loop.quit()

    # Listen before the call, or the answer may be missed. The name follows its owner, so no one else can answer.
    token = "gi1"
    handle = f"{PATH}/request/{bus.get_unique_name()[1:].replace('.', '_')}/{token}"
    bus.signal_subscribe(NAME, REQUEST, None, handle, None, Gio.DBusSignalFlags.NONE, signal)
    arguments = GLib.Variant(
        "(sa{sv}ssa{sv}s)",
        (
            token,
            {"url": GLib.Variant("s", store)},
            "private",
            repo_url,
            {name: GLib.Variant("b", value) for name, value in options.items()},
            "",
        ),
    )
    reply = bus.call_sync(NAME, PATH, INTERFACE, "RequestSummaryToken", arguments, GLib.VariantType("(o)"), 0, 30_000)
    assert reply.unpack() == (handle,), "the handle is always this one"
    version = bus.call_sync(
        NAME, PATH, "org.freedesktop.DBus.Properties", "Get", GLib.Variant("(ss)", (INTERFACE, "version")), None, 0, 30_000
    )
    if not answer:
        loop.run()
    return version.unpack()[0], answer[0], answer[1]


def fetch(url: str, token: str) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answered:
            return answered.status, answered.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def main() -> None:
    store, repo_url = sys.argv[1:3]
    options = {option.removeprefix("--"): True for option in sys.argv[3:]}
    version, code, results = request(store, repo_url, options)
    if code != 0:
        print(json.dumps({
            "ok": False, "code": code, "error": results.get("error-message"), "error_code": results.get("error-code"),
        }))
        return
    without, _ = fetch(f"{repo_url}/summary", "")
    status, body = fetch(f"{repo_url}/summary", results["token"])
    print(json.dumps({"ok": status == 200, "version": version, "without": without, "with": status, "bytes": len(body)}))


main()
