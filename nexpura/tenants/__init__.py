"""Tenants, the people who sign in for them, what each may do, and who did what."""
