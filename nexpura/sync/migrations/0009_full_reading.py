"""Whole readings that are asked for, and what they find otherwise than it was known."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sync", "0008_open_results")]

    operations = [
        migrations.AddField("knownaudience", "baseline_at", models.DateTimeField(null=True)),
        migrations.AddField("knownaudience", "drift", models.JSONField(null=True)),
        migrations.AddField("syncrun", "full", models.BooleanField(default=False, db_default=False)),
        migrations.AddField("syncrun", "drift", models.JSONField(null=True)),
    ]
