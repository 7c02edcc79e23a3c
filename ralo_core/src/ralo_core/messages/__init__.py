"""The JSON of the wire: each request body and each reply is one attrs class, a module per subject.

The server structures requests into these classes and answers with them; clients do it the other way
round. So a field has one definition and one check. `docs/openapi.yaml` describes the same fields,
and `tests/test_message_schemas.py` compares them.

A field with a default may be left out; one without is always sent. Requests refuse unknown fields
(`structuring.structure`), replies ignore them (`structuring.structure_reply`): a newer server may
say more. Bounds are checked on requests only, a reply is taken as it is. Metrics have free names
and stay mappings.
"""
