"""Still pictures, and the videos that are made of them."""
