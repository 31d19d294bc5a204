"""Messages of Mailchimp: the webhooks they come to, which were heard, and the addresses to look at."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

SAME_TENANT = """
ALTER TABLE sync_webhook ADD CONSTRAINT webhook_audience_same_tenant FOREIGN KEY (tenant_id, audience_id)
    REFERENCES sync_knownaudience (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE sync_messagecount ADD CONSTRAINT count_webhook_same_tenant FOREIGN KEY (tenant_id, webhook_id)
    REFERENCES sync_webhook (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE sync_heardmessage ADD CONSTRAINT message_webhook_same_tenant FOREIGN KEY (tenant_id, webhook_id)
    REFERENCES sync_webhook (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE sync_addresstolookat ADD CONSTRAINT look_audience_same_tenant FOREIGN KEY (tenant_id, audience_id)
    REFERENCES sync_knownaudience (tenant_id, id) ON DELETE CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0005_merged_records_and_renames"),
        ("tenants", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Webhook",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("asking", "Being set up"),
                            ("listening", "Listening"),
                            ("failed", "Not set up"),
                            ("ended", "Ended"),
                        ],
                        default="asking",
                        max_length=10,
                    ),
                ),
                ("public_url", models.TextField()),
                ("secret_hash", models.CharField(max_length=64)),
                ("signing_secret", models.BinaryField(null=True)),
                ("remote_id", models.CharField(blank=True, max_length=40)),
                ("error", models.JSONField(null=True)),
                ("tries", models.PositiveIntegerField(default=0)),
                ("retry_at", models.DateTimeField(null=True)),
                ("asked_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("listening_since", models.DateTimeField(null=True)),
                ("checked_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "audience",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="webhooks", to="sync.knownaudience"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="webhooks",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="MessageCount",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("outcome", models.CharField(max_length=10)),
                ("count", models.BigIntegerField()),
                ("last_at", models.DateTimeField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "webhook",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="counts",
                        to="sync.webhook",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="HeardMessage",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("identity", models.CharField(max_length=64)),
                ("heard_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "webhook",
                    models.ForeignKey(
                        db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="sync.webhook"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="AddressToLookAt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("address", models.TextField(db_collation="C")),
                ("asks", models.PositiveIntegerField(default=1)),
                ("tries", models.PositiveIntegerField(default=0)),
                ("asked_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("due_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "audience",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="sync.knownaudience",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["due_at"], name="look_due")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "audience", "address"), name="look_at_address_once")
                ],
            },
        ),
        migrations.AddIndex(
            model_name="webhook",
            index=models.Index(fields=["secret_hash"], name="webhook_by_secret"),
        ),
        migrations.AddIndex(
            model_name="webhook",
            index=models.Index(
                condition=models.Q(("state__in", ["asking", "failed"])), fields=["retry_at"], name="webhook_retry"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="webhook_of_tenant"),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "listening")), fields=("tenant",), name="one_webhook_listening"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ["asking", "failed"])), fields=("tenant",), name="one_webhook_wanted"
            ),
        ),
        migrations.AddConstraint(
            model_name="webhook",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["asking", "listening", "failed", "ended"])),
                name="webhook_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="messagecount",
            constraint=models.UniqueConstraint(fields=("tenant", "webhook", "outcome"), name="message_count_once"),
        ),
        migrations.AddIndex(
            model_name="heardmessage",
            index=models.Index(fields=["heard_at"], name="message_age"),
        ),
        migrations.AddConstraint(
            model_name="heardmessage",
            constraint=models.UniqueConstraint(fields=("tenant", "webhook", "identity"), name="message_heard_once"),
        ),
        migrations.RunSQL(SAME_TENANT, migrations.RunSQL.noop),
    ]
