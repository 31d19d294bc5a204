"""Whole readings that are asked for, and what they find otherwise than it was known."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sync", "0009_one_check_a_row")]

    operations = [
        migrations.AddField("knownaudience", "baseline_at", models.DateTimeField(null=True)),
        migrations.AddField("knownaudience", "drift", models.JSONField(null=True)),
        migrations.AddField("syncrun", "full", models.BooleanField(default=False, db_default=False)),
        migrations.AddField("syncrun", "drift", models.JSONField(null=True)),
    ]
