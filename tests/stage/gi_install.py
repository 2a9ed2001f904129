"""Installs or updates as GNOME Software does: through libflatpak. Prints one JSON object on its last line.

Usage: gi_install.py install|update REMOTE REF [--no-browser] [--login=USER:PASSWORD]…
The first login answers the first question for a password, and so on; who has none left says no.
"""

import json
import os
import subprocess
import sys

import gi

gi.require_version("Flatpak", "1.0")
from gi.repository import Flatpak, GLib  # noqa: E402


def main() -> None:
    verb, remote, ref = sys.argv[1:4]
    events: list[str] = []
    installation = Flatpak.Installation.new_user(None)
    transaction = Flatpak.Transaction.new_for_installation(installation, None)

    def webflow_start(_transaction, _remote, url, _options, _id) -> bool:
        events.append("webflow-start")
        if "--no-browser" in sys.argv:
            return False
        subprocess.Popen([os.environ["BROWSER"], url])
        return True

    def webflow_done(_transaction, _options, _id) -> None:
        events.append("webflow-done")

    logins = [argument.split("=", 1)[1] for argument in sys.argv if argument.startswith("--login=")]

    def basic_auth_start(_transaction, _remote, _realm, options, number) -> bool:
        error = options.lookup_value("previous-error", None)
        events.append(f"basic-auth-start {error.get_string() if error else ''}".strip())
        if not logins:
            return False
        user, password = logins.pop(0).split(":", 1)
        remember = GLib.Variant("a{sv}", {"remember": GLib.Variant("b", True)})
        transaction.complete_basic_auth(number, user, password, remember)
        return True

    transaction.connect("basic-auth-start", basic_auth_start)
    transaction.connect("webflow-start", webflow_start)
    transaction.connect("webflow-done", webflow_done)
    result: dict = {"events": events}
    try:
        if verb == "install":
            transaction.add_install(remote, ref, None)
        else:
            transaction.add_update(ref, None, None)
        transaction.run(None)
        result["ok"] = True
    except GLib.Error as error:
        result.update(ok=False, domain=error.domain, code=error.code, message=error.message)
    print(json.dumps(result))


main()
