"""Who is who: embeddings, identities, and the choice among them."""
