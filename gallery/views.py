"""The gallery: a member's pictures, how they get in, and their files."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.requests import MemberRequest
from gallery import services
from gallery.filters import filtered_images, generators_of
from gallery.forms import RenameForm
from gallery.fragments import fragment, toast, trigger, wants_fragment
from gallery.models import Image
from gallery.paging import PAGE_SIZE, page_of
from gallery.serving import serve
from gallery.uploading import Outcome, accept_files

CARDS_AT_ONCE = PAGE_SIZE


@require_safe
@never_cache
def index(request: MemberRequest) -> HttpResponse:
    return _gallery(request)


def _gallery(
    request: MemberRequest, refusals: list[Outcome] | None = None, status: int = 200
) -> HttpResponse:
    """The page; for htmx a part of the grid. `refusals`: what to say about files that were not taken."""
    mine = Image.objects.visible_to(request.user)
    chosen = {name: request.GET[name] for name in ("generator", "source") if request.GET.get(name)}
    page = page_of(filtered_images(chosen, mine), request.GET.get("before", ""))
    query = QueryDict(mutable=True)
    query.update({**chosen, "before": page.older})
    context = {"page": page, "chosen": chosen, "older_url": f"?{query.urlencode()}" if page.older else ""}
    if not wants_fragment(request):
        context |= {
            "generators": generators_of(mine),
            "refusals": refusals or [],
            "max_mebibytes": settings.UPLOAD_MAX_BYTES // 1_048_576,
            "max_megapixels": settings.UPLOAD_MAX_PIXELS // 1_000_000,
            "max_bytes": settings.UPLOAD_MAX_BYTES,
            "deleted": _just_deleted(request),
        }
    return fragment(request, "gallery/index.html", "gallery/_grid.html", context, status=status)


def _just_deleted(request: MemberRequest) -> Image | None:
    """Without scripts the way back from a deletion is a button on the next page."""
    try:
        pk = UUID(request.GET.get("deleted", ""))
    except ValueError:
        return None
    image: Image | None = Image.objects.restorable_by(request.user).filter(pk=pk).first()
    return image


@require_POST
def upload(request: MemberRequest) -> HttpResponse:
    outcomes = accept_files(request, request.user)
    taken = [outcome.image for outcome in outcomes if outcome.image]
    refusals = [outcome for outcome in outcomes if outcome.refusal]
    status = 200 if taken else max(outcome.status for outcome in refusals)
    if wants_fragment(request):
        context = {"images": taken, "refusals": refusals}
        response = render(request, "gallery/_uploaded.html", context, status=status)
        if taken:
            toast(response, _uploaded(taken))
        return response
    if not taken:
        return _gallery(request, refusals, status)
    messages.success(request, _uploaded(taken))
    for outcome in refusals:
        messages.error(request, f"{outcome.name}: {outcome.refusal}")
    return redirect("gallery:index")


def _uploaded(images: list[Image]) -> str:
    return (
        f"“{images[0].name}” is in your gallery."
        if len(images) == 1
        else f"{len(images)} pictures are in your gallery."
    )


@require_safe
def detail(request: MemberRequest, pk: UUID) -> HttpResponse:
    image = get_object_or_404(Image.objects.visible_to(request.user), pk=pk)
    return redirect("transforms:edit", image.pk)


@require_safe
@never_cache
def card(request: MemberRequest, pk: UUID) -> HttpResponse:
    image = get_object_or_404(Image.objects.visible_to(request.user), pk=pk)
    return render(request, "gallery/_card.html", {"image": image})


@require_safe
@never_cache
def cards(request: MemberRequest) -> HttpResponse:
    """Several cards at once (`?id=` each): a page refreshes in one request what one message made old."""
    try:
        wanted = [UUID(text) for text in request.GET.getlist("id")[:CARDS_AT_ONCE]]
    except ValueError:
        return HttpResponse("An id is not valid.", status=400, content_type="text/plain")
    images = Image.objects.visible_to(request.user).filter(pk__in=wanted)
    return render(request, "gallery/_cards.html", {"images": images})


@require_http_methods(["GET", "HEAD", "POST"])
def rename(request: MemberRequest, pk: UUID) -> HttpResponse:
    image = get_object_or_404(Image.objects.visible_to(request.user), pk=pk)
    form = RenameForm(request.POST or None, initial={"name": image.name})
    if request.method == "POST" and form.is_valid():
        services.rename(image, form.cleaned_data["name"])
        if wants_fragment(request):
            return toast(render(request, "gallery/_card.html", {"image": image}), "Renamed.")
        return redirect("gallery:index")
    context = {
        "form": form,
        "action": reverse("gallery:rename", args=[image.pk]),
        "target": f"#image-{image.pk}",
        "back": reverse("gallery:index"),
    }
    status = 422 if request.method == "POST" else 200
    return fragment(request, "gallery/rename.html", "gallery/_rename.html", context, status=status)


@require_POST
def delete(request: MemberRequest, pk: UUID) -> HttpResponse:
    image = get_object_or_404(Image.objects.visible_to(request.user), pk=pk)
    services.soft_delete(Image.objects.filter(pk=image.pk))
    if wants_fragment(request):
        undo = reverse("gallery:restore", args=[image.pk])
        return toast(HttpResponse(), f"“{image.name}” was deleted.", "info", undo)
    return redirect(f"{reverse('gallery:index')}?deleted={image.pk}")


@require_POST
def restore(request: MemberRequest, pk: UUID) -> HttpResponse:
    image = get_object_or_404(Image.objects.restorable_by(request.user), pk=pk)
    services.restore(request.user, Image.objects.filter(pk=image.pk))
    if wants_fragment(request):
        back = {"id": str(image.pk), "card": reverse("gallery:card", args=[image.pk])}
        return trigger(toast(HttpResponse(), f"“{image.name}” is back."), "picture-restored", back)
    return redirect("gallery:index")


@require_safe
def file(request: MemberRequest, pk: UUID, kind: str) -> HttpResponseBase:
    return serve(request, get_object_or_404(Image.objects.visible_to(request.user), pk=pk), kind)
