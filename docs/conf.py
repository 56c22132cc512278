"""Sphinx: how the documentation is built. ``make docs`` needs no network."""

from __future__ import annotations

import inspect

from valence_integrations import __version__

project = "valence-integrations"
author = "The valence-integrations developers"
copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

# Names in single backticks link to the reference if they are in it, and look like code if not.
default_role = "py:obj"
add_module_names = False
smartquotes = False
maximum_signature_line_length = 80

# One page needs torch's and transformers' classes; to build it, their names are enough.
autodoc_mock_imports = ["torch", "transformers"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Members are listed by the class template, in full, and not by numpydoc a second time.
numpydoc_show_class_members = False

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

html_theme = "pydata_sphinx_theme"
html_title = f"valence-integrations {version}"
html_static_path = ["_static"]
html_css_files = ["valence.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "valence-integrations"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_nav_level": 2,
}
html_sidebars = {"index": [], "tutorial": [], "troubleshooting": []}


def _readable_signature(app, what, name, obj, options, signature, returned):  # noqa: ARG001
    """Show a default that is read from the environment as ``...``; of a class with mocked bases, its own parameters."""
    if signature == "(*args, **kwargs)":
        signature = str(inspect.signature(obj.__init__)).replace("(self, ", "(")
    return (signature.replace("<factory>", "..."), returned) if signature else None


def setup(app):
    app.connect("autodoc-process-signature", _readable_signature)
