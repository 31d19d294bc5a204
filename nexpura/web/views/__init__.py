"""One file per page family; a page is one function and one template."""
