"""What people type into the pages. A customer's rules live in `customers.intake`; forms carry them to the fields."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest, QueryDict

from nexpura.audience.desired import SOURCES
from nexpura.audience.fold import fold
from nexpura.customers import intake
from nexpura.customers.intake import Cleaned
from nexpura.customers.models import ConsentSource, Customer
from nexpura.customers.visits import LONGEST_DESCRIPTION
from nexpura.sync.choices import Choices, Field
from nexpura.sync.models import Erasure
from nexpura.tenants.models import Tenant, TenantUser
from nexpura.tenants.roles import Role

LONGEST_PASTE = 20_000
WRITTEN_DOWN = ("first_name", "last_name", "email", "phone", "tags", "external_id", "note")


def posted(request: HttpRequest) -> QueryDict | None:
    """Return what was sent with a POST, were it nothing at all; None for a page that is only looked at."""
    return request.POST if request.method == "POST" else None


def _line(label: str, *, help_text: str = "", required: bool = False, **attributes: str) -> forms.CharField:
    widget = forms.TextInput(attrs={"autocomplete": "off", **attributes})
    return forms.CharField(label=label, required=required, help_text=help_text, max_length=2_000, widget=widget)


class CustomerForm(forms.Form):
    """A customer's details; `cleaned` holds them as the book keeps them."""

    first_name = _line("First name")
    last_name = _line("Last name")
    email = _line("E-mail", inputmode="email", spellcheck="false")
    phone = _line("Phone", inputmode="tel")
    tags = _line("Tags", help_text="Separated by commas, such as VIP, repairs.")
    external_id = _line("Customer number", help_text="From your till or shop system, if it has one.")
    note = forms.CharField(label="Note", required=False, max_length=20_000, widget=forms.Textarea(attrs={"rows": 3}))
    again = forms.BooleanField(label="They are here, and want to be in the book again", required=False)
    """Asked only about somebody who was erased (B11)."""

    def __init__(self, tenant: Tenant, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tenant = tenant
        self.cleaned: Cleaned | None = None

    @classmethod
    def of(cls, customer: Customer, posted: QueryDict | None) -> CustomerForm:
        """Return the form filled with what the book holds, or with what was sent."""
        initial = customer.snapshot() | {"tags": ", ".join(customer.tags)}
        return cls(customer.tenant, posted, initial=initial)

    def clean(self) -> dict[str, Any]:
        written = {name: self.cleaned_data.get(name, "") for name in WRITTEN_DOWN if name in self.fields}
        if not self.errors and self.wants_customer(written):
            try:
                self.cleaned = intake.validate(self.tenant, **written)
            except ValidationError as problems:
                self.refuse(problems)
        return self.cleaned_data

    @property
    def wants_again(self) -> bool:
        """Whether somebody who was erased is here and wants to be in the book again, as the ticked box says."""
        return bool(self.cleaned_data.get("again"))

    @property
    def asks_again(self) -> bool:
        """Whether that has to be asked, or was."""
        return "again" in self.errors or bool(self.is_bound and self.data.get("again"))

    def wants_customer(self, written: dict[str, str]) -> bool:
        """Tell whether what was written down is to become a customer."""
        return True

    def refuse(self, problems: ValidationError) -> None:
        """Show each message at its field, or above the form if it has none here."""
        for field, messages in problems.message_dict.items():
            self.add_error(field if field in self.fields else None, messages)


class VisitForm(CustomerForm):
    """What happened at the counter, and to whom: a customer of the book, or one written down now."""

    ERASED = (
        "The customer chosen here was erased on request meanwhile, so nothing was written down. What was typed is "
        "still here: write down who it is, if they want to be in the book again, and send it once more."
    )

    description = forms.CharField(label="Description", max_length=LONGEST_DESCRIPTION)
    consent = forms.BooleanField(label="Marketing consent", required=False)

    def __init__(
        self, tenant: Tenant, *args: Any, customer: Customer | None = None, is_erased: bool = False, **options: Any
    ) -> None:
        super().__init__(tenant, *args, **options)
        self.customer = customer
        self.is_erased = is_erased
        """Whether it was about a customer who is not in the book any more."""
        for name in ("tags", "external_id", "note"):
            del self.fields[name]
        if customer:
            for name in ("first_name", "last_name", "email", "phone", "again"):
                del self.fields[name]

    def wants_customer(self, written: dict[str, str]) -> bool:
        return self.customer is None and not self.is_erased

    def clean(self) -> dict[str, Any]:
        if self.is_erased:
            self.add_error(None, self.ERASED)
        return super().clean()

    @property
    def has_consent(self) -> bool:
        """Whether the box was ticked; an unticked box is no event (B1)."""
        return bool(self.cleaned_data["consent"])


class IntakeForm(VisitForm):
    """A piece left with the shop, by a customer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["description"].label = "What did they bring in?"


class SaleForm(VisitForm):
    """A walk-in sale; the customer may stay nameless."""

    amount = forms.DecimalField(
        label="Amount",
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=2,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        error_messages={"invalid": "Write an amount such as 129.00."},
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["description"].label = "What was sold?"

    def wants_customer(self, written: dict[str, str]) -> bool:
        return self.customer is None and any(value.strip() for value in written.values())

    def clean(self) -> dict[str, Any]:
        cleaned_data = super().clean()
        if not self.errors and cleaned_data.get("consent") and not (self.customer or self.cleaned):
            self.add_error("consent", "Choose a customer or write one down: consent belongs to somebody.")
        return cleaned_data


class ConsentForm(forms.Form):
    """The switch on the customer's page, and where the customer said so."""

    HERE = (ConsentSource.PROFILE, ConsentSource.INTAKE, ConsentSource.POS)

    granted = forms.BooleanField(label="Marketing consent", required=False)
    source = forms.ChoiceField(
        label="Where did they say so?", choices=[(source.value, source.label) for source in HERE], required=False
    )

    def clean_source(self) -> str:
        return self.cleaned_data["source"] or ConsentSource.PROFILE.value


class EraseForm(forms.Form):
    """What is to become of the member, and the name once more: an erasure cannot be taken back."""

    member = forms.ChoiceField(
        choices=Erasure.Choice.choices, initial=Erasure.Choice.UNSUBSCRIBE, widget=forms.RadioSelect
    )
    confirmation = _line("To confirm, type the customer’s name or record number", required=True)

    def __init__(self, customer: Customer, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.customer = customer

    def clean_confirmation(self) -> str:
        typed = fold(intake.words(self.cleaned_data["confirmation"])).removeprefix("#")
        if typed not in {fold(self.customer.name), str(self.customer.pk), fold(self.customer.external_id or "")} - {""}:
            raise ValidationError(f"This is neither {self.customer.name} nor {self.customer.pk}.")
        return typed


class ConnectForm(forms.Form):
    """Key and audience. What is wrong with either is told by `sync.connect`, in its own words."""

    api_key = forms.CharField(
        label="API key",
        max_length=LONGEST_PASTE,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Looks like a1b2c3d4e5f6g7h8i9j0-us14. In Mailchimp: Account & billing → Extras → API keys.",
    )
    audience_id = forms.CharField(
        label="Audience / List ID",
        max_length=LONGEST_PASTE,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Looks like abc123def4. In Mailchimp: Audience → Settings → Audience name and defaults.",
    )
    auto_sync = forms.BooleanField(
        label="Auto-sync daily", required=False, help_text="A scheduled sync each night, alongside the button."
    )


class KeyForm(forms.Form):
    """Another key for the same audience."""

    api_key = forms.CharField(
        label="New API key",
        max_length=LONGEST_PASTE,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="For the same Mailchimp account and audience.",
    )


class ChoicesForm(forms.Form):
    """What goes to the audience. `chosen` holds it once the form is valid."""

    ask_to_confirm = forms.BooleanField(
        label="Let Mailchimp ask people who left to confirm",
        required=False,
        help_text="When somebody who unsubscribed in Mailchimp says yes to you again, Mailchimp sends them its "
        "confirmation mail, once for each yes. Off: they stay unsubscribed.",
    )

    def __init__(self, choices: Choices, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.choices = choices
        self.fields["ask_to_confirm"].initial = choices.ask_to_confirm
        if choices.permissions:
            self.fields["permissions"] = forms.MultipleChoiceField(
                label="What your consent means here",
                required=False,
                choices=[(one.id, one.text) for one in choices.permissions],
                initial=[one.id for one in choices.permissions if one.meant],
                widget=forms.CheckboxSelectMultiple,
            )
        for number, field in enumerate(choices.fields):
            self.fields[f"field_{number}"] = forms.ChoiceField(
                label=field.tag,
                required=False,
                choices=[("", "nothing from the book"), *SOURCES.items()],
                initial=field.source if field.fillable else "",
                disabled=not field.fillable,
            )

    @property
    def field_rows(self) -> list[tuple[Field, forms.BoundField]]:
        """Each field of the audience with the choice of what fills it."""
        return [(field, self[f"field_{number}"]) for number, field in enumerate(self.choices.fields)]

    @property
    def chosen(self) -> dict[str, Any]:
        sources = {field.tag: self.cleaned_data[f"field_{n}"] for n, field in enumerate(self.choices.fields)}
        return {
            "mapping": {tag: source for tag, source in sources.items() if source},
            "permissions": self.cleaned_data.get("permissions", []),
            "ask_to_confirm": self.cleaned_data["ask_to_confirm"],
        }


class WordingForm(forms.Form):
    """The words beside the tick box."""

    text = forms.CharField(
        label="Words shown beside the tick box", max_length=2_000, widget=forms.Textarea(attrs={"rows": 4})
    )


class UserForm(forms.Form):
    """A new person who signs in."""

    email = forms.EmailField(label="E-mail", widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    name = forms.CharField(label="Name", required=False, max_length=120)
    role = forms.ChoiceField(label="Role", choices=[(role.value, role.value.title()) for role in reversed(Role)])
    password = forms.CharField(
        label="First password",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters. They can change it under Settings.",
    )

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"]).strip().lower()
        if TenantUser.objects.filter(email=email).exists():
            raise ValidationError("Somebody signs in with this address already.")
        return email

    def clean_password(self) -> str:
        password = str(self.cleaned_data["password"])
        validate_password(password)
        return password
