"""Check once for each row that it belongs to its tenant, not three times."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sync", "0008_open_results"),
        ("tenants", "0002_erasure"),
    ]

    operations = [
        migrations.AlterField(
            model_name="knownmember",
            name="audience",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="members",
                to="sync.knownaudience",
            ),
        ),
        migrations.AlterField(
            model_name="knownmember",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AlterField(
            model_name="memberresult",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="results",
                to="sync.syncrun",
            ),
        ),
        migrations.AlterField(
            model_name="memberresult",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="member_results",
                to="tenants.tenant",
            ),
        ),
    ]
