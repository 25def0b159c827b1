"""The documentation's site: ``nox -s docs``. Nothing in it is loaded from elsewhere."""

project = "copier-django-api"
html_title = project

extensions = ["myst_parser"]
exclude_patterns = ["_build"]

# A link to a heading is checked as well.
myst_heading_anchors = 3

html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
