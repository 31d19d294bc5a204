"""Keep two indexes of results instead of four: every change pays for each of them, several times over."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sync", "0007_statistics")]

    operations = [
        migrations.RemoveIndex(model_name="memberresult", name="result_by_bucket"),
        migrations.RemoveIndex(model_name="memberresult", name="result_by_state"),
        migrations.AddIndex(
            model_name="memberresult",
            index=models.Index(
                fields=["tenant", "run", "state", "id"],
                condition=models.Q(state__in=["planned", "sending"]),
                name="open_result_by_state",
            ),
        ),
        migrations.RemoveConstraint(model_name="memberresult", name="one_result_per_kind"),
        migrations.AddConstraint(
            model_name="memberresult",
            constraint=models.UniqueConstraint(fields=["run", "tenant", "address", "kind"], name="one_result_per_kind"),
        ),
        migrations.AlterField(
            model_name="memberresult",
            name="run",
            field=models.ForeignKey(
                db_index=False,
                on_delete=models.deletion.CASCADE,
                related_name="results",
                to="sync.syncrun",
            ),
        ),
    ]
