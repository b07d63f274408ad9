"""Saved images: what was made in the editor and kept, with its recipe."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.requests import MemberRequest
from gallery import services
from gallery.filters import SavedImageFilter
from gallery.forms import RenameForm
from gallery.fragments import fragment, toast, trigger, wants_fragment
from gallery.models import SavedImage, SavedImageQuerySet
from gallery.paging import page_of
from gallery.serving import serve


def _mine(request: MemberRequest) -> SavedImageQuerySet:
    found: SavedImageQuerySet = SavedImage.objects.visible_to(request.user).select_related("parent_image")
    return found


@require_safe
@never_cache
def index(request: MemberRequest) -> HttpResponse:
    mine = _mine(request)
    chosen = SavedImageFilter(request.GET, queryset=mine)
    page = page_of(chosen.qs if chosen.is_valid() else mine.none(), request.GET.get("before", ""))
    kept = {name: request.GET[name] for name in ("generator", "parent") if request.GET.get(name)}
    older_url = f"?{urlencode({**kept, 'before': page.older})}" if page.older else ""
    context: dict[str, Any] = {"page": page, "older_url": older_url, "filtered": bool(kept)}
    if not wants_fragment(request):
        context |= {"deleted": _just_deleted(request)}
    return fragment(request, "gallery/saved.html", "gallery/_saved_grid.html", context)


def _just_deleted(request: MemberRequest) -> SavedImage | None:
    try:
        pk = UUID(request.GET.get("deleted", ""))
    except ValueError:
        return None
    saved: SavedImage | None = SavedImage.objects.restorable_by(request.user).filter(pk=pk).first()
    return saved


@require_safe
@never_cache
def detail(request: MemberRequest, pk: UUID) -> HttpResponse:
    saved = get_object_or_404(_mine(request), pk=pk)
    context = {
        "saved": saved,
        "comparison": _comparison(saved, request.GET.get("compare", "")),
    }
    return fragment(request, "gallery/saved_detail.html", "gallery/_saved_detail.html", context)


def _comparison(saved: SavedImage, wanted: str) -> str:
    """What to lay over the saved picture: `enlarged`, `parent`, or nothing. A strip is scrolled instead."""
    if saved.is_strip:
        return ""
    possible = [
        name
        for name, there in (("enlarged", saved.is_upscaled), ("parent", saved.shows_what_parent_shows))
        if there
    ]
    if wanted in possible:
        return wanted
    return possible[0] if possible else ""


@require_safe
@never_cache
def card(request: MemberRequest, pk: UUID) -> HttpResponse:
    return render(request, "gallery/_saved_card.html", {"saved": get_object_or_404(_mine(request), pk=pk)})


@require_http_methods(["GET", "HEAD", "POST"])
def rename(request: MemberRequest, pk: UUID) -> HttpResponse:
    saved = get_object_or_404(_mine(request), pk=pk)
    form = RenameForm(request.POST or None, initial={"name": saved.name})
    if request.method == "POST" and form.is_valid():
        services.rename(saved, form.cleaned_data["name"])
        if not wants_fragment(request):
            return redirect("gallery:saved_detail", saved.pk)
        response = toast(render(request, "gallery/_saved_card.html", {"saved": saved}), "Renamed.")
        return trigger(response, "picture-renamed", {"id": str(saved.pk), "name": saved.name})
    context = {
        "form": form,
        "action": reverse("gallery:saved_rename", args=[saved.pk]),
        "target": f"#saved-{saved.pk}",
        "back": reverse("gallery:saved_detail", args=[saved.pk]),
    }
    status = 422 if request.method == "POST" else 200
    return fragment(request, "gallery/rename.html", "gallery/_rename.html", context, status=status)


@require_POST
def delete(request: MemberRequest, pk: UUID) -> HttpResponse:
    saved = get_object_or_404(_mine(request), pk=pk)
    services.soft_delete(SavedImage.objects.filter(pk=saved.pk))
    if wants_fragment(request):
        undo = reverse("gallery:saved_restore", args=[saved.pk])
        return toast(HttpResponse(), f"“{saved.name}” was deleted.", "info", undo)
    return redirect(f"{reverse('gallery:saved')}?deleted={saved.pk}")


@require_POST
def restore(request: MemberRequest, pk: UUID) -> HttpResponse:
    saved = get_object_or_404(SavedImage.objects.restorable_by(request.user), pk=pk)
    services.restore(request.user, SavedImage.objects.filter(pk=saved.pk))
    if wants_fragment(request):
        back = {"id": str(saved.pk), "card": reverse("gallery:saved_card", args=[saved.pk])}
        return trigger(toast(HttpResponse(), f"“{saved.name}” is back."), "picture-restored", back)
    return redirect("gallery:saved")


@require_safe
def file(request: MemberRequest, pk: UUID, kind: str) -> HttpResponseBase:
    return serve(request, get_object_or_404(SavedImage.objects.visible_to(request.user), pk=pk), kind)
