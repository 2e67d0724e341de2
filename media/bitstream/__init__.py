"""What must be known of coded pictures: bits, units, messages, and what travels beside them."""
