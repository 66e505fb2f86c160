"""Is the page's address told so that whoever reads of it can type it?"""

from __future__ import annotations

import pytest

from agent.config.web import Web, WebTls, url

TLS = WebTls(certificate_file="/a", key_file="/b")


@pytest.mark.parametrize(
    ("web", "told"),
    [
        (Web(), "http://127.0.0.1:9187/"),
        (Web(listen=""), ""),
        (Web(listen="[::1]:80"), "http://[::1]:80/"),
        (Web(listen="0.0.0.0:443", tls=TLS), "https://localhost:443/"),
        (Web(listen="[::]:443", hosts=("t01.store.example",), tls=TLS), "https://t01.store.example:443/"),
    ],
)
def test_the_page_has_an_address_for_people(web: Web, told: str) -> None:
    assert url(web) == told
