from django.urls import URLPattern

app_name = "transforms"
urlpatterns: list[URLPattern] = []
