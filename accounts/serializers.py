"""How members and tokens are written in the API."""

from __future__ import annotations

from rest_framework import serializers

from accounts.models import ApiToken, User


class ProblemSerializer(serializers.Serializer[dict[str, str]]):
    """What the API answers when it says no."""

    detail = serializers.CharField(help_text="A sentence that says what happened and what to do.")


class UsageSerializer(serializers.Serializer[object]):
    used_bytes = serializers.IntegerField()
    limit_bytes = serializers.IntegerField()
    free_bytes = serializers.IntegerField()


class MeSerializer(serializers.ModelSerializer[User]):
    is_moderator = serializers.BooleanField(source="is_staff")
    storage = UsageSerializer()

    class Meta:
        model = User
        fields = ["id", "user_name", "email", "is_moderator", "date_joined", "storage"]
        read_only_fields = fields


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields = ["id", "name", "hint", "created_at", "last_used_at"]
        read_only_fields = ["id", "hint", "created_at", "last_used_at"]
        extra_kwargs = {
            "hint": {"help_text": "The last four characters of the secret."},
            "last_used_at": {"help_text": "Exact to five minutes."},
        }


class NewTokenSerializer(TokenSerializer):
    secret = serializers.CharField(read_only=True, help_text="Shown this once: only its hash is kept.")

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "secret"]
