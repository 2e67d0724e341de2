"""What an output says of its own making: that its picture is partly synthetic, and when."""
