"""Datasets as training reads them: rows, draws, augmentation."""
