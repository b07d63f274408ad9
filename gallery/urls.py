from django.urls import URLPattern, path

from gallery import saved_views, views

app_name = "gallery"
urlpatterns: list[URLPattern] = [
    path("gallery/", views.index, name="index"),
    path("gallery/upload/", views.upload, name="upload"),
    path("gallery/cards/", views.cards, name="cards"),
    path("gallery/<uuid:pk>/", views.detail, name="detail"),
    path("gallery/<uuid:pk>/card/", views.card, name="card"),
    path("gallery/<uuid:pk>/rename/", views.rename, name="rename"),
    path("gallery/<uuid:pk>/delete/", views.delete, name="delete"),
    path("gallery/<uuid:pk>/restore/", views.restore, name="restore"),
    path("files/images/<uuid:pk>/<slug:kind>/", views.file, name="file"),
    path("saved/", saved_views.index, name="saved"),
    path("saved/<uuid:pk>/", saved_views.detail, name="saved_detail"),
    path("saved/<uuid:pk>/card/", saved_views.card, name="saved_card"),
    path("saved/<uuid:pk>/rename/", saved_views.rename, name="saved_rename"),
    path("saved/<uuid:pk>/delete/", saved_views.delete, name="saved_delete"),
    path("saved/<uuid:pk>/restore/", saved_views.restore, name="saved_restore"),
    path("files/saved/<uuid:pk>/<slug:kind>/", saved_views.file, name="saved_file"),
]
