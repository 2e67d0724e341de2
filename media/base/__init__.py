"""What everything else may use: the error tree, files that are whole or absent, settings files, text."""
