"""Sphinx configuration: `make docs` builds the documentation, without network access.

`make docs GALLERY=0` does not run the examples, which is faster if only the text has changed.
"""

import os
import sys
from pathlib import Path

# The modules next to this file have to be importable, and the examples run in one thread. Both have to be set before
# skfm is imported.
sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import benchmark_plots
import gallery

# The gallery resolves all names that the examples import, also if it does not run them. HalvingRandomSearchCV can only
# be imported after this.
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

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
# The class template lists the methods itself, because it leaves some of them out.
numpydoc_show_class_members = False

RUN_GALLERY = os.environ.get("GALLERY", "1") != "0"
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": gallery.runnable(),
    "within_subsection_order": "gallery.Order",
    "plot_gallery": RUN_GALLERY,
    # The page of a class or function shows the examples that use it.
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skfm",),
    "inspect_global_variables": False,
    "min_reported_time": 1,
    "remove_config_comments": True,
    "show_signature": False,
    "write_computation_times": False,
}
# Some pages show plots of the gallery, which do not exist if it does not run.
suppress_warnings = [] if RUN_GALLERY else ["image.not_readable"]

# Links to the documentation of other projects need an index from the network. They are disabled by default, so that a
# build without network gives no warning.
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
    # All seven pages of the first level do not fit next to each other on a narrow screen.
    "header_links_before_dropdown": 5,
    "navbar_align": "left",
    "navigation_with_keys": False,
    # All pages except the examples, which have long lines of code and few headings, and the start page.
    "secondary_sidebar_items": {
        page: ["page-toc"]
        for page in (
            "api",
            "benchmarks",
            "changelog",
            "development/*",
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

# The user guide contains small plots, whose code is not shown.
plot_include_source = False
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 120)]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Labels to which docstrings inherited from scikit-learn refer. They are pages of its documentation.
SKLEARN_LABELS = {"accuracy_score", "metadata_routing", "r2_score"}


def _as_text(app, env, node, contnode):
    """Keep the text of a reference to such a label, without a link and without a warning."""
    return contnode if node["reftarget"] in SKLEARN_LABELS else None


def _draw(app):
    benchmark_plots.draw(Path(app.srcdir) / "generated" / "plots")


def setup(app):
    """Connect the handlers above. `_as_text` runs after intersphinx, which links to the page if it is enabled."""
    app.connect("builder-inited", _draw)
    app.connect("missing-reference", _as_text, priority=900)
