"""Sphinx: how the documentation is built. ``make docs`` needs no network."""

from __future__ import annotations

import atexit
import inspect
import os
import shutil
import tempfile

from valence_integrations import __version__

project = "valence-integrations"
author = "The valence-integrations developers"
copyright = author
version = release = __version__

# The examples are run by the sandbox, at nobody's cost, and neither find nor leave answers in a cache.
for name in [name for name in os.environ if name.startswith("VALENCE_")]:
    del os.environ[name]
os.environ["VALENCE_CACHE_DIR"] = os.environ["VALENCE_STATE_DIR"] = tempfile.mkdtemp(prefix="valence-docs-")
atexit.register(shutil.rmtree, os.environ["VALENCE_CACHE_DIR"], ignore_errors=True)
os.environ["TQDM_DISABLE"] = "1"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
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

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/\d\d_",
    "ignore_pattern": r"(^|/)_",
    "nested_sections": False,
    "within_subsection_order": "FileNameSortKey",
    "capture_repr": ("_repr_html_",),
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": float("inf"),
    # A notebook by itself would miss the clips.
    "notebook_extensions": set(),
    "download_all_examples": False,
}

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
html_sidebars = {"index": [], "tutorial": [], "troubleshooting": [], "gallery/*": []}


def _readable_signature(_app, _what, _name, obj, _options, signature, returned):
    """Show a default that is read from the environment as ``...``; of a class with mocked bases, its own parameters."""
    if signature == "(*args, **kwargs)":
        signature = str(inspect.signature(obj.__init__)).replace("(self, ", "(")
    return (signature.replace("<factory>", "..."), returned) if signature else None


def setup(app):
    app.connect("autodoc-process-signature", _readable_signature)
