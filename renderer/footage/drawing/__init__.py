"""How a mouth of one frame is drawn into another."""
