"""The store's pages without a browser."""

import html
import re
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar


class Pages:
    """The store's pages as a browser without JavaScript sees them, signed in."""

    def __init__(self, store, email: str, password: str):
        self.url = store.url.rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar())).open
        self.submit("/sign-in", "/sign-in", email=email, password=password)

    def get(self, path: str) -> str:
        return self._open(self.url + path).read().decode()

    def submit(self, page: str, action: str, **fields: str) -> str:
        """Sends the form of the page that goes to `action`."""
        form = next(one for one in self.get(page).split("<form")[1:] if f'action="{html.escape(action)}"' in one.replace("&#38;", "&amp;"))
        hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form.split("</form>")[0])
        data = {**{name: html.unescape(value) for name, value in hidden}, **fields}
        request = urllib.request.Request(self.url + action, urllib.parse.urlencode(data).encode(), {"Origin": self.url})
        return self._open(request).read().decode()
