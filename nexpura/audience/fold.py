"""Names as one looks them up: ASCII lower case, Latin accents taken off.

The same tables stand in SQL as `nexpura_fold(text)` (made by a migration from here), so that what is searched
for and what is searched agree, whatever the locale of the database.
"""

from __future__ import annotations

ACCENTED = (
    "ÀÁÂÃÄÅÇÈÉÊËÌÍÎÏÑÒÓÔÕÖÙÚÛÜÝàáâãäåçèéêëìíîïñòóôõöùúûüýÿĀāĂăĄąĆćĈĉĊċČčĎďĒēĔĕĖėĘęĚěĜĝĞğĠ"
    "ġĢģĤĥĨĩĪīĬĭĮįİĴĵĶķĹĺĻļĽľŃńŅņŇňŌōŎŏŐőŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŲųŴŵŶŷŸŹźŻżŽžØøĐđŁłı"
    "ÐðÆæŒœßÞþ"
)
PLAIN = (
    "aaaaaaceeeeiiiinooooouuuuyaaaaaaceeeeiiiinooooouuuuyyaaaaaaccccccccddeeeeeeeeeeggggg"
    "ggghhiiiiiiiiijjkkllllllnnnnnnoooooorrrrrrssssssssttttuuuuuuuuuuuuwwyyyzzzzzzooddlli"
    "ddaaoostt"
)
_TABLE = str.maketrans(ACCENTED, PLAIN)


def fold(text: str) -> str:
    """Return the key under which `text` is found: `fold("Zoë") == "zoe"`."""
    return text.strip(" ").encode().lower().decode().translate(_TABLE)
