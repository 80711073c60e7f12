"""Sphinx configuration: `make docs` builds the documentation, without network access.

`make docs GALLERY=0` does not run the examples, for a quick look at the text.
"""

import os
import sys
from pathlib import Path

# Modules beside this file, and one thread for the examples. Both have to be set before skfm is imported.
sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import benchmark_plots
import gallery

import skfm

project = "skfm"
author = "The skfm developers"
project_copyright = "2026, The skfm developers"
release = skfm.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]
html_static_path = ["_static"]
html_css_files = ["skfm.css"]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# The class template lists the methods, so that it can leave some out.
numpydoc_show_class_members = False

RUN_GALLERY = os.environ.get("GALLERY", "1") != "0"
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": gallery.runnable(),
    "within_subsection_order": "gallery.Order",
    "plot_gallery": RUN_GALLERY,
    # Which examples use a class or function, shown on its page.
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skfm",),
    "inspect_global_variables": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
}
# Pages show plots of the gallery, which are not there if it does not run.
suppress_warnings = [] if RUN_GALLERY else ["image.not_readable"]

# Links to the documentation of other projects need their indexes from the network. They are left out by
# default, so that a build without network gives no warning.
if os.environ.get("SKFM_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = f"skfm {version}"
html_theme_options = {
    # All six pages of the first level fit beside each other.
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    # All but the examples, which have long lines of code and few headings, and the start page.
    "secondary_sidebar_items": {
        page: ["page-toc"]
        for page in (
            "api",
            "benchmarks",
            "changelog",
            "generated/*",
            "getting_started",
            "glossary",
            "user_guide/*",
        )
    },
    "show_toc_level": 2,
}
html_show_sourcelink = False
html_sidebars = {"benchmarks": [], "changelog": [], "getting_started": []}

# Small plots of the guide, drawn by code that is not shown.
plot_include_source = False
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 120)]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Labels that docstrings inherited from scikit-learn refer to. They are pages of its documentation.
SKLEARN_LABELS = {"accuracy_score", "metadata_routing", "r2_score"}


def _as_text(app, env, node, contnode):
    """Keep the text of a reference to such a label, without a link and without a warning."""
    return contnode if node["reftarget"] in SKLEARN_LABELS else None


def _draw(app):
    benchmark_plots.draw(Path(app.srcdir) / "generated" / "plots")


def setup(app):
    """Connect the handlers above, the first after that of intersphinx, which finds the page where it is on."""
    app.connect("builder-inited", _draw)
    app.connect("missing-reference", _as_text, priority=900)
