"""A small Mailchimp over HTTP, for trying and testing what talks to Mailchimp."""
