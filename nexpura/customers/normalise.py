"""E-mail addresses and phone numbers as people write them, and what is wrong with them if something is.

Pure functions of text. A cheap test decides nearly every address; the library is asked about the rest.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

import email_validator
import phonenumbers
from phonenumbers import PhoneMetadata

from nexpura.audience.address import TRIMMED

LONGEST_ADDRESS = 254
LONGEST_LOCAL_PART = 64

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+[A-Za-z]{{2,63}}")


def email_problem(address: str) -> str | None:
    """Name what keeps `address` from receiving mail, in a sentence for the shop; None when nothing does.

    No sentence repeats the address or a part of it.
    """
    plain = _PLAIN.fullmatch(address) if len(address) <= LONGEST_ADDRESS else None
    if plain and len(plain[1]) <= LONGEST_LOCAL_PART:
        return None
    return _shape_problem(address) or _domain_problem(address)


def _shape_problem(address: str) -> str | None:
    """Name what a person can see and mend."""
    local, _, domain = address.partition("@")
    cases = (
        (not address, "There is no address."),
        (len(address) > LONGEST_ADDRESS, f"The address has {len(address)} characters; 254 are the most."),
        (_has_emoji(address), "There is an emoji in the address; addresses are made of letters and digits."),
        (any(letter.isspace() for letter in address), "There is a blank inside the address."),
        ("@" not in address, "There is no @ in the address."),
        (address.count("@") > 1, "There is more than one @; an address has exactly one."),
        (not local, "There is nothing before the @."),
        (not domain, "There is nothing after the @; the part such as inbox.example is missing."),
        (address.endswith("."), "The address ends with a dot; take it off."),
        (".." in address, "There are two dots in a row."),
        (local.startswith(".") or local.endswith("."), "There is a dot at the wrong side of the @."),
        (not local.isascii(), "Before the @ only plain letters are possible, without accents."),
        (len(local) > LONGEST_LOCAL_PART, "The part before the @ is longer than 64 characters."),
        ("." not in domain, "There is no dot after the @; an ending such as .com or .com.au is missing."),
    )
    return next((words for wrong, words in cases if wrong), None)


def _domain_problem(address: str) -> str | None:
    try:
        email_validator.validate_email(address, check_deliverability=False, allow_smtputf8=False)
    except email_validator.EmailNotValidError:
        return "This cannot be an address as it is written; check its spelling with the customer."
    return None


def _has_emoji(text: str) -> bool:
    return not text.isascii() and any(unicodedata.category(letter) == "So" for letter in text)


def email_as_kept(text: str) -> str:
    """Return `text` as the book keeps it: trimmed, an international domain in its ASCII form (`xn--`).

    What cannot be an address is returned as it was written, but for the blanks around it.
    """
    address = text.strip(TRIMMED)
    if address.isascii() or email_problem(address):
        return address
    checked = email_validator.validate_email(address, check_deliverability=False, allow_smtputf8=False)
    return checked.ascii_email or address


def phone_as_kept(text: str, country: str) -> str | None:
    """Return a phone number in E.164 (`+61491570156`), read as one dials it in `country`; None if it is none."""
    return _plan_of(country).as_kept(text) or _as_the_library_reads(text, country)


def _as_the_library_reads(text: str, country: str) -> str | None:
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


_DIALLED = re.compile(r"(\+?)([1-9]|0[1-9]?)(?:[ -]?[0-9]){4,14}", re.ASCII)
_KINDS = (
    "mobile", "fixed_line", "toll_free", "premium_rate", "shared_cost", "voip", "personal_number", "pager", "uan",
    "voicemail",
)  # fmt: skip


class _Plan:
    """The numbering plan of one country: knows most of its numbers ten times as fast as the library does.

    Where anything may be read in two ways it says nothing, and the library is asked. The patterns are the library's.
    """

    def __init__(self, country: str) -> None:
        own: Any = PhoneMetadata.metadata_for_region(country, None)
        self.usable = own is not None and own.leading_digits is None
        if not self.usable:
            return
        self.code = str(own.country_code)
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE[own.country_code]
        together: list[Any] = [PhoneMetadata.metadata_for_region(region, None) for region in regions]
        elsewhere = [one.leading_digits for one in together if one.leading_digits]
        self._elsewhere = re.compile("|".join(f"(?:{digits})" for digits in elsewhere) or "(?!)")
        self._abroad = re.compile(own.international_prefix or "(?!)")
        self._trunk = re.compile(own.national_prefix_for_parsing or "(?!)")
        self._trunk_at_first = re.compile(together[0].national_prefix_for_parsing or "(?!)")
        self._rewrites = bool(own.national_prefix_transform_rule)
        self._lengths = frozenset(own.general_desc.possible_length)
        self._is_general = re.compile(own.general_desc.national_number_pattern or "(?!)").fullmatch
        descriptions = [getattr(own, kind) for kind in _KINDS]
        self._kinds = [
            (frozenset(one.possible_length), re.compile(pattern).fullmatch)
            for one in descriptions
            if one and (pattern := one.national_number_pattern)
        ]

    def as_kept(self, text: str) -> str:
        """Return the number in E.164; blank if this is for the library to tell."""
        if not self.usable or not _DIALLED.fullmatch(text):
            return ""
        digits = text.replace(" ", "").replace("-", "")
        if digits[0] == "+":
            national = digits[len(self.code) + 1 :]
            if digits[1 : len(self.code) + 1] != self.code or self._trunk_at_first.match(national):
                return ""
        else:
            if self._abroad.match(digits) or digits.startswith(self.code):
                return ""
            trunk = self._trunk.match(digits)
            if trunk and (self._rewrites or self._is_general(digits)):
                return ""
            national = digits[trunk.end() :] if trunk else digits
        return f"+{self.code}{national}" if self._is_valid(national) else ""

    def _is_valid(self, national: str) -> bool:
        if national[:1] in ("", "0") or self._elsewhere.match(national) or not self._is_general(national):
            return False
        length = len(national)
        if self._lengths and length not in self._lengths:
            return False
        return any((not lengths or length in lengths) and fits(national) for lengths, fits in self._kinds)


@lru_cache(maxsize=300)
def _plan_of(country: str) -> _Plan:
    return _Plan(country)


def phone_problem(country: str) -> str:
    """Say what a phone number should look like, with an example of the tenant's country."""
    example = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    if example is None:
        return "This is not a phone number; write it with its country, such as +61 491 570 156."
    national = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.NATIONAL)
    return f"This is not a phone number; write one such as {national}, from abroad with + and its country."


def phone_prefix(text: str, country: str) -> str:
    """Return the beginning of an E.164 number that somebody who types `text` is looking for; blank if none."""
    digits = re.sub(r"\D", "", text)
    if text.strip().startswith("+"):
        return f"+{digits}" if digits else ""
    trunk = phonenumbers.ndd_prefix_for_region(country, True) or ""
    national = digits.removeprefix(trunk)
    code = phonenumbers.country_code_for_region(country)
    return f"+{code}{national}" if code and national else ""
