"""nexpura: keeps a Mailchimp audience in agreement with a shop's customer book."""
