"""Pure rules: facts and known members in, verdicts and changes out. No database, no network, no clock."""
