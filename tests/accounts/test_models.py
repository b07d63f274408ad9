"""Facts about a member's row."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction

from accounts.models import User
from tests.conftest import ClientOf


def test_the_cast_is_there(alice: User, ben: User, mo: User, client_of: ClientOf) -> None:
    assert [str(user) for user in User.objects.all()] == ["alice", "ben", "mo"]
    assert client_of(alice).session["_auth_user_id"] == str(alice.pk)
    assert (mo.is_staff, ben.is_staff) == (True, False)


@pytest.mark.parametrize(("name", "email"), [("ALICE", "new@example.com"), ("new", "Alice@Example.com")])
def test_two_members_cannot_differ_in_case_only(alice: User, name: str, email: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user(name, email)


@pytest.mark.parametrize("name", ["alice", "ALICE", "alice@example.com", "Alice@EXAMPLE.com"])
def test_a_member_is_found_by_name_or_address_in_any_case(alice: User, name: str) -> None:
    assert User.objects.by_name_or_email(name) == alice
