"""The API, a file a kind of thing; each says in one list what it answers, which the OpenAPI document is made of."""
