"""A person at a browser: what they can do on the pages, in the words that stand there.

Every page they come to is looked at on the way: one first heading, a name for everything that can be filled in
or pressed, and nothing that the browser complained about (errors, refused content, requests that failed).
"""

from __future__ import annotations

import re

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

from tests.conftest import PASSWORD

PATIENCE = 20_000
"""Milliseconds a page may take before the browser gives up on it."""
expect.set_options(timeout=PATIENCE)

NAMELESS = """
() => {
  const told = (one) => one.getAttribute('aria-label') || one.getAttribute('aria-labelledby');
  const fields = [...document.querySelectorAll('input:not([type=hidden]), select, textarea')];
  const pressed = [...document.querySelectorAll('button, a, summary')];
  const images = [...document.querySelectorAll('img:not([alt])')];
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  const spoken = [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')].flatMap(
    (one) => ['aria-labelledby', 'aria-describedby'].flatMap((name) => (one.getAttribute(name) || '').split(' ')));
  return [
    ...fields.filter((one) => !told(one) && !one.labels.length).map((one) => `no label: ${one.outerHTML}`),
    ...pressed.filter((one) => !told(one) && !one.textContent.trim()).map((one) => `no name: ${one.outerHTML}`),
    ...images.map((one) => `no alternative text: ${one.outerHTML}`),
    ...ids.filter((id, place) => ids.indexOf(id) !== place).map((id) => `an id used twice: ${id}`),
    ...spoken.filter((id) => id && !ids.includes(id)).map((id) => `points at an id that is not there: ${id}`),
    ...(document.documentElement.lang ? [] : ['the page does not say its language']),
    ...(document.documentElement.scrollWidth > window.innerWidth ? ['the page is wider than the window'] : []),
  ];
}
"""


class Visitor:
    """One browser session. `complaints` collects what the browser said against our pages."""

    def __init__(self, browser: Browser, address: str, *, scripts: bool = True) -> None:
        self.context = browser.new_context(base_url=address, java_script_enabled=scripts)
        self.scripts = scripts
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)

    # --- getting about ----------------------------------------------------------------------------

    def opens(self, path: str) -> int:
        """Go to a path; return the answer's status."""
        answer = self.page.goto(path)
        assert answer is not None
        self.looks()
        return answer.status

    def follows(self, name: str) -> None:
        """Click a link in the page's own part."""
        self.main.get_by_role("link", name=name, exact=True).click()
        self.page.wait_for_load_state("load")
        self.looks()

    def presses(self, name: str) -> None:
        """Press a button in the page's own part; it leads to a page."""
        with self.page.expect_navigation():
            self.main.get_by_role("button", name=name, exact=True).click()
        self.looks()

    def signs_in(self, email: str, path: str = "/integrations") -> None:
        """Ask for a page, be sent to the sign-in, and arrive at that page."""
        self.opens(path)
        self.fills("E-mail", email)
        self.fills("Password", PASSWORD)
        self.presses("Sign in")
        expect(self.page).to_have_url(re.compile(re.escape(path) + "$"))

    def looks(self) -> None:
        """Look at the page as somebody would who cannot see it; and at what the browser complained about."""
        expect(self.page.get_by_role("heading", level=1)).to_have_count(1)
        wrong = [*self.page.evaluate(NAMELESS), *self.complaints]
        assert not wrong, f"{self.page.url}: {wrong}"

    # --- the page ---------------------------------------------------------------------------------

    @property
    def main(self) -> Locator:
        return self.page.get_by_role("main")

    def fills(self, label: str, text: str) -> None:
        self.main.get_by_label(re.compile(f"^{re.escape(label)}( optional)?$")).fill(text)

    def sees(self, text: str) -> None:
        """Wait for words on the page."""
        expect(self.main).to_contain_text(text)

    def sees_no_button(self, name: str) -> None:
        expect(self.main.get_by_role("button", name=name, exact=True)).to_have_count(0)

    # --- the Mailchimp panel ----------------------------------------------------------------------

    def connects(self, key: str, audience: str) -> None:
        self.fills("API key", key)
        self.fills("Audience / List ID", audience)
        self.presses("Connect Mailchimp")

    def syncs(self) -> str:
        """Press the button and wait; return the panel's headline once the sync is over."""
        self.opens("/integrations")
        self.presses("Sync Customers Now")
        if self.scripts:
            return self._watches()
        return self._refreshes()

    def _watches(self) -> str:
        """The page brings the outcome by itself: no step is taken, and the document stays the same one."""
        self.page.evaluate("document.documentElement.dataset.still = 'here'")
        expect(self.result).to_be_visible()
        assert self.page.evaluate("document.documentElement.dataset.still") == "here"
        self.looks()
        return self.result.inner_text()

    def _refreshes(self) -> str:
        refresh = self.main.get_by_role("link", name="Refresh", exact=True)
        while refresh.count():
            refresh.click()
            self.page.wait_for_load_state("load")
        expect(self.result).to_be_visible()
        return self.result.inner_text()

    @property
    def result(self) -> Locator:
        return self.main.locator("#live:not([hx-get]) .result")

    # --- what the browser says --------------------------------------------------------------------

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # what a next click makes of a poll under way
            self.complaints.append(f"{request.failure}: {request.url}")
