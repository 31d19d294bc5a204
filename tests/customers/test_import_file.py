"""A customer file that cannot be read says where, and imports nothing."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from nexpura.customers.models import ConsentEvent, ConsentWording, Customer
from nexpura.tenants.models import AuditEvent
from tests.customers.asking import HEADER, written

pytestmark = pytest.mark.django_db

GOOD = "J-1,Ann,Ames,ann@inbox.example,0491 570 156,yes,2026-03-14,intake,Keep me posted,vip"


def refused(tenant, path) -> str:
    """Import the file, which is refused with exit code 2, and return what was said."""
    with pytest.raises(CommandError) as error:
        call_command("import_customers", str(path), tenant=tenant.slug)
    assert error.value.returncode == 2
    assert not Customer.objects.exists()
    assert not ConsentEvent.objects.exists()
    assert not AuditEvent.objects.exists()
    return str(error.value)


def raw(tmp_path, content: bytes):
    path = tmp_path / "customers.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", "empty"),
        ("Vorname,Nachname,Mail", "line 1, column email: the column is missing"),
        ("first_name,e-mail", "line 1, column email: the column is missing"),
        ("external_id;first_name;email", "not separated by commas"),
        ("email\tfirst_name", "not separated by commas"),
        ("email,first_name,Email", "line 1, column email: there are two columns"),
        ("email,,first_name", "line 1, column 2: the column has no name"),
        ("ann@inbox.example,Ann,Ames", "line 1, column email: the column is missing"),
    ],
)
def test_a_wrong_header_is_told_by_column(tenant, tmp_path, header, words):
    assert words in refused(tenant, raw(tmp_path, header.encode()))


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ([GOOD, 'J-2,"Ben,Ames,ben@inbox.example,,,,,,'], "line 3, column first_name"),
        ([GOOD, 'J-2,"Ben"jamin,Ames,ben@inbox.example,,,,,,'], "line 3, column first_name"),
        ([GOOD, 'J-2,Ben,"Am""es" ,ben@inbox.example,,,,,,', GOOD], "line 3, column last_name"),
        ([GOOD, 'J-2,Ben,Ames,ben@inbox.example,,,,,"two\nlines"x,'], "line 3, column consent_wording"),
    ],
)
def test_broken_quoting_is_told_by_line_and_column(tenant, tmp_path, lines, where):
    said = refused(tenant, written(tmp_path, *lines))

    assert where in said
    assert "quotation marks" in said


def test_a_file_that_is_not_utf_8_says_where_and_how_to_save_it(tenant, tmp_path):
    path = raw(tmp_path, f"{HEADER}\n{GOOD}\nJ-2,Zoë,Ames,,,,,,,\n".encode("latin-1"))

    said = refused(tenant, path)

    assert "line 3, column first_name: byte 7 is not UTF-8" in said
    assert 'save it as "CSV UTF-8' in said


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_in_utf_16_is_refused(tenant, tmp_path, encoding):
    content = f"{HEADER}\n{GOOD}\n".encode(encoding)

    assert 'save it as "CSV UTF-8' in refused(tenant, raw(tmp_path, content))


def test_a_nul_byte_is_told_by_line_and_column(tenant, tmp_path):
    path = written(tmp_path, GOOD, "J-2,Ben,Am\0es,,,,,,,")

    assert "line 3, column last_name: character 11 is a NUL byte" in refused(tenant, path)


def test_a_quoted_field_over_two_lines_does_not_shift_the_line_numbers(tenant, tmp_path):
    path = written(tmp_path, 'J-1,Ann,Ames,,,,,,"two\nlines",', "J-2,Ben,Ames,,,perhaps,,,,")

    assert "line 4, column marketing_consent" in refused(tenant, path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("J-2,Ben,Ames,ben@inbox.example,,,,,,,", "line 3, column 11: the line has 11 fields and the header 10"),
        ("J-2,Ben,Ames", "line 3, column email: the line has 3 fields and the header 10"),
        ("J-2,Ben,,,,maybe,,,,", "line 3, column marketing_consent: write yes, no, or leave it empty"),
        ("J-2,Ben,,,,yes,14/03/2026,,,", "line 3, column consent_at: this is not a date; write 2026-03-14"),
        ("J-2,Ben,,,,yes,2026-02-30,,,", "line 3, column consent_at: this is not a date"),
        ("J-2,Ben,,,,yes,2026-03-14T25:00,,,", "line 3, column consent_at: this is not a date"),
        ("J-2,Ben,,,,yes,0026-03-14,,,", "line 3, column consent_at: the date lies before 1970"),
        ("J-2,Ben,,,,yes,9999-12-31,,,", "line 3, column consent_at: the date lies in the future"),
        ("J-2,Ben,,,,no,9999-12-31,,,", "line 3, column consent_at: the date lies in the future"),
        (f"J-2,{'B' * 201},,,,,,,,", "line 3, column first_name: the field is longer than 200"),
        (f"J-2,Ben,,{'b' * 310}@inbox.example,,,,,,", "line 3, column email: the field is longer than 320"),
        (f"J-2,Ben,,,,,,,,{'t' * 101}", "line 3, column tags: a tag is longer than 100"),
        (f"J-2,{'B' * 1_000_001},,,,,,,,", "line 3: the line is longer than a million bytes"),
    ],
)
def test_a_line_that_cannot_be_understood_keeps_the_good_ones_out_too(tenant, tmp_path, line, words):
    assert words in refused(tenant, written(tmp_path, GOOD, line))


def test_a_moment_in_the_future_is_refused(tenant, tmp_path):
    soon = (timezone.now() + timedelta(hours=1)).isoformat(timespec="minutes")

    assert "in the future" in refused(tenant, written(tmp_path, f"J-2,Ben,,,,yes,{soon},,,"))


def test_the_first_problems_are_told_together(tenant, tmp_path):
    said = refused(tenant, written(tmp_path, *["J-2,Ben,,,,maybe,,,,"] * 50))

    assert said.count("marketing_consent") == 20
    assert said.endswith("Nothing was imported.")


def test_no_message_repeats_what_stands_in_the_file(tenant, tmp_path):
    said = refused(tenant, written(tmp_path, "J-2,Ben,Ames,,,ben@inbox.example,ben@inbox.example,,,"))

    assert "inbox" not in said


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tenant, tmp_path, content):
    assert "empty" in refused(tenant, raw(tmp_path, content))


def test_old_line_ends_are_refused_with_the_mend(tenant, tmp_path):
    said = refused(tenant, raw(tmp_path, f"{HEADER}\r{GOOD}\r".encode()))

    assert "line 1" in said
    assert 'save it as "CSV UTF-8' in said


def test_a_file_that_is_not_there_is_told_plainly(tenant, tmp_path):
    assert "cannot be read" in refused(tenant, tmp_path / "nowhere.csv")


def test_a_tenant_that_is_not_there_is_told_plainly(tenant, tmp_path):
    tenant.slug = "nobody"

    assert "there is no tenant nobody" in refused(tenant, written(tmp_path, GOOD))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_either_line_end_are_fine(tenant, tmp_path, line_end):
    content = line_end.join([HEADER.upper(), GOOD, "", ""]).encode("utf-8-sig")

    printed = imported(tenant, raw(tmp_path, content))

    assert printed["created"] == 1
    ann = Customer.objects.get()
    assert (ann.external_id, ann.first_name, ann.tags) == ("J-1", "Ann", ["vip"])


def test_columns_we_do_not_know_are_reported_not_guessed(tenant, tmp_path):
    path = written(tmp_path, "ann@inbox.example,Ann,yes", header="email,Given name,newsletter")

    printed = imported(tenant, path)

    assert printed["extra_columns"] == ["given name", "newsletter"]
    ann = Customer.objects.get()
    assert (ann.first_name, ann.consent_state) == ("", "never")


def test_an_address_or_phone_that_cannot_be_used_is_kept_as_written_with_a_warning(tenant, tmp_path):
    path = written(tmp_path, GOOD, "J-2,Ben,Ames,ben@,5550 1234,,,,,")

    printed = imported(tenant, path)

    ben = Customer.objects.get(external_id="J-2")
    assert (ben.email, ben.phone) == ("ben@", "5550 1234")
    assert [(note["line"], note["column"]) for note in printed["warnings"]] == [(3, "email"), (3, "phone")]
    assert "nothing after the @" in printed["warnings"][0]["message"]


def test_a_dry_run_says_the_same_and_writes_nothing(tenant, tmp_path):
    path = written(tmp_path, GOOD, "J-2,Ben,Ames,ben@,,yes,,,,")

    dry = imported(tenant, path, dry_run=True)

    assert not Customer.objects.exists()
    assert not ConsentEvent.objects.exists()
    assert not ConsentWording.objects.exists()
    assert not AuditEvent.objects.exists()
    wet = imported(tenant, path)
    assert dry | {"dry_run": False} == wet


def test_an_import_leaves_one_line_of_counts_in_the_audit_trail(tenant, tmp_path):
    imported(tenant, written(tmp_path, GOOD, "J-2,Ben,Ames,,,,,,,"))

    line = AuditEvent.objects.get()
    assert (line.action, line.actor_kind) == ("customers.imported", "command")
    assert (line.after["created"], line.after["granted"]) == (2, 1)
    assert "inbox" not in json.dumps(line.after)


def test_without_json_an_import_says_in_words_what_it_did(tenant, tmp_path):
    out = io.StringIO()
    path = written(tmp_path, GOOD + ",x", "J-2,Ben,Ames,ben@,,no,,,,,", header=HEADER + ",loyalty")

    call_command("import_customers", str(path), tenant=tenant.slug, stdout=out)

    said = out.getvalue()
    assert "2 rows: 2 customers created, 0 changed, 0 unchanged; consent granted 1, withdrawn 0." in said
    assert "Columns that were not read: loyalty." in said
    assert "line 3, column email" in said
    assert "ben@" not in said


def imported(tenant, path, **options) -> dict:
    out = io.StringIO()
    call_command("import_customers", str(path), tenant=tenant.slug, json=True, stdout=out, **options)
    return json.loads(out.getvalue())
