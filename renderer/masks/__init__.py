"""Which pixels of a face may be replaced: networks that know the parts of a face, or what is held before it."""
