"""What each output shows and hears, as values."""
