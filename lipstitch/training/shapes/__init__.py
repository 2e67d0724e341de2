"""The recipe of the network that hears lip shapes in sound: people's sound and mouths, training, figures."""
