"""The customer book and the consent ledger."""
