"""Train the network that draws mouths: prepare footage, train, adapt to a speaker, measure."""
