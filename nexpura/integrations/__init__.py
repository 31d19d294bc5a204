"""A tenant's connections to outside services, and the vault that seals their secrets."""
