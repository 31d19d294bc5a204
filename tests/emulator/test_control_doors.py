"""The control calls are for programs of this machine."""

import urllib.error
import urllib.request

import pytest

from mailchimp_emulator.serve import running


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_another_sites_page_cannot_control_the_emulator(headers):
    with running() as emulator:
        request = urllib.request.Request(f"{emulator.url}/_emulator/clock", data=b"{}", headers=headers)

        with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(request):
            pass

        with refused.value as answer:
            assert answer.status == 403
