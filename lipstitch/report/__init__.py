"""What was done: the report, the contact sheet, the comparison video, the check of a finished output."""
