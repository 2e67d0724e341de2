"""The recipe of the face mesh that ships: labelled faces, augmentation, training, figures."""
