"""What the system does: bring an audience to what the book and its consent say it should be."""
