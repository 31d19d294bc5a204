"""What holds for every page: a strict policy, nothing inline, labels, one heading."""

from __future__ import annotations

import re

import pytest

from nexpura.sync import erasures
from nexpura.tenants.audit import Actor
from tests.web.conftest import Visitor, written_down

pytestmark = pytest.mark.django_db

PAGES = [
    "/sign-in",
    "/customers",
    "/customers/new",
    "/customers/{pk}",
    "/customers/shared",
    "/customers/{pk}/shared",
    "/customers/{pk}/merge/{twin}",
    "/customers/{pk}/erase",
    "/intake",
    "/pos",
    "/integrations",
    "/settings",
    "/settings/wording",
    "/settings/users",
    "/settings/erasures",
    "/erasures/1",
    "/settings/audit",
    "/settings/two-factor/",
    "/settings/password",
    "/nowhere",
]


@pytest.fixture(params=PAGES)
def page(request, tenant, zoe, as_alice) -> str:
    erasures.erase(tenant, Actor.command(), written_down(tenant, first_name="Ada").pk, "keep")
    twin = written_down(zoe.tenant, first_name="Zoe", email=zoe.email)
    visitor = Visitor() if request.param == "/sign-in" else as_alice
    response = visitor.get(request.param.format(pk=zoe.pk, twin=twin.pk))
    assert response.status_code == (404 if request.param == "/nowhere" else 200)
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "unsafe" not in response["Content-Security-Policy"]
    return response.content.decode()


def test_nothing_is_inline(page):
    assert not re.search(r"<[^>]+\sstyle\s*=", page)
    assert not re.search(r"<[^>]+\son[a-z]+\s*=", page)
    assert "<style" not in page
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))


def test_every_field_has_a_label(page):
    fields = re.findall(r"<(?:input|select|textarea)\b[^>]*>", page)
    visible = [field for field in fields if 'type="hidden"' not in field]
    labels = set(re.findall(r'<label[^>]* for="([^"]+)"', page))

    assert {re.search(r'id="([^"]+)"', field)[1] for field in visible} <= labels


def test_there_is_one_main_heading_and_a_way_past_the_menu(page):
    assert len(re.findall(r"<h1[ >]", page)) == 1
    assert 'class="skip" href="#main"' in page


def test_no_id_is_there_twice(page):
    ids = re.findall(r'\sid="([^"]+)"', page)

    assert len(ids) == len(set(ids))


def test_every_description_a_field_points_at_is_there(page):
    ids = set(re.findall(r'\sid="([^"]+)"', page))
    pointed_at = " ".join(re.findall(r'aria-(?:describedby|labelledby)="([^"]+)"', page)).split()

    assert set(pointed_at) <= ids
