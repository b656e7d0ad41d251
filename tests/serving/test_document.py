"""Schemathesis asks everything that the document allows, and more: no answer may be one that it does not know."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import TOKEN

from halfmask.serving.app import ENDPOINTS, create
from halfmask.serving.limits import Limits

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


APP = create(TOKEN, limits=Limits(workers=1))
HEADERS = {"X-Halfmask-Token": TOKEN, "Host": "127.0.0.1"}
SCHEMA = schemathesis.openapi.from_asgi("/api/v1/openapi.json", APP, headers=HEADERS)
#: All but the one that would fetch.
OPERATIONS = [one.ok() for one in SCHEMA.get_all_operations() if one.ok().label != "POST /api/v1/models"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.label)
def test_what_the_document_allows_is_answered_as_it_says(operation: schemathesis.schemas.APIOperation) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, headers=HEADERS, timeout=300)

    ask()


def test_everything_was_asked() -> None:
    left = {"POST /api/v1/models", "GET /api/v1/openapi.json"}  # one would fetch, the other is what is asked by
    assert {one.label for one in OPERATIONS} | left == {f"{one.verb} {one.path}" for one in ENDPOINTS}
