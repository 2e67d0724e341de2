"""People: embeddings, identities, and the choice of whose mouth is rendered."""
